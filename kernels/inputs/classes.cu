#include "inputs/permutation.cuh"

// Sizes of a batch of labels; src/ops/inputs/classes.rs.
struct Labels {
    unsigned long long epoch_images, count;
    // Images of the batch, and those of it that are meant.
    int n, part;
    DrawStep draws;
};

// The classes of the images that `gather` picks: the same numbers of the same permutation.
// labels: [count]; state: one, read (seed, step); classes: [part]. The grid's threads stride over the images. Overwrites classes.
// Twin: Cpu::classes_gather in src/ops/inputs/classes.rs.
KERNEL(classes_gather, Labels d, const unsigned* labels, const StepState* state, unsigned* classes) {
    FOR_EACH_ELEMENT(image, (unsigned long long)d.part) {
        unsigned long long sample = draw_step(d.draws, state->step) * (unsigned long long)d.n +
                                    d.draws.first_sample + image;
        classes[image] = labels[permuted(state->seed, sample / d.epoch_images, sample % d.epoch_images, d.count)];
    }
}

// A class for each image to generate, each as likely as any other: the high half of a draw times their number.
// state: one, read (seed, step); classes: [count]. The grid's threads stride over the images. Overwrites classes.
// Twin: Cpu::classes_sample in src/ops/inputs/classes.rs.
KERNEL(classes_sample, unsigned number, unsigned stream, DrawStep draws, const StepState* state, unsigned* classes,
       unsigned long long count) {
    unsigned long long seed = state->seed, step = draw_step(draws, state->step);
    FOR_EACH_ELEMENT(image, count) {
        classes[image] = __umulhi(philox_draw(seed, stream, step, draws.first_sample + (unsigned)image, 0).x, number);
    }
}
