// The learning rate and the decay of a moving average at a step, as src/ops/optimizers/schedule.rs computes them, operation for
// operation, so that CPU and GPU agree in every bit. That file says what they mean.
#pragma once

#include "lib/device.cuh"

// base^exponent by repeated squaring.
__device__ inline double power(double base, unsigned long long exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) {
            result *= base;
        }
        base *= base;
    }
    return result;
}

// kind: 0 constant, 1 linear, 2 cosine.
struct Schedule {
    unsigned long long warmup, kind, start, steps;
    double floor;
};

// cos(pi part) for a part in [0, 1].
__device__ inline double cosine(double part) {
    double y = 3.14159265358979323846 * (part - 0.5);
    double square = y * y;
    double series = 1.0;
    for (double odd = 23.0; odd > 1.0; odd -= 2.0) {
        series = 1.0 - square / (odd * (odd - 1.0)) * series;
    }
    return -(y * series);
}

// The part of the learning rate at a step.
__device__ inline double rate_at(const Schedule& d, unsigned long long step) {
    double warm = step < d.warmup ? (double)(step + 1) / (double)d.warmup : 1.0;
    if (d.kind == 0 || step <= d.start) {
        return warm;
    }
    unsigned long long passed = step - d.start;
    if (passed >= d.steps) {
        return warm * d.floor;
    }
    double part = (double)passed / (double)d.steps;
    double left = d.kind == 1 ? 1.0 - part : 0.5 + 0.5 * cosine(part);
    return warm * (d.floor + (1.0 - d.floor) * left);
}

struct Decay {
    double decay, half_life, rampup, batch;
};

// 0.5^x for x >= 0.
__device__ inline double half_to_the(double x) {
    if (x >= 1000.0) {
        return 0.0;
    }
    unsigned long long whole = (unsigned long long)x;
    double exponent = -(x - (double)whole) * 0.693147180559945309417;
    double series = 1.0;
    for (double term = 20.0; term > 0.0; term -= 1.0) {
        series = 1.0 + exponent / term * series;
    }
    return series * power(0.5, whole);
}

// A moving average's decay at a step.
__device__ inline double decay_at(const Decay& d, unsigned long long step) {
    if (d.half_life == 0.0) {
        return d.decay;
    }
    double bound = (double)step * d.batch * d.rampup;
    double images = d.rampup > 0.0 && bound < d.half_life ? bound : d.half_life;
    return images > 0.0 ? half_to_the(d.batch / images) : 0.0;
}
