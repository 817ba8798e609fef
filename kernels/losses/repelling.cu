#include "lib/reduce.cuh"

// Sizes of a batch of codes, the weight of the term, and 4 weight / (N (N - 1)); Repelling of src/ops/losses/repelling.rs.
struct Repelling {
    double weight, slope;
    int n, dims;
};

// The cosines of all pairs of codes; on the diagonal the norm of each. A code that is zero has cosines of 0.
// codes: [N, dims]; cosines: [N, N]. A block the pairs (i, j) of one image i with itself and all after it, pair by pair; its
// threads walk the dimensions. Overwrites cosines.
// Twin: Cpu::repelling_forward in src/ops/losses/repelling.rs.
KERNEL_BOUNDED(IMAGE_THREADS, repelling_forward, Repelling d, const stored* codes, real* cosines) {
    size_t i = blockIdx.x, n = (size_t)d.n;
    double norm = 0.0;
    for (size_t j = i; j < n; ++j) {
        double product = 0.0, square = 0.0;
        for (int k = threadIdx.x; k < d.dims; k += IMAGE_THREADS) {
            double ours = (double)codes[i * d.dims + k], theirs = (double)codes[j * d.dims + k];
            product += ours * theirs;
            square += theirs * theirs;
        }
        product = block_sum<IMAGE_THREADS>(product);
        double other = sqrt(block_sum<IMAGE_THREADS>(square));
        norm = j == i ? other : norm;
        if (threadIdx.x == 0) {
            double both = norm * other;
            real cosine = (real)(both == 0.0 ? 0.0 : product / both);
            cosines[i * n + j] = cosine;
            cosines[j * n + i] = j == i ? (real)norm : cosine;
        }
    }
}

// Adds weight / (N (N - 1)) times the sum of the squared cosines of different codes to the generator's loss.
// cosines: [N, N]; state: one. A single block; threads walk the pairs. Changes the state's loss_g and non_finite.
// Twin: Cpu::repelling_loss in src/ops/losses/repelling.rs.
KERNEL_BOUNDED(LOSS_THREADS, repelling_loss, Repelling d, const real* cosines, StepState* state) {
    size_t n = (size_t)d.n;
    double sum = 0.0;
    for (size_t at = threadIdx.x; at < n * n; at += LOSS_THREADS) {
        if (at / n != at % n) {
            sum += (double)cosines[at] * (double)cosines[at];
        }
    }
    sum = block_sum<LOSS_THREADS>(sum);
    if (threadIdx.x == 0) {
        add_to_generator_loss(state, d.weight * sum / ((double)d.n * ((double)d.n - 1.0)));
    }
}

// d_codes += slope / |s_i| sum over j != i of cos_ij (s_j / |s_j| - cos_ij s_i / |s_i|): the term's gradient.
// codes, d_codes: [N, dims]; cosines: [N, N] with the norms on the diagonal. The grid's threads stride over the elements of
// all codes; neighbours read neighbouring elements of one code after the other. Changes d_codes.
// Twin: Cpu::repelling_backward_input in src/ops/losses/repelling.rs.
KERNEL(repelling_backward_input, Repelling d, const stored* codes, const real* cosines, stored* d_codes) {
    size_t n = (size_t)d.n;
    FOR_EACH_ELEMENT(at, (unsigned long long)d.n * d.dims) {
        size_t i = at / d.dims, k = at % d.dims;
        real norm = cosines[i * n + i], pull = (real)0, own = (real)0;
        if (norm == (real)0) {
            continue;
        }
        for (size_t j = 0; j < n; ++j) {
            real other = cosines[j * n + j];
            if (j != i && other != (real)0) {
                real cosine = cosines[i * n + j];
                own += cosine * cosine;
                pull += cosine / other * codes[j * d.dims + k];
            }
        }
        d_codes[at] += (real)d.slope / norm * (pull - own / norm * codes[at]);
    }
}
