// The products of linear.cu on tensor cores, in wide tiles. Operands are bf16 as they are stored, or else
// f32 that is rounded to tf32 on its way. Sums are f32. Not compiled for f64.
#include "layers/linear.cuh"
#include "lib/product_tensor.cuh"

// y = x w^T + b, or parts of it along C.
// x: [N, C]; w: [K, C]; b: [K] or null; parts: [parts, N, K], or null where there is one; y: [N, K]. Block (tile of
// N, tile of K, part). Overwrites parts, or else y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(WIDE_TENSOR_THREADS, linear_forward_wide_tensor, Linear d, int part, const stored* x, const stored* w, const real* b,
               real* parts, stored* y) {
    linear_forward_tile<TensorUnits<WideTensorTile>>(d, part, x, w, b, parts, y);
}

// dx = dy w, or parts of it along K.
// dy: [N, K]; w: [K, C]; parts: [parts, N, C], or null where there is one; dx: [N, C]. Block (tile of N, tile of C,
// part). Overwrites parts, or else dx.
// Twin: Cpu::linear_backward_input in src/ops/layers/linear.rs.
KERNEL_BOUNDED(WIDE_TENSOR_THREADS, linear_backward_input_wide_tensor, Linear d, int part, const stored* dy, const stored* w,
               real* parts, stored* dx) {
    linear_backward_input_tile<TensorUnits<WideTensorTile>>(d, part, dy, w, parts, dx);
}

// dw = dy^T x, or added to what is there with `accumulate`.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/layers/linear.rs.
KERNEL_BOUNDED(WIDE_TENSOR_THREADS, linear_backward_weight_wide_tensor, Linear d, const stored* x, const stored* dy,
               real* dw, int accumulate) {
    linear_backward_weight_tile<TensorUnits<WideTensorTile>>(d, x, dy, dw, accumulate);
}
