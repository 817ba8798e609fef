#include "lib/exponential.cuh"

// Sizes of a batch of logits; CrossEntropy of src/ops/losses/cross_entropy.rs.
struct CrossEntropy {
    int n, classes;
};

// The largest of an image's logits, and the sum of e^(logit - largest).
struct Normaliser {
    real largest;
    double sum;
};

__device__ __forceinline__ Normaliser normaliser(const stored* logits, int classes) {
    real largest = logits[0];
    for (int k = 1; k < classes; ++k) {
        real logit = logits[k];
        // What is not a number stays.
        largest = logit > largest || logit != logit ? logit : largest;
    }
    double sum = 0.0;
    for (int k = 0; k < classes; ++k) {
        sum += (double)exponential((real)logits[k] - largest);
    }
    return {largest, sum};
}

// loss = log(sum over the classes of e^logit) - the label's logit.
// logits: [N, K]; labels: [N], each below K; losses: [N]. A thread an image, the grid's threads stride over them. Overwrites losses.
// Twin: Cpu::cross_entropy_forward in src/ops/losses/cross_entropy.rs.
KERNEL(cross_entropy_forward, CrossEntropy d, const stored* logits, const unsigned* labels, real* losses) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n) {
        const stored* own = logits + i * d.classes;
        Normaliser all = normaliser(own, d.classes);
        losses[i] = (real)(log(all.sum) - (double)((real)own[labels[i]] - all.largest));
    }
}

// dlogits = dloss (softmax(logits) - 1 at the label).
// logits, dlogits: [N, K]; labels, dlosses: [N]. A thread an image, the grid's threads stride over them. Overwrites dlogits.
// Twin: Cpu::cross_entropy_backward_input in src/ops/losses/cross_entropy.rs.
KERNEL(cross_entropy_backward_input, CrossEntropy d, const stored* logits, const unsigned* labels, const real* dlosses,
       stored* dlogits) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n) {
        const stored* own = logits + i * d.classes;
        Normaliser all = normaliser(own, d.classes);
        for (int k = 0; k < d.classes; ++k) {
            double share = (double)exponential((real)own[k] - all.largest) / all.sum;
            double target = (unsigned)k == labels[i] ? 1.0 : 0.0;
            dlogits[i * d.classes + k] = (real)((double)dlosses[i] * (share - target));
        }
    }
}
