#include "layers/batch_norm.cuh"

// Mean and inverse deviation of a column in a group.
struct Statistics {
    real mean, inverse;
};

// Sums of x - shift and (x - shift)^2 over rows `from` to `to` of a group [rows, C], for thread (x, 0); the shift is the
// group's first row, so that nothing large cancels in the variance. Every thread of the block must come.
__device__ __forceinline__ double2 moments(const BatchNorm& d, const stored* group, int column, int from, int to) {
    double sum = 0.0, squares = 0.0;
    if (column < d.c) {
        real shift = group[column];
        auto load = [&](int row) -> real { return group[(size_t)row * d.c + column]; };
        walk_rows(from, to, load, [&](int, real x) {
            double moved = (double)(x - shift);
            sum += moved;
            squares += moved * moved;
        });
    }
    return column_sums(sum, squares);
}

// Writes the statistics of a group of `count` rows to saved [groups, 2, C], and takes the step of the running statistics [2, C].
// Groups must come in their order.
__device__ __forceinline__ void keep(const BatchNorm& d, Statistics found, double count, int group, int column, real* running,
                                     real* saved) {
    double unbias = count / (count > 2.0 ? count - 1.0 : 1.0);
    saved[(size_t)2 * group * d.c + column] = found.mean;
    saved[((size_t)2 * group + 1) * d.c + column] = found.inverse;
    // The variance as the rounded inverse says it, which is what the CPU follows.
    double said = 1.0 / ((double)found.inverse * (double)found.inverse) - d.epsilon;
    said = said > 0.0 ? said : 0.0;
    running[column] = (real)((1.0 - d.momentum) * (double)running[column] + d.momentum * (double)found.mean);
    running[d.c + column] =
        (real)((1.0 - d.momentum) * (double)running[d.c + column] + d.momentum * (said * unbias));
}

// The statistics of a group from the sums that moments() gives, kept.
__device__ __forceinline__ Statistics statistics(const BatchNorm& d, double2 sums, real shift, int group, int column,
                                                 real* running, real* saved) {
    double count = (double)d.rows;
    double mean = sums.x / count, variance = sums.y / count - mean * mean;
    variance = variance > 0.0 ? variance : 0.0;
    Statistics found = {(real)((double)shift + mean), (real)(1.0 / sqrt(variance + d.epsilon))};
    keep(d, found, count, group, column, running, saved);
    return found;
}

// Mean and inverse deviation of every group, and the running statistics' step. A block sums part_rows rows of a group; the
// last block of 32 columns joins all parts of all groups in their order.
// x: [groups, rows, C]; partial: [groups, parts, 2, C] in f64; counters: one for each 32 columns; running: [2, C]; saved:
// [groups, 2, C]. Block (column block, part, group), threads (column, row). Overwrites partial and saved, changes running.
// Limited by the bytes of x, or where there are few parts by the latency of a block's walk.
// Twin: the first half of Cpu::batch_norm_forward in src/ops/layers/batch_norm/cpu.rs.
KERNEL_BOUNDED(COLUMN_BLOCK, batch_norm_statistics, BatchNorm d, const stored* x, double* partial, unsigned* counters,
               real* running, real* saved) {
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    int from = (int)blockIdx.y * d.part_rows, parts = (int)gridDim.y;
    int to = from + d.part_rows < d.rows ? from + d.part_rows : d.rows;
    double2 mine = moments(d, x + (size_t)blockIdx.z * d.rows * d.c, column, from, to);
    keep_part(d, mine, (int)blockIdx.z, (int)blockIdx.y, parts, column, partial);
    if (!is_last_block(counters + blockIdx.x, gridDim.y * gridDim.z)) {
        return;
    }
    for (int group = 0; group < d.groups; ++group) {
        double2 total = joined_parts(d, partial, group, parts, column);
        if (threadIdx.y == 0 && column < d.c) {
            statistics(d, total, x[(size_t)group * d.rows * d.c + column], group, column, running, saved);
        }
    }
}

// The statistics of the rows of all ranks from those of each, which have as many; and the running statistics' step.
// gathered: [ranks, groups, 2, C]; running: [2, C]; saved: [groups, 2, C]. The grid's threads stride over the columns. Overwrites
// saved, changes running. Limited by latency: a column is a few numbers.
// Twin: Cpu::batch_norm_join in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_join, BatchNorm d, const real* gathered, real* running, real* saved) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.c) {
        int column = (int)i;
        for (int group = 0; group < d.groups; ++group) {
            const real* first = gathered + (size_t)2 * group * d.c + column;
            size_t rank_len = (size_t)2 * d.groups * d.c;
            double mean = 0.0, squares = 0.0;
            for (int rank = 0; rank < d.ranks; ++rank) {
                mean += (double)first[rank * rank_len];
            }
            mean /= d.ranks;
            for (int rank = 0; rank < d.ranks; ++rank) {
                double off = (double)first[rank * rank_len] - mean, inverse = (double)first[rank * rank_len + d.c];
                // Each variance has its epsilon, and their mean has one.
                squares += 1.0 / (inverse * inverse) + off * off;
            }
            Statistics found = {(real)mean, (real)(1.0 / sqrt(squares / d.ranks))};
            keep(d, found, (double)d.rows * d.ranks, group, column, running, saved);
        }
    }
}

// y of one element.
__device__ __forceinline__ real normalised(Activation f, real x, real mean, real inverse, real gamma, real beta) {
    return activation_value(f, (x - mean) * inverse * gamma + beta);
}

// y = f(gamma (x - mean) inverse + beta) with the statistics of each group.
// x, y: [groups, rows, C]; gamma, beta: [C]; saved: [groups, 2, C]. The grid's threads stride over the elements. Overwrites y.
// Twin: the last part of Cpu::batch_norm_forward in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_normalise, BatchNorm d, Activation f, const stored* x, const real* gamma, const real* beta,
       const real* saved, stored* y) {
    unsigned long long group_len = (unsigned long long)d.rows * d.c;
    FOR_EACH_ELEMENT(i, d.groups * group_len) {
        int column = (int)(i % d.c);
        const real* found = saved + i / group_len * 2 * d.c;
        y[i] = normalised(f, x[i], found[column], found[d.c + column], gamma[column], beta[column]);
    }
}

// The whole forward pass where a group has at most WHOLE_PASS_ROWS rows: a block finds the statistics of its 32 columns, group by
// group, and normalises them, so that one launch does what batch_norm_statistics and batch_norm_normalise do in two.
// x, y: [groups, rows, C]; gamma, beta: [C]; running: [2, C]; saved: [groups, 2, C]. Block (column block), threads (column,
// row). Overwrites y and saved, changes running. Limited by latency: the second walk finds x in the caches.
// Twin: Cpu::batch_norm_forward in src/ops/layers/batch_norm/cpu.rs.
KERNEL_BOUNDED(COLUMN_BLOCK, batch_norm_forward, BatchNorm d, Activation f, const stored* x, const real* gamma,
               const real* beta, real* running, real* saved, stored* y) {
    SHARED(Statistics, found, [COLUMN_THREADS_X]);
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    for (int group = 0; group < d.groups; ++group) {
        size_t first = (size_t)group * d.rows * d.c;
        double2 total = moments(d, x + first, column, 0, d.rows);
        if (threadIdx.y == 0 && column < d.c) {
            found[threadIdx.x] = statistics(d, total, x[first + column], group, column, running, saved);
        }
        __syncthreads();
        if (column < d.c) {
            Statistics mine = found[threadIdx.x];
            real scale = gamma[column], shift = beta[column];
            auto at = [&](int row) { return first + (size_t)row * d.c + column; };
            auto load = [&](int row) -> real { return x[at(row)]; };
            // With four rows at once registers spill on sm_100 and sm_120.
            walk_rows<2>(0, d.rows, load, [&](int row, real own) {
                y[at(row)] = normalised(f, own, mine.mean, mine.inverse, scale, shift);
            });
        }
    }
}

// y = f(gamma (x - mean) / sqrt(variance + epsilon) + beta) with the running statistics.
// x, y: [groups rows, C]; gamma, beta: [C]; running: [2, C]. The grid's threads stride over the elements. Overwrites y.
// Twin: Cpu::batch_norm_eval in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_eval, BatchNorm d, Activation f, const stored* x, const real* gamma, const real* beta,
       const real* running, stored* y) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.groups * d.rows * d.c) {
        int column = (int)(i % d.c);
        real inverse = (real)(1.0 / sqrt((double)running[d.c + column] + d.epsilon));
        y[i] = normalised(f, x[i], running[column], inverse, gamma[column], beta[column]);
    }
}
