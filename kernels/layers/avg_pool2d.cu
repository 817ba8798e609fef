#include "lib/runs.cuh"

// Sizes of a pooling, 3x3 with stride 2 and a border of one zero; src/ops/layers/avg_pool2d.rs.
struct AvgPool2d {
    int n, h, w, c, oh, ow;
};
// The divisor of every sum, of windows that reach over the border too.
constexpr int WINDOW_PIXELS = 9;

// Places from .. to along an axis.
struct Places {
    int from, to;
};
// 1/9 of the sum of a run of channels over some pixels, in their order; image: [.., width, C], from the run's first channel on.
template <int COUNT>
__device__ __forceinline__ Run<COUNT> average(const stored* image, Places hs, Places ws, int width, int c) {
    Run<COUNT> sum = {};
    for (int h = hs.from; h < hs.to; ++h) {
        for (int w = ws.from; w < ws.to; ++w) {
            Run<COUNT> pixel = read_run<COUNT>(image + ((size_t)h * width + w) * c);
#pragma unroll
            for (int e = 0; e < COUNT; ++e) {
                sum.values[e] += pixel.values[e];
            }
        }
    }
#pragma unroll
    for (int e = 0; e < COUNT; ++e) {
        sum.values[e] /= (real)WINDOW_PIXELS;
    }
    return sum;
}

// y[n, i, j, c] = 1/9 of the sum over r, s of x[n, 2i + r - 1, 2j + s - 1, c]; also the tangent.
// x: [N, H, W, C]; y: [N, OH, OW, C]. The grid's threads stride over the pixels of y by runs of channels. Overwrites y.
// Twin: Cpu::avg_pool2d_forward in src/ops/layers/avg_pool2d.rs.
KERNEL(avg_pool2d_forward, AvgPool2d d, const stored* x, stored* y) {
    size_t pixels = (size_t)d.n * d.oh * d.ow;
    for_each_run_of_rows(pixels, d.c, all_aligned_for_runs(STORED_RUN, x, y), [&](size_t pixel, int c, auto length) {
        constexpr int COUNT = decltype(length)::value;
        unsigned line = (unsigned)pixel / (unsigned)d.ow;
        int i = (int)(line % (unsigned)d.oh), j = (int)((unsigned)pixel % (unsigned)d.ow);
        Places hs = {i > 0 ? 2 * i - 1 : 0, 2 * i + 2 < d.h ? 2 * i + 2 : d.h};
        Places ws = {j > 0 ? 2 * j - 1 : 0, 2 * j + 2 < d.w ? 2 * j + 2 : d.w};
        const stored* image = x + (size_t)(line / (unsigned)d.oh) * d.h * d.w * d.c + c;
        write_run<COUNT>(y + pixel * d.c + c, average<COUNT>(image, hs, ws, d.w, d.c));
    });
}

// dx[n, h, w, c] = 1/9 of the sum of dy over the windows that hold the pixel: one along an even row or column, two along
// an odd one unless the image ends there.
// dy: [N, OH, OW, C]; dx: [N, H, W, C]. The grid's threads stride over the pixels of dx by runs of channels. Overwrites dx.
// Twin: Cpu::avg_pool2d_backward_input in src/ops/layers/avg_pool2d.rs.
KERNEL(avg_pool2d_backward_input, AvgPool2d d, const stored* dy, stored* dx) {
    size_t pixels = (size_t)d.n * d.h * d.w;
    for_each_run_of_rows(pixels, d.c, all_aligned_for_runs(STORED_RUN, dy, dx), [&](size_t pixel, int c, auto length) {
        constexpr int COUNT = decltype(length)::value;
        unsigned line = (unsigned)pixel / (unsigned)d.w;
        int h = (int)(line % (unsigned)d.h), w = (int)((unsigned)pixel % (unsigned)d.w);
        Places is = {h / 2, (h + 1) / 2 + 1 < d.oh ? (h + 1) / 2 + 1 : d.oh};
        Places js = {w / 2, (w + 1) / 2 + 1 < d.ow ? (w + 1) / 2 + 1 : d.ow};
        const stored* image = dy + (size_t)(line / (unsigned)d.h) * d.oh * d.ow * d.c + c;
        write_run<COUNT>(dx + pixel * d.c + c, average<COUNT>(image, is, js, d.ow, d.c));
    });
}
