#include "layers/epilogue.cuh"

// Ends the numbers that a convolution without an end of its own has stored: one with few channels.
// slope_of, base: [count] or null; y: [count], any shape. The grid's threads stride over the elements. Changes y. Limited by memory.
// Twin: Epilogue::apply in src/ops/layers/epilogue.rs.
KERNEL(epilogue, unsigned long long count, real negative, const stored* slope_of, real scale, const stored* base, stored* y) {
    Epilogue end = {negative, slope_of, scale, base};
    FOR_EACH_ELEMENT(i, count) {
        y[i] = end(i, y[i]);
    }
}
