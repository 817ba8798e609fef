#include "optimizers/schedule.cuh"

// RMSprop's constants; src/ops/optimizers/rmsprop.rs says what they are.
struct Rmsprop {
    double lr, decay, epsilon;
    Schedule schedule;
};

// One update of a network: v = decay v + (1 - decay) g g, w -= lr g / (sqrt(v) + epsilon).
// gradients, weights, second (v): [count]; rounded: [count], the weights as products read them, or null; state: one, read. The
// grid's threads stride over the elements. Changes weights, second and rounded, unless something was not finite.
// Twin: Cpu::rmsprop_update in src/ops/optimizers/rmsprop.rs.
KERNEL(rmsprop_update, Rmsprop d, const real* gradients, real* weights, real* second, stored* rounded,
       const StepState* state, unsigned long long count) {
    if (state->non_finite != 0) {
        return;
    }
    real lr = (real)(d.lr * rate_at(d.schedule, state->step)), decay = (real)d.decay, rest = (real)(1.0 - d.decay), epsilon = (real)d.epsilon;
    FOR_EACH_ELEMENT(i, count) {
        real g = gradients[i];
        real v = decay * second[i] + rest * g * g;
        second[i] = v;
        real weight = weights[i] - lr * g / (sqrt(v) + epsilon);
        weights[i] = weight;
        if (rounded) {
            rounded[i] = weight;
        }
    }
}
