// The main loop of every matrix product on tensor cores: what product.cuh does, with operands rounded to tf32 or bf16 and
// sums in f32.
//
// A block of TENSOR_THREADS threads computes TENSOR_M × TENSOR_N; each warp TENSOR_WARP_M × TENSOR_WARP_N of it, in mma
// fragments of 16 × 8. A step takes TENSOR_WORDS words of depth: one tf32 or two bf16 a word. Both operands lie in shared
// memory as rows of words, a row an index m or n, so that both types share one layout: a fragment of mma.m16n8k8 in tf32
// and one of mma.m16n8k16 in bf16 are the same words in the same lanes, and ldmatrix, which moves rows of four words,
// loads either.
//
// Word w of a row holds depth w and, in bf16, depth w + TENSOR_WORDS. mma takes them for depths 2 w and 2 w + 1, but a sum
// over depth may be taken in any order that A and B share, and in this one each load of a warp takes runs of words that
// lie side by side in memory, whole sectors of them.
//
// Two stages: while the warps multiply one, each thread has its share of the next on the way into registers. cp.async would
// spare those registers, but it copies bytes as they are: every operand here must be rounded on its way (mma would cut
// tf32 off instead of rounding it), and the elements of a window beyond the image's edge are not even contiguous.
#pragma once

#include <cuda_bf16.h>

#include "product.cuh"
#include "ptx.cuh"

static_assert(sizeof(real) == 4, "tensor cores sum in f32: files that include this end in _tensor.cu");

// A stage's row of words; the padding puts any eight neighbouring rows' equal quarters on different banks.
struct alignas(16) TensorRow {
    unsigned words[TENSOR_STRIDE];
};

// How a type of numbers fills a word, and its product of fragments.
struct Tf32 {
    static constexpr int PER_WORD = 1;
    static __device__ __forceinline__ unsigned rounded(const float (&values)[PER_WORD]) {
        return to_tf32(values[0]);
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k8_tf32(sums, a, b, sums);
    }
};
struct Bf16 {
    static constexpr int PER_WORD = 2;
    static __device__ __forceinline__ unsigned rounded(const float (&values)[PER_WORD]) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(values[0], values[1]);
        unsigned word;
        memcpy(&word, &pair, sizeof word);
        return word;
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k16_bf16(sums, a, b, sums);
    }
};

// Which word of which rows a thread brings: `word`, of rows `row`, `row` + LOADED_ROWS, and so on. Along the depth a warp
// takes 16 words of two rows, which lie four apart because then they fill all banks; across, four words of eight rows.
constexpr int LOADED_ROWS = TENSOR_THREADS / TENSOR_WORDS;
struct Loaded {
    int row, word;
};
__device__ __forceinline__ Loaded loaded_by(Along along, int thread) {
    int warp = thread / 32, lane = thread % 32;
    return along == Along::Depth ? Loaded{warp + lane / 16 * 4, lane % 16} : Loaded{lane % 8, warp * 4 + lane / 8};
}
static_assert(TENSOR_WORDS == 16 && LOADED_ROWS == 8, "loaded_by is made for these");

// The row of four words that a lane points ldmatrix_x4 at, so that the registers come in mma's order. A: rows 0–7 and 8–15
// of words 0–3, then of words 4–7; B, two fragments of eight columns: words 0–3 and 4–7 of the first, then of the second.
__device__ __forceinline__ Loaded fragment_a(int lane) {
    return Loaded{lane % 16, lane / 16 * 4};
}
__device__ __forceinline__ Loaded fragment_b(int lane) {
    return Loaded{lane / 16 * 8 + lane % 8, lane / 8 % 2 * 4};
}

// A thread's share of one operand's next stage, in registers: its elements where both indices are in range, 0 elsewhere.
template <class Number, Along ALONG, int ROWS, class Operand>
struct Share {
    static constexpr int COUNT = ROWS / LOADED_ROWS;
    typename Operand::Across across[COUNT];
    float values[COUNT][Number::PER_WORD];
    Operand operand;
    int first_row, rows;

    // For rows from `first_row`, of which `rows` is the end.
    __device__ __forceinline__ Share(int first_row, int rows, Operand operand)
        : operand(operand), first_row(first_row + loaded_by(ALONG, (int)threadIdx.x).row), rows(rows) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            int row = this->first_row + i * LOADED_ROWS;
            across[i] = row < rows ? operand.across(row) : typename Operand::Across{};
        }
    }

    __device__ __forceinline__ void load(int first_depth, int depth_end) {
#pragma unroll
        for (int part = 0; part < Number::PER_WORD; ++part) {
            int index = first_depth + loaded_by(ALONG, (int)threadIdx.x).word + part * TENSOR_WORDS;
            bool within = index < depth_end;
            auto depth = within ? operand.depth(index) : typename Operand::Depth{};
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                bool inside = within && first_row + i * LOADED_ROWS < rows;
                values[i][part] = inside ? operand.at(across[i], depth) : 0.0f;
            }
        }
    }

    __device__ __forceinline__ void store(TensorRow (&stage)[ROWS]) const {
        Loaded mine = loaded_by(ALONG, (int)threadIdx.x);
#pragma unroll
        for (int i = 0; i < ROWS / LOADED_ROWS; ++i) {
            stage[mine.row + i * LOADED_ROWS].words[mine.word] = Number::rounded(values[i]);
        }
    }
};

// A warp's sums: fragments of 16 × 8, in which lane 4 g + m holds columns 2 m and 2 m + 1 of rows g and g + 8.
template <class Number>
struct WarpSums {
    static constexpr int DOWN = TENSOR_WARP_M / 16, ACROSS = TENSOR_WARP_N / 8;
    static_assert(ACROSS % 2 == 0, "fragments of B are loaded in pairs");
    float values[DOWN][ACROSS][4] = {};

    // Adds the product of a stage; `row` and `column` are where the warp's part of the tile begins.
    __device__ __forceinline__ void add(const TensorRow (&a)[TENSOR_M], const TensorRow (&b)[TENSOR_N], int row,
                                        int column) {
        int lane = (int)threadIdx.x % 32;
        Loaded from_a = fragment_a(lane), from_b = fragment_b(lane);
#pragma unroll
        for (int word = 0; word < TENSOR_WORDS; word += 8) {
            unsigned left[DOWN][4], right[ACROSS][2];
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
                ldmatrix_x4(left[i], &a[row + 16 * i + from_a.row].words[word + from_a.word]);
            }
#pragma unroll
            for (int j = 0; j < ACROSS; j += 2) {
                unsigned two[4];
                ldmatrix_x4(two, &b[column + 8 * j + from_b.row].words[word + from_b.word]);
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
                auto put = store(m);
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) {
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        int n = column + 8 * j + lane % 4 * 2 + e;
                        if (n < N) {
                            put(n, values[half / 2][j][half % 2 * 2 + e]);
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
    // must come.
    template <Along A_ALONG, Along B_ALONG, class A, class B, class Store>
    static __device__ __forceinline__ void product(int m0, int n0, int M, int N, int k_from, int k_to, A a, B b,
                                                   Store store) {
        constexpr int DEPTH = TENSOR_WORDS * Number::PER_WORD;
        SHARED(TensorRow, tile_a, [2][TENSOR_M]);
        SHARED(TensorRow, tile_b, [2][TENSOR_N]);
        int warp = (int)threadIdx.x / 32;
        int row = warp / (TENSOR_N / TENSOR_WARP_N) * TENSOR_WARP_M;
        int column = warp % (TENSOR_N / TENSOR_WARP_N) * TENSOR_WARP_N;
        Share<Number, A_ALONG, TENSOR_M, A> next_a(m0, M, a);
        Share<Number, B_ALONG, TENSOR_N, B> next_b(n0, N, b);
        WarpSums<Number> sums;
        next_a.load(k_from, k_to);
        next_b.load(k_from, k_to);
        next_a.store(tile_a[0]);
        next_b.store(tile_b[0]);
        __syncthreads();
        int stage = 0;
        for (int k0 = k_from; k0 < k_to; k0 += DEPTH) {
            bool more = k0 + DEPTH < k_to;
            if (more) {
                next_a.load(k0 + DEPTH, k_to);
                next_b.load(k0 + DEPTH, k_to);
            }
            sums.add(tile_a[stage], tile_b[stage], row, column);
            stage ^= 1;
            if (more) {
                // All have read this stage: they came to the barrier that ended the step before.
                next_a.store(tile_a[stage]);
                next_b.store(tile_b[stage]);
            }
            __syncthreads();
        }
        sums.store(m0 + row, n0 + column, M, N, store);
    }
};
