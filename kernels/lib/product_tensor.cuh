// The loop of product.cuh on tensor cores: operands in bf16 where activations are stored so, or else in tf32; sums in f32.
//
// A number is rounded once, on its way from a register into a stage, which holds it as mma takes it (tile_tensor.cuh); one that
// is stored as bf16 is copied there as it is. A warp sums its part of the tile in fragments of 16 × 8. What limits the loop is shared
// memory: of a wide tile's stage in bf16 ldmatrix takes 256 passes, storing 128 and fetching 128 (in tf32 384, 128 and 128), where
// mma.sync takes some 400 clocks.
#pragma once

#include <cuda_bf16.h>

#include "lib/product.cuh"
#include "lib/ptx.cuh"
#include "lib/tile_tensor.cuh"

static_assert(sizeof(real) == 4, "tensor cores sum in f32: files that include this end in _tensor.cu");

// Sixteen bytes of a stage.
struct alignas(16) Chunk {
    unsigned words[4];
};

// How a type of numbers is made of f32, and its product of fragments, which are two chunks deep.
struct Tf32 {
    using Stored = float;
    static constexpr int RUN = 4;
    static __device__ __forceinline__ float round(float value) {
        return __uint_as_float(to_tf32(value));
    }
    static __device__ __forceinline__ Stored stored(float value) {
        return round(value);
    }
    template <class Source>
    static __device__ __forceinline__ Chunk chunk(const Fetched<RUN, Source>& run) {
        Chunk chunk;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            chunk.words[i] = to_tf32(run[i]);
        }
        return chunk;
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k8_tf32(sums, a, b, sums);
    }
};
struct Bf16 {
    using Stored = __nv_bfloat16;
    static constexpr int RUN = 8;
    static __device__ __forceinline__ float round(float value) {
        return __bfloat162float(__float2bfloat16_rn(value));
    }
    static __device__ __forceinline__ Stored stored(float value) {
        return __float2bfloat16_rn(value);
    }
    template <class Source>
    static __device__ __forceinline__ Chunk chunk(const Fetched<RUN, Source>& run) {
        Chunk chunk;
        if constexpr (sizeof(Source) == sizeof(Stored)) {
            memcpy(&chunk, &run.words, sizeof chunk);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                __nv_bfloat162 pair = __floats2bfloat162_rn(run[2 * i], run[2 * i + 1]);
                memcpy(&chunk.words[i], &pair, sizeof pair);
            }
        }
        return chunk;
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k16_bf16(sums, a, b, sums);
    }
};

// What tensor cores multiply: what is stored, or, where that is f32, tf32.
#ifdef STORED_BF16
using TensorNumber = Bf16;
#else
using TensorNumber = Tf32;
#endif

// How a stage of an operand lies for tensor cores.
template <class Number, Along LIES, int SIDE>
struct TensorStage {
    static constexpr Along ALONG = LIES;
    static constexpr int RUN = Number::RUN, DEPTH = TENSOR_CHUNKS * RUN, RUNS = SIDE * TENSOR_CHUNKS;
    static constexpr int ROW_RUNS = ALONG == Along::Depth ? TENSOR_CHUNKS : SIDE / RUN;
    using Stored = typename Number::Stored;
    using Data = Stored[SIDE * DEPTH];

    static __device__ __forceinline__ Element run(int i) {
        return stage_run<RUN, ALONG, SIDE>(i);
    }
    static __device__ __forceinline__ int place(Element at) {
        return stage_place<RUN, ALONG, SIDE>(at.across, at.depth);
    }
    template <class Source>
    static __device__ __forceinline__ void put(Data& stage, Element at, const Fetched<RUN, Source>& run) {
        *reinterpret_cast<Chunk*>(&stage[place(at)]) = Number::chunk(run);
    }
    static __device__ __forceinline__ void put_one(Data& stage, Element at, real value) {
        stage[place(at)] = Number::stored(value);
    }
    // Begins to copy a run from memory, or zeros where it is not `valid`.
    template <class Source>
    static __device__ __forceinline__ void copy(Data& stage, Element at, const Source* run, bool valid) {
        static_assert(sizeof(Source) == sizeof(Stored), "copied as it lies");
        cp_async_16(&stage[place(at)], run, valid);
    }

    // Registers of the 16 rows of A, or of the two fragments of B, that begin at `from`. All lanes of a warp must come.
    static __device__ __forceinline__ void load_a(unsigned (&bits)[4], const Data& stage, Element from) {
        load(bits, stage, from, fragment_a<RUN>, turned_a, alone_a);
    }
    static __device__ __forceinline__ void load_b(unsigned (&bits)[4], const Data& stage, Element from) {
        load(bits, stage, from, fragment_b<RUN>, turned_b, alone_b);
    }

private:
    template <class Fragment, class Turned, class Alone>
    static __device__ __forceinline__ void load(unsigned (&bits)[4], const Data& stage, Element from, Fragment fragment,
                                                Turned turned, Alone alone) {
        int lane = (int)threadIdx.x % 32;
        auto at = [&](Element way) { return &stage[place(Element{from.across + way.across, from.depth + way.depth})]; };
        if constexpr (ALONG == Along::Depth) {
            ldmatrix_x4(bits, at(fragment(lane)));
        } else if constexpr (sizeof(Stored) == 2) {
            ldmatrix_x4_trans(bits, at(turned(lane)));
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                bits[i] = __float_as_uint(*at(alone(lane, i)));
            }
        }
    }
};

// A warp's sums: fragments of 16 × 8, in which lane 4 g + m holds columns 2 m and 2 m + 1 of rows g and g + 8.
template <class Number, class Tile>
struct WarpSums {
    static constexpr int DOWN = Tile::WARP_M / 16, ACROSS = Tile::WARP_N / 8;
    static_assert(ACROSS % 2 == 0, "fragments of B are loaded in pairs");
    float values[DOWN][ACROSS][4] = {};

    // Adds the product of a stage, in steps of two chunks.
    template <Along ALONG_A, Along ALONG_B>
    __device__ __forceinline__ void add(const typename TensorStage<Number, ALONG_A, Tile::M>::Data& a,
                                        const typename TensorStage<Number, ALONG_B, Tile::N>::Data& b) {
        int row = Tile::warp_row((int)threadIdx.x), column = Tile::warp_column((int)threadIdx.x);
#pragma unroll
        for (int chunk = 0; chunk < TENSOR_CHUNKS; chunk += 2) {
            int depth = chunk * Number::RUN;
            unsigned left[DOWN][4], right[ACROSS / 2][4];
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
                TensorStage<Number, ALONG_A, Tile::M>::load_a(left[i], a, Element{row + 16 * i, depth});
            }
#pragma unroll
            for (int j = 0; j < ACROSS / 2; ++j) {
                TensorStage<Number, ALONG_B, Tile::N>::load_b(right[j], b, Element{column + 16 * j, depth});
            }
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) {
                    const unsigned fragment[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
                    Number::multiply_add(values[i][j], left[i], fragment);
                }
            }
        }
    }

    // Puts every sum of the tile at (m0, n0) away that lies inside M and N, in pairs of columns.
    template <class Output>
    __device__ __forceinline__ void store(int m0, int n0, int M, int N, const Output& output) const {
        int lane = (int)threadIdx.x % 32;
        int row = m0 + Tile::warp_row((int)threadIdx.x) + lane / 4;
        int column = n0 + Tile::warp_column((int)threadIdx.x) + lane % 4 * 2;
        Run<2> shift[ACROSS];
#pragma unroll
        for (int j = 0; j < ACROSS; ++j) {
            shift[j] = output.template shift<2>(column + 8 * j, N);
        }
#pragma unroll
        for (int half = 0; half < DOWN * 2; ++half) {
            int m = row + 8 * half;
            if (m < M) {
                auto* to = output.data + output.row(m);
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) {
                    output.put_columns(to, column + 8 * j, N, shift[j], &values[half / 2][j][half % 2 * 2]);
                }
            }
        }
    }
};

// Tensor cores.
template <class Tile>
struct TensorUnits : Tile {
    static constexpr int DEPTH = TENSOR_CHUNKS * TensorNumber::RUN;
    // Numbers that lie in memory as a stage holds them are copied there past the registers; f32 has to be rounded on its way.
    template <class Source>
    static constexpr bool COPIES = sizeof(Source) == sizeof(typename TensorNumber::Stored) && sizeof(Source) == 2;
    static_assert(SPLIT_STEP % DEPTH == 0, "a part begins where a stage does");
    // Ends a group of a thread's copies, and waits for all of its groups but the last PENDING.
    static __device__ __forceinline__ void end_copies() {
        cp_async_commit();
    }
    template <int PENDING>
    static __device__ __forceinline__ void wait_for_copies() {
        cp_async_wait<PENDING>();
    }
    template <Along ALONG, int SIDE>
    using Stage = TensorStage<TensorNumber, ALONG, SIDE>;
    using Sums = WarpSums<TensorNumber, Tile>;
};
