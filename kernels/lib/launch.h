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
// Rows that such a block sums at most …
constexpr int COLUMN_ROWS = 512;
// … and at least, unless there are fewer: each of its threads waits for all of its rows at once.
constexpr int COLUMN_ROWS_LEAST = 64;
// Rows of a group of batch normalisation up to which one block does the whole pass of its columns: two launches wait longer.
constexpr int WHOLE_PASS_ROWS = 128;
// Threads of a block that sums a row of a weight, or a vector, for its spectral norm.
constexpr int SPECTRAL_THREADS = 256;
// Rows of a matrix product's tile, where there are many …
constexpr int WIDE_M = 128;
// … its columns …
constexpr int WIDE_N = 128;
// … the threads of its block …
constexpr int WIDE_THREADS = 256;
// … and the rows …
constexpr int WIDE_THREAD_M = 8;
// … and columns of the sums that a thread holds in registers.
constexpr int WIDE_THREAD_N = 8;
// Rows of the tile where there are few, and in f64; the same numbers of it.
constexpr int NARROW_M = 64;
// Its columns.
constexpr int NARROW_N = 64;
// Threads of its block.
constexpr int NARROW_THREADS = 128;
// Rows of a thread's sums.
constexpr int NARROW_THREAD_M = 8;
// Columns of a thread's sums.
constexpr int NARROW_THREAD_N = 4;
// Depth of a stage of either.
constexpr int TILE_K = 16;
// Threads of a block that multiplies one row with a vector.
constexpr int ROW_THREADS = 128;
// Multiprocessors that the tiles and parts of a product are to fill: those of an H200.
constexpr int MULTIPROCESSORS = 132;
// Blocks for each of them, at most, that a product with few tiles is split into along its depth: two hide more latency
// than one, and each part more is written and read once more.
constexpr int SPLIT_WAVES = 2;
// Depth of a part is a multiple of this, and so every part but the last is whole stages of any loop …
constexpr int SPLIT_STEP = 32;
// … and, unless the product is not as deep, at least this: a part has to be worth its place in memory.
constexpr int SPLIT_LEAST = 64;
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
// Blocks at most of the same convolutions on tensor cores, which stride over tiles of pixels: four for each multiprocessor.
constexpr int FEW_TENSOR_BLOCKS = 528;
// Filters of a block of their forward pass …
constexpr int FEW_TENSOR_GROUP = 128;
// … and of their weight gradient, …
constexpr int FEW_TENSOR_FILTERS = 32;
// … of which there are so many parts at most.
constexpr int FEW_TENSOR_PARTS = 132;
// Rows and columns of dy that a block of their input gradient has for its own, times the stride those of dx.
constexpr int FEW_TENSOR_OWN = 8;
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
// Rows of the part of a wide tile on tensor cores that a warp sums.
constexpr int WIDE_WARP_M = 64;
// Columns of that part in tf32; the threads are those of other units.
constexpr int WIDE_WARP_N = 32;
// Columns of it in bf16, whose operands need no registers on their way: a warp loads a third less of shared memory for each sum …
constexpr int WIDE_BF16_WARP_N = 64;
// … and the tile has half as many threads.
constexpr int WIDE_BF16_THREADS = 128;
// Stages that copies fill in turn, of bf16: 48 KiB, as much as a kernel may have without asking.
constexpr int WIDE_STAGES = 3;
// Rows of a warp's part of a narrow tile.
constexpr int NARROW_WARP_M = 32;
// Columns of that part.
constexpr int NARROW_WARP_N = 32;
// Its stages: 32 KiB.
constexpr int NARROW_STAGES = 4;
