// The three products of a linear layer, for any main loop: where their elements lie. A Loop is Scalar or Tensor<…>.
#pragma once

#include "lib/product.cuh"

// Sizes of a linear layer; Linear of src/ops/layers/linear.rs.
struct Linear {
    int n, c, k;
};

// y = x w^T + b: rows n, columns k, depth c.
template <class Loop>
__device__ __forceinline__ void linear_forward_tile(Linear d, const real* x, const real* w, const real* b, real* y) {
    Loop::template product<Along::Depth, Along::Depth>(
        (int)blockIdx.x * Loop::ROWS, (int)blockIdx.y * Loop::COLUMNS, d.n, d.k, 0, d.c,
        Strided{x, d.c, 1}, Strided{w, d.c, 1},
        [=](int n) {
            real* row = y + (size_t)n * d.k;
            return [=](int k, real sum) { row[k] = b ? sum + b[k] : sum; };
        });
}

// dx = dy w: rows n, columns c, depth k.
template <class Loop>
__device__ __forceinline__ void linear_backward_input_tile(Linear d, const real* dy, const real* w, real* dx) {
    Loop::template product<Along::Depth, Along::Across>(
        (int)blockIdx.x * Loop::ROWS, (int)blockIdx.y * Loop::COLUMNS, d.n, d.c, 0, d.k,
        Strided{dy, d.k, 1}, Strided{w, 1, d.c},
        [=](int n) {
            real* row = dx + (size_t)n * d.c;
            return [=](int c, real sum) { row[c] = sum; };
        });
}

// dw += dy^T x: rows k, columns c, depth n.
template <class Loop>
__device__ __forceinline__ void linear_backward_weight_tile(Linear d, const real* x, const real* dy, real* dw) {
    Loop::template product<Along::Across, Along::Across>(
        (int)blockIdx.x * Loop::ROWS, (int)blockIdx.y * Loop::COLUMNS, d.k, d.c, 0, d.n,
        Strided{dy, 1, d.k}, Strided{x, 1, d.c},
        [=](int k) {
            real* row = dw + (size_t)k * d.c;
            return [=](int c, real sum) { row[c] += sum; };
        });
}
