// The order of a shuffled epoch: `permuted` in src/ops/inputs/gather.rs.
#pragma once

#include "lib/philox.cuh"

// A bijective 32-bit mixer.
__device__ __forceinline__ unsigned mix(unsigned x) {
    x = (x ^ (x >> 16)) * 0x9E3779B1u;
    x = (x ^ (x >> 15)) * 0x85EBCA77u;
    return x ^ (x >> 16);
}

// The place in the set of place `index` of the shuffled epoch: `permuted` in src/ops/inputs/gather.rs.
__device__ __forceinline__ unsigned long long permuted(
    unsigned long long seed, unsigned long long epoch, unsigned long long index, unsigned long long count) {
    int bits = 0;
    for (unsigned long long rest = count - 1; rest > 0; rest >>= 1) {
        ++bits;
    }
    int half = (bits + 1) / 2 > 1 ? (bits + 1) / 2 : 1;
    unsigned long long mask = (1ull << half) - 1;
    uint4 first = philox_draw(seed, STREAM_PERMUTATION, epoch, 0, 0);
    uint4 second = philox_draw(seed, STREAM_PERMUTATION, epoch, 0, 1);
    unsigned long long place = index;
    do {
        unsigned long long left = place >> half, right = place & mask;
        for (int round = 0; round < 8; ++round) {
            uint4 keys = round < 4 ? first : second;
            unsigned key = round & 2 ? (round & 1 ? keys.w : keys.z) : (round & 1 ? keys.y : keys.x);
            unsigned long long mixed = left ^ (mix((unsigned)right ^ key) & mask);
            left = right;
            right = mixed;
        }
        place = left << half | right;
    } while (place >= count);
    return place;
}
