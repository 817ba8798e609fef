#include "lib/last_block.cuh"

// Threads of a block, COLUMN_THREADS_X columns times COLUMN_THREADS_Y threads that share the rows of a column.
constexpr int COLUMN_BLOCK = COLUMN_THREADS_X * COLUMN_THREADS_Y;

// Pairs of rows that a thread loads before it adds the first of them: it waits for memory once for all of these.
constexpr int PAIRS_AT_ONCE = 4;

// What is summed, part_pairs pairs of rows a block. source: [rows, columns]. scales: [rows], by which rows are multiplied, or
// null, which are ones.
// With `scales_too` there is one column more behind those of the source, of the scales themselves.
struct Columns {
    int rows, columns, part_pairs, scales_too;
    const stored* source;
    const stored* scales;
};

// The element of a row in a column, scaled.
__device__ __forceinline__ double scaled(const Columns& d, int row, int column) {
    double scale = d.scales ? (double)d.scales[row] : 1.0;
    return column == d.columns ? scale : scale * (double)d.source[(size_t)row * d.columns + column];
}

// Sums part_pairs pairs of rows of COLUMN_THREADS_X columns, and in the last block of these columns adds up the parts in
// their order and adds the result to its target, or overwrites that. Row i is first added to row i + rows / 2, in f64, so that
// what cancels between real images and fakes leaves nothing: add_column_sums in src/device/gemm.rs says why it must.
// `block` is one of columns, `part` one of `parts` of the rows; partial: [parts, columns] in f64; counters: one for each block of
// columns; target: [columns]; target_of_scales: one.
__device__ __forceinline__ void add_column_sums(const Columns& d, int block, int part, int parts, double* partial,
                                                unsigned* counters, real* target, real* target_of_scales, bool accumulate) {
    SHARED(double, sums, [COLUMN_THREADS_Y][COLUMN_THREADS_X]);
    int lane = (int)threadIdx.x % COLUMN_THREADS_X, y = (int)threadIdx.x / COLUMN_THREADS_X;
    int column = block * COLUMN_THREADS_X + lane, columns = d.columns + d.scales_too, pairs = (d.rows + 1) / 2;
    int from = part * d.part_pairs, to = from + d.part_pairs < pairs ? from + d.part_pairs : pairs;
    double sum = 0.0;
    if (column < columns) {
        for (int first = from + y; first < to; first += COLUMN_THREADS_Y * PAIRS_AT_ONCE) {
            double near[PAIRS_AT_ONCE], far[PAIRS_AT_ONCE];
#pragma unroll
            for (int i = 0; i < PAIRS_AT_ONCE; ++i) {
                // Beyond the last pair another row is read, and not used: no branch comes between the loads.
                int row = first + i * COLUMN_THREADS_Y < to ? first + i * COLUMN_THREADS_Y : first;
                near[i] = scaled(d, row, column);
                far[i] = scaled(d, row + pairs < d.rows ? row + pairs : row, column);
            }
#pragma unroll
            for (int i = 0; i < PAIRS_AT_ONCE; ++i) {
                int row = first + i * COLUMN_THREADS_Y;
                if (row < to) {
                    sum += row + pairs < d.rows ? near[i] + far[i] : near[i];
                }
            }
        }
    }
    sums[y][lane] = sum;
    __syncthreads();
    if (y == 0 && column < columns) {
        double total = 0.0;
        for (int other = 0; other < COLUMN_THREADS_Y; ++other) {
            total += sums[other][lane];
        }
        partial[(size_t)part * columns + column] = total;
    }
    if (!is_last_block(counters + block, (unsigned)parts)) {
        return;
    }
    sum = 0.0;
#pragma unroll 4
    for (int other = y; column < columns && other < parts; other += COLUMN_THREADS_Y) {
        sum += partial[(size_t)other * columns + column];
    }
    // All have read the sums before: is_last_block() is a barrier.
    sums[y][lane] = sum;
    __syncthreads();
    if (y == 0 && column < columns) {
        double total = 0.0;
        for (int other = 0; other < COLUMN_THREADS_Y; ++other) {
            total += sums[other][lane];
        }
        real* place = column == d.columns ? target_of_scales : target + column;
        *place = accumulate ? *place + (real)total : (real)total;
    }
}

// target[column] = the sum of a column, or it is added with `accumulate`: the gradient of a bias; with scales, that of a weight
// with one output, and the sum of the scales beside it, which is that of its bias.
// source: [rows, columns]; scales: [rows] or null; partial: [parts, columns, and one more for the scales] in f64; counters: one
// for each block of columns; target: [columns]; target_of_scales: one, or null where it is not wanted. Block (column block,
// part), threads (column, pair of rows) in one dimension. Overwrites partial, changes target and target_of_scales. Limited by
// the bytes of the source, or by latency where it is small.
// Twin: add_column_sums and add_scaled_column_sums in src/device/gemm.rs.
KERNEL_BOUNDED(COLUMN_BLOCK, column_sums, int rows, int columns, int part_pairs, const stored* source, const stored* scales,
               double* partial, unsigned* counters, real* target, real* target_of_scales, int accumulate) {
    Columns d = {rows, columns, part_pairs, target_of_scales ? 1 : 0, source, scales};
    add_column_sums(d, (int)blockIdx.x, (int)blockIdx.y, (int)gridDim.y, partial, counters, target, target_of_scales,
                    accumulate);
}

// The end of a convolution's weight gradient: dw = the sum of its parts, in their order, and db = the sums of dy's columns; both are
// added to what is there with `accumulate`.
// Both are short, and neither waits for the other, so they are blocks of one launch: `add_blocks` that stride over dw, then,
// where there is a bias, `column_blocks` for each part of dy's rows.
// dw_parts: [dw_part_count, count]; dw: [count]; dy: [rows, columns]; partial: [parts, columns] in f64; counters: one for
// each column block; db: [columns], or null where it is not wanted. Threads in one dimension. Overwrites partial, changes dw
// and db. Limited by the bytes of dw's parts and of dy.
// Twin: Cpu::conv2d_backward_weight in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(COLUMN_BLOCK, weight_gradient_add, int dw_part_count, unsigned long long count, const real* dw_parts,
               real* dw, int add_blocks, int column_blocks, int rows, int columns, int part_pairs, const stored* dy,
               double* partial, unsigned* counters, real* db, int accumulate) {
    if ((int)blockIdx.x >= add_blocks) {
        int block = ((int)blockIdx.x - add_blocks) % column_blocks, part = ((int)blockIdx.x - add_blocks) / column_blocks;
        int parts = ((int)gridDim.x - add_blocks) / column_blocks;
        Columns d = {rows, columns, part_pairs, 0, dy, nullptr};
        add_column_sums(d, block, part, parts, partial, counters, db, nullptr, accumulate);
        return;
    }
    unsigned long long step = (unsigned long long)add_blocks * COLUMN_BLOCK;
    for (unsigned long long i = blockIdx.x * (unsigned long long)COLUMN_BLOCK + threadIdx.x; i < count; i += step) {
        real total = (real)0;
#pragma unroll 4
        for (int part = 0; part < dw_part_count; ++part) {
            total += dw_parts[(size_t)part * count + i];
        }
        dw[i] = accumulate ? dw[i] + total : total;
    }
}
