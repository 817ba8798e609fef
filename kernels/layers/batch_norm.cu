#include "layers/activation.cuh"

// Sizes and mode; BatchNorm of src/ops/layers/batch_norm.rs. A group has `rows` rows.
struct BatchNorm {
    int groups, rows, c;
    double epsilon, momentum;
};

// Adds up two columns' worth of sums over the rows of a block's threads: thread (x, 0) gets the sums of column x. Threads
// are COLUMN_THREADS_X × COLUMN_THREADS_Y; every thread of the block must come.
__device__ __forceinline__ double2 column_sums(double first, double second) {
    SHARED(double2, sums, [COLUMN_THREADS_Y][COLUMN_THREADS_X]);
    sums[threadIdx.y][threadIdx.x] = make_double2(first, second);
    __syncthreads();
    double2 total = sums[0][threadIdx.x];
    for (int y = 1; y < COLUMN_THREADS_Y; ++y) {
        total.x += sums[y][threadIdx.x].x;
        total.y += sums[y][threadIdx.x].y;
    }
    return total;
}

// Sums of x - shift and (x - shift)^2 of COLUMN_ROWS rows of a group; the shift is the group's first row, so that
// nothing large cancels in the variance.
// x: [groups, rows, C]; partial: [groups, parts, 2, C] in f64. Block (column block, part, group), threads (column, row).
// Overwrites partial.
// Twin: the first half of Cpu::batch_norm_forward in src/ops/layers/batch_norm/cpu.rs.
KERNEL_BOUNDED(COLUMN_THREADS_X * COLUMN_THREADS_Y, batch_norm_moments, BatchNorm d, const real* x, double* partial) {
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    int from = (int)blockIdx.y * COLUMN_ROWS;
    int to = from + COLUMN_ROWS < d.rows ? from + COLUMN_ROWS : d.rows;
    const real* group = x + (size_t)blockIdx.z * d.rows * d.c;
    double sum = 0.0, squares = 0.0;
    if (column < d.c) {
        real shift = group[column];
        for (int row = from + (int)threadIdx.y; row < to; row += COLUMN_THREADS_Y) {
            double moved = (double)(group[(size_t)row * d.c + column] - shift);
            sum += moved;
            squares += moved * moved;
        }
    }
    double2 total = column_sums(sum, squares);
    if (threadIdx.y == 0 && column < d.c) {
        double* target = partial + ((size_t)blockIdx.z * gridDim.y + blockIdx.y) * 2 * d.c;
        target[column] = total.x;
        target[d.c + column] = total.y;
    }
}

// Mean and inverse deviation of every group from the partial sums, and the running statistics' step, group by group.
// x: [groups, rows, C] (its first rows are the shifts); partial: [groups, parts, 2, C]; running: [2, C]; saved: [groups,
// 2, C]. A thread a channel. Overwrites saved, changes running.
// Twin: the second half of Cpu::batch_norm_forward in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_statistics, BatchNorm d, int parts, const real* x, const double* partial, real* running, real* saved) {
    FOR_EACH_ELEMENT(column, (unsigned long long)d.c) {
        double count = (double)d.rows, unbias = count / (count > 2.0 ? count - 1.0 : 1.0);
        for (int group = 0; group < d.groups; ++group) {
            double sum = 0.0, squares = 0.0;
            for (int part = 0; part < parts; ++part) {
                const double* source = partial + ((size_t)group * parts + part) * 2 * d.c;
                sum += source[column];
                squares += source[d.c + column];
            }
            double mean = sum / count, variance = squares / count - mean * mean;
            variance = variance > 0.0 ? variance : 0.0;
            real shifted = (real)((double)x[(size_t)group * d.rows * d.c + column] + mean);
            real inverse = (real)(1.0 / sqrt(variance + d.epsilon));
            saved[(size_t)2 * group * d.c + column] = shifted;
            saved[((size_t)2 * group + 1) * d.c + column] = inverse;
            // The variance as the rounded inverse says it, which is what the CPU follows.
            double said = 1.0 / ((double)inverse * (double)inverse) - d.epsilon;
            said = said > 0.0 ? said : 0.0;
            running[column] = (real)((1.0 - d.momentum) * (double)running[column] + d.momentum * (double)shifted);
            running[d.c + column] =
                (real)((1.0 - d.momentum) * (double)running[d.c + column] + d.momentum * (said * unbias));
        }
    }
}

// y = f(gamma (x - mean) inverse + beta) with the statistics of each group.
// x, y: [groups, rows, C]; gamma, beta: [C]; saved: [groups, 2, C]. The grid's threads stride over the elements. Overwrites y.
// Twin: the last part of Cpu::batch_norm_forward in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_normalise, BatchNorm d, Activation f, const real* x, const real* gamma, const real* beta,
       const real* saved, real* y) {
    unsigned long long group_len = (unsigned long long)d.rows * d.c;
    FOR_EACH_ELEMENT(i, d.groups * group_len) {
        int column = (int)(i % d.c);
        const real* statistics = saved + i / group_len * 2 * d.c;
        real x_hat = (x[i] - statistics[column]) * statistics[d.c + column];
        y[i] = activation_value(f, x_hat * gamma[column] + beta[column]);
    }
}

// y = f(gamma (x - mean) / sqrt(variance + epsilon) + beta) with the running statistics.
// x, y: [groups rows, C]; gamma, beta: [C]; running: [2, C]. The grid's threads stride over the elements. Overwrites y.
// Twin: Cpu::batch_norm_eval in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_eval, BatchNorm d, Activation f, const real* x, const real* gamma, const real* beta,
       const real* running, real* y) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.groups * d.rows * d.c) {
        int column = (int)(i % d.c);
        real inverse = (real)(1.0 / sqrt((double)running[d.c + column] + d.epsilon));
        y[i] = activation_value(f, (x[i] - running[column]) * inverse * gamma[column] + beta[column]);
    }
}

// Sums of g and g x_hat of COLUMN_ROWS rows of a group, g = dy f'(y), or dy itself where `plain`.
// x, y, dy: [groups, rows, C]; saved: [groups, 2, C]; partial: [groups, parts, 2, C] in f64. Block (column block, part,
// group), threads (column, row). Overwrites partial.
// Twin: Cpu::batch_norm_backward_sums in src/ops/layers/batch_norm/cpu.rs.
KERNEL_BOUNDED(COLUMN_THREADS_X * COLUMN_THREADS_Y, batch_norm_backward_partial, BatchNorm d, Activation f, int plain,
               const real* x, const real* y, const real* dy, const real* saved, double* partial) {
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    int from = (int)blockIdx.y * COLUMN_ROWS;
    int to = from + COLUMN_ROWS < d.rows ? from + COLUMN_ROWS : d.rows;
    double sum = 0.0, hats = 0.0;
    if (column < d.c) {
        real mean = saved[(size_t)blockIdx.z * 2 * d.c + column];
        real inverse = saved[((size_t)blockIdx.z * 2 + 1) * d.c + column];
        for (int row = from + (int)threadIdx.y; row < to; row += COLUMN_THREADS_Y) {
            size_t at = ((size_t)blockIdx.z * d.rows + row) * d.c + column;
            real g = plain ? dy[at] : activation_slope(f, y[at]) * dy[at];
            sum += (double)g;
            hats += (double)(g * ((x[at] - mean) * inverse));
        }
    }
    double2 total = column_sums(sum, hats);
    if (threadIdx.y == 0 && column < d.c) {
        double* target = partial + ((size_t)blockIdx.z * gridDim.y + blockIdx.y) * 2 * d.c;
        target[column] = total.x;
        target[d.c + column] = total.y;
    }
}

// Adds up the partial sums in their order: sums[group, half, column] = sum over parts.
// partial: [groups, parts, 2, C]; sums: [groups, 2, C]. The grid's threads stride over the sums. Overwrites sums.
// Twin: Cpu::batch_norm_backward_sums in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_backward_sums, BatchNorm d, int parts, const double* partial, real* sums) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.groups * 2 * d.c) {
        size_t group = i / (2 * d.c), rest = i % (2 * d.c);
        double total = 0.0;
        for (int part = 0; part < parts; ++part) {
            total += partial[(group * parts + part) * 2 * d.c + rest];
        }
        sums[i] = (real)total;
    }
}

// dx = gamma inverse (g - mean g - x_hat mean(g x_hat)) with g = dy f'(y); with `tangent` g is dy itself and the result is
// multiplied by f'(y): the forward pass linearised.
// x, y, dy, dx: [groups, rows, C]; gamma: [C]; saved, sums: [groups, 2, C]. The grid's threads stride over the elements.
// Overwrites dx.
// Twin: Cpu::batch_norm_backward_input and Cpu::batch_norm_tangent in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_backward_input, BatchNorm d, Activation f, int tangent, const real* x, const real* y, const real* dy,
       const real* gamma, const real* saved, const real* sums, real* dx) {
    unsigned long long group_len = (unsigned long long)d.rows * d.c;
    real scale = (real)(1.0 / d.rows);
    FOR_EACH_ELEMENT(i, d.groups * group_len) {
        int column = (int)(i % d.c);
        size_t group = i / group_len * 2 * d.c;
        real inverse = saved[group + d.c + column];
        real x_hat = (x[i] - saved[group + column]) * inverse;
        real slope = activation_slope(f, y[i]);
        real g = tangent ? dy[i] : slope * dy[i];
        real centred = g - sums[group + column] * scale - x_hat * (sums[group + d.c + column] * scale);
        real result = gamma[column] * inverse * centred;
        dx[i] = tangent ? slope * result : result;
    }
}

// dgamma += sum g x_hat, dbeta += sum g, over all groups in order.
// sums: [groups, 2, C]; dgamma, dbeta: [C]. A thread a channel. Changes dgamma and dbeta.
// Twin: Cpu::batch_norm_backward_weight in src/ops/layers/batch_norm/cpu.rs.
KERNEL(batch_norm_backward_weight, BatchNorm d, const real* sums, real* dgamma, real* dbeta) {
    FOR_EACH_ELEMENT(column, (unsigned long long)d.c) {
        real gamma = dgamma[column], beta = dbeta[column];
        for (int group = 0; group < d.groups; ++group) {
            beta += sums[(size_t)group * 2 * d.c + column];
            gamma += sums[((size_t)group * 2 + 1) * d.c + column];
        }
        dgamma[column] = gamma;
        dbeta[column] = beta;
    }
}
