#include "lib/device.cuh"

// Sizes of a pooling with square windows; src/ops/layers/pool2d.rs.
struct Pool2d {
    int n, h, w, c, side, stride, padding, average, oh, ow;
};

// Places from .. to along an axis.
struct Places {
    int from, to;
};
// Those of an axis of `size` that are in window i.
__device__ __forceinline__ Places places_of(const Pool2d& d, int i, int size) {
    int from = i * d.stride - d.padding, to = from + d.side;
    return Places{from > 0 ? from : 0, to < size ? to : size};
}
// The windows, of `windows` along an axis, that place h is in.
__device__ __forceinline__ Places windows_of(const Pool2d& d, int h, int windows) {
    int last = h + d.padding, to = last / d.stride + 1;
    return Places{last < d.side ? 0 : (last - d.side) / d.stride + 1, to < windows ? to : windows};
}
// Whether a value takes the place of the largest so far: NaN is the largest of all.
__device__ __forceinline__ bool is_larger(real value, real largest) {
    return value > largest || isnan(value);
}

// y[n, i, j, c] = the largest of x[n, h, w, c] over the window's pixels (h, w) inside the image, or their mean.
// x: [N, H, W, C]; y: [N, OH, OW, C]. The grid's blocks stride over the rows of y, a block's threads over a row's elements.
// Overwrites y.
// Twin: Cpu::pool2d_forward in src/ops/layers/pool2d.rs.
KERNEL(pool2d_forward, Pool2d d, const stored* x, stored* y) {
    unsigned rows = (unsigned)(d.n * d.oh), row_len = (unsigned)(d.ow * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        const stored* image = x + (size_t)(row / (unsigned)d.oh) * d.h * d.w * d.c;
        Places hs = places_of(d, (int)(row % (unsigned)d.oh), d.h);
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            int c = (int)(at % (unsigned)d.c);
            Places ws = places_of(d, (int)(at / (unsigned)d.c), d.w);
            real found = d.average ? (real)0 : (real)image[((size_t)hs.from * d.w + ws.from) * d.c + c];
            for (int h = hs.from; h < hs.to; ++h) {
                for (int w = ws.from; w < ws.to; ++w) {
                    real value = image[((size_t)h * d.w + w) * d.c + c];
                    found = d.average ? found + value : is_larger(value, found) ? value : found;
                }
            }
            real count = (real)((hs.to - hs.from) * (ws.to - ws.from));
            y[(size_t)row * row_len + at] = d.average ? found / count : found;
        }
    }
}

// dx[n, h, w, c] = the sum of dy over the windows that hold the pixel: of those whose first largest pixel it is, or of all, each
// divided by its number of pixels inside the image.
// x, dx: [N, H, W, C]; dy: [N, OH, OW, C]. The grid's blocks stride over the rows of dx, a block's threads over a row's elements.
// Overwrites dx.
// Twin: Cpu::pool2d_backward_input in src/ops/layers/pool2d.rs.
KERNEL(pool2d_backward_input, Pool2d d, const stored* x, const stored* dy, stored* dx) {
    unsigned rows = (unsigned)(d.n * d.h), row_len = (unsigned)(d.w * d.c);
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        unsigned n = row / (unsigned)d.h;
        const stored* image = x + (size_t)n * d.h * d.w * d.c;
        const stored* gradient = dy + (size_t)n * d.oh * d.ow * d.c;
        int own_h = (int)(row % (unsigned)d.h);
        Places is = windows_of(d, own_h, d.oh);
        for (unsigned at = threadIdx.x; at < row_len; at += blockDim.x) {
            int own_w = (int)(at / (unsigned)d.c), c = (int)(at % (unsigned)d.c);
            Places js = windows_of(d, own_w, d.ow);
            real sum = 0;
            for (int i = is.from; i < is.to; ++i) {
                for (int j = js.from; j < js.to; ++j) {
                    Places hs = places_of(d, i, d.h), ws = places_of(d, j, d.w);
                    real value = gradient[((size_t)i * d.ow + j) * d.c + c];
                    if (d.average) {
                        sum += value / (real)((hs.to - hs.from) * (ws.to - ws.from));
                        continue;
                    }
                    int best_h = hs.from, best_w = ws.from;
                    real largest = image[((size_t)best_h * d.w + best_w) * d.c + c];
                    for (int h = hs.from; h < hs.to; ++h) {
                        for (int w = ws.from; w < ws.to; ++w) {
                            real other = image[((size_t)h * d.w + w) * d.c + c];
                            if (is_larger(other, largest) && (h > hs.from || w > ws.from)) {
                                largest = other, best_h = h, best_w = w;
                            }
                        }
                    }
                    if (best_h == own_h && best_w == own_w) {
                        sum += value;
                    }
                }
            }
            dx[(size_t)row * row_len + at] = sum;
        }
    }
}
