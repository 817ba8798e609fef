#include "layers/epilogue.cuh"
#include "layers/linear.cuh"

// y = x w^T + b, or parts of it along C, `part` columns of x and w each.
// x: [N, C]; w: [K, C]; b: [K] or null; parts: [parts, N, K], or null where there is one; y: [N, K]. Block (tile of
// N, tile of K, part). Overwrites parts, or else y.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_forward, Linear d, int part, const stored* x, const stored* w, const real* b,
               real* parts, stored* y) {
    linear_forward_tile<PlainUnits<NarrowTile>>(d, part, x, w, b, parts, y);
}

// dx = dy w, or parts of it along K, `part` columns of dy and rows of w each.
// dy: [N, K]; w: [K, C]; parts: [parts, N, C], or null where there is one; dx: [N, C]. Block (tile of N, tile of C,
// part). Overwrites parts, or else dx.
// Twin: Cpu::linear_backward_input in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_input, Linear d, int part, const stored* dy, const stored* w, real* parts,
               stored* dx) {
    linear_backward_input_tile<PlainUnits<NarrowTile>>(d, part, dy, w, parts, dx);
}

// dw = dy^T x, or added to what is there with `accumulate`.
// x: [N, C]; dy: [N, K]; dw: [K, C]. Block (tile of K, tile of C). Changes dw.
// Twin: Cpu::linear_backward_weight in src/ops/layers/linear.rs.
KERNEL_BOUNDED(NARROW_THREADS, linear_backward_weight, Linear d, const stored* x, const stored* dy,
               real* dw, int accumulate) {
    linear_backward_weight_tile<PlainUnits<NarrowTile>>(d, x, dy, dw, accumulate);
}

// y = the sum of the parts, in their order, + b, ended as a convolution ends its numbers (layers/epilogue.cuh).
// partial: [parts, N, K]; b: [K] or null; slope_of, base: [N, K] or null; y: [N, K], count elements. The grid's threads stride over the
// elements, so that each reads its parts in turn and neighbours read neighbours. Overwrites y. As fast as memory.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs, whose sum has no parts.
KERNEL(linear_join_parts, int parts, int k, unsigned long long count, const real* partial, const real* b, real negative,
       const stored* slope_of, real scale, const stored* base, stored* y) {
    Epilogue end = {negative, slope_of, scale, base};
    FOR_EACH_ELEMENT(i, count) {
        real total = partial[i];
        for (int part = 1; part < parts; ++part) {
            total += partial[(size_t)part * count + i];
        }
        y[i] = end(i, b ? total + b[i % k] : total);
    }
}

// y = x w^T + b with one column: y[n] is the product of a row of x and w, which is the last layer of a critic.
// x: [N, C]; w: [C]; b: [1] or null; y: [N]. A block a row; its threads stride over C, and their sums are added as
// block_sum does. Sums are f64. Overwrites y. Bound by latency: some loads a thread, and the barriers of the sum.
// Twin: Cpu::linear_forward in src/ops/layers/linear.rs.
KERNEL_BOUNDED(ROW_THREADS, linear_forward_single, Linear d, const stored* x, const stored* w, const real* b, stored* y) {
    linear_forward_row<AsStored>(d, x, w, b, y);
}
