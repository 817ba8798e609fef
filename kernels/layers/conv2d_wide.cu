// The products of conv2d.cu in wide tiles, not for f64: of it they would not fit the registers; parts are joined as there.
#include "layers/conv2d.cuh"

// y[n, i, j, k] = b[k] + sum over r, s, c of x[n, i stride + r - padding, j stride + s - padding, c] w[k, r, s, c], or
// parts of it along the taps, `part` each.
// x: [N, H, W, C]; w: [K, R, S, C]; b: [K] or null; parts: [parts, N, OH, OW, K], or null where there is one; y:
// [N, OH, OW, K], ended as Epilogue says: slope_of and base are [N, OH, OW, K], or null.
// Implicit GEMM: rows are output pixels, columns filters, depth R S C. Block (tile of pixels, tile of K, part). Overwrites
// parts, or else y.
// Twin: Cpu::conv2d_forward in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(WIDE_THREADS, conv2d_forward_wide, Conv2d d, int part, const stored* x, const stored* w, const real* b,
               real negative, const stored* slope_of, real scale, const stored* base, real* parts, stored* y) {
    conv2d_forward_tile<PlainUnits<WideTile>>(d, part, x, w, b, Epilogue{negative, slope_of, scale, base},
                                              parts, y);
}

// dx[n, h, w, c] = b[c] + sum over the taps that reach the pixel of dy[n, i, j, k] w[k, r, s, c].
// dy: [N, OH, OW, K]; w: [K, R, S, C]; b: [C] or null; parts: [parts, N, H, W, C], or null where there is one; dx:
// [N, H, W, C], ended as Epilogue says: slope_of and base are [N, H, W, C], or null. The pixels with (h, w) congruent to (ph, pw)
// modulo the stride see the same taps: each such parity is a GEMM of its own, rows its pixels, columns channels, depth taps K, so
// nothing is multiplied by stuffed zeros; parts of it are `part` deep. Block (tile of pixels, tile of C, parity and part). Overwrites
// parts, or else dx.
// Twin: Cpu::conv2d_backward_input in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(WIDE_THREADS, conv2d_backward_input_wide, Conv2d d, int part, const stored* dy, const stored* w, const real* b,
               real negative, const stored* slope_of, real scale, const stored* base, real* parts, stored* dx) {
    conv2d_backward_input_tile<PlainUnits<WideTile>>(d, part, dy, w, b, Epilogue{negative, slope_of, scale, base},
                                                     parts, dx);
}

// Parts of dw = dy^T windows(x): the sums over `part` output pixels each.
// x: [N, H, W, C]; dy: [N, OH, OW, K]; partial: [parts, K, R, S, C]. Rows are filters, columns taps, depth pixels. Block
// (tile of taps, tile of K, part). Overwrites partial.
// Twin: Cpu::conv2d_backward_weight in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(WIDE_THREADS, conv2d_backward_weight_partial_wide, Conv2d d, int part, const stored* x, const stored* dy,
               real* partial) {
    conv2d_backward_weight_partial_tile<PlainUnits<WideTile>>(d, part, x, dy, partial);
}
