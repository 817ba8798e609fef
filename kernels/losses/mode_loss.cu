#include "losses/objective.cuh"
#include "lib/reduce.cuh"

// Adds weight times the mean of what the generator pays for its reconstructions to its loss, and writes the gradient.
// logits, dlogits: [n]; state: one. A single block; threads walk the images. Overwrites dlogits, changes the state's loss_g
// and non_finite; BEGAN's k stays.
// Twin: Cpu::mode_loss in src/ops/losses/mode_loss.rs.
KERNEL_BOUNDED(LOSS_THREADS, mode_loss, Objective objective, double weight, int n, const stored* logits, stored* dlogits,
               StepState* state) {
    double cost = 0.0;
    for (int i = threadIdx.x; i < n; i += LOSS_THREADS) {
        Term term = objective_term(objective, SIDE_GENERATOR, (double)logits[i]);
        cost += term.value;
        dlogits[i] = (real)(weight * term.derivative / n);
    }
    cost = block_sum<LOSS_THREADS>(cost);
    if (threadIdx.x == 0) {
        add_to_generator_loss(state, weight * cost / n);
    }
}
