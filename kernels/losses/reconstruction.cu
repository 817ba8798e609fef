#include "lib/reduce.cuh"

// Sizes of a batch of reconstructions, the weight of their mean error, and 2 weight / (N len); Reconstruction of
// src/ops/losses/reconstruction.rs.
struct Reconstruction {
    double weight, slope;
    int n, len;
};

// Adds the weighted mean of the images' errors to the generator's loss, and notes the mean itself.
// errors: [N]; state: one. A single block; threads walk the images. Overwrites the state's metric reconstruction, changes
// loss_g and non_finite.
// Twin: Cpu::reconstruction_loss in src/ops/losses/reconstruction.rs.
KERNEL_BOUNDED(LOSS_THREADS, reconstruction_loss, Reconstruction d, const stored* errors, StepState* state) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < d.n; i += LOSS_THREADS) {
        sum += (double)errors[i];
    }
    sum = block_sum<LOSS_THREADS>(sum);
    if (threadIdx.x == 0) {
        double mean = sum / d.n;
        state->metrics.reconstruction = mean;
        add_to_generator_loss(state, d.weight * mean);
    }
}

// dy += slope (y - x): the gradient of the weighted mean error by the reconstructions.
// x, y, dy: [N, H, W, C]. The grid's threads stride over all images' elements. Changes dy.
// Twin: Cpu::reconstruction_backward_input in src/ops/losses/reconstruction.rs.
KERNEL(reconstruction_backward_input, Reconstruction d, const stored* x, const stored* y, stored* dy) {
    real slope = (real)d.slope;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * d.len) {
        dy[i] += slope * (y[i] - x[i]);
    }
}
