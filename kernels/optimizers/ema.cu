#include "lib/device.cuh"

// average = decay average + rest weights, rest = 1 - decay.
// weights, average: [count]. The grid's threads stride over the elements. Changes average.
// Twin: Cpu::ema_update in src/ops/optimizers/ema.rs.
KERNEL(ema_update, real decay, real rest, const real* weights, real* average, unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        average[i] = decay * average[i] + rest * weights[i];
    }
}
