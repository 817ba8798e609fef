#include "lib/device.cuh"

// What the ranks have found of a network's gradients: the first note in rank order is everybody's, and the least count of updates.
// states: [ranks]; state: one. A single thread. Changes the state's non_finite and updates.
// Twin: Cpu::agree_on_gradients in src/ops/optimizers/agree.rs.
KERNEL(agree_on_gradients, int network, const StepState* states, int ranks, StepState* state) {
    unsigned long long noted = 0, counted = states[0].updates[network];
    for (int rank = 0; rank < ranks; ++rank) {
        noted = noted != 0 ? noted : states[rank].non_finite;
        counted = states[rank].updates[network] < counted ? states[rank].updates[network] : counted;
    }
    state->non_finite = noted;
    state->updates[network] = counted;
}
