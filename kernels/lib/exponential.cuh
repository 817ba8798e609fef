// e^x as src/device/exponential.rs computes it, operation for operation, so that CPU and GPU agree in every bit.
#pragma once

#include "lib/device.cuh"

__device__ __forceinline__ float exponential(float x) {
    const float ln_2_high = 355.0f / 512.0f, ln_2_low = -2.1219444e-4f, round = 12582912.0f;
    float n = (x * 1.44269504088896340736f + round) - round;
    // Comparisons as Rust's clamp makes them: a NaN stays one, and only the exponent below is of its making.
    n = n < -127.0f ? -127.0f : n;
    n = n > 129.0f ? 129.0f : n;
    float r = (x - n * ln_2_high) - n * ln_2_low;
    float series =
        1.0f +
        r * (1.0f / 2.0f +
             r * (1.0f / 6.0f +
                  r * (1.0f / 24.0f + r * (1.0f / 120.0f + r * (1.0f / 720.0f + r * (1.0f / 5040.0f))))));
    float fraction = 1.0f + r * series;
    bool number = n == n;
    int half = number ? (int)(n * 0.5f) : 0;
    int whole = number ? (int)n : 0;
    float value = fraction * __uint_as_float((unsigned)(half + 127) << 23) *
                  __uint_as_float((unsigned)(whole - half + 127) << 23);
    value = x > 88.72284f ? __uint_as_float(0x7F800000u) : value;
    return x < -87.33655f ? 0.0f : value;
}

__device__ __forceinline__ double exponential(double x) {
    return exp(x);
}
