// The cost of one output of the discriminator, to itself or to the generator: the table of src/ops/losses/objective.rs once more.
#pragma once

#include "lib/device.cuh"

// The losses in the order of `Loss` of src/ops/losses/objective.rs.
constexpr int LOSS_GAN = 0;
constexpr int LOSS_NS = 1;
constexpr int LOSS_LSGAN = 2;
constexpr int LOSS_HINGE = 3;
constexpr int LOSS_WGAN = 4;
constexpr int LOSS_EBGAN = 5;
constexpr int LOSS_BEGAN = 6;

// Whose cost it is, and of which image, in the order of `Side` of src/ops/losses/objective.rs.
constexpr int SIDE_REAL = 0;
constexpr int SIDE_FAKE = 1;
constexpr int SIDE_GENERATOR = 2;

// A loss and its constants; `Objective` of src/ops/losses/objective.rs.
struct Objective {
    double real_target, margin, balance_ratio, balance_step;
    int loss;
};

// The cost of one output, its derivative by the output, and the output as people read it.
struct Term {
    double value, derivative, output;
};

// Binary cross entropy of sigmoid(logit) against a target. One exponential serves both: sigmoid(l) = (l < 0 ? e : 1) /
// (1 + e), and the value is max(l, 0) - target l + ln(1 + e), with e = exp(-|l|).
__device__ __forceinline__ Term cross_entropy(double logit, double target) {
    double e = exp(-fabs(logit));
    double p = (logit < 0.0 ? e : 1.0) / (1.0 + e);
    return Term{((logit > 0.0 ? logit : 0.0) - target * logit) + log1p(e), p - target, p};
}

// The cost of the output `logit` on a side.
// Twin: Objective::term and Objective::output in src/ops/losses/objective.rs.
__device__ __forceinline__ Term objective_term(const Objective& d, int side, double logit) {
    if (d.loss == LOSS_GAN || d.loss == LOSS_NS) {
        bool raised = d.loss == LOSS_NS && side == SIDE_GENERATOR;
        Term term = cross_entropy(logit, side == SIDE_REAL ? d.real_target : raised ? 1.0 : 0.0);
        // The generator of the minimax game raises what the discriminator pays for its images.
        double sign = d.loss == LOSS_GAN && side == SIDE_GENERATOR ? -1.0 : 1.0;
        return Term{sign * term.value, sign * term.derivative, term.output};
    }
    if (d.loss == LOSS_LSGAN) {
        double rest = logit - (side == SIDE_FAKE ? 0.0 : 1.0);
        return Term{0.5 * rest * rest, rest, logit};
    }
    if (d.loss == LOSS_EBGAN || d.loss == LOSS_BEGAN) {
        double rest = d.margin - logit;
        if (d.loss == LOSS_EBGAN && side == SIDE_FAKE) {
            return rest <= 0.0 ? Term{0.0, 0.0, logit} : Term{rest, -1.0, logit};
        }
        double sign = side == SIDE_FAKE ? -1.0 : 1.0;
        return Term{sign * logit, sign, logit};
    }
    double sign = side == SIDE_FAKE ? 1.0 : -1.0;
    if (d.loss == LOSS_HINGE && side != SIDE_GENERATOR) {
        double slack = 1.0 + sign * logit;
        // Not "slack > 0": what is not a number must stay so.
        return slack <= 0.0 ? Term{0.0, 0.0, logit} : Term{slack, sign, logit};
    }
    return Term{sign * logit, sign, logit};
}
