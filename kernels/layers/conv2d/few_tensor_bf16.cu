// The kernels of few.cu, and the weight gradient of the same shapes, on tensor cores, for activations in bf16: products of bf16 are
// exact, and sums are f32. The grid's blocks stride over tiles, so that what a block reads of the filters serves several.
#include "layers/conv2d/few_tensor.cuh"

using C1With4x4 = FewShape<1, 4, 2>;
using C3With4x4 = FewShape<3, 4, 2>;
using C3With3x3 = FewShape<3, 3, 1>;

// y = conv(x, w) + b. x: [N, H, W, C]; w: where `f` says; b: [K] or null; y: [N, OH, OW, K]. Block (stride of tiles of FEW_ROWS ×
// FEW_COLUMNS pixels, 128 filters), threads (lane, warp); a warp has 32 filters and some rows of a tile. Overwrites y.
// Limited by the bytes of y: for 512 sums of 27 products a warp takes about 200 instructions, all that it stages included.
// Twin: Cpu::conv2d_forward in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_forward_c1_4x4_tensor, Conv2d d, Filters f, const stored* x, const stored* w,
               const real* b, stored* y) {
    few_tensor_forward<C1With4x4>(d, f, x, w, b, y);
}
// The same for three channels …
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_forward_c3_4x4_tensor, Conv2d d, Filters f, const stored* x, const stored* w,
               const real* b, stored* y) {
    few_tensor_forward<C3With4x4>(d, f, x, w, b, y);
}
// … and with stride 1.
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_forward_c3_3x3_tensor, Conv2d d, Filters f, const stored* x, const stored* w,
               const real* b, stored* y) {
    few_tensor_forward<C3With3x3>(d, f, x, w, b, y);
}

// dx = the input gradient + b. dy: [N, OH, OW, K]; w: where `f` says; b: [C] or null; dx: [N, H, W, C]. Block (stride of tiles of
// FEW_TENSOR_OWN times the stride pixels of dx a side), threads (lane, warp); a warp has 16 pixels of dy. Overwrites dx.
// Limited by the bytes of dy, of which neighbouring blocks read half again, and by shared memory.
// Twin: Cpu::conv2d_backward_input in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_backward_input_c1_4x4_tensor, Conv2d d, Filters f, const stored* dy,
               const stored* w, const real* b, stored* dx) {
    few_tensor_backward_input<C1With4x4, 1>(d, f, dy, w, b, dx);
}
// The same for three channels …
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_backward_input_c3_4x4_tensor, Conv2d d, Filters f, const stored* dy,
               const stored* w, const real* b, stored* dx) {
    few_tensor_backward_input<C3With4x4, 1>(d, f, dy, w, b, dx);
}
// … and with stride 1.
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_backward_input_c3_3x3_tensor, Conv2d d, Filters f, const stored* dy,
               const stored* w, const real* b, stored* dx) {
    few_tensor_backward_input<C3With3x3, 1>(d, f, dy, w, b, dx);
}

// A part of dw = dy^T windows(x): the sum over `part_tiles` tiles of FEW_ROWS × FEW_COLUMNS output pixels.
// x: [N, H, W, C]; dy: [N, OH, OW, K]; partial: [parts] of the filters, each where `f` says. Block (part, 32 filters), threads (lane,
// warp); a warp has a row of each tile. weight_gradient_add joins the parts. Overwrites partial.
// Limited by latency: a tile waits for memory once, and for two barriers.
// Twin: Cpu::conv2d_backward_weight in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_backward_weight_partial_c1_4x4_tensor, Conv2d d, Filters f, int part_tiles,
               const stored* x, const stored* dy, real* partial) {
    few_tensor_backward_weight<C1With4x4>(d, f, part_tiles, x, dy, partial);
}
// The same for three channels …
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_backward_weight_partial_c3_4x4_tensor, Conv2d d, Filters f, int part_tiles,
               const stored* x, const stored* dy, real* partial) {
    few_tensor_backward_weight<C3With4x4>(d, f, part_tiles, x, dy, partial);
}
// … and with stride 1.
KERNEL_BOUNDED(FEW_TENSOR_THREADS, conv2d_few_backward_weight_partial_c3_3x3_tensor, Conv2d d, Filters f, int part_tiles,
               const stored* x, const stored* dy, real* partial) {
    few_tensor_backward_weight<C3With3x3>(d, f, part_tiles, x, dy, partial);
}
