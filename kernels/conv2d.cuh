// The three products of a convolution, for any main loop: where their elements lie. A Loop is Scalar or Tensor<…>; what
// each computes is said where conv2d.cu makes it a kernel.
#pragma once

#include "product.cuh"

// Sizes of a convolution; Conv2d of src/ops/conv2d.rs. The transposed convolution is the same three kernels: its forward
// pass is the input gradient (with a bias), its input gradient the forward pass, its weight gradient that with x and dy
// exchanged.
struct Conv2d {
    int n, h, w, c, k, r, s, stride, padding, oh, ow;
};

// Implicit GEMM: rows are output pixels, columns filters, depth R S C.
template <class Loop>
__device__ __forceinline__ void conv2d_forward_tile(Conv2d d, const real* x, const real* w, const real* b, real* y) {
    int run = d.s * d.c, width = d.r * run;
    Loop::template product<Along::Depth, Along::Depth>(
        (int)blockIdx.y * Loop::ROWS, (int)blockIdx.x * Loop::COLUMNS, d.n * d.oh * d.ow, d.k, 0, width,
        [=](int pixel, int tap) {
            int image = pixel / (d.oh * d.ow), i = pixel / d.ow % d.oh, j = pixel % d.ow;
            int h = i * d.stride + tap / run - d.padding, column = j * d.stride + tap % run / d.c - d.padding;
            bool inside = h >= 0 && h < d.h && column >= 0 && column < d.w;
            return inside ? x[(((size_t)image * d.h + h) * d.w + column) * d.c + tap % d.c] : (real)0;
        },
        [=](int tap, int k) { return w[(size_t)k * width + tap]; },
        [=](int pixel, int k, real sum) { y[(size_t)pixel * d.k + k] = b ? sum + b[k] : sum; });
}

// Of one parity of pixels: rows are its pixels, columns channels, depth its taps K.
template <class Loop>
__device__ __forceinline__ void conv2d_backward_input_tile(Conv2d d, const real* dy, const real* w, const real* b,
                                                           real* dx) {
    int ph = (int)blockIdx.z / d.stride, pw = (int)blockIdx.z % d.stride;
    int r0 = (ph + d.padding) % d.stride, s0 = (pw + d.padding) % d.stride;
    int r_taps = d.r > r0 ? (d.r - r0 + d.stride - 1) / d.stride : 0;
    int s_taps = d.s > s0 ? (d.s - s0 + d.stride - 1) / d.stride : 0;
    int rows = d.h > ph ? (d.h - ph + d.stride - 1) / d.stride : 0;
    int columns = d.w > pw ? (d.w - pw + d.stride - 1) / d.stride : 0;
    int pixels = d.n * rows * columns;
    if ((int)blockIdx.y * Loop::ROWS >= pixels) {
        return;
    }
    Loop::template product<Along::Depth, Along::Across>(
        (int)blockIdx.y * Loop::ROWS, (int)blockIdx.x * Loop::COLUMNS, pixels, d.c, 0, r_taps * s_taps * d.k,
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

// A part of the depth: rows are filters, columns taps, depth output pixels.
template <class Loop>
__device__ __forceinline__ void conv2d_backward_weight_partial_tile(Conv2d d, const real* x, const real* dy,
                                                                    real* partial) {
    int run = d.s * d.c, width = d.r * run, pixels = d.n * d.oh * d.ow;
    int from = (int)blockIdx.z * SPLIT_K, to = from + SPLIT_K < pixels ? from + SPLIT_K : pixels;
    real* target = partial + (size_t)blockIdx.z * d.k * width;
    Loop::template product<Along::Across, Along::Across>(
        (int)blockIdx.y * Loop::ROWS, (int)blockIdx.x * Loop::COLUMNS, d.k, width, from, to,
        [=](int k, int pixel) { return dy[(size_t)pixel * d.k + k]; },
        [=](int pixel, int tap) {
            int image = pixel / (d.oh * d.ow), i = pixel / d.ow % d.oh, j = pixel % d.ow;
            int h = i * d.stride + tap / run - d.padding, column = j * d.stride + tap % run / d.c - d.padding;
            bool inside = h >= 0 && h < d.h && column >= 0 && column < d.w;
            return inside ? x[(((size_t)image * d.h + h) * d.w + column) * d.c + tap % d.c] : (real)0;
        },
        [=](int k, int tap, real sum) { target[(size_t)k * width + tap] = sum; });
}
