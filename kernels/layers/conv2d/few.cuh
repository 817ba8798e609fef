// Convolutions from few channels C with R = S and the stride known when they are compiled, so that the taps of a window are
// unrolled, and all their places are constants.
#pragma once

#include "layers/filters.cuh"

// As many reals as one access of shared memory moves: 16 bytes.
constexpr int QUAD_BYTES = 16;
constexpr int QUAD_REALS = QUAD_BYTES / (int)sizeof(real);
struct alignas(QUAD_BYTES) Quad {
    real values[QUAD_REALS];
};

// The forward pass: what a block's tile needs, all of it known when it is compiled.
//
//     x of one image, with zeros around it           y
//     ┌──────────────────────────┐                   ┌───────────────┐
//     │ INPUT_ROWS × ROW reals,  │     → FEW_ROWS    │ × FEW_COLUMNS │ × 32 filters, a lane each
//     └──────────────────────────┘                   └───────────────┘
//
// A warp computes PIXELS neighbours of a row at a time. Their windows overlap: a row of them is VALUES neighbouring reals of the
// tile, read once for all, 16 bytes at a time, and by all lanes at once. Every lane keeps its filter in registers.
template <int C, int SIDE, int STRIDE, int PIXELS>
struct FewForward {
    static constexpr int TAPS = SIDE * SIDE * C, RUN = SIDE * C, STEP = STRIDE * C;
    static constexpr int VALUES = ((PIXELS - 1) * STEP + RUN + 3) / 4 * 4;
    static constexpr int INPUT_ROWS = (FEW_ROWS - 1) * STRIDE + SIDE;
    static constexpr int ROW = (FEW_COLUMNS - PIXELS) * STEP + VALUES;
    static constexpr int UNITS = FEW_ROWS * FEW_COLUMNS / PIXELS;
    // Odd, so that the lanes' filters begin on banks of their own.
    static constexpr int FILTER = TAPS | 1;
    static_assert(PIXELS * STEP % 4 == 0 && ROW % 4 == 0, "every run of values begins at a multiple of 16 bytes");
    static_assert(FEW_COLUMNS % PIXELS == 0, "whole units");
};

// Copies the filters of a block to shared memory, zeros for those beyond the last, and the part of an image that its tile needs.
template <class F, int C, int SIDE>
__device__ __forceinline__ void few_stage(const Conv2d& d, const Filters& f, const stored* image, const stored* w,
                                          int first_filter, int top, int left, real* filters, real* tile) {
    int thread = (int)(threadIdx.y * WARP + threadIdx.x);
    for (int i = thread; i < WARP * F::TAPS; i += WARP * DIRECT_WARPS) {
        int lane = i / F::TAPS, tap = i % F::TAPS, k = first_filter + lane;
        int place = f.at(k, tap / (SIDE * C), tap / C % SIDE, tap % C);
        filters[lane * F::FILTER + tap] = k < d.k ? (real)w[place] : (real)0;
    }
    for (int i = thread; i < F::INPUT_ROWS * F::ROW; i += WARP * DIRECT_WARPS) {
        int h = top + i / F::ROW, along = i % F::ROW, column = left + along / C;
        bool inside = h >= 0 && h < d.h && column >= 0 && column < d.w;
        tile[i] = inside ? (real)image[((size_t)h * d.w + column) * C + along % C] : (real)0;
    }
}

// y of a block's tile; direct.cu says what the arguments are.
template <int C, int SIDE, int STRIDE, int PIXELS>
__device__ __forceinline__ void few_forward_tile(const Conv2d& d, const Filters& f, const stored* x, const stored* w,
                                                 const real* b, stored* y) {
    using F = FewForward<C, SIDE, STRIDE, PIXELS>;
    SHARED(real, filters, [WARP * F::FILTER]);
    SHARED(real, tile, [F::INPUT_ROWS * F::ROW]);
    int across = (d.ow + FEW_COLUMNS - 1) / FEW_COLUMNS, down = (d.oh + FEW_ROWS - 1) / FEW_ROWS;
    int image = (int)blockIdx.x / (across * down), first_row = (int)blockIdx.x / across % down * FEW_ROWS;
    int first_column = (int)blockIdx.x % across * FEW_COLUMNS, first_filter = (int)blockIdx.y * WARP;
    few_stage<F, C, SIDE>(d, f, x + (size_t)image * d.h * d.w * C, w, first_filter, first_row * STRIDE - d.padding,
                          first_column * STRIDE - d.padding, filters, tile);
    __syncthreads();
    int lane = (int)threadIdx.x, k = first_filter + lane;
    real weights[F::TAPS];
#pragma unroll
    for (int tap = 0; tap < F::TAPS; ++tap) {
        weights[tap] = filters[lane * F::FILTER + tap];
    }
    for (int unit = (int)threadIdx.y; unit < F::UNITS; unit += DIRECT_WARPS) {
        int row = unit / (FEW_COLUMNS / PIXELS), column = unit % (FEW_COLUMNS / PIXELS) * PIXELS;
        int i = first_row + row, j = first_column + column;
        if (i >= d.oh || j >= d.ow || k >= d.k) {
            continue;
        }
        real sums[PIXELS] = {};
#pragma unroll
        for (int r = 0; r < SIDE; ++r) {
            Quad values[F::VALUES / QUAD_REALS];
            const Quad* source = (const Quad*)(tile + (row * STRIDE + r) * F::ROW + column * F::STEP);
#pragma unroll
            for (int quad = 0; quad < F::VALUES / QUAD_REALS; ++quad) {
                values[quad] = source[quad];
            }
#pragma unroll
            for (int tap = 0; tap < F::RUN; ++tap) {
#pragma unroll
                for (int p = 0; p < PIXELS; ++p) {
                    int at = p * F::STEP + tap;
                    sums[p] = multiply_add(values[at / QUAD_REALS].values[at % QUAD_REALS], weights[r * F::RUN + tap], sums[p]);
                }
            }
        }
        stored* target = y + (((size_t)image * d.oh + i) * d.ow + j) * d.k + k;
#pragma unroll
        for (int p = 0; p < PIXELS; ++p) {
            if (j + p < d.ow) {
                target[(size_t)p * d.k] = b ? sums[p] + b[k] : sums[p];
            }
        }
    }
}

// The input gradient: a thread computes DOWN × ACROSS neighbouring pixels of dx, all of their channels, which read a patch of
// PATCH_H × PATCH_W pixels of dy. With stride 2 and 4 × 4 taps:
//
//     dx                  dy
//     . . . . . .         . . . . .        Of the four pixels ■ each has taps of four of the nine ■: all 16 taps come once.
//     . . ■ ■ . .         . ■ ■ ■ .
//     . . ■ ■ . .         . ■ ■ ■ .
//     . . . . . .         . ■ ■ ■ .
//
// With stride 1 and 3 × 3 taps a thread has two pixels, one above the other, and a patch of 4 × 3. The depth K is taken CHUNK
// numbers at a time: those of all pixels that the block reads lie in shared memory, 64 bytes a pixel and 16 bytes of
// gap, so that 8 neighbouring lanes read 16 bytes each from all 32 banks.
template <int C, int SIDE, int STRIDE, int PADDING>
struct FewBackward {
    static constexpr int TAPS = SIDE * SIDE * C;
    static constexpr int DOWN = 2, ACROSS = STRIDE == 2 ? 2 : 1;
    // The first row of dy that reaches the pixel at 0, and how many rows and columns reach the thread's pixels.
    static constexpr int FIRST = -((SIDE - 1 - PADDING) / STRIDE);
    static constexpr int PATCH_H = (DOWN - 1 + PADDING) / STRIDE - FIRST + 1;
    static constexpr int PATCH_W = (ACROSS - 1 + PADDING) / STRIDE - FIRST + 1;
    // Pixels of dy from one thread to the next, and all that a block reads.
    static constexpr int STEP_H = DOWN / STRIDE, STEP_W = ACROSS / STRIDE;
    static constexpr int ROWS = (FEW_THREADS_Y - 1) * STEP_H + PATCH_H, COLUMNS = (FEW_THREADS_X - 1) * STEP_W + PATCH_W;
    static constexpr int QUADS = 4, CHUNK = QUADS * QUAD_REALS;
    static_assert(DOWN % STRIDE == 0 && ACROSS % STRIDE == 0, "every thread's pixels see the same taps");
};

// Copies CHUNK numbers of each pixel of dy that a block reads to shared memory, [pixel][QUADS + 1], zeros for those outside.
template <class F>
__device__ __forceinline__ void few_stage_gradients(const Conv2d& d, const stored* image, int first, int top, int left,
                                                    Quad* tile) {
    int thread = (int)(threadIdx.y * FEW_THREADS_X + threadIdx.x);
    bool in_quads = d.k % QUAD_REALS == 0 && aligned_for_runs(image, QUAD_REALS);
    for (int i = thread; i < F::ROWS * F::COLUMNS * F::QUADS; i += FEW_THREADS_X * FEW_THREADS_Y) {
        int pixel = i / F::QUADS, quad = i % F::QUADS, k = first + quad * QUAD_REALS;
        int row = top + pixel / F::COLUMNS, column = left + pixel % F::COLUMNS;
        bool inside = row >= 0 && row < d.oh && column >= 0 && column < d.ow;
        const stored* source = image + ((size_t)row * d.ow + column) * d.k + k;
        Quad value = {};
        if (inside && in_quads && k < d.k) {
            auto run = *(const Run<QUAD_REALS, stored>*)source;
#pragma unroll
            for (int e = 0; e < QUAD_REALS; ++e) {
                value.values[e] = run.values[e];
            }
        } else if (inside) {
#pragma unroll
            for (int e = 0; e < QUAD_REALS; ++e) {
                value.values[e] = k + e < d.k ? (real)source[e] : (real)0;
            }
        }
        tile[pixel * (F::QUADS + 1) + quad] = value;
    }
}

// The filters' CHUNK numbers along K, [QUADS][R, S, C] in quads of K, zeros beyond the last.
template <class F, int C, int SIDE>
__device__ __forceinline__ void few_stage_filters(const Conv2d& d, const Filters& f, const stored* w, int first, Quad* filters) {
    int thread = (int)(threadIdx.y * FEW_THREADS_X + threadIdx.x);
    for (int i = thread; i < F::CHUNK * F::TAPS; i += FEW_THREADS_X * FEW_THREADS_Y) {
        int k = i / F::TAPS, tap = i % F::TAPS;
        int place = f.at(first + k, tap / (SIDE * C), tap / C % SIDE, tap % C);
        filters[k / QUAD_REALS * F::TAPS + tap].values[k % QUAD_REALS] = first + k < d.k ? (real)w[place] : (real)0;
    }
}

// Adds the part of one quad of K to the sums of a thread's pixels. patch: its pixels of dy; filters: [R, S, C].
template <class F, int C, int SIDE, int STRIDE, int PADDING>
__device__ __forceinline__ void few_add(const Quad (&patch)[F::PATCH_H][F::PATCH_W], const Quad* filters,
                                        real (&sums)[F::DOWN][F::ACROSS][C]) {
#pragma unroll
    for (int tap = 0; tap < SIDE * SIDE; ++tap) {
        int r = tap / SIDE, s = tap % SIDE;
        Quad weights[C];
#pragma unroll
        for (int c = 0; c < C; ++c) {
            weights[c] = filters[tap * C + c];
        }
#pragma unroll
        for (int down = 0; down < F::DOWN; ++down) {
#pragma unroll
            for (int across = 0; across < F::ACROSS; ++across) {
                // The pixel of dy whose tap (r, s) is this pixel, from the thread's first one on; not one in every case. The
                // added strides keep the dividends positive.
                int h = down + PADDING - r + SIDE * STRIDE, v = across + PADDING - s + SIDE * STRIDE;
                if (h % STRIDE == 0 && v % STRIDE == 0) {
                    const Quad& gradient = patch[h / STRIDE - SIDE - F::FIRST][v / STRIDE - SIDE - F::FIRST];
#pragma unroll
                    for (int c = 0; c < C; ++c) {
#pragma unroll
                        for (int e = 0; e < QUAD_REALS; ++e) {
                            sums[down][across][c] =
                                multiply_add(gradient.values[e], weights[c].values[e], sums[down][across][c]);
                        }
                    }
                }
            }
        }
    }
}

// dx of a block's pixels; direct.cu says what the arguments are.
template <int C, int SIDE, int STRIDE, int PADDING>
__device__ __forceinline__ void few_backward_input_tile(const Conv2d& d, const Filters& f, const stored* dy, const stored* w,
                                                        const real* b, stored* dx) {
    using F = FewBackward<C, SIDE, STRIDE, PADDING>;
    SHARED(Quad, tile, [F::ROWS * F::COLUMNS * (F::QUADS + 1)]);
    SHARED(Quad, filters, [F::QUADS * F::TAPS]);
    int rows = FEW_THREADS_Y * F::DOWN, columns = FEW_THREADS_X * F::ACROSS;
    int across = (d.w + columns - 1) / columns, down = (d.h + rows - 1) / rows;
    int image = (int)blockIdx.x / (across * down);
    int first_row = (int)blockIdx.x / across % down * rows, first_column = (int)blockIdx.x % across * columns;
    int y = (int)threadIdx.y, x = (int)threadIdx.x;
    const Quad* mine = tile + (y * F::STEP_H * F::COLUMNS + x * F::STEP_W) * (F::QUADS + 1);
    real sums[F::DOWN][F::ACROSS][C] = {};
    for (int first = 0; first < d.k; first += F::CHUNK) {
        // The chunk before may still be read.
        __syncthreads();
        few_stage_gradients<F>(d, dy + (size_t)image * d.oh * d.ow * d.k, first, first_row / STRIDE + F::FIRST,
                               first_column / STRIDE + F::FIRST, tile);
        few_stage_filters<F, C, SIDE>(d, f, w, first, filters);
        __syncthreads();
#pragma unroll 1
        for (int quad = 0; quad < F::QUADS; ++quad) {
            Quad patch[F::PATCH_H][F::PATCH_W];
#pragma unroll
            for (int i = 0; i < F::PATCH_H * F::PATCH_W; ++i) {
                int place = i / F::PATCH_W * F::COLUMNS + i % F::PATCH_W;
                patch[i / F::PATCH_W][i % F::PATCH_W] = mine[place * (F::QUADS + 1) + quad];
            }
            few_add<F, C, SIDE, STRIDE, PADDING>(patch, filters + quad * F::TAPS, sums);
        }
    }
#pragma unroll
    for (int i = 0; i < F::DOWN * F::ACROSS; ++i) {
        int h = first_row + y * F::DOWN + i / F::ACROSS, column = first_column + x * F::ACROSS + i % F::ACROSS;
        if (h < d.h && column < d.w) {
            stored* target = dx + (((size_t)image * d.h + h) * d.w + column) * C;
#pragma unroll
            for (int c = 0; c < C; ++c) {
                real sum = sums[i / F::ACROSS][i % F::ACROSS][c];
                target[c] = b ? sum + b[c] : sum;
            }
        }
    }
}
