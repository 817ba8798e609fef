// Who fetches, stores and sums what of a matrix product's tile, as functions of numbers alone: tests/kernels/tile_access.rs
// compiles this file for the host and counts bank conflicts and sectors.
//
// A block computes M × N sums, THREAD_M × THREAD_N a thread, and walks the depth in stages of TILE_K, which lie in shared
// memory depth by depth:
//
//            M + 4 numbers                     A warp sums 4 × 8 threads; each has rows and columns in quads of four that
//          ┌───────────────┐                   lie M / 2 or N / 2 apart (of 8 columns: 4 c … 4 c + 3 and N / 2 further),
//   depth 0│ A[0..M, 0]    │                   so that neighbours read neighbouring quads of shared memory:
//   depth 1│ A[0..M, 1]    │
//      …   │               │                          columns  0 4 8 … 28 | N/2 …
//        15│ A[0..M, 15]   │                     rows 0  t0 t1 t2 … t7
//          └───────────────┘                          4  t8 t9 …
#pragma once

#include "lib/launch.h"

// In which index an operand's neighbours are neighbours in memory: depth, or its other one (m of A, n of B).
enum class Along { Depth, Across };

// A tile's sizes. Two stages of each operand lie in shared memory.
template <int TILE_M, int TILE_N, int TILE_THREADS, int SUMS_M, int SUMS_N>
struct Tile {
    static constexpr int M = TILE_M, N = TILE_N, THREADS = TILE_THREADS, THREAD_M = SUMS_M, THREAD_N = SUMS_N;
    static_assert(M * N == THREADS * THREAD_M * THREAD_N && THREADS % 32 == 0, "the threads share the sums");
    static_assert(THREAD_M % 4 == 0 && THREAD_N % 4 == 0, "quads of sums");
    // Threads side by side in a row of sums, and warps.
    static constexpr int ACROSS = N / THREAD_N, WARPS_ACROSS = ACROSS / 8;
    static_assert(ACROSS % 8 == 0, "a warp is eight threads across");

    // The first row of a thread's i-th quad of rows …
    static __device__ __forceinline__ int row(int thread, int i) {
        int warp = thread / 32, lane = thread % 32;
        return (warp / WARPS_ACROSS * 4 + lane / 8) * 4 + i * (M / (THREAD_M / 4));
    }
    // … and column.
    static __device__ __forceinline__ int column(int thread, int j) {
        int warp = thread / 32, lane = thread % 32;
        return (warp % WARPS_ACROSS * 8 + lane % 8) * 4 + j * (N / (THREAD_N / 4));
    }
};
// Of large products: two loads of 16 bytes from shared memory for 32 multiplications and additions of a thread.
using WideTile = Tile<WIDE_M, WIDE_N, WIDE_THREADS, WIDE_THREAD_M, WIDE_THREAD_N>;
// Of those with few rows or columns, and of f64, of which the wide tile would not fit the registers.
using NarrowTile = Tile<NARROW_M, NARROW_N, NARROW_THREADS, NARROW_THREAD_M, NARROW_THREAD_N>;

// Where the element at `across` of depth `depth` lies in a stage whose operand has SIDE of them. The 4 more turn each row by
// 4 banks against the row before. Where a warp stores eight rows of 16 depths at once, depths 8 apart would meet on
// the same banks: the upper half has its eights of elements exchanged.
template <int SIDE>
constexpr int TILE_STRIDE = SIDE + 4;
template <int SIDE>
__device__ __forceinline__ int tile_place(int across, int depth) {
    return depth * TILE_STRIDE<SIDE> + (across ^ (depth & 8));
}

// An element of a stage, or the first one of a run.
struct Element {
    int across, depth;
};
// The i-th run that is fetched of an operand's stage: four neighbours in memory.
template <Along ALONG, int SIDE>
__device__ __forceinline__ Element tile_run(int i) {
    return ALONG == Along::Depth ? Element{i / (TILE_K / 4), i % (TILE_K / 4) * 4}
                                 : Element{i % (SIDE / 4) * 4, i / (SIDE / 4)};
}
