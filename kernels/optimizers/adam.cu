#include "lib/device.cuh"

// Notes in the state that a gradient is not finite, and counts the update that is to follow if nothing is noted.
// flags: [blocks], what find_non_finite left; state: one. A single thread. Changes state.
// Twin: Cpu::check_gradients in src/ops/adam.rs.
KERNEL(note_gradients, int network, const unsigned* flags, unsigned blocks, StepState* state) {
    unsigned found = 0;
    for (unsigned block = 0; block < blocks; ++block) {
        found |= flags[block];
    }
    if (found && state->non_finite == 0) {
        state->non_finite = NON_FINITE_GRADIENT_D + network;
    }
    if (state->non_finite == 0) {
        state->updates[network] += 1;
    }
}

// Whether a block's share of the gradients holds a number that is not finite.
// gradients: [count]; flags: [gridDim.x], 1 or 0. The grid's threads stride over the elements. Overwrites flags.
// Twin: the first half of Cpu::check_gradients in src/ops/adam.rs.
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

// base^exponent by repeated squaring, as `power` in src/ops/adam.rs.
__device__ double power(double base, unsigned long long exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) {
            result *= base;
        }
        base *= base;
    }
    return result;
}

// Adam's constants; src/ops/adam.rs says what they are.
struct Adam {
    double lr, beta1, beta2, epsilon;
};

// One update of a network: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g g, w -= rate m / (sqrt(v) root + epsilon).
// gradients, weights, first (m), second (v): [count]; state: one, read. The grid's threads stride over the elements. Changes
// weights, first and second, unless something was not finite.
// Twin: Cpu::adam_update in src/ops/adam.rs.
KERNEL(adam_update, Adam d, int network, const real* gradients, real* weights, real* first, real* second,
       const StepState* state, unsigned long long count) {
    if (state->non_finite != 0) {
        return;
    }
    unsigned long long t = state->updates[network];
    real rate = (real)(d.lr / (1.0 - power(d.beta1, t)));
    real root = (real)(1.0 / sqrt(1.0 - power(d.beta2, t)));
    real beta1 = (real)d.beta1, beta2 = (real)d.beta2, epsilon = (real)d.epsilon;
    real rest1 = (real)(1.0 - d.beta1), rest2 = (real)(1.0 - d.beta2);
    FOR_EACH_ELEMENT(i, count) {
        real g = gradients[i];
        real m = beta1 * first[i] + rest1 * g;
        real v = beta2 * second[i] + rest2 * g * g;
        first[i] = m;
        second[i] = v;
        weights[i] -= rate * m / (sqrt(v) * root + epsilon);
    }
}
