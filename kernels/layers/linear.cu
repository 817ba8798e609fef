#include "layers/linear.cuh"

// y = x w^T + b.
// x: [N, C]; w: [K, C]; b: [K] or null; y: [N, K]. Block (tile of N, tile of K). Overwrites y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(TILE_THREADS, linear_forward, Linear d, const real* x, const real* w, const real* b, real* y) {
    linear_forward_tile<Scalar>(d, x, w, b, y);
}

// dx = dy w.
// dy: [N, K]; w: [K, C]; dx: [N, C]. Block (tile of N, tile of C). Overwrites dx.
// Twin: Cpu::linear_backward_input in src/ops/layers/linear.rs.
KERNEL_BOUNDED(TILE_THREADS, linear_backward_input, Linear d, const real* dy, const real* w, real* dx) {
    linear_backward_input_tile<Scalar>(d, dy, w, dx);
}

// dw += dy^T x.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/layers/linear.rs.
KERNEL_BOUNDED(TILE_THREADS, linear_backward_weight, Linear d, const real* x, const real* dy, real* dw) {
    linear_backward_weight_tile<Scalar>(d, x, dy, dw);
}
