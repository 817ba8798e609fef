#include "lib/runs.cuh"

// Sizes of an upsampling by two, those of its input; src/ops/layers/upsample2d.rs.
struct Upsample2d {
    int n, h, w, c;
};

// y[n, i, j, c] = x[n, i / 2, j / 2, c]; also the tangent.
// x: [N, H, W, C]; y: [N, 2H, 2W, C]. The grid's threads stride over the pixels of y by runs of channels. Overwrites y.
// Twin: Cpu::upsample2d_forward in src/ops/layers/upsample2d.rs.
KERNEL(upsample2d_forward, Upsample2d d, const stored* x, stored* y) {
    unsigned width = 2 * (unsigned)d.w;
    size_t pixels = (size_t)2 * d.n * d.h * width;
    for_each_run_of_rows(pixels, d.c, all_aligned_for_runs(STORED_RUN, x, y), [&](size_t pixel, int c, auto length) {
        constexpr int COUNT = decltype(length)::value;
        // Rows of all images run on, so half of a row's number is the number of the row that it copies.
        unsigned row = (unsigned)pixel / width, j = (unsigned)pixel % width;
        size_t source = (size_t)(row / 2) * d.w + j / 2;
        write_run<COUNT>(y + pixel * d.c + c, read_run<COUNT>(x + source * d.c + c));
    });
}

// dx[n, h, w, c] = the sum of dy[n, 2h + 0..1, 2w + 0..1, c].
// dy: [N, 2H, 2W, C]; dx: [N, H, W, C]. The grid's threads stride over the pixels of dx by runs of channels. Overwrites dx.
// Twin: Cpu::upsample2d_backward_input in src/ops/layers/upsample2d.rs.
KERNEL(upsample2d_backward_input, Upsample2d d, const stored* dy, stored* dx) {
    size_t pixels = (size_t)d.n * d.h * d.w, row_len = (size_t)2 * d.w * d.c;
    for_each_run_of_rows(pixels, d.c, all_aligned_for_runs(STORED_RUN, dy, dx), [&](size_t pixel, int c, auto length) {
        constexpr int COUNT = decltype(length)::value;
        unsigned row = (unsigned)pixel / (unsigned)d.w, w = (unsigned)pixel % (unsigned)d.w;
        const stored *upper = dy + 2 * row * row_len + (size_t)2 * w * d.c + c, *lower = upper + row_len;
        Run<COUNT> sum = read_run<COUNT>(upper), right = read_run<COUNT>(upper + d.c);
        Run<COUNT> below = read_run<COUNT>(lower), last = read_run<COUNT>(lower + d.c);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            sum.values[e] = sum.values[e] + right.values[e] + below.values[e] + last.values[e];
        }
        write_run<COUNT>(dx + pixel * d.c + c, sum);
    });
}
