#include "lib/philox.cuh"

// Sizes of a batch and of its noise; src/ops/inputs/instance_noise.rs.
struct InstanceNoise {
    // Steps in which sigma falls to 0, or 0.
    unsigned long long steps;
    double sigma;
    // Elements of an image, images of a group.
    int image, group;
    unsigned first_stream, second_stream;
    DrawStep draws;
};

// y = x + sigma epsilon, with sigma of the step.
// x, y: [N, image], count = N image; given: epsilon, [N, image], or null where it is drawn; state: one, read (seed, step). The
// grid's threads stride over the elements. Overwrites y.
// Twin: Cpu::instance_noise in src/ops/inputs/instance_noise.rs.
KERNEL(instance_noise, InstanceNoise d, const stored* x, const real* given, const StepState* state, stored* y,
       unsigned long long count) {
    unsigned long long seed = state->seed, step = state->step, drawn = draw_step(d.draws, step);
    double share = d.steps == 0 ? 1.0 : step < d.steps ? 1.0 - (double)step / (double)d.steps : 0.0;
    real sigma = (real)(d.sigma * share);
    FOR_EACH_ELEMENT(i, count) {
        unsigned image = (unsigned)(i / d.image), element = (unsigned)(i % d.image);
        unsigned stream = image < (unsigned)d.group ? d.first_stream : d.second_stream;
        // Once sigma has fallen to 0 nothing is drawn.
        if (sigma == (real)0) {
            y[i] = x[i];
        } else {
            y[i] = x[i] + sigma * (given ? given[i] : (real)normal_draw(seed, stream, drawn, d.draws.first_sample + image % d.group, element));
        }
    }
}
