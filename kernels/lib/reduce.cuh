// Sums over a block in an order that never changes.
#pragma once

#include "lib/device.cuh"

// The sums of every thread's values, one for each of COUNT, in all threads; THREADS (a power of two) threads in one dimension.
// Every thread of the block must come.
//
// A warp adds by halves: lane i and lane i ^ 16, then ^ 8, … ^ 1. Both of a pair add the same two numbers, so all lanes have
// the same bits. Then every thread adds up the warps' sums in their order: two barriers, however many values there are.
template <int THREADS, int COUNT>
__device__ __forceinline__ void block_sums(double (&values)[COUNT]) {
    constexpr int LANES = THREADS < WARP ? THREADS : WARP, WARPS = THREADS / LANES;
    constexpr unsigned ALL = LANES < WARP ? (1u << (LANES % WARP)) - 1u : 0xFFFFFFFFu;
    SHARED(double, sums, [WARPS][COUNT]);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
#pragma unroll
        for (int distance = LANES / 2; distance > 0; distance /= 2) {
            values[i] += __shfl_xor_sync(ALL, values[i], distance);
        }
        if (threadIdx.x % LANES == 0) {
            sums[threadIdx.x / LANES][i] = values[i];
        }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        double total = sums[0][i];
#pragma unroll
        for (int warp = 1; warp < WARPS; ++warp) {
            total += sums[warp][i];
        }
        values[i] = total;
    }
    // The next sums may begin only when all have read these.
    __syncthreads();
}

// The sum of every thread's value, in all threads.
template <int THREADS>
__device__ __forceinline__ double block_sum(double value) {
    double values[1] = {value};
    block_sums<THREADS>(values);
    return values[0];
}
