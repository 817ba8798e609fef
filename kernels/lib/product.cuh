// The main loop of every matrix product: C[m, n] (+)= sum over k of A[m, k] B[k, n], a tile a block.
//
// A and B are functions of their indices, so one loop serves linear layers and convolutions (implicit GEMM): whoever calls
// says where an element lies, and 0 outside the image. A block of TILE_THREADS threads computes TILE_M × TILE_N; each
// thread sums THREAD_M × THREAD_N elements in registers, in the order of k.
#pragma once

#include "lib/device.cuh"
#include "lib/tile.cuh"

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

// The depths from .. to.
struct Depths {
    int from, to;
};
// Those that part `number` of a product sums which is split along its depth, `length` a part: the last has the rest, and
// one beyond it none. The host chooses the length by the sizes alone (src/device/product.rs), so the order of a sum is
// fixed: along the depth in a part, then the parts.
__device__ __forceinline__ Depths part_of_depth(int number, int length, int depth) {
    int from = number * length, rest = depth - from;
    return Depths{from, rest < length ? depth : from + length};
}

// Operands as they are, where others are rounded to a type of numbers.
struct Unrounded {
    static __device__ __forceinline__ real round(real value) {
        return value;
    }
};

// What follows is for kernels that are written once for this loop and for the one on tensor cores (product_tensor.cuh).
//
// There an operand is no function of two indices but of what each of them stands for, which a loop may keep: across(m or n),
// and depth(count), where a count is k in a form that can be added to without a division: count(k), and sum(count, count).
// place(across, depth) is where the element lies, or null where it is 0 because it lies outside an image. Indices are in
// range wherever across and place are asked. In the same way store(m) gives a function of (n, sum) that puts a sum away.
//
// in_quads() says whether four neighbours, the first at a multiple of 4, always lie side by side in memory, aligned to 16
// bytes, all in range or none, all inside the image or none: then they can be copied as one.

__device__ __forceinline__ bool aligned_to_quads(const real* data) {
    return (unsigned long long)data % 16 == 0;
}

// A matrix: element (i, k) lies at i across_stride + k depth_stride, and one of the strides is 1.
struct Strided {
    using Across = size_t;
    using Count = int;
    using Depth = size_t;
    const real* data;
    int across_stride, depth_stride;

    __device__ __forceinline__ size_t across(int i) const {
        return (size_t)i * across_stride;
    }
    __device__ __forceinline__ int count(int k) const {
        return k;
    }
    __device__ __forceinline__ int sum(int a, int b) const {
        return a + b;
    }
    __device__ __forceinline__ size_t depth(int k) const {
        return (size_t)k * depth_stride;
    }
    __device__ __forceinline__ const real* place(size_t across, size_t depth) const {
        return data + across + depth;
    }
    // The other stride is the length of a row, so that rows are whole quads where it is a multiple of 4.
    __device__ __forceinline__ bool in_quads() const {
        return (depth_stride == 1 ? across_stride : depth_stride) % 4 == 0 && aligned_to_quads(data);
    }
};

// A number in digits: low < bases.low, middle < bases.middle, and the rest.
struct Digits {
    int low, middle, high;
};
struct Bases {
    int low, middle;

    __device__ __forceinline__ Digits digits(int number) const {
        int rest = number / low;
        return Digits{number - rest * low, rest % middle, rest / middle};
    }
    // Of numbers in digits, by carrying: two comparisons where digits of the sum would be three divisions.
    __device__ __forceinline__ Digits sum(Digits a, Digits b) const {
        int one = a.low + b.low, two = a.middle + b.middle, three = a.high + b.high;
        if (one >= low) {
            one -= low;
            two += 1;
        }
        if (two >= middle) {
            two -= middle;
            three += 1;
        }
        return Digits{one, two, three};
    }
};

// This loop on such operands.
struct Scalar {
    static constexpr int ROWS = TILE_M, COLUMNS = TILE_N;

    template <class Operand>
    static __device__ __forceinline__ real element(const Operand& operand, int across, int depth) {
        const real* place = operand.place(operand.across(across), operand.depth(operand.count(depth)));
        return place ? *place : (real)0;
    }
    template <Along ALONG_A, Along ALONG_B, class A, class B, class Store>
    static __device__ __forceinline__ void product(int m0, int n0, int M, int N, int k_from, int k_to, A a, B b,
                                                   Store store) {
        product_tile<ALONG_A, ALONG_B>(
            m0, n0, M, N, k_from, k_to, [=](int m, int k) { return element(a, m, k); },
            [=](int k, int n) { return element(b, n, k); }, [=](int m, int n, real sum) { store(m)(n, sum); });
    }
};
