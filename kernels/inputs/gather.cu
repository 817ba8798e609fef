#include "lib/philox.cuh"

// Sizes of a batch and what pixels become; src/ops/inputs/gather.rs.
struct Gather {
    unsigned long long epoch_images, count;
    // Images of the batch, and those of it that are gathered.
    int n, h, w, c, part, flip;
    DrawStep draws;
    double low, high;
};

// A bijective 32-bit mixer.
__device__ __forceinline__ unsigned mix(unsigned x) {
    x = (x ^ (x >> 16)) * 0x9E3779B1u;
    x = (x ^ (x >> 15)) * 0x85EBCA77u;
    return x ^ (x >> 16);
}

// The place in the set of place `index` of the shuffled epoch: `permuted` in src/ops/inputs/gather.rs.
__device__ unsigned long long permuted(
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

// A batch of the shuffled set, or a part of it, normalised: byte p becomes low + (high - low) p / 255, mirrored where the draw says so.
// images: [count, H, W, C] bytes; state: one, read (seed, step); x: [part, H, W, C]. The grid's blocks stride over the
// images, a block's threads over its elements. Overwrites x.
// Twin: Cpu::gather in src/ops/inputs/gather.rs.
KERNEL(gather, Gather d, const unsigned char* images, const StepState* state, stored* x) {
    unsigned row = (unsigned)(d.w * d.c), image_len = (unsigned)d.h * row;
    for (unsigned image = blockIdx.x; image < (unsigned)d.part; image += gridDim.x) {
        unsigned long long seed = state->seed, number = draw_step(d.draws, state->step);
        unsigned within = d.draws.first_sample + image;
        unsigned long long sample = number * (unsigned long long)d.n + within;
        unsigned long long index = permuted(seed, sample / d.epoch_images, sample % d.epoch_images, d.count);
        bool mirrored = d.flip && (philox_draw(seed, STREAM_FLIP, number, within, 0).x & 1);
        const unsigned char* source = images + index * image_len;
        for (unsigned i = threadIdx.x; i < image_len; i += blockDim.x) {
            unsigned column = i % row / (unsigned)d.c, channel = i % (unsigned)d.c;
            unsigned taken = mirrored ? (unsigned)d.w - 1 - column : column;
            unsigned from = i / row * row + taken * (unsigned)d.c + channel;
            x[(unsigned long long)image * image_len + i] = (real)(d.low + (d.high - d.low) * (double)source[from] / 255.0);
        }
    }
}
