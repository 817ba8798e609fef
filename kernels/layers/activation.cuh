// Activations as the kernels know them; src/ops/layers/activation.rs has the formulas.
#pragma once

#include "lib/device.cuh"
#include "lib/exponential.cuh"

// The function, and the slope of the negative side of one that bends at 0.
struct Activation {
    int kind;
    real negative;
};
// Identity, ReLU and leaky ReLU are one kind: they differ in the slope of their negative side.
constexpr int PIECEWISE_LINEAR = 0;
constexpr int SIGMOID = 1;
constexpr int TANH = 2;

// f(x).
__device__ __forceinline__ real activation_value(Activation f, real x) {
    if (f.kind == SIGMOID) {
        return (real)1 / ((real)1 + exponential(-x));
    }
    if (f.kind == TANH) {
        return tanh(x);
    }
    return x > (real)0 ? x : x * f.negative;
}

// f'(x) where f(x) = y.
__device__ __forceinline__ real activation_slope(Activation f, real y) {
    if (f.kind == SIGMOID) {
        return y * ((real)1 - y);
    }
    if (f.kind == TANH) {
        return (real)1 - y * y;
    }
    return y > (real)0 ? (real)1 : f.negative;
}

// f''(x) where f(x) = y; 0 for what is piecewise linear.
__device__ __forceinline__ real activation_curvature_of(Activation f, real y) {
    if (f.kind == SIGMOID) {
        return y * ((real)1 - y) * ((real)1 - (y + y));
    }
    if (f.kind == TANH) {
        return -(y + y) * ((real)1 - y * y);
    }
    return (real)0;
}
