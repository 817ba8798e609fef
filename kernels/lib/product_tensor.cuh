// The main loop of every matrix product on tensor cores: what product.cuh does, with operands rounded to tf32 or bf16 and
// sums in f32.
//
// A block of TENSOR_THREADS threads computes TENSOR_M × TENSOR_N; each warp TENSOR_WARP_M × TENSOR_WARP_N of it, in mma
// fragments of 16 × 8. The depth is walked in stages of TENSOR_K, of which TENSOR_STAGES lie in shared memory: while the
// warps multiply one, cp.async copies the next ones, and no thread waits for memory or holds on the way what it fetched.
//
// Copies are of bytes as they are, so a stage is f32, and operands are rounded in registers, between shared memory and mma
// (which would cut tf32 off instead of rounding it). A fragment of mma.m16n8k16 in bf16 is made of two of
// mma.m16n8k8 in tf32, eight depths apart: register i holds what would be their registers i. mma takes the two
// halves of a register for neighbouring depths, but a sum over depth may be taken in any order that A and B share.
#pragma once

#include <cuda_bf16.h>

#include "lib/product.cuh"
#include "lib/ptx.cuh"
#include "lib/tile_tensor.cuh"

static_assert(sizeof(real) == 4, "tensor cores sum in f32: files that include this end in _tensor.cu");

// How a type of numbers is made of f32, and its product of fragments. A fragment of depth 8 PARTS comes as PARTS of depth 8.
struct Tf32 {
    static constexpr int PARTS = 1;
    static __device__ __forceinline__ unsigned rounded(const unsigned (&bits)[PARTS]) {
        return to_tf32(__uint_as_float(bits[0]));
    }
    static __device__ __forceinline__ float round(float value) {
        return __uint_as_float(to_tf32(value));
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k8_tf32(sums, a, b, sums);
    }
};
struct Bf16 {
    static constexpr int PARTS = 2;
    static __device__ __forceinline__ unsigned rounded(const unsigned (&bits)[PARTS]) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(__uint_as_float(bits[0]), __uint_as_float(bits[1]));
        unsigned word;
        memcpy(&word, &pair, sizeof word);
        return word;
    }
    static __device__ __forceinline__ float round(float value) {
        return __bfloat162float(__float2bfloat16_rn(value));
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k16_bf16(sums, a, b, sums);
    }
};

// A thread's share of the copies of one operand: quads of the tile whose first index across is `first`, stage by stage. As
// quads where the operand lies in quads, and number by number elsewhere.
template <Along ALONG, int SIDE, bool QUADS, class Operand>
struct Copier {
    static constexpr int COUNT = SIDE * TENSOR_K / 4 / TENSOR_THREADS;
    // Along the depth a thread's quads lie at one depth of COUNT rows, across at COUNT depths of one place: what they
    // share is worked out once.
    static constexpr int ROWS = ALONG == Along::Depth ? COUNT : 1, DEPTHS = COUNT / ROWS;
    Operand operand;
    int first, end, depth_end;
    typename Operand::Across across[ROWS];
    typename Operand::Count counts[DEPTHS], stride;

    // For indices across from `first`, of which `end` is the end, and depths from `from` to `depth_end`.
    __device__ __forceinline__ Copier(int first, int end, int from, int depth_end, Operand operand)
        : operand(operand), first(first), end(end), depth_end(depth_end), stride(operand.count(TENSOR_K)) {
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            int index = first + quad(i).across;
            across[i] = index < end ? operand.across(index) : typename Operand::Across{};
        }
#pragma unroll
        for (int i = 0; i < DEPTHS; ++i) {
            counts[i] = operand.count(from + quad(i).depth);
        }
    }

    static __device__ __forceinline__ Quad quad(int i) {
        return stage_quad<ALONG, SIDE>((int)threadIdx.x + i * TENSOR_THREADS);
    }

    // Begins to copy the next TENSOR_K depths, which begin at `from`; zeros beyond the ends.
    __device__ __forceinline__ void begin(float (&stage)[SIDE * TENSOR_K], int from) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            Quad q = quad(i);
            float* target = &stage[stage_place<ALONG, SIDE>(q.across, q.depth)];
            if (QUADS) {
                bool within = first + q.across < end && from + q.depth < depth_end;
                const real* place = within ? operand.place(across[i % ROWS], operand.depth(counts[i % DEPTHS])) : nullptr;
                cp_async_16(target, place ? place : operand.data, place != nullptr);
            } else {
                one_by_one(target, first + q.across, from + q.depth);
            }
        }
#pragma unroll
        for (int i = 0; i < DEPTHS; ++i) {
            counts[i] = operand.sum(counts[i], stride);
        }
    }

    __device__ __forceinline__ void one_by_one(float* target, int index, int depth) const {
#pragma unroll 1
        for (int i = 0; i < 4; ++i) {
            bool within = index < end && depth < depth_end;
            const real* place =
                within ? operand.place(operand.across(index), operand.depth(operand.count(depth))) : nullptr;
            cp_async_4(target + i, place ? place : operand.data, place != nullptr);
            index += ALONG == Along::Across;
            depth += ALONG == Along::Depth;
        }
    }
};

// A warp's sums: fragments of 16 × 8, in which lane 4 g + m holds columns 2 m and 2 m + 1 of rows g and g + 8.
template <class Number>
struct WarpSums {
    static constexpr int DOWN = TENSOR_WARP_M / 16, ACROSS = TENSOR_WARP_N / 8, PARTS = Number::PARTS;
    static_assert(ACROSS % 2 == 0, "fragments of B are loaded in pairs");
    float values[DOWN][ACROSS][4] = {};

    // A fragment of A: lane 4 g + m gets rows g and g + 8 of depth m, then of depth m + 4.
    template <Along ALONG>
    static __device__ __forceinline__ void load_a(unsigned (&bits)[4], const float (&stage)[TENSOR_M * TENSOR_K], int row,
                                                  int depth) {
        int lane = (int)threadIdx.x % 32;
        if (ALONG == Along::Depth) {
            Quad from = fragment_a(lane);
            ldmatrix_x4(bits, &stage[stage_place<ALONG, TENSOR_M>(row + from.across, depth + from.depth)]);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                Quad from = alone_a(lane, i);
                bits[i] = __float_as_uint(stage[stage_place<ALONG, TENSOR_M>(row + from.across, depth + from.depth)]);
            }
        }
    }
    // Two fragments of B: lane 4 g + m gets depths m and m + 4 of column g, then of column g + 8.
    template <Along ALONG>
    static __device__ __forceinline__ void load_b(unsigned (&bits)[4], const float (&stage)[TENSOR_N * TENSOR_K],
                                                  int column, int depth) {
        int lane = (int)threadIdx.x % 32;
        if (ALONG == Along::Depth) {
            Quad from = fragment_b(lane);
            ldmatrix_x4(bits, &stage[stage_place<ALONG, TENSOR_N>(column + from.across, depth + from.depth)]);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                Quad from = alone_b(lane, i);
                bits[i] = __float_as_uint(stage[stage_place<ALONG, TENSOR_N>(column + from.across, depth + from.depth)]);
            }
        }
    }

    // Rounds what `load(bits, part)` brings of every part of a fragment.
    template <class Load>
    static __device__ __forceinline__ void rounded(unsigned (&fragment)[4], Load load) {
        unsigned parts[PARTS][4];
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            load(parts[part], part);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            unsigned bits[PARTS];
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                bits[part] = parts[part][i];
            }
            fragment[i] = Number::rounded(bits);
        }
    }

    // Adds the product of a stage; `row` and `column` are where the warp's part of the tile begins.
    template <Along A_ALONG, Along B_ALONG>
    __device__ __forceinline__ void add(const float (&a)[TENSOR_M * TENSOR_K], const float (&b)[TENSOR_N * TENSOR_K],
                                        int row, int column) {
#pragma unroll
        for (int depth = 0; depth < TENSOR_K; depth += 8 * PARTS) {
            unsigned left[DOWN][4], right[ACROSS][2];
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
                rounded(left[i], [&](unsigned(&bits)[4], int part) {
                    load_a<A_ALONG>(bits, a, row + 16 * i, depth + 8 * part);
                });
            }
#pragma unroll
            for (int j = 0; j < ACROSS; j += 2) {
                unsigned two[4];
                rounded(two, [&](unsigned(&bits)[4], int part) {
                    load_b<B_ALONG>(bits, b, column + 8 * j, depth + 8 * part);
                });
                right[j][0] = two[0], right[j][1] = two[1], right[j + 1][0] = two[2], right[j + 1][1] = two[3];
            }
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) {
                    Number::multiply_add(values[i][j], left[i], right[j]);
                }
            }
        }
    }

    // Puts every element of the warp's part away that lies inside M and N.
    template <class Store>
    __device__ __forceinline__ void store(int row, int column, int M, int N, Store store) const {
        int lane = (int)threadIdx.x % 32;
#pragma unroll
        for (int half = 0; half < DOWN * 2; ++half) {
            int m = row + 8 * half + lane / 4;
            if (m < M) {
                real* to = store.row(m);
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) {
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        int n = column + 8 * j + lane % 4 * 2 + e;
                        if (n < N) {
                            store.put(to, n, values[half / 2][j][half % 2 * 2 + e]);
                        }
                    }
                }
            }
        }
    }
};

// The loop of product.cuh's Scalar, in tf32 or bf16.
template <class Number>
struct Tensor {
    static constexpr int ROWS = TENSOR_M, COLUMNS = TENSOR_N;

    // Sums k in k_from .. k_to of the tile at (m0, n0), for operands as product.cuh describes them, with `a` across m and
    // `b` across n; `store(m)(n, sum)` is called for every element of the tile inside M and N. Every thread of the block
    // must come, and k_from is a multiple of 4.
    template <Along A_ALONG, Along B_ALONG, class A, class B, class Store>
    static __device__ __forceinline__ void product(int m0, int n0, int M, int N, Depths depths, A a, B b, Store store) {
        int k_from = depths.from, k_to = depths.to;
        SHARED(float, stages_a, [TENSOR_STAGES][TENSOR_M * TENSOR_K]);
        SHARED(float, stages_b, [TENSOR_STAGES][TENSOR_N * TENSOR_K]);
        if (k_from >= k_to) {
            // Nothing to count in, and nothing to sum: a parity that no tap reaches.
            WarpSums<Number>{}.store(m0 + warp_row(), n0 + warp_column(), M, N, store);
        } else if (a.in_quads() && b.in_quads()) {
            loop<A_ALONG, B_ALONG, true>(stages_a, stages_b, m0, n0, M, N, k_from, k_to, a, b, store);
        } else {
            loop<A_ALONG, B_ALONG, false>(stages_a, stages_b, m0, n0, M, N, k_from, k_to, a, b, store);
        }
    }

private:
    // Where the warp's part of the tile begins.
    static __device__ __forceinline__ int warp_row() {
        return (int)threadIdx.x / 32 / (TENSOR_N / TENSOR_WARP_N) * TENSOR_WARP_M;
    }
    static __device__ __forceinline__ int warp_column() {
        return (int)threadIdx.x / 32 % (TENSOR_N / TENSOR_WARP_N) * TENSOR_WARP_N;
    }

    template <Along A_ALONG, Along B_ALONG, bool QUADS, class A, class B, class Store>
    static __device__ __forceinline__ void loop(float (&stages_a)[TENSOR_STAGES][TENSOR_M * TENSOR_K],
                                                float (&stages_b)[TENSOR_STAGES][TENSOR_N * TENSOR_K], int m0, int n0,
                                                int M, int N, int k_from, int k_to, A a, B b, Store store) {
        constexpr int AHEAD = TENSOR_STAGES - 1;
        Copier<A_ALONG, TENSOR_M, QUADS, A> copier_a(m0, M, k_from, k_to, a);
        Copier<B_ALONG, TENSOR_N, QUADS, B> copier_b(n0, N, k_from, k_to, b);
        WarpSums<Number> sums;
        // One group of copies a stage, empty ones behind the end, so that what is waited for is always the oldest.
        auto begin = [&](int stage, int from) {
            if (from < k_to) {
                copier_a.begin(stages_a[stage], from);
                copier_b.begin(stages_b[stage], from);
            }
            cp_async_commit();
        };
#pragma unroll 1
        for (int stage = 0; stage < AHEAD; ++stage) {
            begin(stage, k_from + stage * TENSOR_K);
        }
        // A round of all stages a time, so that every place in shared memory is one of the thread's plus a constant.
#pragma unroll 1
        for (int k0 = k_from; k0 < k_to; k0 += TENSOR_STAGES * TENSOR_K) {
#pragma unroll
            for (int stage = 0; stage < TENSOR_STAGES; ++stage) {
                int from = k0 + stage * TENSOR_K;
                if (from < k_to) {
                    cp_async_wait<AHEAD - 1>();
                    // Now all have their copies of this stage, and all are done with the one before, which is free.
                    __syncthreads();
                    begin((stage + AHEAD) % TENSOR_STAGES, from + AHEAD * TENSOR_K);
                    sums.template add<A_ALONG, B_ALONG>(stages_a[stage], stages_b[stage], warp_row(), warp_column());
                }
            }
        }
        sums.store(m0 + warp_row(), n0 + warp_column(), M, N, store);
    }
};
