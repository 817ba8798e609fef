// The main loop of every matrix product: C[m, n] (+)= sum over k of A[m, k] B[k, n], a tile a block.
//
// A and B are functions of their indices, so one loop serves linear layers and convolutions (implicit GEMM): whoever calls
// says where an element lies, and 0 outside the image. A block of TILE_THREADS threads computes TILE_M × TILE_N; each
// thread sums THREAD_M × THREAD_N elements in registers, in the order of k.
#pragma once

#include "device.cuh"
#include "tile.cuh"

__device__ __forceinline__ float multiply_add(float a, float b, float c) {
    return fmaf(a, b, c);
}
__device__ __forceinline__ double multiply_add(double a, double b, double c) {
    return fma(a, b, c);
}

// Sums k in k_from .. k_to of the tile at (m0, n0). `a(m, k)` and `b(k, n)` are asked only inside M, N and that range;
// `store(m, n, sum)` is called for every element of the tile inside M and N. Every thread of the block must come. ALONG_A
// and ALONG_B say how A and B lie in memory; the sums do not depend on it.
template <Along ALONG_A, Along ALONG_B, class A, class B, class Store>
__device__ __forceinline__ void product_tile(int m0, int n0, int M, int N, int k_from, int k_to, A a, B b, Store store) {
    SHARED(real, tile_a, [TILE_K][TILE_A_STRIDE]);
    SHARED(real, tile_b, [TILE_K][TILE_B_STRIDE]);
    int thread = (int)threadIdx.x;
    int row = thread_row(thread), column = thread_column(thread);
    real sums[THREAD_M][THREAD_N] = {};
    for (int k0 = k_from; k0 < k_to; k0 += TILE_K) {
        // Neighbouring threads fetch what lies side by side in memory.
        for (int i = thread; i < TILE_M * TILE_K; i += TILE_THREADS) {
            int m = tile_across<ALONG_A>(i, TILE_M), k = tile_depth<ALONG_A>(i, TILE_M);
            tile_a[k][m] = m0 + m < M && k0 + k < k_to ? a(m0 + m, k0 + k) : (real)0;
        }
        for (int i = thread; i < TILE_N * TILE_K; i += TILE_THREADS) {
            int n = tile_across<ALONG_B>(i, TILE_N), k = tile_depth<ALONG_B>(i, TILE_N);
            tile_b[k][n] = n0 + n < N && k0 + k < k_to ? b(k0 + k, n0 + n) : (real)0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TILE_K; ++k) {
            real left[THREAD_M], right[THREAD_N];
#pragma unroll
            for (int i = 0; i < THREAD_M; ++i) {
                left[i] = tile_a[k][row + i];
            }
#pragma unroll
            for (int j = 0; j < THREAD_N; ++j) {
                right[j] = tile_b[k][column + j];
            }
#pragma unroll
            for (int i = 0; i < THREAD_M; ++i) {
#pragma unroll
                for (int j = 0; j < THREAD_N; ++j) {
                    sums[i][j] = multiply_add(left[i], right[j], sums[i][j]);
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < THREAD_M; ++i) {
#pragma unroll
        for (int j = 0; j < THREAD_N; ++j) {
            if (m0 + row + i < M && n0 + column + j < N) {
                store(m0 + row + i, n0 + column + j, sums[i][j]);
            }
        }
    }
}

// What follows is for kernels that are written once for this loop and for the one on tensor cores (product_tensor.cuh).
//
// There an operand is no function of two indices but of what each of them stands for: across(m or n) and depth(k), which
// a loop may keep, so that the divisions in them are done once a row and once a step; and at(across, depth), the element.
// Both are asked only of indices in range. In the same way store(m) gives a function of (n, sum) that puts a sum away.

// A matrix: element (i, k) lies at i across_stride + k depth_stride.
struct Strided {
    using Across = size_t;
    using Depth = size_t;
    const real* data;
    int across_stride, depth_stride;

    __device__ __forceinline__ size_t across(int i) const {
        return (size_t)i * across_stride;
    }
    __device__ __forceinline__ size_t depth(int k) const {
        return (size_t)k * depth_stride;
    }
    __device__ __forceinline__ real at(size_t across, size_t depth) const {
        return data[across + depth];
    }
};

// This loop on such operands.
struct Scalar {
    static constexpr int ROWS = TILE_M, COLUMNS = TILE_N;

    template <Along ALONG_A, Along ALONG_B, class A, class B, class Store>
    static __device__ __forceinline__ void product(int m0, int n0, int M, int N, int k_from, int k_to, A a, B b,
                                                   Store store) {
        product_tile<ALONG_A, ALONG_B>(
            m0, n0, M, N, k_from, k_to, [=](int m, int k) { return a.at(a.across(m), a.depth(k)); },
            [=](int k, int n) { return b.at(b.across(n), b.depth(k)); },
            [=](int m, int n, real sum) { store(m)(n, sum); });
    }
};
