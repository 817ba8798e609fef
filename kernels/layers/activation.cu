#include "layers/activation.cuh"
#include "lib/runs.cuh"

// y = f(x), element by element.
// x, y: [count], any shape. The grid's threads stride over runs of them. Overwrites y.
// Twin: Cpu::activation_forward in src/ops/layers/activation.rs.
KERNEL(activation_forward, Activation f, const stored* x, stored* y, unsigned long long count) {
    for_each_run(count, all_aligned_for_runs(STORED_RUN, x, y), [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> values = read_run<COUNT>(x + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            values.values[e] = activation_value(f, values.values[e]);
        }
        write_run<COUNT>(y + i, values);
    });
}

// dx = f'(x) dy, with f' taken from y = f(x); also the tangent, of dy.
// y, dy, dx: [count]. The grid's threads stride over runs of them. Overwrites dx.
// Twin: Cpu::activation_backward_input in src/ops/layers/activation.rs.
KERNEL(activation_backward_input, Activation f, const stored* y, const stored* dy, stored* dx, unsigned long long count) {
    for_each_run(count, all_aligned_for_runs(STORED_RUN, y, dy, dx), [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> own = read_run<COUNT>(y + i), gradient = read_run<COUNT>(dy + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            gradient.values[e] = activation_slope(f, own.values[e]) * gradient.values[e];
        }
        write_run<COUNT>(dx + i, gradient);
    });
}

// dx += f''(x) vx dy, with f'' taken from y = f(x): the derivative by x of the tangent f'(x) vx against dy.
// y, vx, dy, dx: [count]. The grid's threads stride over runs of them. Changes dx.
// Twin: Cpu::activation_curvature in src/ops/layers/activation.rs.
KERNEL(activation_curvature, Activation f, const stored* y, const stored* vx, const stored* dy, stored* dx,
       unsigned long long count) {
    for_each_run(count, all_aligned_for_runs(STORED_RUN, y, vx, dy, dx), [&](size_t i, auto length) {
        constexpr int COUNT = decltype(length)::value;
        Run<COUNT> own = read_run<COUNT>(y + i), tangent = read_run<COUNT>(vx + i), gradient = read_run<COUNT>(dy + i);
        Run<COUNT> sum = read_run<COUNT>(dx + i);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            sum.values[e] += activation_curvature_of(f, own.values[e]) * tangent.values[e] * gradient.values[e];
        }
        write_run<COUNT>(dx + i, sum);
    });
}
