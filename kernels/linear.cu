#include "linear.cuh"

// y = x w^T + b.
// x: [N, C]; w: [K, C]; b: [K] or null; y: [N, K]. Block (tile of N, tile of K). Overwrites y.
// Twin: Cpu::linear_forward in src/ops/linear.rs.
KERNEL_BOUNDED(TILE_THREADS, linear_forward, Linear d, const real* x, const real* w, const real* b, real* y) {
    linear_forward_tile<Scalar>(d, x, w, b, y);
}

// dx = dy w.
// dy: [N, K]; w: [K, C]; dx: [N, C]. Block (tile of N, tile of C). Overwrites dx.
// Twin: Cpu::linear_backward_input in src/ops/linear.rs.
KERNEL_BOUNDED(TILE_THREADS, linear_backward_input, Linear d, const real* dy, const real* w, real* dx) {
    linear_backward_input_tile<Scalar>(d, dy, w, dx);
}

// dw += dy^T x.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/linear.rs.
KERNEL_BOUNDED(TILE_THREADS, linear_backward_weight, Linear d, const real* x, const real* dy, real* dw) {
    linear_backward_weight_tile<Scalar>(d, x, dy, dw);
}

// Sums of COLUMN_ROWS rows, the first half of the gradient of a bias.
// source: [rows, columns]; partial: [parts, columns] in f64. Block (column block, part), threads (column, row).
// Overwrites partial.
// Twin: add_column_sums in src/device/gemm.rs.
KERNEL_BOUNDED(COLUMN_THREADS_X * COLUMN_THREADS_Y, column_sums_partial, int rows, int columns, const real* source,
               double* partial) {
    SHARED(double, sums, [COLUMN_THREADS_Y][COLUMN_THREADS_X]);
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    int from = (int)blockIdx.y * COLUMN_ROWS, to = from + COLUMN_ROWS < rows ? from + COLUMN_ROWS : rows;
    double sum = 0.0;
    if (column < columns) {
        for (int row = from + (int)threadIdx.y; row < to; row += COLUMN_THREADS_Y) {
            sum += (double)source[(size_t)row * columns + column];
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
