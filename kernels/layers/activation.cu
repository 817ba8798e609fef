#include "layers/activation.cuh"

// y = f(x), element by element.
// x, y: [count], any shape. The grid's threads stride over the elements. Overwrites y.
// Twin: Cpu::activation_forward in src/ops/layers/activation.rs.
KERNEL(activation_forward, Activation f, const stored* x, stored* y, unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        y[i] = activation_value(f, x[i]);
    }
}

// dx = f'(x) dy, with f' taken from y = f(x); also the tangent, of dy.
// y, dy, dx: [count]. The grid's threads stride over the elements. Overwrites dx.
// Twin: Cpu::activation_backward_input in src/ops/layers/activation.rs.
KERNEL(activation_backward_input, Activation f, const stored* y, const stored* dy, stored* dx, unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        dx[i] = activation_slope(f, y[i]) * dy[i];
    }
}

// dx += f''(x) vx dy, with f'' taken from y = f(x): the derivative by x of the tangent f'(x) vx against dy.
// y, vx, dy, dx: [count]. The grid's threads stride over the elements. Changes dx.
// Twin: Cpu::activation_curvature in src/ops/layers/activation.rs.
KERNEL(activation_curvature, Activation f, const stored* y, const stored* vx, const stored* dy, stored* dx,
       unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        dx[i] += activation_curvature_of(f, y[i]) * vx[i] * dy[i];
    }
}
