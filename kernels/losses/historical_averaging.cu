#include "lib/reduce.cuh"

// mean += (w - mean) / t, t the number of the update that follows.
// weights, mean: [count]; state: one, read. The grid's threads stride over the elements. Changes mean, unless something was
// not finite.
// Twin: Cpu::historical_mean in src/ops/losses/historical_averaging.rs.
KERNEL(historical_mean, int network, const real* weights, const StepState* state, real* mean, unsigned long long count) {
    if (state->non_finite != 0) {
        return;
    }
    real share = (real)(1.0 / (double)(state->updates[network] + 1));
    FOR_EACH_ELEMENT(i, count) {
        mean[i] += (weights[i] - mean[i]) * share;
    }
}

// gradient += twice (w - mean), and each block's sum of (w - mean)^2; twice = 2 lambda.
// weights, mean, gradients: [count]; squares: [gridDim.x]. The grid's threads stride over the elements. Changes gradients,
// overwrites squares.
// Twin: the first half of Cpu::historical_penalty in src/ops/losses/historical_averaging.rs.
KERNEL_BOUNDED(ELEMENT_THREADS, historical_penalty, real twice, const real* weights, const real* mean, real* gradients,
               double* squares, unsigned long long count) {
    double square = 0.0;
    FOR_EACH_ELEMENT(i, count) {
        real way = weights[i] - mean[i];
        gradients[i] += twice * way;
        square += (double)way * (double)way;
    }
    square = block_sum<ELEMENT_THREADS>(square);
    if (threadIdx.x == 0) {
        squares[blockIdx.x] = square;
    }
}

// Adds lambda times the sum of the blocks' squares to a network's loss.
// squares: [blocks], what historical_penalty left; state: one. A single thread. Changes one of the state's metrics.
// Twin: the second half of Cpu::historical_penalty in src/ops/losses/historical_averaging.rs.
KERNEL(note_historical_penalty, int network, double weight, const double* squares, unsigned blocks, StepState* state) {
    double sum = 0.0;
    for (unsigned block = 0; block < blocks; ++block) {
        sum += squares[block];
    }
    double* loss = network == 0 ? &state->metrics.loss_d : &state->metrics.loss_g;
    *loss += weight * sum;
}
