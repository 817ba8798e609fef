// What a .cu file sees instead of CUDA's headers when the macro SIMT is defined: CUDA's vocabulary for g++.
//
// Kernels are ordinary functions here. The runtime (../runtime) runs one of them once for each CUDA thread, on a fiber
// of its own, and switches to another fiber whenever a thread has to wait for others.
#pragma once

#include <cassert>
#include <cfloat>
#include <cstddef>
// In C++17, libstdc++'s <cmath> declares special functions as well: reading them takes longer than compiling a small kernel.
#undef _GLIBCXX_USE_STD_SPEC_FUNCS
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__ static
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

#include "simt/abi.h"

// Never read, so that it costs nothing: marks code that must not feed the detector.
#define SIMT_UNCHECKED __attribute__((no_sanitize_thread))

#include "simt/types.h"

#pragma GCC visibility push(hidden)
// Constant for the thread that reads them, which is all the compiler needs to know; the runtime, which alone knows
// them as variables, changes them when it switches to another thread. Constant objects are not watched by the detector.
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;
#pragma GCC visibility pop
constexpr int warpSize = 32;

#include "simt/atomics.h"
#include "simt/bfloat16.h"
#include "simt/half.h"
#include "simt/intrinsics.h"
#include "simt/kernel.h"
#include "simt/matrix.h"
#include "simt/warp.h"
