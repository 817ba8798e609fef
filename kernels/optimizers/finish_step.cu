#include "lib/device.cuh"

// Counts the step as done, unless something was not finite, and notes its figures at place step mod length.
// state: one; history: [length]. A single thread. Changes state and one element of history.
// Twin: Cpu::finish_step in src/ops/optimizers/finish_step.rs.
KERNEL(finish_step, StepState* state, Metrics* history, unsigned long long length) {
    if (state->non_finite == 0) {
        history[state->step % length] = state->metrics;
        state->step += 1;
    }
}
