// The three products of a convolution, for any units: where their elements lie. A Units is PlainUnits<…> or TensorUnits<…>; what
// each computes is said where conv2d.cu makes it a kernel.
//
// All three may be split along their depth, `part` long each: every part writes a whole output of its own in real, one behind
// the other.
#pragma once

#include "layers/epilogue.cuh"
#include "lib/product.cuh"

// Sizes of a convolution; Conv2d of src/ops/layers/conv2d.rs. The transposed convolution is the same three kernels: its forward
// pass is the input gradient (with a bias), its input gradient the forward pass, its weight gradient that with x and dy
// exchanged.
struct Conv2d {
    int n, h, w, c, k, r, s, stride, padding, oh, ow;
};

// A place among the pixels of all images, which may lie beyond its image's edge: row, column, address.
template <class Number>
struct Spot {
    int h, w;
    const Number* at;
};
// The way from there to an element of the same image: rows, columns, elements.
struct Way {
    int h, w, offset;
};

// Images [N, H, W, C], whose elements are found by a spot and the way from it, which may lead out of the image.
template <class Number>
struct Pixels {
    using Source = Number;
    const Source* data;
    int height, width, channels;

    __device__ __forceinline__ Place<Source> reached(Spot<Source> from, Way way) const {
        bool inside = (unsigned)(from.h + way.h) < (unsigned)height && (unsigned)(from.w + way.w) < (unsigned)width;
        return {from.at + way.offset, inside};
    }
    // Channels of one pixel.
    __device__ __forceinline__ bool in_runs(int run) const {
        return channels % run == 0 && aligned_for_runs(data, run);
    }
};

// Depths that are counted in digits.
struct Counted {
    using Count = Digits;
    Bases bases;

    __device__ __forceinline__ Digits count(int k) const {
        return bases.digits(k);
    }
    __device__ __forceinline__ Digits sum(Digits a, Digits b) const {
        return bases.sum(a, b);
    }
};

// The windows of a convolution's input: where the one of an output pixel (columns, rows, images) begins, and the way from
// there to a tap (channels, columns, rows).
template <class Number>
struct Windows : Pixels<Number>, Counted {
    Conv2d d;
    __device__ __forceinline__ Windows(Conv2d d, const Number* x, Bases bases)
        : Pixels<Number>{x, d.h, d.w, d.c}, Counted{bases}, d(d) {}

    __device__ __forceinline__ Spot<Number> corner(Digits pixel) const {
        int h = pixel.middle * d.stride - d.padding, w = pixel.low * d.stride - d.padding;
        return {h, w, this->data + (long long)((pixel.high * d.h + h) * d.w + w) * d.c};
    }
    __device__ __forceinline__ Way tap(Digits tap) const {
        return Way{tap.high, tap.middle, (tap.high * d.w + tap.middle) * d.c + tap.low};
    }
};
template <class Number>
struct WindowsAsRows : Windows<Number> {
    using Across = Spot<Number>;
    using Depth = Way;
    __device__ __forceinline__ WindowsAsRows(Conv2d d, const Number* x) : Windows<Number>(d, x, Bases{d.c, d.s}) {}

    __device__ __forceinline__ Spot<Number> across(int pixel) const {
        return this->corner(Bases{this->d.ow, this->d.oh}.digits(pixel));
    }
    __device__ __forceinline__ Way depth(Digits count) const {
        return this->tap(count);
    }
    __device__ __forceinline__ Place<Number> place(Spot<Number> corner, Way tap) const {
        return this->reached(corner, tap);
    }
};
template <class Number>
struct WindowsAsDepth : Windows<Number> {
    using Across = Way;
    using Depth = Spot<Number>;
    __device__ __forceinline__ WindowsAsDepth(Conv2d d, const Number* x) : Windows<Number>(d, x, Bases{d.ow, d.oh}) {}

    __device__ __forceinline__ Way across(int index) const {
        return this->tap(Bases{this->d.c, this->d.s}.digits(index));
    }
    __device__ __forceinline__ Spot<Number> depth(Digits count) const {
        return this->corner(count);
    }
    __device__ __forceinline__ Place<Number> place(Way tap, Spot<Number> corner) const {
        return this->reached(corner, tap);
    }
};

// The input pixels of one parity, those with (h, w) congruent to (ph, pw) modulo the stride, and the taps that reach them.
struct Parity {
    Conv2d d;
    int ph, pw, r0, s0, r_taps, s_taps, rows, columns;

    __device__ __forceinline__ Parity(Conv2d d, int number) : d(d), ph(number / d.stride), pw(number % d.stride) {
        r0 = (ph + d.padding) % d.stride, s0 = (pw + d.padding) % d.stride;
        r_taps = d.r > r0 ? (d.r - r0 + d.stride - 1) / d.stride : 0;
        s_taps = d.s > s0 ? (d.s - s0 + d.stride - 1) / d.stride : 0;
        rows = d.h > ph ? (d.h - ph + d.stride - 1) / d.stride : 0;
        columns = d.w > pw ? (d.w - pw + d.stride - 1) / d.stride : 0;
    }
    __device__ __forceinline__ int h(int pixel) const {
        return ph + pixel / columns % rows * d.stride;
    }
    __device__ __forceinline__ int w(int pixel) const {
        return pw + pixel % columns * d.stride;
    }
    // Of the depth: filters, then the taps of a row. A parity without taps has no depth to count.
    __device__ __forceinline__ Bases bases() const {
        return Bases{d.k, s_taps};
    }
};

// The output pixels that the taps of a parity lead back to: across a pixel of it, along the depth tap by tap the filters.
template <class Number>
struct Reached : Pixels<Number>, Counted {
    using Across = Spot<Number>;
    using Depth = Way;
    Parity p;
    __device__ __forceinline__ Reached(Parity p, const Number* dy)
        : Pixels<Number>{dy, p.d.oh, p.d.ow, p.d.k}, Counted{p.bases()}, p(p) {}

    __device__ __forceinline__ Spot<Number> across(int pixel) const {
        // A whole number of steps, by the choice of r0 and s0.
        int image = pixel / (p.rows * p.columns);
        int i = (p.h(pixel) + p.d.padding - p.r0) / p.d.stride, j = (p.w(pixel) + p.d.padding - p.s0) / p.d.stride;
        return {i, j, this->data + (long long)((image * p.d.oh + i) * p.d.ow + j) * p.d.k};
    }
    __device__ __forceinline__ Way depth(Digits count) const {
        return Way{-count.high, -count.middle, count.low - (count.high * p.d.ow + count.middle) * p.d.k};
    }
    __device__ __forceinline__ Place<Number> place(Spot<Number> pixel, Way tap) const {
        return this->reached(pixel, tap);
    }
};
// The filters [K, R, S, C] at those taps: across the channels.
template <class Number>
struct ReachingFilters : Counted {
    using Source = Number;
    using Across = const Source*;
    using Depth = int;
    const Source* data;
    Parity p;
    __device__ __forceinline__ ReachingFilters(Parity p, const Source* w) : Counted{p.bases()}, data(w), p(p) {}

    __device__ __forceinline__ const Source* across(int c) const {
        return data + c;
    }
    __device__ __forceinline__ int depth(Digits count) const {
        int r = p.r0 + count.high * p.d.stride, s = p.s0 + count.middle * p.d.stride;
        return ((count.low * p.d.r + r) * p.d.s + s) * p.d.c;
    }
    __device__ __forceinline__ Place<Source> place(const Source* channel, int depth) const {
        return {channel + depth, true};
    }
    // Channels of one tap.
    __device__ __forceinline__ bool in_runs(int run) const {
        return p.d.c % run == 0 && aligned_for_runs(data, run);
    }
};

// Implicit GEMM: rows are output pixels, columns filters, depth R S C. Parts, unless there are none, have neither b nor an end.
template <class Units>
__device__ __forceinline__ void conv2d_forward_tile(Conv2d d, int part, const stored* x, const stored* w, const real* b,
                                                    Epilogue end, real* parts, stored* y) {
    int width = d.r * d.s * d.c, pixels = d.n * d.oh * d.ow, number = (int)blockIdx.z;
    Depths depths = part_of_depth(number, part, width);
    auto row = [=](int pixel) { return (size_t)pixel * d.k; };
    Loop<Units>::template product<Along::Depth, Along::Depth>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, pixels, d.k, depths, WindowsAsRows(d, x),
        Strided{w, width, 1}, part_or_whole<false>(b, parts, number, (size_t)pixels * d.k, y, d.k, row, end));
}

// Of one parity of pixels: rows are its pixels, columns channels, depth its taps K. blockIdx.z counts the parities of one
// part, then those of the next; a part of a parity with few taps may be empty, and is zeros.
template <class Units>
__device__ __forceinline__ void conv2d_backward_input_tile(Conv2d d, int part, const stored* dy, const stored* w,
                                                           const real* b, Epilogue end, real* parts, stored* dx) {
    int parities = d.stride * d.stride, number = (int)blockIdx.z / parities;
    Parity p(d, (int)blockIdx.z % parities);
    Depths depths = part_of_depth(number, part, p.r_taps * p.s_taps * d.k);
    int pixels = d.n * p.rows * p.columns;
    if ((int)blockIdx.x * Units::M >= pixels) {
        return;
    }
    auto row = [=](int pixel) {
        int image = pixel / (p.rows * p.columns);
        return (((size_t)image * d.h + p.h(pixel)) * d.w + p.w(pixel)) * d.c;
    };
    Loop<Units>::template product<Along::Depth, Along::Across>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, pixels, d.c, depths, Reached(p, dy),
        ReachingFilters(p, w),
        part_or_whole<false>(b, parts, number, (size_t)d.n * d.h * d.w * d.c, dx, d.c, row, end));
}

// A part of the depth, `part` long: rows are filters, columns taps, depth output pixels.
template <class Units>
__device__ __forceinline__ void conv2d_backward_weight_partial_tile(Conv2d d, int part, const stored* x, const stored* dy,
                                                                    real* partial) {
    int width = d.r * d.s * d.c;
    Depths depths = part_of_depth((int)blockIdx.z, part, d.n * d.oh * d.ow);
    real* target = partial + (size_t)blockIdx.z * d.k * width;
    Loop<Units>::template product<Along::Across, Along::Across>(
        (int)blockIdx.x * Units::M, (int)blockIdx.y * Units::N, d.k, width, depths,
        Strided{dy, 1, d.k}, WindowsAsDepth(d, x),
        output<false>(nullptr, target, width, [=](int k) { return (size_t)k * width; }));
}
