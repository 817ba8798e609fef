// Convolutions with few channels C. Operands are never rounded here: they are exact in f32 whatever type products round to.
// Shapes in use have kernels of their own in few.cu, and in bf16 on tensor cores in few_tensor_bf16.cu.
#include "layers/conv2d/direct.cuh"
#include "layers/filters.cuh"

// The forward pass for few channels C: a window is so short that a tile of a matrix product would be mostly loading.
// x: [N, H, W, C]; w: where `f` says; b: [K] or null; y: [N, OH, OW, K]. Block (pixels in groups, filters in groups of a
// warp); a warp has DIRECT_PIXELS output pixels, each lane one filter, so a pixel of x is read by all lanes at once and
// y is written in whole lines. Sums run in the order of the taps, as in conv2d_forward. Overwrites y.
// Twin: Cpu::conv2d_forward in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(WARP * DIRECT_WARPS, conv2d_direct_forward, Conv2d d, Filters f, const stored* x, const stored* w,
               const real* b, stored* y) {
    int k = (int)blockIdx.y * WARP + (int)threadIdx.x, run = d.s * d.c, width = d.r * run;
    int first = ((int)blockIdx.x * DIRECT_WARPS + (int)threadIdx.y) * DIRECT_PIXELS, pixels = d.n * d.oh * d.ow;
    if (k >= d.k) {
        return;
    }
    int tops[DIRECT_PIXELS], lefts[DIRECT_PIXELS];
    const stored* images[DIRECT_PIXELS];
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
        int r = tap / run, s = tap % run / d.c, c = tap % d.c;
        real weight = w[f.at(k, r, s, c)];
#pragma unroll
        for (int p = 0; p < DIRECT_PIXELS; ++p) {
            int h = tops[p] + r, column = lefts[p] + s;
            bool inside = h >= 0 && h < d.h && column >= 0 && column < d.w;
            real value = inside ? (real)images[p][((size_t)h * d.w + column) * d.c + c] : (real)0;
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
// dy: [N, OH, OW, K]; w: where `f` says; b: [C] or null; dx: [N, H, W, C]. A warp an input pixel: its lanes share the
// filters of each tap that reaches it, and add up by halves in a fixed order. Overwrites dx.
// Twin: Cpu::conv2d_backward_input in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(WARP * DIRECT_WARPS, conv2d_direct_backward_input, Conv2d d, Filters f, const stored* dy,
               const stored* w, const real* b, stored* dx) {
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
            const stored* gradient = dy + (((size_t)image * d.oh + i) * d.ow + j) * d.k;
            for (int k = (int)threadIdx.x; k < d.k; k += WARP) {
                const stored* filter = w + f.at(k, r, s, 0);
#pragma unroll
                for (int c = 0; c < DIRECT_CHANNELS; ++c) {
                    if (c < d.c) {
                        sums[c] = multiply_add(gradient[k], filter[c * f.c], sums[c]);
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

// The sums of one of each thread's filters, joined over the rows in their order and written to `target`, where the first
// filter's tap of this thread lies, a filter every `step` elements; `count` filters are left, none where the tap is one too many.
// Every thread of the block must come.
__device__ __forceinline__ void direct_join(const real (&sums)[DIRECT_TAPS], int count, int step, real* target) {
    SHARED(real, joined, [DIRECT_JOINED]);
    int lane = (int)threadIdx.x, row = (int)threadIdx.y;
    // The sums before these may still be read.
    __syncthreads();
#pragma unroll
    for (int tap = 0; tap < DIRECT_TAPS; ++tap) {
        joined[direct_joined(row, lane, tap)] = sums[tap];
    }
    __syncthreads();
#pragma unroll
    for (int round = 0; round < DIRECT_TAPS / DIRECT_ROWS; ++round) {
        int filter = round * DIRECT_ROWS + row;
        real total = (real)0;
#pragma unroll
        for (int from = 0; from < DIRECT_ROWS; ++from) {
            total += joined[direct_joined(from, filter, lane)];
        }
        if (filter < count) {
            target[(long long)filter * step] = total;
        }
    }
}

// A part of dw = dy^T windows(x) for few channels C: the sum over `part_pixels` output pixels.
// x: [N, H, W, C]; dy: [N, OH, OW, K]; partial: [parts] of the filters, each where `f` says. Block (taps in groups of
// DIRECT_TAPS, filters in
// groups of DIRECT_BLOCK_FILTERS, part); direct.cuh says what its threads do. weight_gradient_add joins the parts.
// For a pixel and 64 filters the tile of a matrix product makes 4096 multiplications, of which it uses 64 R S C, and each
// thread reads 8 numbers of shared memory for 16 of them: with 16 taps 4 of 16 are used, with 48 taps 12. Here all of 64
// are used, for 20 numbers read; dy is read once for every 16 taps (by neighbouring blocks, so from L2 but for the first),
// in whole sectors, and no division is left in the loop. Overwrites partial.
// Twin: Cpu::conv2d_backward_weight in src/ops/layers/conv2d/cpu.rs.
KERNEL_BOUNDED(DIRECT_TAPS * DIRECT_ROWS, conv2d_direct_backward_weight_partial, Conv2d d, Filters f, int part_pixels,
               const stored* x, const stored* dy, real* partial) {
    SHARED(real, windows, [2][DIRECT_STEP * DIRECT_TAPS]);
    int lane = (int)threadIdx.x, row = (int)threadIdx.y, width = d.r * d.s * d.c, pixels = d.n * d.oh * d.ow;
    int first_tap = (int)blockIdx.x * DIRECT_TAPS, first_filter = (int)blockIdx.y * DIRECT_BLOCK_FILTERS;
    int from = (int)blockIdx.z * part_pixels, to = from + part_pixels < pixels ? from + part_pixels : pixels;
    WindowsAsDepth input(d, x);
    Way way = input.across(first_tap + lane);
    // The pixel whose tap this thread brings next, and how far it is to the one after.
    Digits brought = input.count(from + row), round_pixels = input.count(DIRECT_ROWS);
    real sums[DIRECT_FILTERS][DIRECT_TAPS] = {};
    // Two stages of windows, so that one barrier a step is enough.
    for (int first = from, stage = 0; first < to; first += DIRECT_STEP, stage ^= 1) {
        real gradients[DIRECT_ROUNDS][DIRECT_FILTERS];
#pragma unroll
        for (int round = 0; round < DIRECT_ROUNDS; ++round) {
            int pixel = first + direct_pixel(row, round);
#pragma unroll
            for (int i = 0; i < DIRECT_FILTERS; ++i) {
                int k = first_filter + direct_filter(lane, i);
                gradients[round][i] = pixel < to && k < d.k ? (real)dy[(size_t)pixel * d.k + k] : (real)0;
            }
        }
#pragma unroll
        for (int round = 0; round < DIRECT_ROUNDS; ++round, brought = input.sum(brought, round_pixels)) {
            int pixel = direct_pixel(row, round);
            bool exists = first + pixel < to && first_tap + lane < width;
            Place<stored> found = input.place(way, input.depth(brought));
            windows[stage][direct_window(pixel, lane)] = exists && found.there ? (real)*found.data : (real)0;
        }
        __syncthreads();
#pragma unroll
        for (int round = 0; round < DIRECT_ROUNDS; ++round) {
#pragma unroll
            for (int tap = 0; tap < DIRECT_TAPS; ++tap) {
                real value = windows[stage][direct_window(direct_pixel(row, round), tap)];
#pragma unroll
                for (int i = 0; i < DIRECT_FILTERS; ++i) {
                    sums[i][tap] = multiply_add(gradients[round][i], value, sums[i][tap]);
                }
            }
        }
    }
    int tap = first_tap + lane, run = d.s * d.c;
    real* part = partial + (size_t)blockIdx.z * d.k * width;
#pragma unroll
    for (int i = 0; i < DIRECT_FILTERS; ++i) {
        int filter = first_filter + direct_filter(0, i), count = tap < width ? d.k - filter : 0;
        direct_join(sums[i], count, f.k, part + f.at(filter, tap / run, tap % run / d.c, tap % d.c));
    }
}
