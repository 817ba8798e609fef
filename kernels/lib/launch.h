// Every block and tile size, once: the kernels include this file, and build.rs reads it for the host.
#pragma once

// Threads of a block where each thread does one element, or a stride of them.
constexpr int ELEMENT_THREADS = 256;
// Blocks at most in such a launch; beyond that a thread takes several elements.
constexpr int ELEMENT_BLOCKS = 2048;
// Threads of the single block that sums a whole batch's losses.
constexpr int LOSS_THREADS = 256;
// Threads of a block that sums a part of one image's KL.
constexpr int KL_THREADS = 128;
// Fours of dimensions of such a part.
constexpr int KL_QUADS = 128;
// Threads of the block that sums over one image, or over one image's gradient.
constexpr int IMAGE_THREADS = 256;
// Columns of a block that sums columns, a thread each.
constexpr int COLUMN_THREADS_X = 32;
// Threads of such a block that share a column.
constexpr int COLUMN_THREADS_Y = 8;
// Rows that such a block sums.
constexpr int COLUMN_ROWS = 512;
// Threads of a block that sums a row of a weight, or a vector, for its spectral norm.
constexpr int SPECTRAL_THREADS = 256;
// Rows of a matrix product's tile.
constexpr int TILE_M = 64;
// Columns of a matrix product's tile.
constexpr int TILE_N = 64;
// Depth of one step of a matrix product.
constexpr int TILE_K = 16;
// Threads of a tile's block.
constexpr int TILE_THREADS = 256;
// Rows of the sums that a thread holds in registers.
constexpr int THREAD_M = 4;
// Columns of the sums that a thread holds in registers.
constexpr int THREAD_N = 4;
// Depth of one part of a product that is split along its depth.
constexpr int SPLIT_K = 1024;
// Channels up to which convolutions have direct kernels.
constexpr int DIRECT_CHANNELS = 4;
// Threads of a warp, which share a pixel in the direct forward pass and input gradient.
constexpr int WARP = 32;
// Warps of a block of these two.
constexpr int DIRECT_WARPS = 8;
// Pixels that a warp of the direct forward kernel computes.
constexpr int DIRECT_PIXELS = 4;
// Rows of output pixels that a block of the direct forward kernels of fixed shapes computes.
constexpr int FEW_ROWS = 8;
// Columns of them.
constexpr int FEW_COLUMNS = 16;
// Columns of the threads of such an input gradient, each with some pixels of its own.
constexpr int FEW_THREADS_X = 16;
// Rows of these threads.
constexpr int FEW_THREADS_Y = 8;
// Taps that a block of the direct weight gradient sums, and threads of one of its rows: each brings one tap of a window.
constexpr int DIRECT_TAPS = 16;
// Filters that each of its threads sums, with all of those taps.
constexpr int DIRECT_FILTERS = 4;
// Rows of its threads, which share the pixels among them.
constexpr int DIRECT_ROWS = 8;
// Pixels of one of its steps.
constexpr int DIRECT_STEP = 32;
// Pixels of a part of its sum, unless there would be too many parts.
constexpr int DIRECT_PART = 128;
// Parts at most: about a block for each multiprocessor of the largest GPUs, and few enough to be joined quickly.
constexpr int DIRECT_PARTS = 128;
// Rows of a matrix product's tile on tensor cores.
constexpr int TENSOR_M = 64;
// Columns of such a tile.
constexpr int TENSOR_N = 64;
// Depth of one of its stages, in numbers.
constexpr int TENSOR_K = 16;
// Stages that it keeps in shared memory: one is multiplied while the others are on their way.
constexpr int TENSOR_STAGES = 4;
// Threads of such a tile's block.
constexpr int TENSOR_THREADS = 128;
// Rows of the part of the tile that a warp computes.
constexpr int TENSOR_WARP_M = 32;
// Columns of that part.
constexpr int TENSOR_WARP_N = 32;
