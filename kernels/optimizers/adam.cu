#include "lib/runs.cuh"
#include "optimizers/schedule.cuh"

// Adam's constants; src/ops/optimizers/adam.rs says what they are.
struct Adam {
    double lr, beta1, beta2, epsilon;
    Schedule schedule;
};

// One update of a network: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g g, w -= rate m / (sqrt(v) root + epsilon).
// gradients, weights, first (m), second (v): [count]; rounded: [count], the weights as products read them, or null; state: one,
// read. The grid's threads stride over runs. The first thread of a block works out the step's factors. Changes weights, first, second and
// rounded, unless something was not finite. Limited by the bytes of all five.
// Twin: Cpu::adam_update in src/ops/optimizers/adam.rs.
KERNEL(adam_update, Adam d, int network, const real* gradients, real* weights, real* first, real* second,
       stored* rounded, const StepState* state, unsigned long long count) {
    if (state->non_finite != 0) {
        return;
    }
    SHARED(double, of_block, [2]);
    if (threadIdx.x == 0) {
        unsigned long long t = state->updates[network];
        of_block[0] = d.lr * rate_at(d.schedule, state->step) / (1.0 - power(d.beta1, t));
        of_block[1] = 1.0 / sqrt(1.0 - power(d.beta2, t));
    }
    __syncthreads();
    real rate = (real)of_block[0], root = (real)of_block[1];
    real beta1 = (real)d.beta1, beta2 = (real)d.beta2, epsilon = (real)d.epsilon;
    real rest1 = (real)(1.0 - d.beta1), rest2 = (real)(1.0 - d.beta2);
    bool in_runs = all_aligned_for_runs(STORED_RUN, gradients, weights, first, second, rounded);
    for_each_run(count, in_runs, [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> g = read_run<COUNT>(gradients + i), m = read_run<COUNT>(first + i), v = read_run<COUNT>(second + i);
        Run<COUNT> weight = read_run<COUNT>(weights + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            m.values[e] = beta1 * m.values[e] + rest1 * g.values[e];
            v.values[e] = beta2 * v.values[e] + rest2 * g.values[e] * g.values[e];
            weight.values[e] -= rate * m.values[e] / (sqrt(v.values[e]) * root + epsilon);
        }
        write_run<COUNT>(first + i, m);
        write_run<COUNT>(second + i, v);
        write_run<COUNT>(weights + i, weight);
        if (rounded) {
            write_run<COUNT>(rounded + i, weight);
        }
    });
}
