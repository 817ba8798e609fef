// See twin_a.cu.
#include "twin.h"

template <int N>
__device__ int answer() {
    return 100 * N + VALUE;
}

__device__ int plain() { return 20; }

KERNEL(twin_b, int* out) { out[0] = answer<1>() + plain() + OFFSET; }
