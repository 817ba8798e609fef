// The products of conv2d.cu on tensor cores. Their pointers are f32, as there; operands are rounded to tf32 or bf16 on
// their way, sums are f32. Compiled for f32 alone; the parts of a weight gradient are joined by weight_gradient_add.
#include "layers/conv2d.cuh"
#include "lib/product_tensor.cuh"

// y[n, i, j, k] = b[k] + sum over r, s, c of x[n, i stride + r - padding, j stride + s - padding, c] w[k, r, s, c], or
// parts of it along the taps, `part` each.
// x: [N, H, W, C]; w: [K, R, S, C]; b: [K] or null; y: [parts, N, OH, OW, K]. Implicit GEMM: rows are output pixels,
// columns filters, depth R S C. Block (tile of pixels, tile of K, part). Overwrites y.
// Twin: Cpu::conv2d_forward in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(NARROW_THREADS, conv2d_forward_tf32, Conv2d d, int part, const real* x, const real* w, const real* b, real* y) {
    conv2d_forward_tile<TensorUnits<Tf32, NarrowTensorTile>>(d, part, x, w, b, y);
}
KERNEL_BOUNDED(NARROW_THREADS, conv2d_forward_bf16, Conv2d d, int part, const real* x, const real* w, const real* b, real* y) {
    conv2d_forward_tile<TensorUnits<Bf16, NarrowTensorTile>>(d, part, x, w, b, y);
}

// dx[n, h, w, c] = b[c] + sum over the taps that reach the pixel of dy[n, i, j, k] w[k, r, s, c].
// dy: [N, OH, OW, K]; w: [K, R, S, C]; b: [C] or null; dx: [parts, N, H, W, C]. The pixels with (h, w) congruent to (ph, pw)
// modulo the stride see the same taps: each such parity is a GEMM of its own, rows its pixels, columns channels, depth
// taps K, so nothing is multiplied by stuffed zeros; parts of it are `part` deep. Block (tile of pixels, tile of C, parity
// and part). Overwrites dx.
// Twin: Cpu::conv2d_backward_input in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(NARROW_THREADS, conv2d_backward_input_tf32, Conv2d d, int part, const real* dy, const real* w, const real* b,
               real* dx) {
    conv2d_backward_input_tile<TensorUnits<Tf32, NarrowTensorTile>>(d, part, dy, w, b, dx);
}
KERNEL_BOUNDED(NARROW_THREADS, conv2d_backward_input_bf16, Conv2d d, int part, const real* dy, const real* w, const real* b,
               real* dx) {
    conv2d_backward_input_tile<TensorUnits<Bf16, NarrowTensorTile>>(d, part, dy, w, b, dx);
}

// Parts of dw = dy^T windows(x): the sums over `part` output pixels each.
// x: [N, H, W, C]; dy: [N, OH, OW, K]; partial: [parts, K, R, S, C]. Rows are filters, columns taps, depth pixels. Block
// (tile of taps, tile of K, part). Overwrites partial.
// Twin: Cpu::conv2d_backward_weight in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(NARROW_THREADS, conv2d_backward_weight_partial_tf32, Conv2d d, int part, const real* x, const real* dy,
               real* partial) {
    conv2d_backward_weight_partial_tile<TensorUnits<Tf32, NarrowTensorTile>>(d, part, x, dy, partial);
}
KERNEL_BOUNDED(NARROW_THREADS, conv2d_backward_weight_partial_bf16, Conv2d d, int part, const real* x, const real* dy,
               real* partial) {
    conv2d_backward_weight_partial_tile<TensorUnits<Bf16, NarrowTensorTile>>(d, part, x, dy, partial);
}
