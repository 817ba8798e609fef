#include "lib/device.cuh"

// Sizes of images and of larger ones that they are a part of, and where; src/ops/layers/place2d.rs.
struct Place2d {
    int n, h, w, c, top, left, first, oh, ow, oc;
};

// y[n, i, j, first + c] = x[n, i - top, j - left, c], 0 where that is outside of x; also the tangent.
// x: [N, H, W, C]; y: [N, OH, OW, OC]. The grid's blocks stride over the rows of y, a block's threads over the elements of a row
// in these channels. Overwrites y's channels first to first + C, and leaves the others.
// Twin: Cpu::place2d_forward in src/ops/layers/place2d.rs.
KERNEL(place2d_forward, Place2d d, const stored* x, stored* y) {
    unsigned rows = (unsigned)(d.n * d.oh), row_len = (unsigned)(d.ow * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        unsigned n = row / (unsigned)d.oh, h = row % (unsigned)d.oh - (unsigned)d.top;
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            unsigned j = at / (unsigned)d.c, c = at % (unsigned)d.c, w = j - (unsigned)d.left;
            // Before the first row or column is a large number.
            bool inside = h < (unsigned)d.h && w < (unsigned)d.w;
            real value = inside ? (real)x[(((size_t)n * d.h + h) * d.w + w) * d.c + c] : (real)0;
            y[((size_t)row * d.ow + j) * d.oc + d.first + c] = value;
        }
    }
}

// dx[n, h, w, c] = dy[n, h + top, w + left, first + c].
// dy: [N, OH, OW, OC]; dx: [N, H, W, C]. The grid's blocks stride over the rows of dx, a block's threads over a row's elements.
// Overwrites dx.
// Twin: Cpu::place2d_backward_input in src/ops/layers/place2d.rs.
KERNEL(place2d_backward_input, Place2d d, const stored* dy, stored* dx) {
    unsigned rows = (unsigned)(d.n * d.h), row_len = (unsigned)(d.w * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        unsigned n = row / (unsigned)d.h, i = row % (unsigned)d.h + (unsigned)d.top;
        const stored* source = dy + ((size_t)n * d.oh + i) * d.ow * d.oc;
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            unsigned j = at / (unsigned)d.c + (unsigned)d.left, c = at % (unsigned)d.c;
            dx[(size_t)row * row_len + at] = source[(size_t)j * d.oc + d.first + c];
        }
    }
}
