#include "lib/reduce.cuh"

// Sizes of a weight as a matrix [K, C]; SpectralNorm of src/ops/layers/spectral_norm.rs. Its forward pass is columns, unit, rows,
// unit, sigma, divide, without the first two and the second unit where there is no power iteration.
struct SpectralNorm {
    int k, c;
};

// max(norm, this) divides a vector.
constexpr double SPECTRAL_EPSILON = 1e-12;

// Sums of COLUMN_ROWS rows of w^T u.
// w: [K, C]; u: [K]; partial: [parts, C]. Block (column block, part), threads (column, row). Overwrites partial.
// Twin: transposed_product in src/ops/layers/spectral_norm.rs.
KERNEL_BOUNDED(COLUMN_THREADS_X * COLUMN_THREADS_Y, spectral_norm_columns, SpectralNorm d, const real* w, const real* u,
               double* partial) {
    SHARED(double, sums, [COLUMN_THREADS_Y][COLUMN_THREADS_X]);
    int column = (int)(blockIdx.x * COLUMN_THREADS_X + threadIdx.x);
    int from = (int)blockIdx.y * COLUMN_ROWS, to = from + COLUMN_ROWS < d.k ? from + COLUMN_ROWS : d.k;
    double sum = 0.0;
    if (column < d.c) {
        for (int row = from + (int)threadIdx.y; row < to; row += COLUMN_THREADS_Y) {
            sum += (double)u[row] * (double)w[(size_t)row * d.c + column];
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < d.c) {
        double total = 0.0;
        for (int y = 0; y < COLUMN_THREADS_Y; ++y) {
            total += sums[y][threadIdx.x];
        }
        partial[(size_t)blockIdx.y * d.c + column] = total;
    }
}

// target = x / max(|x|, epsilon), x the sum of the parts in their order.
// partial: [parts, count]; target: [count]. A single block, whose threads walk the elements. Overwrites target and the first
// part, which becomes x.
// Twin: normalise in src/ops/layers/spectral_norm.rs.
KERNEL_BOUNDED(SPECTRAL_THREADS, spectral_norm_unit, int count, int parts, double* partial, real* target) {
    double square = 0.0;
    for (int i = threadIdx.x; i < count; i += SPECTRAL_THREADS) {
        double total = 0.0;
        for (int part = 0; part < parts; ++part) {
            total += partial[(size_t)part * count + i];
        }
        partial[i] = total;
        square += total * total;
    }
    double norm = sqrt(block_sum<SPECTRAL_THREADS>(square));
    double divisor = norm > SPECTRAL_EPSILON ? norm : SPECTRAL_EPSILON;
    for (int i = threadIdx.x; i < count; i += SPECTRAL_THREADS) {
        target[i] = (real)(partial[i] / divisor);
    }
}

// product = w v.
// w: [K, C]; v: [C]; product: [K]. A block a row, whose threads walk the columns. Overwrites product.
// Twin: dot in src/ops/layers/spectral_norm.rs.
KERNEL_BOUNDED(SPECTRAL_THREADS, spectral_norm_rows, SpectralNorm d, const real* w, const real* v, double* product) {
    const real* row = w + (size_t)blockIdx.x * d.c;
    double sum = 0.0;
    for (int c = threadIdx.x; c < d.c; c += SPECTRAL_THREADS) {
        sum += (double)row[c] * (double)v[c];
    }
    sum = block_sum<SPECTRAL_THREADS>(sum);
    if (threadIdx.x == 0) {
        product[blockIdx.x] = sum;
    }
}

// sigma = u^T product, product = w v.
// u, product: [K]; sigma: one. A single block. Overwrites sigma.
// Twin: Cpu::spectral_norm_forward in src/ops/layers/spectral_norm.rs.
KERNEL_BOUNDED(SPECTRAL_THREADS, spectral_norm_sigma, int k, const real* u, const double* product, real* sigma) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < k; i += SPECTRAL_THREADS) {
        sum += (double)u[i] * product[i];
    }
    sum = block_sum<SPECTRAL_THREADS>(sum);
    if (threadIdx.x == 0) {
        *sigma = (real)sum;
    }
}

// w_hat = w / sigma.
// w, w_hat: [count]; sigma: one. The grid's threads stride over the elements. Overwrites w_hat.
// Twin: Cpu::spectral_norm_forward in src/ops/layers/spectral_norm.rs.
KERNEL(spectral_norm_divide, const real* w, const real* sigma, real* w_hat, unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        w_hat[i] = w[i] / *sigma;
    }
}

// A block's share of the inner product of dw and w_hat.
// w_hat, dw: [count]; partial: [gridDim.x]. The grid's threads stride over the elements. Overwrites partial.
// Twin: the first half of Cpu::spectral_norm_backward in src/ops/layers/spectral_norm.rs.
KERNEL_BOUNDED(ELEMENT_THREADS, spectral_norm_inner, const real* w_hat, const real* dw, double* partial,
               unsigned long long count) {
    double sum = 0.0;
    FOR_EACH_ELEMENT(i, count) {
        sum += (double)dw[i] * (double)w_hat[i];
    }
    sum = block_sum<ELEMENT_THREADS>(sum);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

// The sum of the parts, in the place of the first.
// partial: [count]. A single block. Changes partial.
// Twin: the first half of Cpu::spectral_norm_backward in src/ops/layers/spectral_norm.rs.
KERNEL_BOUNDED(SPECTRAL_THREADS, spectral_norm_total, int count, double* partial) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += SPECTRAL_THREADS) {
        sum += partial[i];
    }
    sum = block_sum<SPECTRAL_THREADS>(sum);
    if (threadIdx.x == 0) {
        partial[0] = sum;
    }
}

// dw = (dw - inner u v^T) / sigma.
// u: [K]; v: [C]; sigma, inner: one; dw: [K, C]. The grid's threads stride over the elements. Changes dw.
// Twin: Cpu::spectral_norm_backward in src/ops/layers/spectral_norm.rs.
KERNEL(spectral_norm_backward, SpectralNorm d, const real* u, const real* v, const real* sigma, const double* inner,
       real* dw) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.k * d.c) {
        dw[i] = (dw[i] - (real)*inner * u[i / d.c] * v[i % d.c]) / *sigma;
    }
}
