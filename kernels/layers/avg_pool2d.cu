#include "lib/device.cuh"

// Sizes of a pooling, 3x3 with stride 2 and a border of one zero; src/ops/layers/avg_pool2d.rs.
struct AvgPool2d {
    int n, h, w, c, oh, ow;
};
// The divisor of every sum, of windows that reach over the border too.
constexpr int WINDOW_PIXELS = 9;

// y[n, i, j, c] = 1/9 of the sum over r, s of x[n, 2i + r - 1, 2j + s - 1, c]; also the tangent.
// x: [N, H, W, C]; y: [N, OH, OW, C]. The grid's blocks stride over the rows of y, a block's threads over a row's elements.
// Overwrites y.
// Twin: Cpu::avg_pool2d_forward in src/ops/layers/avg_pool2d.rs.
KERNEL(avg_pool2d_forward, AvgPool2d d, const stored* x, stored* y) {
    unsigned rows = (unsigned)(d.n * d.oh), row_len = (unsigned)(d.ow * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        int i = (int)(row % (unsigned)d.oh);
        const stored* image = x + (size_t)(row / (unsigned)d.oh) * d.h * d.w * d.c;
        int h_from = i > 0 ? 2 * i - 1 : 0, h_to = 2 * i + 2 < d.h ? 2 * i + 2 : d.h;
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            int j = (int)(at / (unsigned)d.c), c = (int)(at % (unsigned)d.c);
            int w_from = j > 0 ? 2 * j - 1 : 0, w_to = 2 * j + 2 < d.w ? 2 * j + 2 : d.w;
            real sum = 0;
            for (int h = h_from; h < h_to; ++h) {
                for (int w = w_from; w < w_to; ++w) {
                    sum += image[((size_t)h * d.w + w) * d.c + c];
                }
            }
            y[(size_t)row * row_len + at] = sum / (real)WINDOW_PIXELS;
        }
    }
}

// dx[n, h, w, c] = 1/9 of the sum of dy over the windows that hold the pixel: one along an even row or column, two along
// an odd one unless the image ends there.
// dy: [N, OH, OW, C]; dx: [N, H, W, C]. The grid's blocks stride over the rows of dx, a block's threads over a row's elements.
// Overwrites dx.
// Twin: Cpu::avg_pool2d_backward_input in src/ops/layers/avg_pool2d.rs.
KERNEL(avg_pool2d_backward_input, AvgPool2d d, const stored* dy, stored* dx) {
    unsigned rows = (unsigned)(d.n * d.h), row_len = (unsigned)(d.w * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        int h = (int)(row % (unsigned)d.h);
        const stored* image = dy + (size_t)(row / (unsigned)d.h) * d.oh * d.ow * d.c;
        int i_to = (h + 1) / 2 + 1 < d.oh ? (h + 1) / 2 + 1 : d.oh;
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            int w = (int)(at / (unsigned)d.c), c = (int)(at % (unsigned)d.c);
            int j_to = (w + 1) / 2 + 1 < d.ow ? (w + 1) / 2 + 1 : d.ow;
            real sum = 0;
            for (int i = h / 2; i < i_to; ++i) {
                for (int j = w / 2; j < j_to; ++j) {
                    sum += image[((size_t)i * d.ow + j) * d.c + c];
                }
            }
            dx[(size_t)row * row_len + at] = sum / (real)WINDOW_PIXELS;
        }
    }
}
