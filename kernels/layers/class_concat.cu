#include "lib/reduce.cuh"

// Sizes of a concatenation; ClassConcat of src/ops/layers/class_concat.rs.
struct ClassConcat {
    int n, c, classes, width;
};

// y = [x, E[class] / |E[class]|].
// x: [N, C]; classes: [N], each below d.classes; e: [classes, width]; y: [N, C + width]. A block an image, its threads walk first
// the row of e and then y. Overwrites y.
// Twin: Cpu::class_concat_forward in src/ops/layers/class_concat.rs.
KERNEL_BOUNDED(IMAGE_THREADS, class_concat_forward, ClassConcat d, const stored* x, const unsigned* classes, const real* e,
               stored* y) {
    SHARED(double, factor, [1]);
    double squares = 0.0;
    for (int j = threadIdx.x; j < d.width; j += IMAGE_THREADS) {
        double value = (double)e[(size_t)classes[blockIdx.x] * d.width + j];
        squares += value * value;
    }
    squares = block_sum<IMAGE_THREADS>(squares);
    // One root and one division an image: registers that live on through their calls would spill.
    if (threadIdx.x == 0) {
        factor[0] = 1.0 / sqrt(squares);
    }
    __syncthreads();
    size_t image = blockIdx.x;
    const real* row = e + (size_t)classes[image] * d.width;
    stored* own = y + image * ((size_t)d.c + d.width);
    for (int i = threadIdx.x; i < d.c; i += IMAGE_THREADS) {
        own[i] = (real)x[image * d.c + i];
    }
    for (int j = threadIdx.x; j < d.width; j += IMAGE_THREADS) {
        own[d.c + j] = (real)((double)row[j] * factor[0]);
    }
}

// dx = the first C columns of dy.
// dy: [N, C + width]; dx: [N, C]. The grid's threads stride over dx. Overwrites dx.
// Twin: Cpu::class_concat_backward_input in src/ops/layers/class_concat.rs.
KERNEL(class_concat_backward_input, ClassConcat d, const stored* dy, stored* dx) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * d.c) {
        dx[i] = (real)dy[i / d.c * ((size_t)d.c + d.width) + i % d.c];
    }
}

// vy = [vx, 0]: the embedding does not depend on x.
// vx: [N, C]; vy: [N, C + width]. The grid's threads stride over vy. Overwrites vy.
// Twin: Cpu::class_concat_tangent in src/ops/layers/class_concat.rs.
KERNEL(class_concat_tangent, ClassConcat d, const stored* vx, stored* vy) {
    size_t width = (size_t)d.c + d.width;
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * width) {
        size_t column = i % width;
        vy[i] = column < (size_t)d.c ? (real)vx[i / width * d.c + column] : (real)0;
    }
}

// The gradient by an element of the row of `one`, before it goes through the division: the sum over the images of the class, in
// their order.
__device__ __forceinline__ double class_column_sum(
    const ClassConcat& d, const unsigned* classes, const stored* dy, unsigned one, int column) {
    double sum = 0.0;
    for (int image = 0; image < d.n; ++image) {
        if (classes[image] == one) {
            sum += (double)(real)dy[(size_t)image * ((size_t)d.c + d.width) + d.c + column];
        }
    }
    return sum;
}

// With u = e / |e| and du the sum of the last columns of dy over the images of a class, de = (du - u <u, du>) / |e|: what points
// along the row changes its length alone, which the division takes away. A class of no image gets 0.
// classes: [N]; e, de: [classes, width]; dy: [N, C + width]. A block a class, its threads walk the row twice. Overwrites de, or adds
// to it with `accumulate`.
// Twin: Cpu::class_concat_backward_weight in src/ops/layers/class_concat.rs.
KERNEL_BOUNDED(IMAGE_THREADS, class_concat_backward_weight, ClassConcat d, const unsigned* classes, const real* e,
               const stored* dy, real* de, int accumulate) {
    unsigned one = blockIdx.x;
    const real* row = e + (size_t)one * d.width;
    real* target = de + (size_t)one * d.width;
    bool comes = false;
    for (int image = 0; image < d.n; ++image) {
        comes = comes || classes[image] == one;
    }
    double sums[2] = {0.0, 0.0};
    for (int j = threadIdx.x; comes && j < d.width; j += IMAGE_THREADS) {
        double value = (double)row[j];
        sums[0] += value * value;
        sums[1] += value * class_column_sum(d, classes, dy, one, j);
    }
    block_sums<IMAGE_THREADS>(sums);
    double norm = sqrt(sums[0]), along = sums[1] / sums[0];
    for (int j = threadIdx.x; j < d.width; j += IMAGE_THREADS) {
        real gradient = (real)0;
        if (comes) {
            gradient = (real)((class_column_sum(d, classes, dy, one, j) - (double)row[j] * along) / norm);
        }
        target[j] = accumulate ? target[j] + gradient : gradient;
    }
}
