#include "lib/device.cuh"

// y = a + scale b, element by element; also the tangent.
// a, b, y: [count], any shape. The grid's threads stride over the elements. Overwrites y.
// Twin: Cpu::scaled_add_forward in src/ops/layers/scaled_add.rs.
KERNEL(scaled_add_forward, real scale, const stored* a, const stored* b, stored* y, unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        y[i] = a[i] + scale * b[i];
    }
}

// db = scale dy.
// dy, db: [count], any shape. The grid's threads stride over the elements. Overwrites db.
// Twin: Cpu::scaled_add_backward_input in src/ops/layers/scaled_add.rs.
KERNEL(scaled_add_backward_input, real scale, const stored* dy, stored* db, unsigned long long count) {
    FOR_EACH_ELEMENT(i, count) {
        db[i] = scale * dy[i];
    }
}
