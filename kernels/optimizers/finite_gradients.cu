#include "lib/device.cuh"

// Flags the blocks whose share of the gradients holds a number that is not finite.
// gradients: [count]; flags: [gridDim.x], 1 or 0. The grid's threads stride over the elements. Overwrites flags.
// Twin: the first half of Cpu::check_gradients in src/ops/optimizers/finite_gradients.rs.
KERNEL(find_non_finite, const real* gradients, unsigned long long count, unsigned* flags) {
    int found = 0;
    FOR_EACH_ELEMENT(i, count) {
        // 0 for a finite number, NaN for any other.
        found |= !(gradients[i] * (real)0 == (real)0);
    }
    found = __syncthreads_or(found);
    if (threadIdx.x == 0) {
        flags[blockIdx.x] = found ? 1 : 0;
    }
}

// Notes in the state that a gradient is not finite, and counts the update that is to follow if nothing is noted.
// flags: [blocks], what find_non_finite left; state: one. One block, whose threads stride over the flags. Changes state.
// Twin: Cpu::check_gradients in src/ops/optimizers/finite_gradients.rs.
KERNEL(note_gradients, int network, const unsigned* flags, unsigned blocks, StepState* state) {
    int found = 0;
    for (unsigned block = threadIdx.x; block < blocks; block += blockDim.x) {
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
