#include "lib/runs.cuh"
#include "optimizers/schedule.cuh"

// RMSprop's constants; src/ops/optimizers/rmsprop.rs says what they are.
struct Rmsprop {
    double lr, decay, epsilon;
    Schedule schedule;
};

// One update of a network: v = decay v + (1 - decay) g g, w -= lr g / (sqrt(v) + epsilon).
// gradients, weights, second (v): [count]; rounded: [count], the weights as products read them, or null; state: one, read. The
// grid's threads stride over runs. Changes weights, second and rounded, unless something was not finite.
// Twin: Cpu::rmsprop_update in src/ops/optimizers/rmsprop.rs.
KERNEL(rmsprop_update, Rmsprop d, const real* gradients, real* weights, real* second, stored* rounded,
       const StepState* state, unsigned long long count) {
    if (state->non_finite != 0) {
        return;
    }
    real lr = (real)(d.lr * rate_at(d.schedule, state->step)), decay = (real)d.decay, rest = (real)(1.0 - d.decay), epsilon = (real)d.epsilon;
    bool in_runs = all_aligned_for_runs(STORED_RUN, gradients, weights, second, rounded);
    for_each_run(count, in_runs, [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> g = read_run<COUNT>(gradients + i), v = read_run<COUNT>(second + i), weight = read_run<COUNT>(weights + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            v.values[e] = decay * v.values[e] + rest * g.values[e] * g.values[e];
            weight.values[e] -= lr * g.values[e] / (sqrt(v.values[e]) + epsilon);
        }
        write_run<COUNT>(second + i, v);
        write_run<COUNT>(weights + i, weight);
        if (rounded) {
            write_run<COUNT>(rounded + i, weight);
        }
    });
}
