#include "conv2d.cuh"

// The forward pass for few channels C: a window is so short that a tile of a matrix product would be mostly loading.
// x: [N, H, W, C]; w: [K, R, S, C]; b: [K] or null; y: [N, OH, OW, K]. Block (pixels in groups, filters in groups of a
// warp); a warp has DIRECT_PIXELS output pixels, each lane one filter, so a pixel of x is read by all lanes at once and
// y is written in whole lines. Sums run in the order of the taps, as in conv2d_forward. Overwrites y.
// Twin: Cpu::conv2d_forward in src/ops/conv2d.rs.
KERNEL_BOUNDED(WARP * DIRECT_WARPS, conv2d_direct_forward, Conv2d d, const real* x, const real* w, const real* b,
               real* y) {
    int k = (int)blockIdx.y * WARP + (int)threadIdx.x, run = d.s * d.c, width = d.r * run;
    int first = ((int)blockIdx.x * DIRECT_WARPS + (int)threadIdx.y) * DIRECT_PIXELS, pixels = d.n * d.oh * d.ow;
    if (k >= d.k) {
        return;
    }
    int tops[DIRECT_PIXELS], lefts[DIRECT_PIXELS];
    const real* images[DIRECT_PIXELS];
    real sums[DIRECT_PIXELS] = {};
#pragma unroll
    for (int p = 0; p < DIRECT_PIXELS; ++p) {
        // Pixels beyond the last repeat it and are not stored.
        int pixel = first + p < pixels ? first + p : pixels - 1;
        tops[p] = pixel / d.ow % d.oh * d.stride - d.padding;
        lefts[p] = pixel % d.ow * d.stride - d.padding;
        images[p] = x + (size_t)(pixel / (d.oh * d.ow)) * d.h * d.w * d.c;
    }
    for (int tap = 0; tap < width; ++tap) {
        real weight = w[(size_t)k * width + tap];
        int r = tap / run, s = tap % run / d.c, c = tap % d.c;
#pragma unroll
        for (int p = 0; p < DIRECT_PIXELS; ++p) {
            int h = tops[p] + r, column = lefts[p] + s;
            bool inside = h >= 0 && h < d.h && column >= 0 && column < d.w;
            real value = inside ? images[p][((size_t)h * d.w + column) * d.c + c] : (real)0;
            sums[p] = multiply_add(value, weight, sums[p]);
        }
    }
#pragma unroll
    for (int p = 0; p < DIRECT_PIXELS; ++p) {
        if (first + p < pixels) {
            y[(size_t)(first + p) * d.k + k] = b ? sums[p] + b[k] : sums[p];
        }
    }
}

// The input gradient for few channels C, where a tile of a matrix product would use C of its columns.
// dy: [N, OH, OW, K]; w: [K, R, S, C]; b: [C] or null; dx: [N, H, W, C]. A warp an input pixel: its lanes share the
// filters of each tap that reaches it, and add up by halves in a fixed order. Overwrites dx.
// Twin: Cpu::conv2d_backward_input in src/ops/conv2d.rs.
KERNEL_BOUNDED(WARP * DIRECT_WARPS, conv2d_direct_backward_input, Conv2d d, const real* dy, const real* w,
               const real* b, real* dx) {
    int pixel = (int)blockIdx.x * DIRECT_WARPS + (int)threadIdx.y;
    // The whole warp goes: a pixel is a warp's.
    if (pixel >= d.n * d.h * d.w) {
        return;
    }
    int image = pixel / (d.h * d.w), h = pixel / d.w % d.h + d.padding, column = pixel % d.w + d.padding;
    real sums[DIRECT_CHANNELS] = {};
    // The taps that reach the pixel stand a stride apart.
    for (int r = h % d.stride; r < d.r && r <= h; r += d.stride) {
        for (int s = column % d.stride; s < d.s && s <= column; s += d.stride) {
            int i = (h - r) / d.stride, j = (column - s) / d.stride;
            if (i >= d.oh || j >= d.ow) {
                continue;
            }
            const real* gradient = dy + (((size_t)image * d.oh + i) * d.ow + j) * d.k;
            for (int k = (int)threadIdx.x; k < d.k; k += WARP) {
                const real* filter = w + (((size_t)k * d.r + r) * d.s + s) * d.c;
#pragma unroll
                for (int c = 0; c < DIRECT_CHANNELS; ++c) {
                    if (c < d.c) {
                        sums[c] = multiply_add(gradient[k], filter[c], sums[c]);
                    }
                }
            }
        }
    }
#pragma unroll
    for (int c = 0; c < DIRECT_CHANNELS; ++c) {
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            sums[c] += __shfl_xor_sync(0xFFFFFFFFu, sums[c], distance);
        }
        if (c < d.c && (int)threadIdx.x == c) {
            dx[(size_t)pixel * d.c + c] = b ? sums[c] + b[c] : sums[c];
        }
    }
}
