#include "lib/exponential.cuh"
#include "lib/last_block.cuh"
#include "lib/philox.cuh"
#include "lib/reduce.cuh"
#include "lib/runs.cuh"

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

// epsilon of dimensions 4 quad .. 4 quad + 4 of one image; zeros beyond the last.
__device__ __forceinline__ Run<QUAD> noise(const Bottleneck& d, const real* given, const StepState* state, int image, int quad) {
    int dims = d.positions * d.c;
    Run<QUAD> epsilon;
    if (d.noise == NOISE_MEAN || d.noise == NOISE_GIVEN) {
        for (int j = 0; j < QUAD; ++j) {
            bool is_given = d.noise == NOISE_GIVEN && quad * QUAD + j < dims;
            epsilon.values[j] = is_given ? given[(size_t)image * dims + quad * QUAD + j] : (real)0;
        }
        return epsilon;
    }
    unsigned stream = image < d.group ? d.first_stream : d.second_stream;
    unsigned sample = d.draws.first_sample + (unsigned)(image % d.group);
    float4 drawn = normal_draws(state->seed, stream, draw_step(d.draws, state->step), sample, (unsigned)quad);
    epsilon.values[0] = (real)drawn.x;
    epsilon.values[1] = (real)drawn.y;
    epsilon.values[2] = (real)drawn.z;
    epsilon.values[3] = (real)drawn.w;
    return epsilon;
}

// The place in [N, positions, 2, C] of the mean of dimension `dim` of an image; its s is C further on.
__device__ __forceinline__ size_t mean_at(const Bottleneck& d, int image, int dim) {
    return ((size_t)image * d.positions + dim / d.c) * 2 * d.c + dim % d.c;
}

// Calls work(at, element, epsilon, length) for the four dimensions of a quad of an image at once, or for each of them where they are not
// `in_runs`, and for none beyond the last. `at` is the place of the mean, `element` that of z in [N, positions, C].
template <typename Work>
__device__ __forceinline__ void for_each_dimension_of(const Bottleneck& d, const real* given, const StepState* state, int image,
                                                      int quad, bool in_runs, Work work) {
    int dims = d.positions * d.c, first = quad * QUAD;
    Run<QUAD> epsilon = noise(d, given, state, image, quad);
    // Then a quad lies in one position.
    if (in_runs && d.c % QUAD == 0) {
        work(mean_at(d, image, first), (size_t)image * dims + first, epsilon, RunLength<QUAD>{});
        return;
    }
    for (int j = 0; j < QUAD && first + j < dims; ++j) {
        work(mean_at(d, image, first + j), (size_t)image * dims + first + j, Run<1>{epsilon.values[j]}, RunLength<1>{});
    }
}

// The same, with the image before, for all quads of all images. The grid's threads stride over them.
template <typename Work>
__device__ __forceinline__ void for_each_dimension(const Bottleneck& d, const real* given, const StepState* state, bool in_runs,
                                                   Work work) {
    int quads = (d.positions * d.c + QUAD - 1) / QUAD;
    for_each_of_rows<1>((size_t)d.n, quads, [&](size_t image, int quad) {
        for_each_dimension_of(d, given, state, (int)image, quad, in_runs, [&](size_t at, size_t element, auto epsilon, auto length) {
            work((int)image, at, element, epsilon, length);
        });
    });
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
    bool in_runs = all_aligned_for_runs(QUAD, mu_s, z);
    double total = 0.0;
    for (int quad = from + (int)threadIdx.x; quad < to; quad += KL_THREADS) {
        for_each_dimension_of(d, given, state, image, quad, in_runs, [&](size_t at, size_t element, auto epsilon, auto length) {
            constexpr int COUNT = decltype(length)::value;
            Run<COUNT> mu = read_run<COUNT>(mu_s + at), s = read_run<COUNT>(mu_s + at + d.c), sample;
#pragma unroll
            for (int e = 0; e < COUNT; ++e) {
                real mean = mu.values[e], sigma = exponential(rate(d) * s.values[e]);
                sample.values[e] = mean + sigma * epsilon.values[e];
                total += (double)(mean * mean + sigma * sigma - (real)2 * rate(d) * s.values[e] - (real)1);
            }
            write_run<COUNT>(z + element, sample);
        });
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
// grid's threads stride over all images' dimensions, by fours. Overwrites d_mu_s. Limited by the integer arithmetic of Philox.
// Twin: Cpu::bottleneck_backward_input in src/ops/layers/bottleneck/cpu.rs.
KERNEL(bottleneck_backward_input, Bottleneck d, const stored* mu_s, const real* given, const StepState* state,
       const stored* dz, const real* dkl, stored* d_mu_s) {
    auto gradients = [&](int image, size_t at, size_t element, auto epsilon, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> mu = read_run<COUNT>(mu_s + at), s = read_run<COUNT>(mu_s + at + d.c), gradient = read_run<COUNT>(dz + element);
        Run<COUNT> d_mu, d_s;
        real weight = dkl[image];
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            real sigma = exponential(rate(d) * s.values[e]);
            d_mu.values[e] = gradient.values[e] + weight * mu.values[e];
            d_s.values[e] = rate(d) * (gradient.values[e] * sigma * epsilon.values[e] + weight * (sigma * sigma - (real)1));
        }
        write_run<COUNT>(d_mu_s + at, d_mu);
        write_run<COUNT>(d_mu_s + at + d.c, d_s);
    };
    for_each_dimension(d, given, state, all_aligned_for_runs(QUAD, mu_s, dz, d_mu_s), gradients);
}

// v_z = v_mu + r sigma epsilon v_s: the tangent of z.
// mu_s, v_mu_s: [N, positions, 2, C]; given, state as in the forward pass; v_z: [N, positions, C]. The grid's
// threads stride over the dimensions of every image, by fours. Overwrites v_z.
// Twin: Cpu::bottleneck_tangent in src/ops/layers/bottleneck/cpu.rs.
KERNEL(bottleneck_tangent, Bottleneck d, const stored* mu_s, const real* given, const StepState* state,
       const stored* v_mu_s, stored* v_z) {
    auto tangents = [&](int, size_t at, size_t element, auto epsilon, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> s = read_run<COUNT>(mu_s + at + d.c), v_mu = read_run<COUNT>(v_mu_s + at), v_s = read_run<COUNT>(v_mu_s + at + d.c);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            v_mu.values[e] += rate(d) * exponential(rate(d) * s.values[e]) * epsilon.values[e] * v_s.values[e];
        }
        write_run<COUNT>(v_z + element, v_mu);
    };
    for_each_dimension(d, given, state, all_aligned_for_runs(QUAD, mu_s, v_mu_s, v_z), tangents);
}

// d s += r^2 sigma epsilon v_s dz: the derivative of the tangent v_z against dz. The mean's part is left alone.
// mu_s, v_mu_s, d_mu_s: [N, positions, 2, C]; given, state as in the forward pass; dz: [N, positions, C].
// The grid's threads stride over the dimensions of every image, by fours. Changes d_mu_s.
// Twin: Cpu::bottleneck_curvature in src/ops/layers/bottleneck/cpu.rs.
KERNEL(bottleneck_curvature, Bottleneck d, const stored* mu_s, const real* given, const StepState* state,
       const stored* v_mu_s, const stored* dz, stored* d_mu_s) {
    auto curvatures = [&](int, size_t at, size_t element, auto epsilon, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> s = read_run<COUNT>(mu_s + at + d.c), v_s = read_run<COUNT>(v_mu_s + at + d.c);
        Run<COUNT> gradient = read_run<COUNT>(dz + element), sum = read_run<COUNT>(d_mu_s + at + d.c);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            real sigma = exponential(rate(d) * s.values[e]);
            sum.values[e] += rate(d) * rate(d) * sigma * epsilon.values[e] * v_s.values[e] * gradient.values[e];
        }
        write_run<COUNT>(d_mu_s + at + d.c, sum);
    };
    for_each_dimension(d, given, state, all_aligned_for_runs(QUAD, mu_s, v_mu_s, dz, d_mu_s), curvatures);
}
