// What the passes of batch normalisation share: sizes, sums of columns over the rows of a group, and who sums what.
//
// Kernels that sum columns have blocks of COLUMN_THREADS_X × COLUMN_THREADS_Y threads: x is a column, the threads of one
// column share its rows.
//
//     threads     x = 0   1   2  … 31
//       y = 0     rows 0, 8, 16, … of column x
//       y = 1     rows 1, 9, 17, …
//       …
//
// A warp is one y, so that it reads 32 neighbouring numbers of a row at once.
#pragma once

#include "layers/activation.cuh"
#include "lib/last_block.cuh"
#include "lib/runs.cuh"

// Sizes and mode; BatchNorm of src/ops/layers/batch_norm.rs. A group has `rows` rows, of which a block sums `part_rows`, on each of
// `ranks` ranks.
struct BatchNorm {
    int groups, rows, c, part_rows, ranks;
    double epsilon, momentum;
};

// Threads of a block that sums columns.
constexpr int COLUMN_BLOCK = COLUMN_THREADS_X * COLUMN_THREADS_Y;

// Rows that a thread loads before it works on the first of them: it waits for memory once for all of these.
constexpr int ROWS_AT_ONCE = 8;
// The same of parts of a sum.
constexpr int PARTS_AT_ONCE = 8;

// Calls work(row, load(row)) for the rows from .. to that are this thread's, in their order. Beyond the last row load() is given
// one that is there, so that no branch comes between the loads.
template <int AT_ONCE = ROWS_AT_ONCE, class Load, class Work>
__device__ __forceinline__ void walk_rows(int from, int to, Load load, Work work) {
    for (int first = from + (int)threadIdx.y; first < to; first += COLUMN_THREADS_Y * AT_ONCE) {
        decltype(load(first)) loaded[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            int row = first + i * COLUMN_THREADS_Y;
            loaded[i] = load(row < to ? row : first);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            int row = first + i * COLUMN_THREADS_Y;
            if (row < to) {
                work(row, loaded[i]);
            }
        }
    }
}

// Adds up two columns' worth of sums over the rows of a block's threads: thread (x, 0) gets the sums of column x. Every
// thread of the block must come.
__device__ __forceinline__ double2 column_sums(double first, double second) {
    SHARED(double2, sums, [COLUMN_THREADS_Y][COLUMN_THREADS_X]);
    // The sums before these may still be read.
    __syncthreads();
    sums[threadIdx.y][threadIdx.x] = make_double2(first, second);
    __syncthreads();
    double2 total = sums[0][threadIdx.x];
    for (int y = 1; y < COLUMN_THREADS_Y; ++y) {
        total.x += sums[y][threadIdx.x].x;
        total.y += sums[y][threadIdx.x].y;
    }
    return total;
}

// A column's two sums over the parts of a group, in an order that never changes; partial: [groups, parts, 2, C]. Thread (x, 0)
// gets those of column x. Every thread of the block must come.
__device__ __forceinline__ double2 joined_parts(const BatchNorm& d, const double* partial, int group, int parts, int column) {
    double first = 0.0, second = 0.0;
    if (column < d.c) {
        auto load = [&](int part) {
            const double* source = partial + ((size_t)group * parts + part) * 2 * d.c;
            return make_double2(source[column], source[d.c + column]);
        };
        walk_rows<PARTS_AT_ONCE>(0, parts, load, [&](int, double2 sums) {
            first += sums.x;
            second += sums.y;
        });
    }
    return column_sums(first, second);
}

// Writes the sums of a part, which thread (x, 0) of the block has, where joined_parts() reads them.
__device__ __forceinline__ void keep_part(const BatchNorm& d, double2 total, int group, int part, int parts, int column,
                                          double* partial) {
    if (threadIdx.y == 0 && column < d.c) {
        double* target = partial + ((size_t)group * parts + part) * 2 * d.c;
        target[column] = total.x;
        target[d.c + column] = total.y;
    }
}

// Calls work(element, column, length) for every run of the elements of the group that is blockIdx.y, or for every element where they
// are not `in_runs`; element counts from the first group's first. The threads of the grid's row stride over them.
template <class Work>
__device__ __forceinline__ void for_each_run_of_group(const BatchNorm& d, bool in_runs, Work work) {
    size_t first = (size_t)blockIdx.y * d.rows;
    for_each_run_of_rows((size_t)d.rows, d.c, in_runs, [&](size_t row, int column, auto length) {
        work((first + row) * d.c + column, column, length);
    });
}
