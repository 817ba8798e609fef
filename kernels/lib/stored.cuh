// How numbers lie in memory. `stored`: what a layer takes and what it makes (images, features, latent vectors, logits,
// energies), their gradients and tangents, and the weights of products. `real`: all else (other parameters, gradients of parameters, an optimiser's numbers,
// statistics, sums, norms, losses, noise that is given, parts of a product).
//
// They are one type, unless STORED_BF16 is defined: then `real` is float, and what is stored is bf16. Every kernel computes in
// real or in f64; what it reads is widened, and what it writes is rounded to nearest, ties to even.
#pragma once

#ifdef STORED_BF16
#include <cuda_bf16.h>
#endif

using real = REAL;

#ifdef STORED_BF16

static_assert(sizeof(real) == 4, "what is stored as bf16 is computed in f32");

// A bf16 that reads and writes as a float does.
struct alignas(2) stored {
    __nv_bfloat16 value;

    stored() = default;
    __device__ __forceinline__ stored(float number) : value(__float2bfloat16_rn(number)) {}
    __device__ __forceinline__ operator float() const {
        return __bfloat162float(value);
    }
    __device__ __forceinline__ stored& operator+=(float number) {
        return *this = *this + number;
    }
    __device__ __forceinline__ stored& operator-=(float number) {
        return *this = *this - number;
    }
};
static_assert(sizeof(stored) == 2, "a bf16 and nothing beside it");

#else

using stored = real;

#endif
