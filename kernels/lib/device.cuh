// What every kernel file includes: the type of numbers, how kernels and shared memory are declared, loops over elements.
//
// A file is compiled with REAL=float, to train; with STORED_BF16 beside it, to train on activations in bf16 (lib/stored.cuh);
// and with REAL=double, to check gradients. Products and sums are not fused unless fma() says so (--fmad=false), so that a
// kernel rounds as its twin on the CPU does.
#pragma once

// struct Metrics, the figures of a step: build.rs writes it from src/figures.rs.
#include "figures.h"
#include "lib/launch.h"

#ifdef SIMT
#include <simt.h>
#else
// A kernel that the host can launch by its name.
#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
// The same with a promise of how many threads a block has at most.
#define KERNEL_BOUNDED(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
// Shared memory of a block: SHARED(float, tile, [16][17]). Aligned, so that neighbouring elements can be read as a vector.
#define SHARED(type, name, extent) __shared__ __align__(16) type name extent
#endif

#include "lib/stored.cuh"

// The elements of one thread where a grid walks over `count` of them.
#define FOR_EACH_ELEMENT(i, count)                                                           \
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;   \
         i < (count); i += gridDim.x * (unsigned long long)blockDim.x)

// What changes from step to step; StepState of src/device/state.rs, field for field.
struct StepState {
    unsigned long long step, seed, updates[3];
    double beta, balance;
    unsigned long long non_finite;
    Metrics metrics;
};
static_assert(sizeof(StepState) == 6 * sizeof(unsigned long long) + 2 * sizeof(double) + sizeof(Metrics),
              "nothing lies between the fields");
constexpr int NON_FINITE_LOSS_D = 1;
constexpr int NON_FINITE_LOSS_G = 2;
// Of the discriminator; those of generator and encoder follow, as the networks do.
constexpr int NON_FINITE_GRADIENT_D = 3;

// Notes what is not finite, unless something was noted before; StepState::note_unless_finite. One thread calls it.
__device__ __forceinline__ void note_unless_finite(StepState* state, double value, int what) {
    if (!isfinite(value) && state->non_finite == 0) {
        state->non_finite = what;
    }
}

// Adds a term to the generator's loss; StepState::add_to_generator_loss. One thread calls it.
__device__ __forceinline__ void add_to_generator_loss(StepState* state, double value) {
    state->metrics.loss_g += value;
    note_unless_finite(state, value, NON_FINITE_LOSS_G);
}
