// The shapes in use of convolutions with few channels, with a padding of 1; direct.cu has a kernel for every other. Operands are taken
// as they are stored. In bf16 few_tensor_bf16.cu has faster ones, and these take their place where one of those is found wrong.
#include "layers/conv2d/few.cuh"

// Threads of a block of the input gradients. To nvcc also how many blocks a multiprocessor holds at least, so that it takes the
// registers that it needs: left to itself it spills two of them for the sake of another block.
#ifdef SIMT
#define FEW_THREADS FEW_THREADS_X * FEW_THREADS_Y
#else
#define FEW_THREADS FEW_THREADS_X * FEW_THREADS_Y, 1
#endif

// y = conv(x, w) + b. x: [N, H, W, C]; w: where `f` says; b: [K] or null; y: [N, OH, OW, K]. Block (image and tile of its
// pixels, filters in groups of a warp); a lane has a filter in registers, its warp some pixels, whose windows all lanes read
// at once from shared memory. Sums run in the order of the taps, as in conv2d_forward. Overwrites y.
// Limited by its multiplications: for 4 of them it takes 5 to 7 instructions, of which one reads shared memory.
// Twin: Cpu::conv2d_forward in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(WARP * DIRECT_WARPS, conv2d_few_forward_c1_4x4, Conv2d d, Filters f, const stored* x, const stored* w,
               const real* b, stored* y) {
    few_forward_tile<1, 4, 2, 4>(d, f, x, w, b, y);
}
// The same for three channels …
KERNEL_BOUNDED(WARP * DIRECT_WARPS, conv2d_few_forward_c3_4x4, Conv2d d, Filters f, const stored* x, const stored* w,
               const real* b, stored* y) {
    few_forward_tile<3, 4, 2, 2>(d, f, x, w, b, y);
}
// … and with stride 1.
KERNEL_BOUNDED(WARP * DIRECT_WARPS, conv2d_few_forward_c3_3x3, Conv2d d, Filters f, const stored* x, const stored* w,
               const real* b, stored* y) {
    few_forward_tile<3, 3, 1, 4>(d, f, x, w, b, y);
}

// dx = the input gradient + b. dy: [N, OH, OW, K]; w: where `f` says; b: [C] or null; dx: [N, H, W, C]. Block (image and tile of
// its pixels); a thread has a few pixels, all their channels, and walks K. Overwrites dx.
// Limited by shared memory: 9 reads of 16 bytes a lane, and 16 C that all lanes share, for 64 C multiplications.
// Twin: Cpu::conv2d_backward_input in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(FEW_THREADS, conv2d_few_backward_input_c1_4x4, Conv2d d, Filters f, const stored* dy,
               const stored* w, const real* b, stored* dx) {
    few_backward_input_tile<1, 4, 2, 1>(d, f, dy, w, b, dx);
}
// The same for three channels …
KERNEL_BOUNDED(FEW_THREADS, conv2d_few_backward_input_c3_4x4, Conv2d d, Filters f, const stored* dy,
               const stored* w, const real* b, stored* dx) {
    few_backward_input_tile<3, 4, 2, 1>(d, f, dy, w, b, dx);
}
// … and with stride 1: 12 reads of 16 bytes a lane, and 27 that all share, for 216 multiplications.
KERNEL_BOUNDED(FEW_THREADS, conv2d_few_backward_input_c3_3x3, Conv2d d, Filters f, const stored* dy,
               const stored* w, const real* b, stored* dx) {
    few_backward_input_tile<3, 3, 1, 1>(d, f, dy, w, b, dx);
}
