#include "inputs/permutation.cuh"

// Sizes of a batch and what pixels become; src/ops/inputs/gather.rs.
struct Gather {
    unsigned long long epoch_images, count;
    // Images of the batch, and those of it that are gathered.
    int n, h, w, c, part, flip;
    DrawStep draws;
    double low, high;
};

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
