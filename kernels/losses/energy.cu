#include "lib/reduce.cuh"

// Sizes of an energy; Energy of src/ops/losses/energy.rs. exponent: 1 for the absolute error, 2 for the squared one.
struct Energy {
    int n, len, exponent;
};

// The derivative of |rest|^exponent; 0 at the kink of the absolute error, and what is not a number stays so.
__device__ __forceinline__ real energy_slope(const Energy& d, real rest) {
    if (d.exponent == 2) {
        return (real)2 * rest;
    }
    return rest > (real)0 ? (real)1 : rest < (real)0 ? (real)-1 : rest;
}

// e = mean over an image's elements of |y - x|^exponent.
// x, y: [N, H, W, C]; e: [N]. A block an image, its threads walk the elements. Overwrites e.
// Twin: Cpu::energy_forward in src/ops/losses/energy.rs.
KERNEL_BOUNDED(IMAGE_THREADS, energy_forward, Energy d, const stored* x, const stored* y, stored* e) {
    size_t from = (size_t)blockIdx.x * d.len;
    double total = 0.0;
    for (int i = threadIdx.x; i < d.len; i += IMAGE_THREADS) {
        double rest = (double)(y[from + i] - x[from + i]);
        total += d.exponent == 2 ? rest * rest : fabs(rest);
    }
    total = block_sum<IMAGE_THREADS>(total);
    if (threadIdx.x == 0) {
        e[blockIdx.x] = (real)(total / d.len);
    }
}

// dy = exponent |y - x|^(exponent - 1) sign(y - x) de / len, by the reconstructions.
// x, y, dy: [N, H, W, C]; de: [N]. The grid's threads stride over all images' elements. Overwrites dy.
// Twin: Cpu::energy_backward_input in src/ops/losses/energy.rs.
KERNEL(energy_backward_input, Energy d, const stored* x, const stored* y, const stored* de, stored* dy) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * d.len) {
        dy[i] = energy_slope(d, y[i] - x[i]) * (de[i / d.len] / (real)d.len);
    }
}

// dx -= the same: the images' own part, beside what came down through the network that made y.
// x, y, dx: [N, H, W, C]; de: [N]. The grid's threads stride over all images' elements. Changes dx.
// Twin: Cpu::energy_backward_image in src/ops/losses/energy.rs.
KERNEL(energy_backward_image, Energy d, const stored* x, const stored* y, const stored* de, stored* dx) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * d.len) {
        dx[i] -= energy_slope(d, y[i] - x[i]) * (de[i / d.len] / (real)d.len);
    }
}
