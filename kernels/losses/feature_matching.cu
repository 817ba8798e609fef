#include "lib/reduce.cuh"

// Sizes of a batch of features, and the weight of the loss; FeatureMatching of src/ops/losses/feature_matching.rs. At each position
// lie `parts` times C features, of which the first C are matched.
struct FeatureMatching {
    double weight;
    int n, positions, parts, c;
};

// The mean over the batch of each feature that is matched.
// features: [N, positions, parts, C]; mean: [positions, C]. The grid's threads stride over the means, and a thread adds up the
// images in their order; neighbours read neighbouring channels. Overwrites mean.
// Twin: Cpu::feature_matching_mean in src/ops/losses/feature_matching.rs.
KERNEL(feature_matching_mean, FeatureMatching d, const stored* features, real* mean) {
    size_t image = (size_t)d.positions * d.parts * d.c;
    FOR_EACH_ELEMENT(at, (unsigned long long)d.positions * d.c) {
        size_t first = at / d.c * d.parts * d.c + at % d.c;
        double sum = 0.0;
        for (int i = 0; i < d.n; ++i) {
            sum += (double)features[i * image + first];
        }
        mean[at] = (real)(sum / d.n);
    }
}

// The generator's loss: weight times the squared distance of the two means.
// real_mean, fake_mean: [positions, C]; state: one. A single block; threads walk the means. Overwrites the state's loss_g,
// changes its non_finite.
// Twin: Cpu::feature_matching_loss in src/ops/losses/feature_matching.rs.
KERNEL_BOUNDED(LOSS_THREADS, feature_matching_loss, FeatureMatching d, const real* real_mean, const real* fake_mean,
               StepState* state) {
    double sum = 0.0;
    for (int at = threadIdx.x; at < d.positions * d.c; at += LOSS_THREADS) {
        double rest = (double)fake_mean[at] - (double)real_mean[at];
        sum += rest * rest;
    }
    sum = block_sum<LOSS_THREADS>(sum);
    if (threadIdx.x == 0) {
        double loss = d.weight * sum;
        state->metrics.loss_g = loss;
        note_unless_finite(state, loss, NON_FINITE_LOSS_G);
    }
}

// d_features = 2 weight / N (fake_mean - real_mean), the same for every image; 0 for the features that are not matched.
// real_mean, fake_mean: [positions, C]; d_features: [N, positions, parts, C]. The grid's threads stride over d_features, which
// is overwritten.
// Twin: Cpu::feature_matching_backward_input in src/ops/losses/feature_matching.rs.
KERNEL(feature_matching_backward_input, FeatureMatching d, const real* real_mean, const real* fake_mean,
       stored* d_features) {
    size_t position_len = (size_t)d.parts * d.c;
    double slope = 2.0 * d.weight / d.n;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * d.positions * position_len) {
        size_t within = i % position_len, at = i / position_len % d.positions * d.c + within;
        bool matched = within < (size_t)d.c;
        d_features[i] = matched ? (real)(slope * ((double)fake_mean[at] - (double)real_mean[at])) : (real)0;
    }
}
