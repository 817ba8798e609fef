#include "lib/device.cuh"

// w = min(limit, max(-limit, w)); what is not a number stays so.
// state: one, read; weights: [count]. The grid's threads stride over the elements. Changes weights, unless something was not
// finite.
// Twin: Cpu::clip_weights in src/ops/optimizers/clip.rs.
KERNEL(clip_weights, real limit, const StepState* state, real* weights, unsigned long long count) {
    if (state->non_finite != 0) {
        return;
    }
    FOR_EACH_ELEMENT(i, count) {
        real w = weights[i];
        weights[i] = w < -limit ? -limit : w > limit ? limit : w;
    }
}
