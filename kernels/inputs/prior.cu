#include "lib/philox.cuh"

// Draws latent vectors: U[0, 1) or N(0, 1).
// z: [N, latent], count = N latent; state: one, read (seed, step). The grid's threads stride over the elements. Overwrites z.
// Twin: Cpu::prior_sample in src/ops/inputs/prior.rs.
KERNEL(prior_sample, int normal, unsigned stream, DrawStep draws, unsigned latent,
       const StepState* state, stored* z, unsigned long long count) {
    unsigned long long seed = state->seed, step = draw_step(draws, state->step);
    FOR_EACH_ELEMENT(i, count) {
        unsigned sample = draws.first_sample + (unsigned)(i / latent);
        unsigned element = (unsigned)(i % latent);
        if (normal) {
            z[i] = (real)normal_draw(seed, stream, step, sample, element);
        } else {
            z[i] = (real)uniform_draw(seed, stream, step, sample, element);
        }
    }
}
