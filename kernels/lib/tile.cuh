// Who fetches and who sums what of a matrix product's tile, as functions of numbers alone: tests/tile_access.rs compiles
// this file for the host and counts bank conflicts and sectors.
#pragma once

#include "lib/launch.h"

// In which index an operand's neighbours are neighbours in memory: depth, or its other one (m of A, n of B).
enum class Along { Depth, Across };

// Numbers from one depth to the next in shared memory. The 4 more keep each row aligned to a vector of 16 bytes and turn
// it by 4 banks against the row before.
constexpr int TILE_A_STRIDE = TILE_M + 4;
constexpr int TILE_B_STRIDE = TILE_N + 4;
// Neighbouring depths that neighbouring threads fetch where depth is contiguous: 8 floats are one sector of memory, and 8
// rows turned by 4 banks each leave room for 4 columns without a conflict.
constexpr int DEPTH_RUN = 8;

// The i-th element that is fetched of an operand's tile, TILE_K × `side`: its place across …
template <Along ALONG>
__device__ __forceinline__ int tile_across(int i, int side) {
    return (ALONG == Along::Depth ? i / DEPTH_RUN : i) % side;
}
// … and its depth.
template <Along ALONG>
__device__ __forceinline__ int tile_depth(int i, int side) {
    return ALONG == Along::Depth ? i / (DEPTH_RUN * side) * DEPTH_RUN + i % DEPTH_RUN : i / side;
}

// The first row and column of a thread's sums.
__device__ __forceinline__ int thread_row(int thread) {
    return thread / (TILE_N / THREAD_N) * THREAD_M;
}
__device__ __forceinline__ int thread_column(int thread) {
    return thread % (TILE_N / THREAD_N) * THREAD_N;
}
