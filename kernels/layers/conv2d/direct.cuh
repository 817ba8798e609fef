// Who brings and who sums what in the direct weight gradient, as functions of numbers alone: tests/tile_access.rs compiles
// this file for the host and counts bank conflicts and sectors.
//
// A block is DIRECT_ROWS rows of DIRECT_TAPS threads. In a step each row takes every DIRECT_ROWS-th pixel: its threads
// bring a tap of the pixel's window each, and then sum DIRECT_FILTERS filters each, with all taps.
#pragma once

#include "lib/launch.h"

// Pixels that a row takes in a step.
constexpr int DIRECT_ROUNDS = DIRECT_STEP / DIRECT_ROWS;
static_assert(DIRECT_STEP % DIRECT_ROWS == 0 && DIRECT_TAPS % DIRECT_ROWS == 0, "whole rounds");
static_assert(DIRECT_PART % DIRECT_STEP == 0, "whole steps");
// Filters of a block.
constexpr int DIRECT_BLOCK_FILTERS = DIRECT_TAPS * DIRECT_FILTERS;

// The pixel of a step that a row takes in a round.
__device__ __forceinline__ int direct_pixel(int row, int round) {
    return round * DIRECT_ROWS + row;
}
// The filter of a block that a thread sums as its i-th: neighbours sum neighbours, so that they read dy side by side.
__device__ __forceinline__ int direct_filter(int lane, int i) {
    return i * DIRECT_TAPS + lane;
}
// The place of a window's tap in a step's windows in shared memory.
__device__ __forceinline__ int direct_window(int pixel, int tap) {
    return pixel * DIRECT_TAPS + tap;
}
// The place of the rows' sums when they are joined. The element more a filter puts a row's equal taps, and those of the next
// row, on different banks.
__device__ __forceinline__ int direct_joined(int row, int filter, int tap) {
    return (row * DIRECT_TAPS + filter) * (DIRECT_TAPS + 1) + tap;
}
constexpr int DIRECT_JOINED = DIRECT_ROWS * DIRECT_TAPS * (DIRECT_TAPS + 1);
