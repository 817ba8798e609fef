// The products of linear.cu on tensor cores. Their pointers are f32, as there; operands are rounded to tf32 or bf16 on
// their way, sums are f32. Compiled for f32 alone.
#include "layers/linear.cuh"
#include "lib/product_tensor.cuh"

// y = x w^T + b, in tf32 and in bf16.
// x: [N, C]; w: [K, C]; b: [K] or null; y: [N, K]. Block (tile of N, tile of K). Overwrites y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(TENSOR_THREADS, linear_forward_tf32, Linear d, const real* x, const real* w, const real* b, real* y) {
    linear_forward_tile<Tensor<Tf32>>(d, x, w, b, y);
}
KERNEL_BOUNDED(TENSOR_THREADS, linear_forward_bf16, Linear d, const real* x, const real* w, const real* b, real* y) {
    linear_forward_tile<Tensor<Bf16>>(d, x, w, b, y);
}

// dx = dy w, in tf32 and in bf16.
// dy: [N, K]; w: [K, C]; dx: [N, C]. Block (tile of N, tile of C). Overwrites dx.
// Twin: Cpu::linear_backward_input in src/ops/layers/linear.rs.
KERNEL_BOUNDED(TENSOR_THREADS, linear_backward_input_tf32, Linear d, const real* dy, const real* w, real* dx) {
    linear_backward_input_tile<Tensor<Tf32>>(d, dy, w, dx);
}
KERNEL_BOUNDED(TENSOR_THREADS, linear_backward_input_bf16, Linear d, const real* dy, const real* w, real* dx) {
    linear_backward_input_tile<Tensor<Bf16>>(d, dy, w, dx);
}

// dw += dy^T x, in tf32 and in bf16.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/layers/linear.rs.
KERNEL_BOUNDED(TENSOR_THREADS, linear_backward_weight_tf32, Linear d, const real* x, const real* dy, real* dw) {
    linear_backward_weight_tile<Tensor<Tf32>>(d, x, dy, dw);
}
KERNEL_BOUNDED(TENSOR_THREADS, linear_backward_weight_bf16, Linear d, const real* x, const real* dy, real* dw) {
    linear_backward_weight_tile<Tensor<Bf16>>(d, x, dy, dw);
}
