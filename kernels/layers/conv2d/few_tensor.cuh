// Convolutions from few channels C on tensor cores, for activations in bf16: R = S, C and the stride are known when they are compiled.
//
// All three passes are products whose short side is the window, R S C numbers, and no window is ever laid out in memory: a tile
// of the image lies in shared memory as it is, and a lane reads the two numbers of a fragment's register from there. A block
// has FEW_ROWS × FEW_COLUMNS output pixels at a time: 16 neighbours of a row are the 16 rows, or the 16 depths, of a fragment.
// The registers of a fragment are those of ptx.cuh; lane = 4 g + m everywhere.
#pragma once

#include "layers/filters.cuh"
#include "lib/ptx.cuh"
#include "lib/runs.cuh"
#include "lib/tile_tensor.cuh"

static_assert(sizeof(stored) == 2, "two numbers in a word: files that include this end in _tensor_bf16.cu");
static_assert(FEW_COLUMNS == 16 && FEW_ROWS == DIRECT_WARPS, "a row of a tile is a fragment's, and in the weight gradient a warp's");

constexpr int FEW_TENSOR_THREADS = WARP * DIRECT_WARPS;

// The part of an image that the windows of a tile lie in.
//
//   image, with zeros around it        a row of a window: RUN numbers, in words
//   ┌────────────────────────┐
//   │ ROWS × ROW numbers     │         PIXEL numbers a pixel: C of them, and a zero where a window would begin inside a word
//   └────────────────────────┘
template <int CHANNELS, int TAPS_A_SIDE, int STEP>
struct FewShape {
    static constexpr int C = CHANNELS, SIDE = TAPS_A_SIDE, STRIDE = STEP, TAPS = SIDE * SIDE * C;
    static constexpr int PIXEL = C * STRIDE % 2 == 0 ? C : C + 1;
    static constexpr int ROWS = (FEW_ROWS - 1) * STRIDE + SIDE, COLUMNS = (FEW_COLUMNS - 1) * STRIDE + SIDE;
    static constexpr int ROW = (COLUMNS * PIXEL + 1) / 2 * 2, RUN = SIDE * PIXEL;
    static_assert(RUN % 2 == 0 && STRIDE * PIXEL % 2 == 0, "windows and their rows are whole words");
    // Columns of fragments that hold all taps.
    static constexpr int TAP_TILES = (TAPS + 7) / 8;

    // Where a tap lies in the tile, from where its window begins; the window's first number for a tap beyond the last.
    static __device__ __forceinline__ int place(int tap) {
        return tap < TAPS ? tap / (SIDE * C) * ROW + tap / C % SIDE * PIXEL + tap % C : 0;
    }
    // Where a filter's number for a tap lies in memory.
    static __device__ __forceinline__ int weight(const Filters& f, int filter, int tap) {
        return f.at(filter, tap / (SIDE * C), tap / C % SIDE, tap % C);
    }
};

// A tile of pixels: its image, and its first row and column.
struct FewTile {
    int image, row, column;
};
// Of tiles of rows × columns, `down` times `across` an image, the one of this number.
__device__ __forceinline__ FewTile tile_of(int number, int down, int across, int rows, int columns) {
    return FewTile{number / across / down, number / across % down * rows, number % across * columns};
}
// Tiles of output pixels.
__device__ __forceinline__ int few_tiles(const Conv2d& d) {
    return d.n * ((d.oh + FEW_ROWS - 1) / FEW_ROWS) * ((d.ow + FEW_COLUMNS - 1) / FEW_COLUMNS);
}
__device__ __forceinline__ FewTile few_tile(const Conv2d& d, int number) {
    int across = (d.ow + FEW_COLUMNS - 1) / FEW_COLUMNS, down = (d.oh + FEW_ROWS - 1) / FEW_ROWS;
    return tile_of(number, down, across, FEW_ROWS, FEW_COLUMNS);
}

// Copies the part of an image that a tile needs, zeros for what is outside. A thread waits for memory once, for all of its numbers.
template <class F>
__device__ __forceinline__ void stage_image(const Conv2d& d, const stored* x, FewTile at, stored* tile) {
    constexpr int COUNT = (F::ROWS * F::ROW + FEW_TENSOR_THREADS - 1) / FEW_TENSOR_THREADS;
    int thread = (int)(threadIdx.y * WARP + threadIdx.x);
    int top = at.row * F::STRIDE - d.padding, left = at.column * F::STRIDE - d.padding;
    const stored* image = x + (size_t)at.image * d.h * d.w * F::C;
    stored numbers[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        int number = thread + i * FEW_TENSOR_THREADS, along = number % F::ROW, c = along % F::PIXEL;
        int h = top + number / F::ROW, w = left + along / F::PIXEL;
        bool inside = (unsigned)h < (unsigned)d.h && (unsigned)w < (unsigned)d.w && c < F::C;
        numbers[i] = inside ? image[((size_t)h * d.w + w) * F::C + c] : stored(0.0f);
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        int number = thread + i * FEW_TENSOR_THREADS;
        if (number < F::ROWS * F::ROW) {
            tile[number] = numbers[i];
        }
    }
}

// Two numbers as a register of a fragment.
__device__ __forceinline__ unsigned word_of(stored low, stored high) {
    const stored pair[2] = {low, high};
    unsigned word;
    memcpy(&word, pair, sizeof word);
    return word;
}

// Eight neighbours from `from` on, in words: zeros where they are not `inside`, and for those of the eight from `count` on.
__device__ __forceinline__ Run<4, unsigned> words_of(const stored* from, bool inside, bool in_runs, int count) {
    if (!inside || count <= 0) {
        return Run<4, unsigned>{};
    }
    if (in_runs) {
        return *reinterpret_cast<const Run<4, unsigned>*>(from);
    }
    Run<4, unsigned> words;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        words.values[i] = word_of(2 * i < count ? from[2 * i] : stored(0.0f), 2 * i + 1 < count ? from[2 * i + 1] : stored(0.0f));
    }
    return words;
}

// The forward pass: rows are pixels, columns filters, depth the taps, row by row of the window, RUN numbers each, and zeros at the end.
// A warp has 32 filters, all taps of which its lanes keep as fragments, and reads pixels' fragments from the tile.
//
// Column q of its i-th fragment is filter 8 (q / 2) + 2 i + q % 2 of the 32, so that lane 4 g + m sums filters 8 m to 8 m + 7 of
// pixel g: neighbours in memory, 16 bytes.
template <class F>
struct FewForwardTensor {
    static constexpr int STEPS = (F::SIDE * F::RUN + 15) / 16, WORDS = F::RUN / 2, FRAGMENTS = 4;
    // Filters of a block, and of a warp.
    static constexpr int GROUP = FEW_TENSOR_GROUP, FILTERS = 8 * FRAGMENTS;
    unsigned filters[STEPS][FRAGMENTS][2];
    // Where the words of each step lie, from where a pixel's window begins.
    int places[STEPS][2];

    // Of the warp's filters from `first` on.
    __device__ __forceinline__ FewForwardTensor(const Conv2d& d, const Filters& f, const stored* w, int first) {
        int g = (int)threadIdx.x / 4, m = (int)threadIdx.x % 4;
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int word = step * 8 + half * 4 + m, r = word / WORDS, along = word % WORDS * 2;
                // Beyond the last row weights are zero, and the window's first word is as good as any, unless it is infinite: then the
                // sum is NaN.
                places[step][half] = r < F::SIDE ? r * (F::ROW / 2) + along / 2 : 0;
                int low = f.at(0, r, along / F::PIXEL, along % F::PIXEL);
                int high = f.at(0, r, (along + 1) / F::PIXEL, (along + 1) % F::PIXEL);
                bool has_low = r < F::SIDE && along % F::PIXEL < F::C, has_high = r < F::SIDE && (along + 1) % F::PIXEL < F::C;
#pragma unroll
                for (int i = 0; i < FRAGMENTS; ++i) {
                    int k = first + g / 2 * 8 + 2 * i + g % 2;
                    const stored* filter = w + (long long)k * f.k;
                    filters[step][i][half] = word_of(has_low && k < d.k ? filter[low] : stored(0.0f),
                                                     has_high && k < d.k ? filter[high] : stored(0.0f));
                }
            }
        }
    }

    // The sums of 16 pixels of a row whose first window begins at `window`.
    __device__ __forceinline__ void multiply(const stored* window, float (&sums)[FRAGMENTS][4]) const {
        constexpr int PIXEL_WORDS = F::STRIDE * F::PIXEL / 2;
        const unsigned* words = reinterpret_cast<const unsigned*>(window) + (int)threadIdx.x / 4 * PIXEL_WORDS;
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            const unsigned *low = words + places[step][0], *high = words + places[step][1];
            const unsigned pixels[4] = {low[0], low[8 * PIXEL_WORDS], high[0], high[8 * PIXEL_WORDS]};
#pragma unroll
            for (int i = 0; i < FRAGMENTS; ++i) {
                mma_m16n8k16_bf16(sums[i], pixels, filters[step][i], sums[i]);
            }
        }
    }
};

// Stores a lane's eight sums of each of its two pixels of a row of a tile: filters k to k + 7, those that there are.
template <int FRAGMENTS>
__device__ __forceinline__ void store_pixels(const Conv2d& d, FewTile at, int row, int k, bool in_runs, const float (&sums)[FRAGMENTS][4],
                                             const Run<8>& shift, stored* y) {
    int g = (int)threadIdx.x / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        int j = at.column + g + 8 * half;
        if (j >= d.ow) {
            continue;
        }
        stored* target = y + (((size_t)at.image * d.oh + at.row + row) * d.ow + j) * d.k + k;
        Run<8> values;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            values.values[e] = sums[e / 2][2 * half + e % 2] + shift.values[e];
        }
        if (in_runs && k < d.k) {
            write_run<8>(target, values);
        } else if (!in_runs) {
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                if (k + e < d.k) {
                    target[e] = values.values[e];
                }
            }
        }
    }
}

// y of a block's tiles; few_tensor_bf16.cu says what the arguments are.
template <class F>
__device__ __forceinline__ void few_tensor_forward(const Conv2d& d, const Filters& f, const stored* x, const stored* w,
                                                   const real* b, stored* y) {
    using Forward = FewForwardTensor<F>;
    SHARED(stored, tile, [F::ROWS * F::ROW]);
    int m = (int)threadIdx.x % 4, warp = (int)threadIdx.y;
    // The warps share the filters of the group first, then the rows of a tile; some may be left over.
    int group = (int)blockIdx.y * Forward::GROUP, left = d.k - group;
    int across = left < Forward::GROUP ? (left + Forward::FILTERS - 1) / Forward::FILTERS : Forward::GROUP / Forward::FILTERS;
    int shares = DIRECT_WARPS / across, share = warp / across, first = group + warp % across * Forward::FILTERS;
    const Forward forward(d, f, w, first);
    // The lane's own filters.
    int k = first + 8 * m;
    bool in_runs = d.k % 8 == 0 && aligned_for_runs(y, 8);
    Run<8> shift;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
        shift.values[e] = b && k + e < d.k ? b[k + e] : 0.0f;
    }
    for (int number = (int)blockIdx.x; number < few_tiles(d); number += (int)gridDim.x) {
        FewTile at = few_tile(d, number);
        // The tile before may still be read.
        __syncthreads();
        stage_image<F>(d, x, at, tile);
        __syncthreads();
        for (int row = share < shares ? share : FEW_ROWS; row < FEW_ROWS && at.row + row < d.oh; row += shares) {
            float sums[Forward::FRAGMENTS][4] = {};
            forward.multiply(tile + row * F::STRIDE * F::ROW, sums);
            store_pixels(d, at, row, k, in_runs, sums, shift, y);
        }
    }
}

// The input gradient: first a product, whose rows are the pixels of dy that a block's pixels of dx have taps of, its columns all taps,
// its depth the filters; then each number of dx adds up its taps:
//
//   dy, 10 × 10 pixels       taps [pixel][R S C]          dx, 8 × 8 pixels times the stride
//   ┌──────────┐             ┌────────────┐               ┌────────┐
//   │ a warp   │ ── × w ──▶  │            │ ── adds ──▶   │        │
//   │ has 16   │             │            │               └────────┘
//   └──────────┘             └────────────┘
//
// dy goes from memory into fragments at once. The filters of a depth of 32 are put in another order for that, in dy and in w alike: lane
// 4 g + m has filters 8 m to 8 m + 7 of pixel g, 16 bytes, as the words of two fragments.
template <class F, int PADDING>
struct FewBackwardTensor {
    static constexpr int FIRST = -((F::SIDE - 1 - PADDING) / F::STRIDE), OWN = FEW_TENSOR_OWN;
    static constexpr int PATCH = (OWN * F::STRIDE - 1 + PADDING) / F::STRIDE - FIRST + 1, PIXELS = PATCH * PATCH;
    static_assert(PIXELS <= 16 * DIRECT_WARPS, "a fragment of pixels a warp");
    static constexpr int SIDE_OF_DX = OWN * F::STRIDE;
    // Filters that lie in shared memory at once.
    static constexpr int DEPTH = 128;
    // Where a filter's number for a tap lies there, [taps][DEPTH]: eights of filters are exchanged so that two taps that are loaded at
    // once, four eights of each, lie on all banks, and eight taps that are stored at once on different ones.
    static __device__ __forceinline__ int place(int tap, int filter) {
        return tap * DEPTH + ((filter / 8 ^ (tap % 2 * 4 + tap / 2 % 4)) * 8) + filter % 8;
    }
    // Sums of a pixel: odd, so that pixels begin on banks of their own.
    static constexpr int SUMS = F::TAP_TILES * 8 + 5;
};

// Copies up to DEPTH filters from `first` on to shared memory, in thirty-twos, two at a time; zeros beyond the last filter and the last
// tap.
template <class F, class B>
__device__ __forceinline__ void stage_weights(const Conv2d& d, const Filters& f, const stored* w, int first, stored* weights) {
    int thread = (int)(threadIdx.y * WARP + threadIdx.x);
    // Neighbours in memory are neighbours of threads: filters where they are turned, else taps.
    bool along_filters = f.k == 1;
    constexpr int TAPS = F::TAP_TILES * 8;
    int depth = d.k - first < B::DEPTH ? (d.k - first + 31) / 32 * 32 : B::DEPTH, pairs = depth / 2;
    for (int i = thread; i < TAPS * pairs; i += FEW_TENSOR_THREADS) {
        int tap = along_filters ? i / pairs : i % TAPS, filter = (along_filters ? i % pairs : i / TAPS) * 2;
        const stored* source = w + F::weight(f, first + filter, tap);
        int left = tap < F::TAPS ? d.k - first - filter : 0;
        unsigned pair = word_of(left > 0 ? source[0] : stored(0.0f), left > 1 ? source[f.k] : stored(0.0f));
        *reinterpret_cast<unsigned*>(weights + B::place(tap, filter)) = pair;
    }
}

// The sums of 16 pixels of dy of a warp with the filters from `first` on that lie in `weights`: for each of them, all taps. A tile of dx
// begins at row and column times the stride: `at` counts in pixels of dy.
template <class F, class B>
__device__ __forceinline__ void multiply_patch(const Conv2d& d, const stored* dy, FewTile at, int first, bool in_runs,
                                               const stored* weights, float (&sums)[F::TAP_TILES][4]) {
    int g = (int)threadIdx.x / 4, m = (int)threadIdx.x % 4;
    // The lane's two pixels, g and g + 8 of the warp's.
    const stored* sources[2];
    bool inside[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        int pixel = (int)threadIdx.y * 16 + 8 * half + g;
        int i = at.row + B::FIRST + pixel / B::PATCH, j = at.column + B::FIRST + pixel % B::PATCH;
        inside[half] = pixel < B::PIXELS && (unsigned)i < (unsigned)d.oh && (unsigned)j < (unsigned)d.ow;
        sources[half] = dy + (((size_t)at.image * d.oh + i) * d.ow + j) * d.k;
    }
    for (int depth = 0; depth < B::DEPTH && first + depth < d.k; depth += 32) {
        int k = first + depth + 8 * m;
        Run<4, unsigned> pixels[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            pixels[half] = words_of(sources[half] + k, inside[half], in_runs, d.k - k);
        }
#pragma unroll
        for (int tile = 0; tile < F::TAP_TILES; ++tile) {
            auto filters = *reinterpret_cast<const Run<4, unsigned>*>(weights + B::place(tile * 8 + g, depth + 8 * m));
#pragma unroll
            for (int step = 0; step < 4; step += 2) {
                const unsigned left[4] = {pixels[0].values[step], pixels[1].values[step], pixels[0].values[step + 1],
                                          pixels[1].values[step + 1]};
                const unsigned right[2] = {filters.values[step], filters.values[step + 1]};
                mma_m16n8k16_bf16(sums[tile], left, right, sums[tile]);
            }
        }
    }
}

// Adds up the taps of each number of a tile of dx; taps: [pixels of dy][SUMS].
template <class F, int PADDING>
__device__ __forceinline__ void add_taps(const Conv2d& d, FewTile at, const float* taps, const real* b, stored* dx) {
    using B = FewBackwardTensor<F, PADDING>;
    int thread = (int)(threadIdx.y * WARP + threadIdx.x);
    for (int i = thread; i < B::SIDE_OF_DX * B::SIDE_OF_DX * F::C; i += FEW_TENSOR_THREADS) {
        int c = i % F::C, row = i / F::C / B::SIDE_OF_DX, column = i / F::C % B::SIDE_OF_DX;
        int h = at.row * F::STRIDE + row, v = at.column * F::STRIDE + column;
        if (h >= d.h || v >= d.w) {
            continue;
        }
        // The taps that reach the pixel stand a stride apart, and the first of them is a whole number of strides from it.
        int r0 = (row + PADDING) % F::STRIDE, s0 = (column + PADDING) % F::STRIDE;
        int bottom = (row + PADDING - r0) / F::STRIDE - B::FIRST, right = (column + PADDING - s0) / F::STRIDE - B::FIRST;
        float sum = 0.0f;
#pragma unroll
        for (int r = 0; r < (F::SIDE + F::STRIDE - 1) / F::STRIDE; ++r) {
#pragma unroll
            for (int s = 0; s < (F::SIDE + F::STRIDE - 1) / F::STRIDE; ++s) {
                int tap = ((r0 + r * F::STRIDE) * F::SIDE + s0 + s * F::STRIDE) * F::C + c;
                sum += taps[((bottom - r) * B::PATCH + right - s) * B::SUMS + tap];
            }
        }
        dx[(((size_t)at.image * d.h + h) * d.w + v) * F::C + c] = b ? sum + b[c] : sum;
    }
}

// dx of a block's tiles; few_tensor_bf16.cu says what the arguments are.
template <class F, int PADDING>
__device__ __forceinline__ void few_tensor_backward_input(const Conv2d& d, const Filters& f, const stored* dy, const stored* w,
                                                          const real* b, stored* dx) {
    using B = FewBackwardTensor<F, PADDING>;
    SHARED(stored, weights, [F::TAP_TILES * 8 * B::DEPTH]);
    SHARED(float, taps, [B::PIXELS * B::SUMS]);
    int g = (int)threadIdx.x / 4, m = (int)threadIdx.x % 4;
    int across = (d.w + B::SIDE_OF_DX - 1) / B::SIDE_OF_DX, down = (d.h + B::SIDE_OF_DX - 1) / B::SIDE_OF_DX;
    bool in_runs = d.k % 8 == 0 && aligned_for_runs(dy, 8);
    for (int number = (int)blockIdx.x; number < d.n * down * across; number += (int)gridDim.x) {
        FewTile at = tile_of(number, down, across, B::OWN, B::OWN);
        float sums[F::TAP_TILES][4] = {};
        for (int first = 0; first < d.k; first += B::DEPTH) {
            if (d.k > B::DEPTH || number == (int)blockIdx.x) {
                // Those before may still be read.
                __syncthreads();
                stage_weights<F, B>(d, f, w, first, weights);
                __syncthreads();
            }
            multiply_patch<F, B>(d, dy, at, first, in_runs, weights, sums);
        }
        // The taps before may still be read.
        __syncthreads();
#pragma unroll
        for (int e = 0; e < F::TAP_TILES * 4; ++e) {
            int pixel = (int)threadIdx.y * 16 + 8 * (e / 2 % 2) + g;
            if (pixel < B::PIXELS) {
                taps[pixel * B::SUMS + e / 4 * 8 + 2 * m + e % 2] = sums[e / 4][e % 4];
            }
        }
        __syncthreads();
        add_taps<F, PADDING>(d, at, taps, b, dx);
    }
}

// The weight gradient: rows are filters, columns taps, depth the pixels; a warp has a row of each tile, 16 pixels. dy lies across the
// depth: 32 filters of 16 pixels are turned on their way from shared memory. The windows' fragments are read number by number from the
// tile. Pixels beyond the end of a row have gradients of zero: where x is infinite they make NaN.
template <class F>
struct FewWeightTensor {
    static constexpr int FILTERS = FEW_TENSOR_FILTERS, DOWN = FILTERS / 16;
    // Filters of a pixel in shared memory: 16 bytes more turn the rows that ldmatrix loads.
    static constexpr int ROW = FILTERS + 8;
    static constexpr int JOINED = F::TAP_TILES * 8 + 4;
};

// The gradients of a row of a tile, [16][ROW]; zeros beyond the end of the row and the last filter.
template <class W>
__device__ __forceinline__ void stage_gradients(const Conv2d& d, const stored* dy, FewTile at, int row, int first, bool in_runs,
                                                stored* target) {
    constexpr int CHUNKS = W::FILTERS / 8, COUNT = 16 * CHUNKS / WARP;
    Run<4, unsigned> words[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        int chunk = (int)threadIdx.x + i * WARP, j = at.column + chunk / CHUNKS, k = first + chunk % CHUNKS * 8;
        const stored* source = dy + (((size_t)at.image * d.oh + at.row + row) * d.ow + j) * d.k + k;
        words[i] = words_of(source, j < d.ow && at.row + row < d.oh, in_runs, d.k - k);
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        int chunk = (int)threadIdx.x + i * WARP;
        *reinterpret_cast<Run<4, unsigned>*>(target + chunk / CHUNKS * W::ROW + chunk % CHUNKS * 8) = words[i];
    }
}

// Adds up the warps' sums in their order; joined: [FILTERS][JOINED]. All threads must come, and a barrier must follow.
template <class F>
__device__ __forceinline__ void join_warps(const float (&sums)[FewWeightTensor<F>::DOWN][F::TAP_TILES][4], float* joined) {
    using W = FewWeightTensor<F>;
    int g = (int)threadIdx.x / 4, m = (int)threadIdx.x % 4;
    for (int turn = 0; turn < DIRECT_WARPS; ++turn) {
        __syncthreads();
        if ((int)threadIdx.y != turn) {
            continue;
        }
#pragma unroll
        for (int e = 0; e < W::DOWN * F::TAP_TILES * 4; ++e) {
            int i = e / 4 / F::TAP_TILES, j = e / 4 % F::TAP_TILES;
            float& sum = joined[(i * 16 + e / 2 % 2 * 8 + g) * W::JOINED + j * 8 + 2 * m + e % 2];
            sum = turn == 0 ? sums[i][j][e % 4] : sum + sums[i][j][e % 4];
        }
    }
}

// Parts of dw of `part_tiles` tiles each; few_tensor_bf16.cu says what the arguments are.
template <class F>
__device__ __forceinline__ void few_tensor_backward_weight(const Conv2d& d, const Filters& f, int part_tiles, const stored* x,
                                                           const stored* dy, real* partial) {
    using W = FewWeightTensor<F>;
    SHARED(stored, tile, [F::ROWS * F::ROW]);
    SHARED(stored, gradients, [DIRECT_WARPS][16 * W::ROW]);
    SHARED(float, joined, [W::FILTERS * W::JOINED]);
    int lane = (int)threadIdx.x, g = lane / 4, m = lane % 4, warp = (int)threadIdx.y, first = (int)blockIdx.y * W::FILTERS;
    int from = (int)blockIdx.x * part_tiles, all = few_tiles(d), to = from + part_tiles < all ? from + part_tiles : all;
    bool in_runs = d.k % 8 == 0 && aligned_for_runs(dy, 8);
    int places[F::TAP_TILES];
#pragma unroll
    for (int i = 0; i < F::TAP_TILES; ++i) {
        places[i] = F::place(i * 8 + g) + warp * F::STRIDE * F::ROW + 2 * m * F::STRIDE * F::PIXEL;
    }
    float sums[W::DOWN][F::TAP_TILES][4] = {};
    for (int number = from; number < to; ++number) {
        FewTile at = few_tile(d, number);
        // The tile before may still be read.
        __syncthreads();
        stage_gradients<W>(d, dy, at, warp, first, in_runs, gradients[warp]);
        stage_image<F>(d, x, at, tile);
        __syncthreads();
        unsigned left[W::DOWN][4];
        Element way = turned_a(lane);
#pragma unroll
        for (int i = 0; i < W::DOWN; ++i) {
            ldmatrix_x4_trans(left[i], &gradients[warp][way.depth * W::ROW + i * 16 + way.across]);
        }
#pragma unroll
        for (int j = 0; j < F::TAP_TILES; ++j) {
            constexpr int NEXT = F::STRIDE * F::PIXEL;
            const stored* window = tile + places[j];
            const unsigned right[2] = {word_of(window[0], window[NEXT]), word_of(window[8 * NEXT], window[9 * NEXT])};
#pragma unroll
            for (int i = 0; i < W::DOWN; ++i) {
                mma_m16n8k16_bf16(sums[i][j], left[i], right, sums[i][j]);
            }
        }
    }
    join_warps<F>(sums, joined);
    __syncthreads();
    real* target = partial + (size_t)blockIdx.x * d.k * F::TAPS;
    for (int i = warp * WARP + lane; i < W::FILTERS * F::TAPS; i += FEW_TENSOR_THREADS) {
        int k = i / F::TAPS, tap = i % F::TAPS;
        if (first + k < d.k) {
            target[F::weight(f, first + k, tap)] = joined[k * W::JOINED + tap];
        }
    }
}
