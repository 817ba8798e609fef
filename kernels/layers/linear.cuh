// The three products of a linear layer, for any units: where their elements lie. A Units is PlainUnits<…> or TensorUnits<…>.
//
// The first two have few tiles where a batch is small. Then blockIdx.z counts parts of their depth, `part` each; every one
// writes a whole output of its own in real, one behind the other, and linear_join_parts adds them up.
#pragma once

#include "lib/product.cuh"
#include "lib/reduce.cuh"

// Sizes of a linear layer; Linear of src/ops/layers/linear.rs.
struct Linear {
    int n, c, k;
};

// y = x w^T + b: rows n, columns k, depth c. Parts, unless there are none, have no b.
template <class Units>
__device__ __forceinline__ void linear_forward_tile(Linear d, int part, const stored* x, const stored* w, const real* b,
                                                    real* parts, stored* y) {
    int number = (int)blockIdx.z;
    Loop<Units>::template product<Along::Depth, Along::Depth>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, d.n, d.k, part_of_depth(number, part, d.c),
        Strided{x, d.c, 1}, Strided{w, d.c, 1},
        part_or_whole<true>(b, parts, number, (size_t)d.n * d.k, y, d.k, [=](int n) { return (size_t)n * d.k; }));
}

// The one column of y = x w^T + b where k is 1: a block computes y[blockIdx.x].
template <class Number>
__device__ __forceinline__ void linear_forward_row(Linear d, const stored* x, const stored* w, const real* b, stored* y) {
    const stored* row = x + (size_t)blockIdx.x * d.c;
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
__device__ __forceinline__ void linear_backward_input_tile(Linear d, int part, const stored* dy, const stored* w, real* parts,
                                                           stored* dx) {
    int number = (int)blockIdx.z;
    Loop<Units>::template product<Along::Depth, Along::Across>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, d.n, d.c, part_of_depth(number, part, d.k),
        Strided{dy, d.k, 1}, Strided{w, 1, d.c},
        part_or_whole<true>(nullptr, parts, number, (size_t)d.n * d.c, dx, d.c, [=](int n) { return (size_t)n * d.c; }));
}

// dw = dy^T x, or added to what is there: rows k, columns c, depth n.
template <class Units>
__device__ __forceinline__ void linear_backward_weight_tile(Linear d, const stored* x, const stored* dy, real* dw,
                                                            bool accumulate) {
    Loop<Units>::template product<Along::Across, Along::Across>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, d.k, d.c, Depths{0, d.n}, Strided{dy, 1, d.k},
        Strided{x, 1, d.c}, gradient(dw, accumulate, [=](int k) { return (size_t)k * d.c; }));
}
