#include "optimizers/schedule.cuh"

// Adam's constants; src/ops/optimizers/adam.rs says what they are.
struct Adam {
    double lr, beta1, beta2, epsilon;
    Schedule schedule;
};

// One update of a network: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g g, w -= rate m / (sqrt(v) root + epsilon).
// gradients, weights, first (m), second (v): [count]; rounded: [count], the weights as products read them, or null; state: one,
// read. The grid's threads stride over the elements. Changes weights, first, second and rounded, unless something was not finite.
// Twin: Cpu::adam_update in src/ops/optimizers/adam.rs.
KERNEL(adam_update, Adam d, int network, const real* gradients, real* weights, real* first, real* second,
       stored* rounded, const StepState* state, unsigned long long count) {
    if (state->non_finite != 0) {
        return;
    }
    unsigned long long t = state->updates[network];
    real rate = (real)(d.lr * rate_at(d.schedule, state->step) / (1.0 - power(d.beta1, t)));
    real root = (real)(1.0 / sqrt(1.0 - power(d.beta2, t)));
    real beta1 = (real)d.beta1, beta2 = (real)d.beta2, epsilon = (real)d.epsilon;
    real rest1 = (real)(1.0 - d.beta1), rest2 = (real)(1.0 - d.beta2);
    FOR_EACH_ELEMENT(i, count) {
        real g = gradients[i];
        real m = beta1 * first[i] + rest1 * g;
        real v = beta2 * second[i] + rest2 * g * g;
        first[i] = m;
        second[i] = v;
        real weight = weights[i] - rate * m / (sqrt(v) * root + epsilon);
        weights[i] = weight;
        if (rounded) {
            rounded[i] = weight;
        }
    }
}
