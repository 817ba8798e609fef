#include "losses/objective.cuh"
#include "lib/reduce.cuh"

// One of the equal parts of a batch whose gradients accumulate; Part of src/ops/losses/loss.rs.
struct Part {
    int index, count;
};

// Sizes and constants of the discriminator's loss; DiscriminatorLoss of src/ops/losses/loss.rs.
struct DiscriminatorLoss {
    double kl_scale, kl_mix, target_kl, beta_step;
    Objective objective;
    int n;
    Part part;
};

// What the outputs of a side give on average.
struct Means {
    double loss, output, kl;
};

// The mean cost of `count` outputs on a side, times a weight, the mean output, and the mean of kl, which may be null, times
// a scale; each times the share that a part of a batch has; writes the gradient of the first. All threads of the block take part, and all get the result.
__device__ Means mean_terms(const Objective& objective, int side, double weight, double share, const stored* logits,
                            stored* dlogits, const real* kl, double kl_scale, int count) {
    double sums[3] = {};
    for (int i = threadIdx.x; i < count; i += LOSS_THREADS) {
        Term term = objective_term(objective, side, (double)logits[i]);
        sums[0] += term.value;
        sums[1] += term.output;
        sums[2] += kl ? (double)kl[i] : 0.0;
        dlogits[i] = (real)(share * weight * term.derivative / count);
    }
    block_sums<LOSS_THREADS>(sums);
    Means means = {share * weight * sums[0] / count, share * sums[1] / count, share * sums[2] * kl_scale / count};
    return means;
}

// Value and gradient of the discriminator's loss, and beta's step.
// logits, dlogits: [2N], real then fake; kl, dkl: [2N]; state: one. A single block; threads walk the images. Overwrites
// dlogits, dkl (unless kl_scale is 0) and the state's metrics, to which later parts of a batch add; changes its beta, with the last
// part, and non_finite.
// Twin: Cpu::discriminator_loss in src/ops/losses/loss/cpu.rs.
KERNEL_BOUNDED(LOSS_THREADS, discriminator_loss, DiscriminatorLoss d, const stored* logits, const real* kl, stored* dlogits,
               real* dkl, StepState* state) {
    // Thread 0 keeps the sums of real (0) and fake (1) here: registers that live on through the second round's calls of
    // division and logarithm would spill.
    SHARED(double, loss_of, [2]);
    SHARED(double, output_of, [2]);
    SHARED(double, kl_of, [2]);
    double share = 1.0 / d.part.count;
#pragma unroll 1
    for (int kind = 0; kind < 2; ++kind) {
        int from = kind * d.n;
        bool balanced = kind == 1 && d.objective.loss == LOSS_BEGAN;
        Means means = mean_terms(d.objective, kind == 0 ? SIDE_REAL : SIDE_FAKE, balanced ? state->balance : 1.0,
                                 share, logits + from, dlogits + from, kl + from, d.kl_scale, d.n);
        if (threadIdx.x == 0) {
            loss_of[kind] = means.loss;
            output_of[kind] = means.output;
            kl_of[kind] = means.kl;
        }
    }
    // Read by all before thread 0 changes it: the sums above and below are barriers.
    double beta = state->beta;
    if (d.kl_scale > 0.0) {
        for (int i = threadIdx.x; i < 2 * d.n; i += LOSS_THREADS) {
            dkl[i] = (real)(share * beta * d.kl_mix * d.kl_scale / d.n);
        }
    }
    __syncthreads();
    if (threadIdx.x != 0) {
        return;
    }
    Metrics metrics = {};
    if (d.part.index > 0) {
        metrics = state->metrics;
    }
    double loss = metrics.loss_d + (loss_of[0] + loss_of[1]);
    double kl_real = metrics.kl_real + kl_of[0], kl_fake = metrics.kl_fake + kl_of[1];
    if (d.kl_scale > 0.0 && d.part.index + 1 == d.part.count) {
        double constraint = d.kl_mix * ((kl_real - d.target_kl) + (kl_fake - d.target_kl));
        loss += beta * constraint;
        if (isfinite(loss) && state->non_finite == 0) {
            double next = beta + d.beta_step * constraint;
            state->beta = next > 0.0 ? next : 0.0;
        }
    }
    note_unless_finite(state, loss, NON_FINITE_LOSS_D);
    metrics.loss_d = loss;
    metrics.beta = state->beta;
    metrics.balance = state->balance;
    metrics.kl_real = kl_real;
    metrics.kl_fake = kl_fake;
    metrics.d_real += output_of[0];
    metrics.d_fake += output_of[1];
    state->metrics = metrics;
}

// The step of k, and the measure of convergence, from the mean energies of the last real images and of the generator's.
// Changes the state's balance and its metrics' balance and convergence.
// Twin: step_balance in src/ops/losses/loss/cpu.rs.
__device__ void step_balance(const Objective& objective, double fake, StepState* state) {
    double surplus = objective.balance_ratio * state->metrics.d_real - fake;
    state->metrics.convergence = state->metrics.d_real + fabs(surplus);
    if (state->non_finite == 0) {
        double next = state->balance + objective.balance_step * surplus;
        state->balance = next < 0.0 ? 0.0 : next > 1.0 ? 1.0 : next;
    }
    state->metrics.balance = state->balance;
}

// Value and gradient of the generator's loss; the KL has none.
// logits, dlogits: [N]; dkl: [kl_count], zeroed; state: one. A single block; threads walk the images. Overwrites dlogits,
// dkl and the state's loss_g, to which later parts of a batch add; changes non_finite, and takes the step of k with the last part.
// Twin: Cpu::generator_loss in src/ops/losses/loss/cpu.rs.
KERNEL_BOUNDED(LOSS_THREADS, generator_loss, Objective objective, Part part, int n, int kl_count, const stored* logits,
               stored* dlogits, real* dkl, StepState* state) {
    Means fakes = mean_terms(objective, SIDE_GENERATOR, 1.0, 1.0 / part.count, logits, dlogits, nullptr, 0.0, n);
    for (int i = threadIdx.x; i < kl_count; i += LOSS_THREADS) {
        dkl[i] = (real)0;
    }
    if (threadIdx.x == 0) {
        double loss = part.index > 0 ? state->metrics.loss_g + fakes.loss : fakes.loss;
        state->metrics.loss_g = loss;
        note_unless_finite(state, loss, NON_FINITE_LOSS_G);
        if (objective.loss == LOSS_BEGAN && part.index + 1 == part.count) {
            step_balance(objective, loss, state);
        }
    }
}
