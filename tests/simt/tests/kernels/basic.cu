// Kernels that are right, and what they compute is known.

KERNEL(scale, float* x, float factor, int n) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) x[i] *= factor;
}

// Reverses the elements of each block.
KERNEL_BOUNDED(256, reverse, const int* in, int* out) {
    SHARED(int, tile, [256]);
    const unsigned first = blockIdx.x * blockDim.x;
    tile[threadIdx.x] = in[first + threadIdx.x];
    __syncthreads();
    out[first + threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

KERNEL(reverse_unsynchronised, const int* in, int* out) {
    SHARED(int, tile, [256]);
    const unsigned first = blockIdx.x * blockDim.x;
    tile[threadIdx.x] = in[first + threadIdx.x];
    out[first + threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

KERNEL(nothing) {
    if (threadIdx.x == 0) printf("a kernel without parameters runs in block %u\n", blockIdx.x);
}
