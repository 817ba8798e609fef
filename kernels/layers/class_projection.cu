#include "lib/reduce.cuh"

// Sizes of a projection; ClassProjection of src/ops/layers/class_projection.rs.
struct ClassProjection {
    int n, c, classes;
};

// y = <E[class], x> + bias[class], added to y with `adds`; with the tangent of x in its place and no bias it is the tangent.
// x: [N, C]; classes: [N], each below d.classes; e: [classes, C]; bias: [classes], or null; y: [N]. A block an image, its threads
// walk the features. Overwrites y, or changes it.
// Twin: Cpu::class_projection_forward in src/ops/layers/class_projection.rs.
KERNEL_BOUNDED(IMAGE_THREADS, class_projection_forward, ClassProjection d, const stored* x, const unsigned* classes,
               const real* e, const real* bias, stored* y, int adds) {
    size_t image = blockIdx.x;
    unsigned one = classes[image];
    double sum = 0.0;
    for (int j = threadIdx.x; j < d.c; j += IMAGE_THREADS) {
        sum += (double)e[(size_t)one * d.c + j] * (double)(real)x[image * d.c + j];
    }
    sum = block_sum<IMAGE_THREADS>(sum);
    if (threadIdx.x == 0) {
        real value = (real)(bias ? sum + (double)bias[one] : sum);
        y[image] = adds ? (real)y[image] + value : value;
    }
}

// dx = dy E[class], added to dx with `adds`.
// classes, dy: [N]; e: [classes, C]; dx: [N, C]. The grid's threads stride over dx. Overwrites dx, or changes it.
// Twin: Cpu::class_projection_backward_input in src/ops/layers/class_projection.rs.
KERNEL(class_projection_backward_input, ClassProjection d, const unsigned* classes, const real* e, const stored* dy,
       stored* dx, int adds) {
    FOR_EACH_ELEMENT(i, (unsigned long long)d.n * d.c) {
        size_t image = i / d.c;
        real value = (real)dy[image] * e[(size_t)classes[image] * d.c + i % d.c];
        dx[i] = adds ? (real)dx[i] + value : value;
    }
}

// de[k] = the sum of dy x over the images of class k, in their order, and db[k] that of dy.
// x: [N, C]; classes, dy: [N]; de: [classes, C]; db: [classes], or null where it is not wanted. The grid's threads stride over de and,
// as one column more, db; neighbours take neighbouring features. Overwrites both, or adds to them with `accumulate`.
// Twin: Cpu::class_projection_backward_weight in src/ops/layers/class_projection.rs.
KERNEL(class_projection_backward_weight, ClassProjection d, const stored* x, const unsigned* classes, const stored* dy,
       real* de, real* db, int accumulate) {
    size_t width = (size_t)d.c + (db ? 1 : 0);
    FOR_EACH_ELEMENT(i, (unsigned long long)d.classes * width) {
        size_t one = i / width, column = i % width;
        double sum = 0.0;
        for (size_t image = 0; image < (size_t)d.n; ++image) {
            if (classes[image] == (unsigned)one) {
                double factor = column < (size_t)d.c ? (double)(real)x[image * d.c + column] : 1.0;
                sum += (double)(real)dy[image] * factor;
            }
        }
        real* target = column < (size_t)d.c ? de + one * d.c + column : db + one;
        *target = accumulate ? *target + (real)sum : (real)sum;
    }
}
