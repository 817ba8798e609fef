// Every block and tile size, once: the kernels include this file, and build.rs reads it for the host.
#pragma once

// Threads of a block where each thread does one element, or a stride of them.
constexpr int ELEMENT_THREADS = 256;
// Blocks at most in such a launch; beyond that a thread takes several elements.
constexpr int ELEMENT_BLOCKS = 2048;
// Threads of the single block that sums a whole batch's losses.
constexpr int LOSS_THREADS = 256;
// Threads of the block that sums one image's KL.
constexpr int KL_THREADS = 128;
// Columns and rows of threads of a block that sums columns; one block takes COLUMN_ROWS rows.
constexpr int COLUMN_THREADS_X = 32;
constexpr int COLUMN_THREADS_Y = 8;
constexpr int COLUMN_ROWS = 512;
// A matrix product's tile: rows, columns, and depth of one step.
constexpr int TILE_M = 64;
constexpr int TILE_N = 64;
constexpr int TILE_K = 16;
// Threads of a tile's block; each has THREAD_M × THREAD_N sums in registers.
constexpr int TILE_THREADS = 256;
constexpr int THREAD_M = 4;
constexpr int THREAD_N = 4;
// Depth of one part of a product that is split along its depth.
constexpr int SPLIT_K = 1024;
