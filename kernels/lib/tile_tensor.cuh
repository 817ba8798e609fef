// Who stores and who loads what of a tensor-core tile's stages, as functions of numbers alone: tests/kernels/tensor_cores.rs
// counts bank conflicts and sectors on them.
//
// A stage holds numbers as mma takes them, bf16 or tf32, and lies as its operand does: in rows along the depth, or in
// rows across. A row is made of chunks of 16 bytes, RUN numbers (8 of bf16, 4 of tf32), which are stored as one and
// loaded by ldmatrix as one; chunk c of a row lies at place c XOR a number of the row's (a swizzle), and so what a warp
// stores or loads at once lies on different banks, without a word of padding:
//
//   along the depth, 64 bytes a row            across, bf16, 128 bytes or more a row
//   across 0   c0 c1 c2 c3                     depth 0   c0 c1 c2 c3 c4 c5 c6 c7 …
//          1   c0 c1 c2 c3                           1   c1 c0 c3 c2 c5 c4 c7 c6 …
//          2   c1 c0 c3 c2                           2   c2 c3 c0 c1 c6 c7 c4 c5 …
//          3   c1 c0 c3 c2                           …
#pragma once

#include "lib/tile.cuh"

// Chunks of a row along the depth: the depth of a stage is 32 in bf16 and 16 in tf32, two steps of mma.
constexpr int TENSOR_CHUNKS = 4;

// A block's tile, and the part of it that each warp sums.
template <int TILE_M, int TILE_N, int TILE_THREADS, int WARP_ROWS, int WARP_COLUMNS, int TILE_STAGES>
struct TensorTile {
    static constexpr int M = TILE_M, N = TILE_N, THREADS = TILE_THREADS, WARP_M = WARP_ROWS, WARP_N = WARP_COLUMNS;
    static constexpr int STAGES = TILE_STAGES;
    static_assert(M * N == THREADS / 32 * WARP_M * WARP_N, "the warps share the tile");

    // Where a warp's part begins.
    static __device__ __forceinline__ int warp_row(int thread) {
        return thread / 32 / (N / WARP_N) * WARP_M;
    }
    static __device__ __forceinline__ int warp_column(int thread) {
        return thread / 32 % (N / WARP_N) * WARP_N;
    }
};
// A warp of the wide tile loads 8 fragments for 32 products in bf16, and 6 for 16 in tf32, one of the narrow tile 4 for 8.
#ifdef STORED_BF16
constexpr int WIDE_TENSOR_THREADS = WIDE_BF16_THREADS, WIDE_TENSOR_WARP_N = WIDE_BF16_WARP_N;
#else
constexpr int WIDE_TENSOR_THREADS = WIDE_THREADS, WIDE_TENSOR_WARP_N = WIDE_WARP_N;
#endif
using WideTensorTile = TensorTile<WIDE_M, WIDE_N, WIDE_TENSOR_THREADS, WIDE_WARP_M, WIDE_TENSOR_WARP_N, WIDE_STAGES>;
using NarrowTensorTile =
    TensorTile<NARROW_M, NARROW_N, NARROW_THREADS, NARROW_WARP_M, NARROW_WARP_N, NARROW_STAGES>;

// Where the element at (across, depth) lies in its stage, in numbers.
template <int RUN, Along ALONG, int SIDE>
__device__ __forceinline__ int stage_place(int across, int depth) {
    static_assert(SIDE % 64 == 0, "the swizzles are made for whole lines of 128 bytes");
    if (ALONG == Along::Depth) {
        // Two rows take all 32 banks, and eight rows are loaded at once: the number changes every two rows.
        return (across * TENSOR_CHUNKS + (depth / RUN ^ across / 2 % 4)) * RUN + depth % RUN;
    }
    // bf16: ldmatrix loads a chunk of eight rows at once. tf32, which it can't turn: four rows are loaded at once, eight
    // numbers of each, and neighbouring rows are two chunks apart.
    int turned = across / RUN ^ (RUN == 8 ? depth % 8 : depth % 4 * 2);
    return depth * SIDE + turned * RUN + across % RUN;
}

// The i-th run that is stored into a stage. Neighbouring threads store neighbouring runs of memory.
template <int RUN, Along ALONG, int SIDE>
__device__ __forceinline__ Element stage_run(int i) {
    return ALONG == Along::Depth ? Element{i / TENSOR_CHUNKS, i % TENSOR_CHUNKS * RUN}
                                 : Element{i % (SIDE / RUN) * RUN, i / (SIDE / RUN)};
}

// The chunk that a lane points ldmatrix_x4 at, from where the fragment begins, so that the registers come in mma's order:
//
//   A, 16 rows by two chunks of depth: registers 0 1 are rows 0–7 and 8–15 of the first chunk, 2 3 those of the second;
//   B, two fragments of 8 columns: registers 0 1 are the two chunks of the first, 2 3 those of the second.
template <int RUN>
__device__ __forceinline__ Element fragment_a(int lane) {
    return Element{lane % 16, lane / 16 * RUN};
}
template <int RUN>
__device__ __forceinline__ Element fragment_b(int lane) {
    return Element{lane / 16 * 8 + lane % 8, lane / 8 % 2 * RUN};
}
// The same of bf16 that lies across, for ldmatrix_x4_trans: a lane points at a chunk of eight indices across at one depth.
__device__ __forceinline__ Element turned_a(int lane) {
    return Element{lane / 8 % 2 * 8, lane / 16 * 8 + lane % 8};
}
__device__ __forceinline__ Element turned_b(int lane) {
    return Element{lane / 16 * 8, lane % 16};
}
// The element that is register i of a lane where ldmatrix can't serve, because tf32 lies across: it turns pairs of 16 bits.
__device__ __forceinline__ Element alone_a(int lane, int i) {
    return Element{lane / 4 + i % 2 * 8, lane % 4 + i / 2 * 4};
}
__device__ __forceinline__ Element alone_b(int lane, int i) {
    return Element{lane / 4 + i / 2 * 8, lane % 4 + i % 2 * 4};
}
