#include "layers/batch_norm.cuh"

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
// x, y, dy, dx: [groups, rows, C]; gamma: [C]; saved, sums: [groups, 2, C], of all ranks' rows. The grid's threads stride over the
// elements. Overwrites dx.
// Twin: Cpu::batch_norm_backward and Cpu::batch_norm_tangent in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_backward_input, BatchNorm d, Activation f, int tangent, const stored* x, const stored* y, const stored* dy,
       const real* gamma, const real* saved, const real* sums, stored* dx) {
    unsigned long long group_len = (unsigned long long)d.rows * d.c;
    real scale = (real)(1.0 / ((double)d.rows * d.ranks));
    FOR_EACH_ELEMENT(i, d.groups * group_len) {
        int column = (int)(i % d.c);
        size_t group = i / group_len * 2 * d.c;
        Projection p = {saved[group + column], saved[group + d.c + column], gamma[column], sums[group + column] * scale,
                        sums[group + d.c + column] * scale};
        dx[i] = projected(p, f, tangent, x[i], y[i], dy[i]);
    }
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
