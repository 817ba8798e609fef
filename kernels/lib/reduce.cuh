// Sums over a block in an order that never changes.
#pragma once

#include "lib/device.cuh"

// The sum of every thread's value, in thread 0; THREADS (a power of two) threads in one dimension. Every thread of the
// block must come.
template <int THREADS>
__device__ __forceinline__ double block_sum(double value) {
    SHARED(double, sums, [THREADS]);
    sums[threadIdx.x] = value;
    __syncthreads();
    for (int width = THREADS / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) {
            sums[threadIdx.x] += sums[threadIdx.x + width];
        }
        __syncthreads();
    }
    double total = sums[0];
    // The next sum may begin only when all have read this one.
    __syncthreads();
    return total;
}
