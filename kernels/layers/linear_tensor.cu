// The products of linear.cu on tensor cores. Their pointers are f32, as there; operands are rounded to tf32 or bf16 on
// their way, sums are f32. Compiled for f32 alone.
#include "layers/linear.cuh"
#include "lib/product_tensor.cuh"

// y = x w^T + b, or parts of it along C, in tf32 and in bf16.
// x: [N, C]; w: [K, C]; b: [K] or null; y: [parts, N, K]. Block (tile of N, tile of K, part). Overwrites y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_forward_tf32, Linear d, int part, const real* x, const real* w, const real* b,
               real* y) {
    linear_forward_tile<TensorUnits<Tf32, NarrowTensorTile>>(d, part, x, w, b, y);
}
KERNEL_BOUNDED(NARROW_THREADS, linear_forward_bf16, Linear d, int part, const real* x, const real* w, const real* b,
               real* y) {
    linear_forward_tile<TensorUnits<Bf16, NarrowTensorTile>>(d, part, x, w, b, y);
}

// y = x w^T + b with one column, of operands that are rounded as tensor cores would: linear_forward_single of linear.cu.
// x: [N, C]; w: [C]; b: [1] or null; y: [N]. A block a row; its threads stride over C. Overwrites y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(ROW_THREADS, linear_forward_tf32_single, Linear d, const real* x, const real* w, const real* b, real* y) {
    linear_forward_row<Tf32>(d, x, w, b, y);
}
KERNEL_BOUNDED(ROW_THREADS, linear_forward_bf16_single, Linear d, const real* x, const real* w, const real* b, real* y) {
    linear_forward_row<Bf16>(d, x, w, b, y);
}

// dx = dy w, or parts of it along K, in tf32 and in bf16.
// dy: [N, K]; w: [K, C]; dx: [parts, N, C]. Block (tile of N, tile of C, part). Overwrites dx.
// Twin: Cpu::linear_backward_input in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_input_tf32, Linear d, int part, const real* dy, const real* w,
               real* dx) {
    linear_backward_input_tile<TensorUnits<Tf32, NarrowTensorTile>>(d, part, dy, w, dx);
}
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_input_bf16, Linear d, int part, const real* dy, const real* w,
               real* dx) {
    linear_backward_input_tile<TensorUnits<Bf16, NarrowTensorTile>>(d, part, dy, w, dx);
}

// dw += dy^T x, in tf32 and in bf16.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_weight_tf32, Linear d, const real* x, const real* dy, real* dw) {
    linear_backward_weight_tile<TensorUnits<Tf32, NarrowTensorTile>>(d, x, dy, dw);
}
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_weight_bf16, Linear d, const real* x, const real* dy, real* dw) {
    linear_backward_weight_tile<TensorUnits<Bf16, NarrowTensorTile>>(d, x, dy, dw);
}
