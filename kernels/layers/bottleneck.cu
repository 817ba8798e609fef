#include "lib/exponential.cuh"
#include "lib/last_block.cuh"
#include "lib/philox.cuh"
#include "lib/reduce.cuh"

// Sizes of a bottleneck, and where its noise comes from; src/ops/layers/bottleneck.rs.
struct Bottleneck {
    int n, positions, c;
    // Zero, given, or drawn.
    int noise;
    // Images of a group, and the stream of each group (two at most).
    int group;
    unsigned first_stream, second_stream;
    DrawStep draws;
    // True: s, the encoder's second output, is log sigma. False: it is log sigma^2.
    int logstd;
};
constexpr int NOISE_MEAN = 0;
constexpr int NOISE_GIVEN = 1;

// r of sigma = e^(r s).
// Twin: Sigma::rate in src/ops/layers/bottleneck.rs.
__device__ __forceinline__ real rate(const Bottleneck& d) { return d.logstd ? (real)1 : (real)0.5; }

// The dimensions that one draw of Philox has numbers for: a thread does all four.
constexpr int QUAD = 4;

// epsilon of dimensions 4 quad .. 4 quad + 4 of one image, into epsilon; zeros beyond the last.
__device__ __forceinline__ void noise(
    const Bottleneck& d, const real* given, const StepState* state, int image, int quad, real (&epsilon)[QUAD]) {
    int dims = d.positions * d.c;
    for (int j = 0; j < QUAD; ++j) {
        bool is_given = d.noise == NOISE_GIVEN && quad * QUAD + j < dims;
        epsilon[j] = is_given ? given[(size_t)image * dims + quad * QUAD + j] : (real)0;
    }
    if (d.noise == NOISE_MEAN || d.noise == NOISE_GIVEN) {
        return;
    }
    unsigned stream = image < d.group ? d.first_stream : d.second_stream;
    unsigned sample = d.draws.first_sample + (unsigned)(image % d.group);
    float4 drawn = normal_draws(state->seed, stream, draw_step(d.draws, state->step), sample, (unsigned)quad);
    epsilon[0] = (real)drawn.x;
    epsilon[1] = (real)drawn.y;
    epsilon[2] = (real)drawn.z;
    epsilon[3] = (real)drawn.w;
}

// The place in [N, positions, 2, C] of the mean of dimension `dim` of an image; its s is C further on.
__device__ __forceinline__ size_t mean_at(const Bottleneck& d, int image, int dim) {
    return ((size_t)image * d.positions + dim / d.c) * 2 * d.c + dim % d.c;
}

// Calls work(image, dim, element, epsilon) for every dimension of every image; element is its place in [N, positions, C]. The
// grid's threads stride over the dimensions by fours.
template <typename Work>
__device__ __forceinline__ void for_each_dimension(const Bottleneck& d, const real* given, const StepState* state, Work work) {
    int dims = d.positions * d.c, quads = (dims + QUAD - 1) / QUAD;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * quads) {
        int image = (int)(i / quads), quad = (int)(i % quads);
        real epsilon[QUAD];
        noise(d, given, state, image, quad, epsilon);
        for (int j = 0; j < QUAD && quad * QUAD + j < dims; ++j) {
            int dim = quad * QUAD + j;
            work(image, dim, (size_t)image * dims + dim, epsilon[j]);
        }
    }
}

// z = mu + sigma epsilon and kl = 1/2 sum (mu^2 + sigma^2 - 2 r s - 1), sigma = e^(r s). A block does KL_QUADS fours of an image's
// dimensions; the last block of an image adds up the parts of its KL in their order.
// mu_s: [N, positions, 2, C]; given: [N, positions, C] or null; state: one or null, read; z: [N, positions, C]; partial:
// [N, parts] in f64; counters: [N]; kl: [N]. Block (image, part), threads walk the dimensions by fours. Overwrites z,
// partial and kl. Limited by the integer arithmetic of Philox.
// Twin: Cpu::bottleneck_forward in src/ops/layers/bottleneck/cpu.rs.
KERNEL_BOUNDED(KL_THREADS, bottleneck_forward, Bottleneck d, const stored* mu_s, const real* given,
               const StepState* state, stored* z, double* partial, unsigned* counters, real* kl) {
    int image = (int)blockIdx.x, dims = d.positions * d.c, parts = (int)gridDim.y;
    int quads = (dims + QUAD - 1) / QUAD, from = (int)blockIdx.y * KL_QUADS;
    int to = from + KL_QUADS < quads ? from + KL_QUADS : quads;
    double total = 0.0;
    for (int quad = from + (int)threadIdx.x; quad < to; quad += KL_THREADS) {
        real epsilon[QUAD];
        noise(d, given, state, image, quad, epsilon);
        for (int j = 0; j < QUAD && quad * QUAD + j < dims; ++j) {
            int dim = quad * QUAD + j;
            size_t at = mean_at(d, image, dim);
            real mu = mu_s[at], s = mu_s[at + d.c];
            real sigma = exponential(rate(d) * s);
            z[(size_t)image * dims + dim] = mu + sigma * epsilon[j];
            total += (double)(mu * mu + sigma * sigma - (real)2 * rate(d) * s - (real)1);
        }
    }
    total = block_sum<KL_THREADS>(total);
    if (threadIdx.x == 0) {
        partial[(size_t)image * parts + blockIdx.y] = total;
    }
    if (!is_last_block(counters + image, (unsigned)parts) || threadIdx.x != 0) {
        return;
    }
    total = 0.0;
    for (int part = 0; part < parts; ++part) {
        total += partial[(size_t)image * parts + part];
    }
    kl[image] = (real)(0.5 * total);
}

// d mu = dz + dkl mu, d s = r (dz sigma epsilon + dkl (sigma^2 - 1)); the noise is drawn again.
// mu_s, d_mu_s: [N, positions, 2, C]; given, state as in the forward pass; dz: [N, positions, C]; dkl: [N]. The
// grid's threads stride over all images' dimensions, by fours. Overwrites d_mu_s.
// Twin: Cpu::bottleneck_backward_input in src/ops/layers/bottleneck/cpu.rs.
KERNEL(bottleneck_backward_input, Bottleneck d, const stored* mu_s, const real* given, const StepState* state,
       const stored* dz, const real* dkl, stored* d_mu_s) {
    for_each_dimension(d, given, state, [&](int image, int dim, size_t element, real epsilon) {
        size_t at = mean_at(d, image, dim);
        real mu = mu_s[at], sigma = exponential(rate(d) * mu_s[at + d.c]);
        d_mu_s[at] = dz[element] + dkl[image] * mu;
        d_mu_s[at + d.c] = rate(d) * (dz[element] * sigma * epsilon + dkl[image] * (sigma * sigma - (real)1));
    });
}

// v_z = v_mu + r sigma epsilon v_s: the tangent of z.
// mu_s, v_mu_s: [N, positions, 2, C]; given, state as in the forward pass; v_z: [N, positions, C]. The grid's
// threads stride over the dimensions of every image, by fours. Overwrites v_z.
// Twin: Cpu::bottleneck_tangent in src/ops/layers/bottleneck/cpu.rs.
KERNEL(bottleneck_tangent, Bottleneck d, const stored* mu_s, const real* given, const StepState* state,
       const stored* v_mu_s, stored* v_z) {
    for_each_dimension(d, given, state, [&](int image, int dim, size_t element, real epsilon) {
        size_t at = mean_at(d, image, dim);
        real sigma = exponential(rate(d) * mu_s[at + d.c]);
        v_z[element] = v_mu_s[at] + rate(d) * sigma * epsilon * v_mu_s[at + d.c];
    });
}

// d s += r^2 sigma epsilon v_s dz: the derivative of the tangent v_z against dz. The mean's part is left alone.
// mu_s, v_mu_s, d_mu_s: [N, positions, 2, C]; given, state as in the forward pass; dz: [N, positions, C].
// The grid's threads stride over the dimensions of every image, by fours. Changes d_mu_s.
// Twin: Cpu::bottleneck_curvature in src/ops/layers/bottleneck/cpu.rs.
KERNEL(bottleneck_curvature, Bottleneck d, const stored* mu_s, const real* given, const StepState* state,
       const stored* v_mu_s, const stored* dz, stored* d_mu_s) {
    for_each_dimension(d, given, state, [&](int image, int dim, size_t element, real epsilon) {
        size_t at = mean_at(d, image, dim) + d.c;
        real sigma = exponential(rate(d) * mu_s[at]);
        d_mu_s[at] += rate(d) * rate(d) * sigma * epsilon * v_mu_s[at] * dz[element];
    });
}
