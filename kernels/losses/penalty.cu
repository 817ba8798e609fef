#include "lib/reduce.cuh"

// Sizes and weight of a gradient penalty; GradientPenalty of src/ops/losses/penalty.rs.
struct GradientPenalty {
    double weight;
    int n, len;
    // Whether the norm is drawn to 1, or else to 0.
    int to_one;
};

// Points between images: target = x + u (toward - x).
// x, toward, target: [N, len]; u: [N]. A block an image, its threads walk the elements. Overwrites target.
// Twin: Cpu::penalty_interpolate in src/ops/losses/penalty.rs.
KERNEL_BOUNDED(IMAGE_THREADS, penalty_interpolate, int len, const stored* x, const stored* toward, const stored* u,
               stored* target) {
    size_t first = (size_t)blockIdx.x * len;
    real share = u[blockIdx.x];
    for (int i = threadIdx.x; i < len; i += IMAGE_THREADS) {
        target[first + i] = x[first + i] + share * (toward[first + i] - x[first + i]);
    }
}

// Mean and variance of each image's elements.
// x: [N, len]; moments: [N, 2]. A block an image, its threads walk the elements. Overwrites moments.
// Twin: Cpu::penalty_moments in src/ops/losses/penalty.rs.
KERNEL_BOUNDED(IMAGE_THREADS, penalty_moments, int len, const stored* x, real* moments) {
    const stored* image = x + (size_t)blockIdx.x * len;
    double sum = 0.0;
    for (int i = threadIdx.x; i < len; i += IMAGE_THREADS) {
        sum += (double)image[i];
    }
    double mean = block_sum<IMAGE_THREADS>(sum) / len;
    double squares = 0.0;
    for (int i = threadIdx.x; i < len; i += IMAGE_THREADS) {
        double off = (double)image[i] - mean;
        squares += off * off;
    }
    squares = block_sum<IMAGE_THREADS>(squares);
    if (threadIdx.x == 0) {
        moments[2 * blockIdx.x] = (real)mean;
        moments[2 * blockIdx.x + 1] = (real)(squares / len);
    }
}

// Points beside images: target = x + u 1/2 std(x) w, std(x) over the whole batch, from the moments of its images.
// x, w, target: [N, len]; moments: [N, 2]; u: [N]. A block an image, its threads walk first the moments of all images (every
// block sums them alike), then the elements of its own. Overwrites target.
// Twin: Cpu::penalty_perturb in src/ops/losses/penalty.rs.
KERNEL_BOUNDED(IMAGE_THREADS, penalty_perturb, int n, int len, const stored* x, const real* moments, const stored* w,
               const stored* u, stored* target) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < n; i += IMAGE_THREADS) {
        sum += (double)moments[2 * i];
    }
    double mean = block_sum<IMAGE_THREADS>(sum) / n;
    double spread = 0.0;
    for (int i = threadIdx.x; i < n; i += IMAGE_THREADS) {
        double off = (double)moments[2 * i] - mean;
        spread += (double)moments[2 * i + 1] + off * off;
    }
    spread = block_sum<IMAGE_THREADS>(spread) / n;
    size_t first = (size_t)blockIdx.x * len;
    real reach = u[blockIdx.x] * (real)(0.5 * sqrt(spread));
    for (int i = threadIdx.x; i < len; i += IMAGE_THREADS) {
        target[first + i] = x[first + i] + reach * w[first + i];
    }
}

// The norm of each image's gradient, and what its penalty is differentiated by: v = dR/dg, 0 where the norm is 0.
// g, v: [images, len]; norms: [images]; N are those of all ranks. A block an image, its threads walk the elements. Overwrites v and norms.
// Twin: Cpu::gradient_penalty_norms in src/ops/losses/penalty.rs.
KERNEL_BOUNDED(IMAGE_THREADS, gradient_penalty_norms, GradientPenalty d, const stored* g, stored* v, real* norms) {
    size_t first = (size_t)blockIdx.x * d.len;
    double squares = 0.0;
    for (int i = threadIdx.x; i < d.len; i += IMAGE_THREADS) {
        double element = (double)g[first + i];
        squares += element * element;
    }
    double norm = sqrt(block_sum<IMAGE_THREADS>(squares));
    double scale = d.weight / d.n;
    if (d.to_one) {
        scale = norm > 0.0 ? 2.0 * scale * (norm - 1.0) / norm : 0.0;
    }
    for (int i = threadIdx.x; i < d.len; i += IMAGE_THREADS) {
        v[first + i] = (real)scale * g[first + i];
    }
    if (threadIdx.x == 0) {
        norms[blockIdx.x] = (real)norm;
    }
}

// R from the norms, noted as the step's penalty and added to its loss_d.
// norms: [N]; state: one. A single block; its threads walk the images. Changes the state's metrics and non_finite.
// Twin: Cpu::gradient_penalty_value in src/ops/losses/penalty.rs.
KERNEL_BOUNDED(LOSS_THREADS, gradient_penalty_value, GradientPenalty d, const real* norms, StepState* state) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < d.n; i += LOSS_THREADS) {
        double norm = (double)norms[i];
        sum += d.to_one ? (norm - 1.0) * (norm - 1.0) : 0.5 * norm * norm;
    }
    sum = block_sum<LOSS_THREADS>(sum);
    if (threadIdx.x == 0) {
        double penalty = d.weight * sum / d.n;
        state->metrics.penalty += penalty;
        state->metrics.loss_d += penalty;
        note_unless_finite(state, state->metrics.loss_d, NON_FINITE_LOSS_D);
    }
}
