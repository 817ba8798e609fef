#include "lib/device.cuh"

// Sizes of an upsampling by two, those of its input; src/ops/layers/upsample2d.rs.
struct Upsample2d {
    int n, h, w, c;
};

// y[n, i, j, c] = x[n, i / 2, j / 2, c]; also the tangent.
// x: [N, H, W, C]; y: [N, 2H, 2W, C]. The grid's blocks stride over the rows of y, a block's threads over a row's elements.
// Overwrites y.
// Twin: Cpu::upsample2d_forward in src/ops/layers/upsample2d.rs.
KERNEL(upsample2d_forward, Upsample2d d, const stored* x, stored* y) {
    unsigned rows = (unsigned)(2 * d.n * d.h), row_len = (unsigned)(2 * d.w * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        // Rows of all images run on, so half of a row's number is the number of the row that it copies.
        const stored* source = x + (size_t)(row / 2) * d.w * d.c;
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            unsigned j = at / (unsigned)d.c, c = at % (unsigned)d.c;
            y[(size_t)row * row_len + at] = source[j / 2 * (unsigned)d.c + c];
        }
    }
}

// dx[n, h, w, c] = the sum of dy[n, 2h + 0..1, 2w + 0..1, c].
// dy: [N, 2H, 2W, C]; dx: [N, H, W, C]. The grid's blocks stride over the rows of dx, a block's threads over a row's elements.
// Overwrites dx.
// Twin: Cpu::upsample2d_backward_input in src/ops/layers/upsample2d.rs.
KERNEL(upsample2d_backward_input, Upsample2d d, const stored* dy, stored* dx) {
    unsigned rows = (unsigned)(d.n * d.h), row_len = (unsigned)(d.w * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        const stored* upper = dy + (size_t)row * 4 * row_len;
        const stored* lower = upper + 2 * (size_t)row_len;
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            unsigned w = at / (unsigned)d.c, c = at % (unsigned)d.c;
            unsigned left = 2 * w * (unsigned)d.c + c, right = left + (unsigned)d.c;
            dx[(size_t)row * row_len + at] = upper[left] + upper[right] + lower[left] + lower[right];
        }
    }
}
