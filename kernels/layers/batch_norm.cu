#include "layers/batch_norm.cuh"

// Mean and inverse deviation of a column in a group.
struct Statistics {
    real mean, inverse;
};

// Sums of x - shift and (x - shift)^2 over rows `from` to `to` of a group [rows, C], for thread (x, 0); the shift is the
// group's first row, so that nothing large cancels in the variance. Every thread of the block must come.
template <int AT_ONCE = ROWS_AT_ONCE>
__device__ __forceinline__ double2 moments(const BatchNorm& d, const stored* group, int column, int from, int to) {
    double sum = 0.0, squares = 0.0;
    if (column < d.c) {
        real shift = group[column];
        auto load = [&](int row) -> real { return group[(size_t)row * d.c + column]; };
        walk_rows<AT_ONCE>(from, to, load, [&](int, real x) {
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
// x, y: [groups, rows, C]; gamma, beta: [C]; saved: [groups, 2, C]. Block (stride of a group's runs, group), threads stride over
// runs. Overwrites y. Limited by the bytes of x and y.
// Twin: the last part of Cpu::batch_norm_forward in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_normalise, BatchNorm d, Activation f, const stored* x, const real* gamma, const real* beta,
       const real* saved, stored* y) {
    const real* found = saved + (size_t)2 * blockIdx.y * d.c;
    bool in_runs = all_aligned_for_runs(STORED_RUN, x, gamma, beta, found, found + d.c, y);
    for_each_run_of_group(d, in_runs, [&](size_t at, int column, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> own = read_run<COUNT>(x + at), mean = read_run<COUNT>(found + column);
        Run<COUNT> inverse = read_run<COUNT>(found + d.c + column);
        Run<COUNT> scale = read_run<COUNT>(gamma + column), shift = read_run<COUNT>(beta + column), result;
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            result.values[e] = normalised(f, own.values[e], mean.values[e], inverse.values[e], scale.values[e], shift.values[e]);
        }
        write_run<COUNT>(y + at, result);
    });
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
        // With more rows at once registers spill on sm_120; the loop below spills with four on sm_100 too.
        double2 total = moments<4>(d, x + first, column, 0, d.rows);
        if (threadIdx.y == 0 && column < d.c) {
            found[threadIdx.x] = statistics(d, total, x[first + column], group, column, running, saved);
        }
        __syncthreads();
        if (column < d.c) {
            Statistics mine = found[threadIdx.x];
            real scale = gamma[column], shift = beta[column];
            auto at = [&](int row) { return first + (size_t)row * d.c + column; };
            auto load = [&](int row) -> real { return x[at(row)]; };
            walk_rows<2>(0, d.rows, load, [&](int row, real own) {
                y[at(row)] = normalised(f, own, mine.mean, mine.inverse, scale, shift);
            });
        }
    }
}

// y = f(gamma (x - mean) / sqrt(variance + epsilon) + beta) with the running statistics.
// x, y: [groups rows, C]; gamma, beta: [C]; running: [2, C]. The grid's threads stride over runs. Overwrites y.
// Twin: Cpu::batch_norm_eval in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_eval, BatchNorm d, Activation f, const stored* x, const real* gamma, const real* beta,
       const real* running, stored* y) {
    bool in_runs = all_aligned_for_runs(STORED_RUN, x, gamma, beta, running, running + d.c, y);
    for_each_run_of_rows((size_t)d.groups * d.rows, d.c, in_runs, [&](size_t row, int column, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> own = read_run<COUNT>(x + row * d.c + column), mean = read_run<COUNT>(running + column);
        Run<COUNT> variance = read_run<COUNT>(running + d.c + column);
        Run<COUNT> scale = read_run<COUNT>(gamma + column), shift = read_run<COUNT>(beta + column), result;
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            real inverse = (real)(1.0 / sqrt((double)variance.values[e] + d.epsilon));
            result.values[e] = normalised(f, own.values[e], mean.values[e], inverse, scale.values[e], shift.values[e]);
        }
        write_run<COUNT>(y + row * d.c + column, result);
    });
}

// The backward pass, and the tangent, from here on.

// What a gradient is that comes in: g = dy f'(y); `plain` takes dy itself.
__device__ __forceinline__ real incoming(Activation f, int plain, real y, real dy) {
    return plain ? dy : activation_slope(f, y) * dy;
}

// A column's mean and inverse deviation in a group: saved [groups, 2, C].
__device__ __forceinline__ real saved_mean(const BatchNorm& d, const real* saved, int group, int column) {
    return saved[(size_t)2 * group * d.c + column];
}
__device__ __forceinline__ real saved_inverse(const BatchNorm& d, const real* saved, int group, int column) {
    return saved[((size_t)2 * group + 1) * d.c + column];
}

// What both passes read of an element.
struct Element {
    real x, y, dy;
};

// Sums of g and g x_hat over rows `from` to `to` of a group, for thread (x, 0). Every thread of the block must come.
__device__ __forceinline__ double2 gradient_sums(const BatchNorm& d, Activation f, int plain, const stored* x, const stored* y,
                                                 const stored* dy, const real* saved, int group, int column, int from, int to) {
    double sum = 0.0, hats = 0.0;
    if (column < d.c) {
        real mean = saved_mean(d, saved, group, column), inverse = saved_inverse(d, saved, group, column);
        auto load = [&](int row) {
            size_t at = ((size_t)group * d.rows + row) * d.c + column;
            return Element{x[at], y[at], dy[at]};
        };
        walk_rows(from, to, load, [&](int, const Element& own) {
            real g = incoming(f, plain, own.y, own.dy);
            sum += (double)g;
            hats += (double)(g * ((own.x - mean) * inverse));
        });
    }
    return column_sums(sum, hats);
}

// dgamma and dbeta of a column, where they are wanted: a group's sums are added to what is there, or overwrite it. Groups must come
// in their order.
__device__ __forceinline__ void put_weight(real sum, real hats, int column, real* dgamma, real* dbeta, bool adds) {
    if (dgamma) {
        dgamma[column] = adds ? dgamma[column] + hats : hats;
        dbeta[column] = adds ? dbeta[column] + sum : sum;
    }
}

// Sums of g and g x_hat over every group. A block sums part_rows rows of a group; the last block of 32 columns joins all
// parts of all groups in their order, and adds them to dgamma and dbeta, or overwrites these unless `accumulate`.
// x, y, dy: [groups, rows, C]; saved, sums: [groups, 2, C]; partial: [groups, parts, 2, C] in f64; counters: one for each 32
// columns; dgamma, dbeta: [C], or both null. Block (column block, part, group), threads (column, row). Overwrites partial and
// sums, changes dgamma and dbeta. Limited by the bytes of x, y and dy.
// Twin: Cpu::batch_norm_backward in src/ops/layers/batch_norm/cpu.rs.
KERNEL_BOUNDED(COLUMN_BLOCK, batch_norm_backward_sums, BatchNorm d, Activation f, int plain, const stored* x, const stored* y,
               const stored* dy, const real* saved, double* partial, unsigned* counters, real* sums, real* dgamma,
               real* dbeta, int accumulate) {
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    int from = (int)blockIdx.y * d.part_rows, parts = (int)gridDim.y;
    int to = from + d.part_rows < d.rows ? from + d.part_rows : d.rows;
    double2 mine = gradient_sums(d, f, plain, x, y, dy, saved, (int)blockIdx.z, column, from, to);
    keep_part(d, mine, (int)blockIdx.z, (int)blockIdx.y, parts, column, partial);
    if (!is_last_block(counters + blockIdx.x, gridDim.y * gridDim.z)) {
        return;
    }
    for (int group = 0; group < d.groups; ++group) {
        double2 total = joined_parts(d, partial, group, parts, column);
        if (threadIdx.y == 0 && column < d.c) {
            sums[(size_t)2 * group * d.c + column] = (real)total.x;
            sums[((size_t)2 * group + 1) * d.c + column] = (real)total.y;
            put_weight((real)total.x, (real)total.y, column, dgamma, dbeta, accumulate || group > 0);
        }
    }
}

// What a column's elements have in common on their way back.
struct Projection {
    real mean, inverse, gamma, mean_gradient, mean_hats;
};

// dx of one element: gamma inverse (g - mean g - x_hat mean(g x_hat)); with `tangent` g is dy itself and the result is
// multiplied by f'(y).
__device__ __forceinline__ real projected(const Projection& p, Activation f, int tangent, real x, real y, real dy) {
    real x_hat = (x - p.mean) * p.inverse;
    real slope = activation_slope(f, y);
    real g = tangent ? dy : slope * dy;
    real result = p.gamma * p.inverse * (g - p.mean_gradient - x_hat * p.mean_hats);
    return tangent ? slope * result : result;
}

// dx = gamma inverse (g - mean g - x_hat mean(g x_hat)) with g = dy f'(y); with `tangent` g is dy itself and the result is
// multiplied by f'(y): the forward pass linearised.
// x, y, dy, dx: [groups, rows, C]; gamma: [C]; saved, sums: [groups, 2, C], of all ranks' rows. Block (stride of a group's runs,
// group), threads stride over runs. Overwrites dx. Limited by the bytes of x, y, dy and dx.
// Twin: Cpu::batch_norm_backward and Cpu::batch_norm_tangent in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_backward_input, BatchNorm d, Activation f, int tangent, const stored* x, const stored* y, const stored* dy,
       const real* gamma, const real* saved, const real* sums, stored* dx) {
    size_t group = (size_t)2 * blockIdx.y * d.c;
    real scale = (real)(1.0 / ((double)d.rows * d.ranks));
    bool in_runs = all_aligned_for_runs(STORED_RUN, x, y, dy, gamma, saved + group, sums + group, dx);
    for_each_run_of_group(d, in_runs, [&](size_t at, int column, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> own = read_run<COUNT>(x + at), out = read_run<COUNT>(y + at), gradient = read_run<COUNT>(dy + at), result;
        Run<COUNT> mean = read_run<COUNT>(saved + group + column), weight = read_run<COUNT>(gamma + column);
        Run<COUNT> inverse = read_run<COUNT>(saved + group + d.c + column);
        Run<COUNT> sum = read_run<COUNT>(sums + group + column), hats = read_run<COUNT>(sums + group + d.c + column);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            Projection p = {mean.values[e], inverse.values[e], weight.values[e], sum.values[e] * scale, hats.values[e] * scale};
            result.values[e] = projected(p, f, tangent, own.values[e], out.values[e], gradient.values[e]);
        }
        write_run<COUNT>(dx + at, result);
    });
}

// The whole backward pass, or the whole tangent pass, where a group has at most WHOLE_PASS_ROWS rows: a block sums its 32 columns,
// group by group, and projects them, so that one launch does what batch_norm_backward_sums and batch_norm_backward_input do in
// two.
// x, y, dy, dx: [groups, rows, C]; gamma: [C]; saved, sums: [groups, 2, C]; dgamma, dbeta: [C], or both null; dx may be null.
// Block (column block), threads (column, row). Overwrites sums and dx, changes dgamma and dbeta. Limited by latency: the
// second walk finds x, y and dy in the caches.
// Twin: Cpu::batch_norm_backward and Cpu::batch_norm_tangent in src/ops/layers/batch_norm/cpu.rs.
KERNEL_BOUNDED(COLUMN_BLOCK, batch_norm_backward, BatchNorm d, Activation f, int tangent, const stored* x, const stored* y,
               const stored* dy, const real* gamma, const real* saved, real* sums, stored* dx, real* dgamma, real* dbeta,
               int accumulate) {
    SHARED(double2, totals, [COLUMN_THREADS_X]);
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    real scale = (real)(1.0 / d.rows);
    for (int group = 0; group < d.groups; ++group) {
        double2 total = gradient_sums(d, f, tangent, x, y, dy, saved, group, column, 0, d.rows);
        if (threadIdx.y == 0 && column < d.c) {
            totals[threadIdx.x] = total;
            sums[(size_t)2 * group * d.c + column] = (real)total.x;
            sums[((size_t)2 * group + 1) * d.c + column] = (real)total.y;
            put_weight((real)total.x, (real)total.y, column, dgamma, dbeta, accumulate || group > 0);
        }
        __syncthreads();
        if (column < d.c && dx) {
            double2 joined = totals[threadIdx.x];
            Projection p = {saved_mean(d, saved, group, column), saved_inverse(d, saved, group, column), gamma[column],
                            (real)joined.x * scale, (real)joined.y * scale};
            auto at = [&](int row) { return ((size_t)group * d.rows + row) * d.c + column; };
            auto load = [&](int row) { return Element{x[at(row)], y[at(row)], dy[at(row)]}; };
            walk_rows(0, d.rows, load, [&](int row, const Element& own) {
                dx[at(row)] = projected(p, f, tangent, own.x, own.y, own.dy);
            });
        }
    }
}
