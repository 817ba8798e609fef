#include "exponential.cuh"
#include "philox.cuh"
#include "reduce.cuh"

// Sizes of a bottleneck, and where its noise comes from; src/ops/bottleneck.rs.
struct Bottleneck {
    int n, positions, c;
    // Zero, given, or drawn.
    int noise;
    // Images of a group, and the stream of each group (two at most).
    int group;
    unsigned first_stream, second_stream;
    DrawStep draws;
};
constexpr int NOISE_MEAN = 0;
constexpr int NOISE_GIVEN = 1;

// epsilon of one dimension of one image.
__device__ __forceinline__ real noise(const Bottleneck& d, const real* given, const StepState* state, int image, int dim) {
    if (d.noise == NOISE_MEAN) {
        return (real)0;
    }
    if (d.noise == NOISE_GIVEN) {
        return given[(size_t)image * d.positions * d.c + dim];
    }
    unsigned stream = image < d.group ? d.first_stream : d.second_stream;
    return (real)normal_draw(state->seed, stream, draw_step(d.draws, state->step), (unsigned)(image % d.group), (unsigned)dim);
}

// Where the mean of dimension `dim` of an image stands in [N, positions, 2, C]; its log-variance is C further on.
__device__ __forceinline__ size_t mean_at(const Bottleneck& d, int image, int dim) {
    return ((size_t)image * d.positions + dim / d.c) * 2 * d.c + dim % d.c;
}

// z = mu + sigma epsilon and kl = 1/2 sum (mu^2 + sigma^2 - logvar - 1), sigma = e^(logvar / 2).
// mu_logvar: [N, positions, 2, C]; given: [N, positions, C] or null; state: one or null, read; z: [N, positions, C];
// kl: [N]. A block an image, its threads walk the dimensions. Overwrites z and kl.
// Twin: Cpu::bottleneck_forward in src/ops/bottleneck.rs.
KERNEL_BOUNDED(KL_THREADS, bottleneck_forward, Bottleneck d, const real* mu_logvar, const real* given,
               const StepState* state, real* z, real* kl) {
    int image = (int)blockIdx.x, dims = d.positions * d.c;
    double total = 0.0;
    for (int dim = threadIdx.x; dim < dims; dim += KL_THREADS) {
        size_t at = mean_at(d, image, dim);
        real mu = mu_logvar[at], logvar = mu_logvar[at + d.c];
        real sigma = exponential((real)0.5 * logvar);
        z[(size_t)image * dims + dim] = mu + sigma * noise(d, given, state, image, dim);
        total += (double)(mu * mu + sigma * sigma - logvar - (real)1);
    }
    total = block_sum<KL_THREADS>(total);
    if (threadIdx.x == 0) {
        kl[image] = (real)(0.5 * total);
    }
}

// d mu = dz + dkl mu, d logvar = 1/2 (dz sigma epsilon + dkl (sigma^2 - 1)); the noise is drawn again.
// mu_logvar, d_mu_logvar: [N, positions, 2, C]; given, state as in the forward pass; dz: [N, positions, C]; dkl: [N]. The
// grid's threads stride over all images' dimensions. Overwrites d_mu_logvar.
// Twin: Cpu::bottleneck_backward_input in src/ops/bottleneck.rs.
KERNEL(bottleneck_backward_input, Bottleneck d, const real* mu_logvar, const real* given, const StepState* state,
       const real* dz, const real* dkl, real* d_mu_logvar) {
    int dims = d.positions * d.c;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * dims) {
        int image = (int)(i / dims), dim = (int)(i % dims);
        size_t at = mean_at(d, image, dim);
        real mu = mu_logvar[at], sigma = exponential((real)0.5 * mu_logvar[at + d.c]);
        real epsilon = noise(d, given, state, image, dim);
        d_mu_logvar[at] = dz[i] + dkl[image] * mu;
        d_mu_logvar[at + d.c] = (real)0.5 * (dz[i] * sigma * epsilon + dkl[image] * (sigma * sigma - (real)1));
    }
}

// v_z = v_mu + 1/2 sigma epsilon v_logvar: the tangent of z.
// mu_logvar, v_mu_logvar: [N, positions, 2, C]; given, state as in the forward pass; v_z: [N, positions, C]. The grid's
// threads stride over the dimension of every image. Overwrites v_z.
// Twin: Cpu::bottleneck_tangent in src/ops/bottleneck.rs.
KERNEL(bottleneck_tangent, Bottleneck d, const real* mu_logvar, const real* given, const StepState* state,
       const real* v_mu_logvar, real* v_z) {
    int dims = d.positions * d.c;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * dims) {
        int image = (int)(i / dims), dim = (int)(i % dims);
        size_t at = mean_at(d, image, dim);
        real sigma = exponential((real)0.5 * mu_logvar[at + d.c]);
        v_z[i] = v_mu_logvar[at] + (real)0.5 * sigma * noise(d, given, state, image, dim) * v_mu_logvar[at + d.c];
    }
}

// d logvar += 1/4 sigma epsilon v_logvar dz: the derivative of the tangent v_z against dz. The mean's part is left alone.
// mu_logvar, v_mu_logvar, d_mu_logvar: [N, positions, 2, C]; given, state as in the forward pass; dz: [N, positions, C].
// The grid's threads stride over the dimensions of every image. Changes d_mu_logvar.
// Twin: Cpu::bottleneck_curvature in src/ops/bottleneck.rs.
KERNEL(bottleneck_curvature, Bottleneck d, const real* mu_logvar, const real* given, const StepState* state,
       const real* v_mu_logvar, const real* dz, real* d_mu_logvar) {
    int dims = d.positions * d.c;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * dims) {
        int image = (int)(i / dims), dim = (int)(i % dims);
        size_t at = mean_at(d, image, dim) + d.c;
        real sigma = exponential((real)0.5 * mu_logvar[at]);
        d_mu_logvar[at] += (real)0.25 * sigma * noise(d, given, state, image, dim) * v_mu_logvar[at] * dz[i];
    }
}
