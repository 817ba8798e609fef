#include "lib/philox.cuh"
#include "lib/reduce.cuh"

// Numbers that are drawn for each image; DRAWS of src/ops/inputs/augment.rs.
constexpr int AUGMENT_DRAWS = 7;

// Sizes of a batch, and what may happen to it; src/ops/inputs/augment.rs.
struct Augment {
    // Half of the pixels' range, and its middle.
    double half_range, middle;
    // What a sum over a pixel's channels is multiplied with to be their mean, and one over an image.
    double per_pixel, per_image;
    int h, w, c;
    // Images of a group.
    int group;
    int color, translation, cutout;
    unsigned first_stream, second_stream;
    DrawStep draws;
};

// What the draws of one image come to; Changes of src/ops/inputs/augment/cpu.rs.
struct Changes {
    // The factors of a value, of the sum of its pixel and of the sum of its image; what is added.
    real own, pixel, image, brightness;
    // Pixel (i, j) shows pixel (i + rows, j + columns).
    int rows, columns;
    // The first row and column that are cut out, and those behind the last.
    int top, bottom, left, right;
};

// One of `count` numbers from 0 on, by u in [0, 1).
__device__ __forceinline__ int choose(real u, int count) {
    double place = (double)u * count;
    return place >= count ? count - 1 : place > 0.0 ? (int)place : 0;
}

// Rows or columns that an image is shifted by, of `side`.
__device__ __forceinline__ int shift_of(int side, real u) {
    int most = (side + 4) / 8;
    return choose(u, 2 * most + 1) - most;
}

// The first row or column that is cut out, of `side`, and the one behind the last.
__device__ __forceinline__ void cut_of(int side, real u, int& first, int& end) {
    int size = (side + 1) / 2, centre = choose(u, side + 1 - size % 2);
    first = max(centre - size / 2, 0);
    end = min(centre + size - size / 2, side);
}

// The changes of this block's image, in all threads: by its row of `given`, or drawn where that is null. Every thread of the block
// must come.
__device__ __forceinline__ Changes changes_of(const Augment& d, const real* given, const StepState* state) {
    SHARED(real, u, [AUGMENT_DRAWS]);
    unsigned image = blockIdx.x, stream = image < (unsigned)d.group ? d.first_stream : d.second_stream;
    for (int i = threadIdx.x; i < AUGMENT_DRAWS; i += IMAGE_THREADS) {
        u[i] = given ? given[(size_t)image * AUGMENT_DRAWS + i]
                     : (real)uniform_draw(state->seed, stream, draw_step(d.draws, state->step), d.draws.first_sample + image % d.group, i);
    }
    __syncthreads();
    Changes by = {(real)1, (real)0, (real)0, (real)0, 0, 0, 0, 0, 0, 0};
    if (d.color) {
        real saturation = (real)2 * u[1], contrast = u[2] + (real)0.5;
        by.own = contrast * saturation;
        by.pixel = (contrast - by.own) * (real)d.per_pixel;
        by.image = ((real)1 - contrast) * (real)d.per_image;
        by.brightness = (real)d.half_range * (u[0] - (real)0.5);
    }
    if (d.translation) {
        by.rows = shift_of(d.h, u[3]);
        by.columns = shift_of(d.w, u[4]);
    }
    if (d.cutout) {
        cut_of(d.h, u[5], by.top, by.bottom);
        cut_of(d.w, u[6], by.left, by.right);
    }
    return by;
}

__device__ __forceinline__ bool is_cut(const Changes& by, int row, int column) {
    return by.top <= row && row < by.bottom && by.left <= column && column < by.right;
}

// The pixel of x that pixel `place` of T(x) shows, or -1 where it is grey.
__device__ __forceinline__ int shown_at(const Augment& d, const Changes& by, int place) {
    int row = place / d.w, column = place % d.w;
    int row_shown = row + by.rows, column_shown = column + by.columns;
    bool inside = 0 <= row_shown && row_shown < d.h && 0 <= column_shown && column_shown < d.w;
    return inside && !is_cut(by, row, column) ? row_shown * d.w + column_shown : -1;
}

// The pixel of T(x) that shows pixel `shown` of x, or -1 where none does.
__device__ __forceinline__ int place_of(const Augment& d, const Changes& by, int shown) {
    int row = shown / d.w - by.rows, column = shown % d.w - by.columns;
    bool inside = 0 <= row && row < d.h && 0 <= column && column < d.w;
    return inside && !is_cut(by, row, column) ? row * d.w + column : -1;
}

// Writes the colours of one pixel of C channels. They are one or three: loops that are unrolled for more would only spill registers.
__device__ __forceinline__ void mix(const Augment& d, const Changes& by, const stored* x, real constant, stored* y) {
    real rest = constant;
    if (d.color) {
        real sum = (real)0;
#pragma unroll 1
        for (int channel = 0; channel < d.c; ++channel) {
            sum += x[channel];
        }
        rest = by.pixel * sum + constant;
    }
#pragma unroll 1
    for (int channel = 0; channel < d.c; ++channel) {
        y[channel] = d.color ? by.own * x[channel] + rest : (real)x[channel];
    }
}

// y = T(x; u).
// x, y: [N, H, W, C]; given: u, [N, 7], or null where it is drawn; state: one, read (seed, step). A block an image, its threads walk
// the pixels. Overwrites y.
// Twin: Cpu::augment_forward in src/ops/inputs/augment/cpu.rs.
KERNEL_BOUNDED(IMAGE_THREADS, augment_forward, Augment d, const stored* x, const real* given, const StepState* state, stored* y) {
    Changes by = changes_of(d, given, state);
    int pixels = d.h * d.w, len = pixels * d.c;
    x += (size_t)blockIdx.x * len;
    y += (size_t)blockIdx.x * len;
    real constant = (real)0;
    if (d.color) {
        double total = 0.0;
        for (int i = threadIdx.x; i < len; i += IMAGE_THREADS) {
            total += (double)x[i];
        }
        constant = by.image * (real)block_sum<IMAGE_THREADS>(total) + by.brightness;
    }
    for (int place = threadIdx.x; place < pixels; place += IMAGE_THREADS) {
        int shown = shown_at(d, by, place);
        if (shown >= 0) {
            mix(d, by, x + (size_t)shown * d.c, constant, y + (size_t)place * d.c);
        } else {
#pragma unroll 1
            for (int channel = 0; channel < d.c; ++channel) {
                y[(size_t)place * d.c + channel] = (real)d.middle;
            }
        }
    }
}

// dx = transpose(A) dy, A the linear part of T.
// dy, dx: [N, H, W, C]; given, state: as above. A block an image, its threads walk the pixels. Overwrites dx.
// Twin: Cpu::augment_backward_input in src/ops/inputs/augment/cpu.rs.
KERNEL_BOUNDED(IMAGE_THREADS, augment_backward_input, Augment d, const stored* dy, const real* given, const StepState* state,
               stored* dx) {
    Changes by = changes_of(d, given, state);
    int pixels = d.h * d.w, len = pixels * d.c;
    dy += (size_t)blockIdx.x * len;
    dx += (size_t)blockIdx.x * len;
    real constant = (real)0;
    if (d.color) {
        double total = 0.0;
        for (int i = threadIdx.x; i < len; i += IMAGE_THREADS) {
            total += shown_at(d, by, i / d.c) >= 0 ? (double)dy[i] : 0.0;
        }
        constant = by.image * (real)block_sum<IMAGE_THREADS>(total);
    }
    for (int shown = threadIdx.x; shown < pixels; shown += IMAGE_THREADS) {
        int place = place_of(d, by, shown);
        if (place >= 0) {
            mix(d, by, dy + (size_t)place * d.c, constant, dx + (size_t)shown * d.c);
        } else {
            // Nothing but the image's mean comes down to a pixel that is not shown.
#pragma unroll 1
            for (int channel = 0; channel < d.c; ++channel) {
                dx[(size_t)shown * d.c + channel] = constant;
            }
        }
    }
}
