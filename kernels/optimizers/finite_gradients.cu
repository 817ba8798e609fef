#include "lib/last_block.cuh"
#include "lib/runs.cuh"

// Notes in the state that a gradient is not finite, and counts the update that is to follow if nothing is noted. Each block
// flags whether its share of the gradients holds a number that is not finite; the last one looks through the flags.
// gradients: [count]; flags: [gridDim.x]; counter: one, 0; state: one. The grid's threads stride over runs. Overwrites
// flags, changes state. Limited by the bytes of the gradients.
// Twin: Cpu::check_gradients in src/ops/optimizers/finite_gradients.rs.
KERNEL(check_gradients, int network, const real* gradients, unsigned long long count, unsigned* flags, unsigned* counter,
       StepState* state) {
    int found = 0;
    for_each_run(count, aligned_for_runs(gradients, STORED_RUN), [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> run = read_run<COUNT>(gradients + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            // 0 for a finite number, NaN for any other.
            found |= !(run.values[e] * (real)0 == (real)0);
        }
    });
    found = __syncthreads_or(found);
    if (threadIdx.x == 0) {
        flags[blockIdx.x] = found ? 1 : 0;
    }
    if (!is_last_block(counter, gridDim.x)) {
        return;
    }
    found = 0;
    for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x) {
        found |= flags[block];
    }
    found = __syncthreads_or(found);
    if (threadIdx.x > 0) {
        return;
    }
    if (found && state->non_finite == 0) {
        state->non_finite = NON_FINITE_GRADIENT_D + network;
    }
    if (state->non_finite == 0) {
        state->updates[network] += 1;
    }
}
