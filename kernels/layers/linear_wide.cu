// The products of linear.cu in wide tiles, not for f64: of it they would not fit the registers.
#include "layers/linear.cuh"

// y = x w^T + b, or parts of it along C, `part` columns of x and w each.
// x: [N, C]; w: [K, C]; b: [K] or null; parts: [parts, N, K], or null where there is one; y: [N, K]. Block (tile of
// N, tile of K, part). Overwrites parts, or else y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(WIDE_THREADS, linear_forward_wide, Linear d, int part, const stored* x, const stored* w, const real* b,
               real* parts, stored* y) {
    linear_forward_tile<PlainUnits<WideTile>>(d, part, x, w, b, parts, y);
}

// dx = dy w, or parts of it along K, `part` columns of dy and rows of w each.
// dy: [N, K]; w: [K, C]; parts: [parts, N, C], or null where there is one; dx: [N, C]. Block (tile of N, tile of C,
// part). Overwrites parts, or else dx.
// Twin: Cpu::linear_backward_input in src/ops/layers/linear.rs.
KERNEL_BOUNDED(WIDE_THREADS, linear_backward_input_wide, Linear d, int part, const stored* dy, const stored* w, real* parts,
               stored* dx) {
    linear_backward_input_tile<PlainUnits<WideTile>>(d, part, dy, w, parts, dx);
}

// dw = dy^T x, or added to what is there with `accumulate`.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/layers/linear.rs.
KERNEL_BOUNDED(WIDE_THREADS, linear_backward_weight_wide, Linear d, const stored* x, const stored* dy,
               real* dw, int accumulate) {
    linear_backward_weight_tile<PlainUnits<WideTile>>(d, x, dy, dw, accumulate);
}
