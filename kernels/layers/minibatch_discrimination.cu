#include "lib/exponential.cuh"

// Sizes of a minibatch layer; MinibatchDiscrimination of src/ops/layers/minibatch_discrimination.rs. A group has `rows`
// images, each with C features and, in `kernels` rows of `dims` columns, the numbers that are compared.
struct MinibatchDiscrimination {
    int groups, rows, c, kernels, dims;
};

// exp(-|a - b|_1) over `dims` elements.
__device__ __forceinline__ real closeness(const stored* a, const stored* b, int dims) {
    real distance = (real)0;
    for (int k = 0; k < dims; ++k) {
        real rest = a[k] - b[k];
        distance += rest < (real)0 ? -rest : rest;
    }
    return exponential(-distance);
}

// y = [x, o], o[b] the sum over the images of the group, itself included, of exp(-|m[i, b] - m[j, b]|_1).
// x: [groups rows, C]; m: [groups rows, kernels, dims]; y: [groups rows, C + kernels]. The grid's threads stride over y;
// neighbours take neighbouring kernels of one image, and one image of the group after the other. Overwrites y.
// Twin: Cpu::minibatch_discrimination_forward in src/ops/layers/minibatch_discrimination.rs.
KERNEL(minibatch_discrimination_forward, MinibatchDiscrimination d, const stored* x, const stored* m, stored* y) {
    size_t width = (size_t)d.c + d.kernels, image_len = (size_t)d.kernels * d.dims;
    FOR_EACH_ELEMENT(at, (unsigned long long)d.groups * d.rows * width) {
        size_t image = at / width, column = at % width;
        if (column < (size_t)d.c) {
            y[at] = x[image * d.c + column];
            continue;
        }
        const stored* kernel = m + (column - d.c) * d.dims;
        size_t first = image / d.rows * d.rows;
        double sum = 0.0;
        for (size_t other = first; other < first + d.rows; ++other) {
            sum += (double)closeness(kernel + image * image_len, kernel + other * image_len, d.dims);
        }
        y[at] = (real)sum;
    }
}

// dm[i, b, k] = -sum over the images j of the group of (do[i, b] + do[j, b]) exp(-|m[i, b] - m[j, b]|_1) sign(m[i, b, k] -
// m[j, b, k]), do being the last columns of dy: each pair counts in the sums of both images. The sign of 0 is 0.
// m, dm: [groups rows, kernels, dims]; dy: [groups rows, C + kernels]. The grid's threads stride over dm. Overwrites dm.
// Twin: Cpu::minibatch_discrimination_backward_input in src/ops/layers/minibatch_discrimination.rs.
KERNEL(minibatch_discrimination_backward_input, MinibatchDiscrimination d, const stored* m, const stored* dy, stored* dm) {
    size_t width = (size_t)d.c + d.kernels, image_len = (size_t)d.kernels * d.dims;
    FOR_EACH_ELEMENT(at, (unsigned long long)d.groups * d.rows * image_len) {
        size_t image = at / image_len, kernel = at % image_len / d.dims, first = image / d.rows * d.rows;
        size_t from = at - at % d.dims, within = at % image_len;
        real ours = dy[image * width + d.c + kernel];
        double sum = 0.0;
        for (size_t other = first; other < first + d.rows; ++other) {
            real rest = m[at] - m[other * image_len + within];
            real sign = rest > (real)0 ? (real)1 : rest < (real)0 ? (real)-1 : rest;
            real both = ours + dy[other * width + d.c + kernel];
            real close = closeness(m + from, m + other * image_len + kernel * d.dims, d.dims);
            sum -= (double)(both * close * sign);
        }
        dm[at] = (real)sum;
    }
}

// dx += the first C columns of dy.
// dy: [groups rows, C + kernels]; dx: [groups rows, C]. The grid's threads stride over dx. Changes dx.
// Twin: Cpu::minibatch_discrimination_backward_features in src/ops/layers/minibatch_discrimination.rs.
KERNEL(minibatch_discrimination_backward_features, MinibatchDiscrimination d, const stored* dy, stored* dx) {
    FOR_EACH_ELEMENT(at, (unsigned long long)d.groups * d.rows * d.c) {
        dx[at] += dy[at / d.c * ((size_t)d.c + d.kernels) + at % d.c];
    }
}
