// Gives the same names as twin_b.cu to other things, which nvcc allows: each file is a program of its own.
#include "twin.h"

template <int N>
__device__ int answer() {
    return N + VALUE;
}

__device__ int plain() { return 10; }

KERNEL(twin_a, int* out) { out[0] = answer<1>() + plain() + OFFSET; }
