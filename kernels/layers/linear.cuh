// The three products of a linear layer, for any units: where their elements lie. A Units is PlainUnits<…> or TensorUnits<…>.
//
// The first two have few tiles where a batch is small. Then blockIdx.z counts parts of their depth, `part` each; every one
// writes a whole output of its own, one behind the other, and linear_join_parts adds them up.
#pragma once

#include "lib/product.cuh"
#include "lib/reduce.cuh"

// Sizes of a linear layer; Linear of src/ops/layers/linear.rs.
struct Linear {
    int n, c, k;
};

// y = x w^T + b: rows n, columns k, depth c. A part of it, unless there is only one, has no b.
template <class Units>
__device__ __forceinline__ void linear_forward_tile(Linear d, int part, const real* x, const real* w, const real* b,
                                                    real* y) {
    Depths depths = part_of_depth((int)blockIdx.z, part, d.c);
    real* target = y + (size_t)blockIdx.z * d.n * d.k;
    Loop<Units>::template product<Along::Depth, Along::Depth>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, d.n, d.k, depths, Strided{x, d.c, 1},
        Strided{w, d.c, 1}, output<false>(b, target, d.k, [=](int n) { return target + (size_t)n * d.k; }));
}

// The one column of y = x w^T + b where k is 1: a block computes y[blockIdx.x].
template <class Number>
__device__ __forceinline__ void linear_forward_row(Linear d, const real* x, const real* w, const real* b, real* y) {
    const real* row = x + (size_t)blockIdx.x * d.c;
    double sum = 0.0;
    for (int c = (int)threadIdx.x; c < d.c; c += ROW_THREADS) {
        sum += (double)Number::round(row[c]) * (double)Number::round(w[c]);
    }
    sum = block_sum<ROW_THREADS>(sum);
    if (threadIdx.x == 0) {
        y[blockIdx.x] = (real)(b ? sum + (double)b[0] : sum);
    }
}

// dx = dy w, or a part of it: rows n, columns c, depth k.
template <class Units>
__device__ __forceinline__ void linear_backward_input_tile(Linear d, int part, const real* dy, const real* w, real* dx) {
    Depths depths = part_of_depth((int)blockIdx.z, part, d.k);
    real* target = dx + (size_t)blockIdx.z * d.n * d.c;
    Loop<Units>::template product<Along::Depth, Along::Across>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, d.n, d.c, depths, Strided{dy, d.k, 1},
        Strided{w, 1, d.c}, output<false>(nullptr, target, d.c, [=](int n) { return target + (size_t)n * d.c; }));
}

// dw += dy^T x: rows k, columns c, depth n.
template <class Units>
__device__ __forceinline__ void linear_backward_weight_tile(Linear d, const real* x, const real* dy, real* dw) {
    Loop<Units>::template product<Along::Across, Along::Across>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, d.k, d.c, Depths{0, d.n}, Strided{dy, 1, d.k},
        Strided{x, 1, d.c}, output<true>(nullptr, dw, d.c, [=](int k) { return dw + (size_t)k * d.c; }));
}
