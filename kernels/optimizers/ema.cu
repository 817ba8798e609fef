#include "optimizers/schedule.cuh"

// average = decay average + (1 - decay) weights, with the decay of the step under way, which the first thread of a block computes.
// weights, average: [count]; state: one, read. The grid's threads stride over the elements. Changes average.
// Twin: Cpu::ema_update in src/ops/optimizers/ema.rs.
KERNEL(ema_update, Decay d, const real* weights, real* average, const StepState* state, unsigned long long count) {
    SHARED(double, of_block, [1]);
    if (threadIdx.x == 0) {
        of_block[0] = decay_at(d, state->step);
    }
    __syncthreads();
    real decay = (real)of_block[0], rest = (real)(1.0 - of_block[0]);
    FOR_EACH_ELEMENT(i, count) {
        average[i] = decay * average[i] + rest * weights[i];
    }
}
