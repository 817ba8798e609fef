#include "layers/linear.cuh"

// y = x w^T + b, or parts of it along C, `part` columns of x and w each.
// x: [N, C]; w: [K, C]; b: [K] or null; y: [parts, N, K]. Block (tile of N, tile of K, part). Overwrites y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_forward, Linear d, int part, const real* x, const real* w, const real* b, real* y) {
    linear_forward_tile<PlainUnits<NarrowTile>>(d, part, x, w, b, y);
}

// dx = dy w, or parts of it along K, `part` columns of dy and rows of w each.
// dy: [N, K]; w: [K, C]; dx: [parts, N, C]. Block (tile of N, tile of C, part). Overwrites dx.
// Twin: Cpu::linear_backward_input in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_input, Linear d, int part, const real* dy, const real* w, real* dx) {
    linear_backward_input_tile<PlainUnits<NarrowTile>>(d, part, dy, w, dx);
}

// dw += dy^T x.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_weight, Linear d, const real* x, const real* dy, real* dw) {
    linear_backward_weight_tile<PlainUnits<NarrowTile>>(d, x, dy, dw);
}

// y = the sum of the parts, in their order, + b.
// partial: [parts, N, K]; b: [K] or null; y: [N, K], count elements. The grid's threads stride over the elements, so that
// each reads its parts in turn and neighbours read neighbours. Overwrites y. As fast as memory.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs, whose sum has no parts.
KERNEL(linear_join_parts, int parts, int k, unsigned long long count, const real* partial, const real* b, real* y) {
    FOR_EACH_ELEMENT(i, count) {
        real total = partial[i];
        for (int part = 1; part < parts; ++part) {
            total += partial[(size_t)part * count + i];
        }
        y[i] = b ? total + b[i % k] : total;
    }
}

// y = x w^T + b with one column: y[n] is the product of a row of x and w, which is the last layer of a critic.
// x: [N, C]; w: [C]; b: [1] or null; y: [N]. A block a row; its threads stride over C, and their sums are added as
// block_sum does. Sums are f64. Overwrites y. Bound by latency: some loads a thread, and the barriers of the sum.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(ROW_THREADS, linear_forward_single, Linear d, const real* x, const real* w, const real* b, real* y) {
    linear_forward_row<Unrounded>(d, x, w, b, y);
}

// Sums of COLUMN_ROWS rows, the first half of the gradient of a bias; with scales, one for each row, of a weight with one
// output. Row i is first added to row i + rows / 2, in f64, so that what cancels between real images and fakes leaves
// nothing: add_column_sums in src/device/gemm.rs says why it must.
// source: [rows, columns]; scales: [rows] or null, which are ones; partial: [parts, columns] in f64. Block (column block,
// part), threads (column, pair of rows). Overwrites partial.
// Twin: add_column_sums and add_scaled_column_sums in src/device/gemm.rs.
KERNEL_BOUNDED(COLUMN_THREADS_X * COLUMN_THREADS_Y, column_sums_partial, int rows, int columns, const real* source,
               const real* scales, double* partial) {
    SHARED(double, sums, [COLUMN_THREADS_Y][COLUMN_THREADS_X]);
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x), pairs = (rows + 1) / 2;
    int from = (int)blockIdx.y * (COLUMN_ROWS / 2), to = from + COLUMN_ROWS / 2 < pairs ? from + COLUMN_ROWS / 2 : pairs;
    double sum = 0.0;
    if (column < columns) {
        for (int row = from + (int)threadIdx.y; row < to; row += COLUMN_THREADS_Y) {
            int far = row + pairs;
            double pair = (scales ? (double)scales[row] : 1.0) * (double)source[(size_t)row * columns + column];
            if (far < rows) {
                pair += (scales ? (double)scales[far] : 1.0) * (double)source[(size_t)far * columns + column];
            }
            sum += pair;
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        double total = 0.0;
        for (int y = 0; y < COLUMN_THREADS_Y; ++y) {
            total += sums[y][threadIdx.x];
        }
        partial[(size_t)blockIdx.y * columns + column] = total;
    }
}

// target[column] += the sum of the parts, in their order.
// partial: [parts, columns]; target: [columns]. A thread a column. Changes target.
// Twin: add_column_sums in src/device/gemm.rs.
KERNEL(column_sums_add, int parts, int columns, const double* partial, real* target) {
    FOR_EACH_ELEMENT(column, (unsigned long long)columns) {
        double total = 0.0;
        for (int part = 0; part < parts; ++part) {
            total += partial[(size_t)part * columns + column];
        }
        target[column] += (real)total;
    }
}
