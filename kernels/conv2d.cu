#include "conv2d.cuh"

// y[n, i, j, k] = b[k] + sum over r, s, c of x[n, i stride + r - padding, j stride + s - padding, c] w[k, r, s, c].
// x: [N, H, W, C]; w: [K, R, S, C]; b: [K] or null; y: [N, OH, OW, K]. Implicit GEMM: rows are output pixels, columns
// filters, depth R S C. Block (tile of K, tile of pixels). Overwrites y.
// Twin: Cpu::conv2d_forward in src/ops/conv2d.rs.
KERNEL_BOUNDED(TILE_THREADS, conv2d_forward, Conv2d d, const real* x, const real* w, const real* b, real* y) {
    int run = d.s * d.c, width = d.r * run;
    product_tile<Along::Depth, Along::Depth>(
        (int)blockIdx.y * TILE_M, (int)blockIdx.x * TILE_N, d.n * d.oh * d.ow, d.k, 0, width,
        [=](int pixel, int tap) {
            int image = pixel / (d.oh * d.ow), i = pixel / d.ow % d.oh, j = pixel % d.ow;
            int h = i * d.stride + tap / run - d.padding, column = j * d.stride + tap % run / d.c - d.padding;
            bool inside = h >= 0 && h < d.h && column >= 0 && column < d.w;
            return inside ? x[(((size_t)image * d.h + h) * d.w + column) * d.c + tap % d.c] : (real)0;
        },
        [=](int tap, int k) { return w[(size_t)k * width + tap]; },
        [=](int pixel, int k, real sum) { y[(size_t)pixel * d.k + k] = b ? sum + b[k] : sum; });
}

// dx[n, h, w, c] = b[c] + sum over the taps that reach the pixel of dy[n, i, j, k] w[k, r, s, c].
// dy: [N, OH, OW, K]; w: [K, R, S, C]; b: [C] or null; dx: [N, H, W, C]. The pixels with (h, w) congruent to (ph, pw)
// modulo the stride see the same taps: each such parity is a GEMM of its own, rows its pixels, columns channels, depth
// taps K, so nothing is multiplied by stuffed zeros. Block (tile of C, tile of pixels, parity). Overwrites dx.
// Twin: Cpu::conv2d_backward_input in src/ops/conv2d.rs.
KERNEL_BOUNDED(TILE_THREADS, conv2d_backward_input, Conv2d d, const real* dy, const real* w, const real* b, real* dx) {
    int ph = (int)blockIdx.z / d.stride, pw = (int)blockIdx.z % d.stride;
    int r0 = (ph + d.padding) % d.stride, s0 = (pw + d.padding) % d.stride;
    int r_taps = d.r > r0 ? (d.r - r0 + d.stride - 1) / d.stride : 0;
    int s_taps = d.s > s0 ? (d.s - s0 + d.stride - 1) / d.stride : 0;
    int rows = d.h > ph ? (d.h - ph + d.stride - 1) / d.stride : 0;
    int columns = d.w > pw ? (d.w - pw + d.stride - 1) / d.stride : 0;
    int pixels = d.n * rows * columns;
    if ((int)blockIdx.y * TILE_M >= pixels) {
        return;
    }
    product_tile<Along::Depth, Along::Across>(
        (int)blockIdx.y * TILE_M, (int)blockIdx.x * TILE_N, pixels, d.c, 0, r_taps * s_taps * d.k,
        [=](int pixel, int depth) {
            int image = pixel / (rows * columns), tap = depth / d.k;
            int h = ph + pixel / columns % rows * d.stride, column = pw + pixel % columns * d.stride;
            // A whole number of steps, by the choice of r0 and s0.
            int i = (h + d.padding - r0) / d.stride - tap / s_taps;
            int j = (column + d.padding - s0) / d.stride - tap % s_taps;
            bool inside = i >= 0 && i < d.oh && j >= 0 && j < d.ow;
            return inside ? dy[(((size_t)image * d.oh + i) * d.ow + j) * d.k + depth % d.k] : (real)0;
        },
        [=](int depth, int c) {
            int tap = depth / d.k, r = r0 + tap / s_taps * d.stride, s = s0 + tap % s_taps * d.stride;
            return w[(((size_t)(depth % d.k) * d.r + r) * d.s + s) * d.c + c];
        },
        [=](int pixel, int c, real sum) {
            int image = pixel / (rows * columns);
            int h = ph + pixel / columns % rows * d.stride, column = pw + pixel % columns * d.stride;
            dx[(((size_t)image * d.h + h) * d.w + column) * d.c + c] = b ? sum + b[c] : sum;
        });
}

// A part of dw = dy^T windows(x): the sum over SPLIT_K output pixels.
// x: [N, H, W, C]; dy: [N, OH, OW, K]; partial: [parts, K, R, S, C]. Rows are filters, columns taps, depth pixels. Block
// (tile of taps, tile of K, part). Overwrites partial.
// Twin: Cpu::conv2d_backward_weight in src/ops/conv2d.rs.
KERNEL_BOUNDED(TILE_THREADS, conv2d_backward_weight_partial, Conv2d d, const real* x, const real* dy, real* partial) {
    int run = d.s * d.c, width = d.r * run, pixels = d.n * d.oh * d.ow;
    int from = (int)blockIdx.z * SPLIT_K, to = from + SPLIT_K < pixels ? from + SPLIT_K : pixels;
    real* target = partial + (size_t)blockIdx.z * d.k * width;
    product_tile<Along::Across, Along::Across>(
        (int)blockIdx.y * TILE_M, (int)blockIdx.x * TILE_N, d.k, width, from, to,
        [=](int k, int pixel) { return dy[(size_t)pixel * d.k + k]; },
        [=](int pixel, int tap) {
            int image = pixel / (d.oh * d.ow), i = pixel / d.ow % d.oh, j = pixel % d.ow;
            int h = i * d.stride + tap / run - d.padding, column = j * d.stride + tap % run / d.c - d.padding;
            bool inside = h >= 0 && h < d.h && column >= 0 && column < d.w;
            return inside ? x[(((size_t)image * d.h + h) * d.w + column) * d.c + tap % d.c] : (real)0;
        },
        [=](int k, int tap, real sum) { target[(size_t)k * width + tap] = sum; });
}

// dw += the sum of the parts, in their order.
// partial: [parts, K, R, S, C]; dw: [K, R, S, C], count elements. The grid's threads stride over the elements. Changes dw.
// Twin: Cpu::conv2d_backward_weight in src/ops/conv2d.rs.
KERNEL(conv2d_backward_weight_add, int parts, unsigned long long count, const real* partial, real* dw) {
    FOR_EACH_ELEMENT(i, count) {
        real total = (real)0;
        for (int part = 0; part < parts; ++part) {
            total += partial[(size_t)part * count + i];
        }
        dw[i] += total;
    }
}
