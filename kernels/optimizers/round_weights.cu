#include "lib/device.cuh"

// rounded = weights, in the type in which activations are stored.
// weights, rounded: [count]. The grid's threads stride over the elements. Overwrites rounded.
// Twin: Cpu::round_weights in src/ops/optimizers/round_weights.rs.
KERNEL(round_weights, const real* weights, stored* rounded, unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        rounded[i] = weights[i];
    }
}
