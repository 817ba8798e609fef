#include "lib/runs.cuh"

// y = a + scale b, element by element; also the tangent.
// a, b, y: [count], any shape. The grid's threads stride over runs of them. Overwrites y.
// Twin: Cpu::scaled_add_forward in src/ops/layers/scaled_add.rs.
KERNEL(scaled_add_forward, real scale, const stored* a, const stored* b, stored* y, unsigned long long count) {
    for_each_run(count, all_aligned_for_runs(STORED_RUN, a, b, y), [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> sum = read_run<COUNT>(a + i), term = read_run<COUNT>(b + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            sum.values[e] += scale * term.values[e];
        }
        write_run<COUNT>(y + i, sum);
    });
}

// db = scale dy.
// dy, db: [count], any shape. The grid's threads stride over runs of them. Overwrites db.
// Twin: Cpu::scaled_add_backward_input in src/ops/layers/scaled_add.rs.
KERNEL(scaled_add_backward_input, real scale, const stored* dy, stored* db, unsigned long long count) {
    for_each_run(count, all_aligned_for_runs(STORED_RUN, dy, db), [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> gradient = read_run<COUNT>(dy + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            gradient.values[e] *= scale;
        }
        write_run<COUNT>(db + i, gradient);
    });
}
