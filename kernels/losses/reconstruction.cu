#include "losses/objective.cuh"
#include "lib/reduce.cuh"

// Sizes of a batch of reconstructions, the weight of their mean error, and 2 weight / (N len); Reconstruction of
// src/ops/reconstruction.rs.
struct Reconstruction {
    double weight, slope;
    int n, len;
};

// Adds the weighted mean of the images' errors to the generator's loss, and notes the mean itself.
// errors: [N]; state: one. A single block; threads walk the images. Overwrites the state's metric reconstruction, changes
// loss_g and non_finite.
// Twin: Cpu::reconstruction_loss in src/ops/reconstruction.rs.
KERNEL_BOUNDED(LOSS_THREADS, reconstruction_loss, Reconstruction d, const real* errors, StepState* state) {
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
// Twin: Cpu::reconstruction_backward_input in src/ops/reconstruction.rs.
KERNEL(reconstruction_backward_input, Reconstruction d, const real* x, const real* y, real* dy) {
    real slope = (real)d.slope;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * d.len) {
        dy[i] += slope * (y[i] - x[i]);
    }
}

// Adds weight times the mean of what the generator pays for its reconstructions to its loss, and writes the gradient.
// logits, dlogits: [n]; state: one. A single block; threads walk the images. Overwrites dlogits, changes the state's loss_g
// and non_finite; BEGAN's k stays.
// Twin: Cpu::mode_loss in src/ops/reconstruction.rs.
KERNEL_BOUNDED(LOSS_THREADS, mode_loss, Objective objective, double weight, int n, const real* logits, real* dlogits,
               StepState* state) {
    double cost = 0.0;
    for (int i = threadIdx.x; i < n; i += LOSS_THREADS) {
        Term term = objective_term(objective, SIDE_GENERATOR, (double)logits[i]);
        cost += term.value;
        dlogits[i] = (real)(weight * term.derivative / n);
    }
    cost = block_sum<LOSS_THREADS>(cost);
    if (threadIdx.x == 0) {
        add_to_generator_loss(state, weight * cost / n);
    }
}
