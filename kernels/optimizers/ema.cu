#include "lib/runs.cuh"
#include "optimizers/schedule.cuh"

// average = decay average + (1 - decay) weights, with the decay of the step under way, which the first thread of a block computes.
// weights, average: [count]; state: one, read. The grid's threads stride over runs. Changes average.
// Twin: Cpu::ema_update in src/ops/optimizers/ema.rs.
KERNEL(ema_update, Decay d, const real* weights, real* average, const StepState* state, unsigned long long count) {
    SHARED(double, of_block, [1]);
    if (threadIdx.x == 0) {
        of_block[0] = decay_at(d, state->step);
    }
    __syncthreads();
    real decay = (real)of_block[0], rest = (real)(1.0 - of_block[0]);
    for_each_run(count, all_aligned_for_runs(STORED_RUN, weights, average), [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> own = read_run<COUNT>(average + i), weight = read_run<COUNT>(weights + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            own.values[e] = decay * own.values[e] + rest * weight.values[e];
        }
        write_run<COUNT>(average + i, own);
    });
}
