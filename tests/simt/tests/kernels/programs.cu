// Kernels as they are written for real: nothing is wrong with them, so nothing may be reported.

// ---- a bf16 matrix product: 4 warps, 32 x 32 of c a block, a ring of three stages filled by cp.async ----

constexpr int TILE = 32, DEPTH = 16, STAGES = 3, PITCH = 24;

// Stage `stage` of the ring gets the k0-th slice of a [m][k] and, transposed, of b [n][k]; beyond their edges zeros.
__device__ __forceinline__ void load_stage(__nv_bfloat16 (&a_ring)[STAGES][TILE][PITCH],
                                           __nv_bfloat16 (&b_ring)[STAGES][TILE][PITCH], int stage, const __nv_bfloat16* a,
                                           const __nv_bfloat16* b, int m, int n, int k, int k0) {
    const int t = int(threadIdx.x) % 64, row = t / 2, column = t % 2 * 8;
    const bool is_a = threadIdx.x < 64;
    const int outer = (is_a ? int(blockIdx.y) : int(blockIdx.x)) * TILE + row;
    const bool valid = outer < (is_a ? m : n) && k0 + column < k;
    const __nv_bfloat16* from = (is_a ? a : b) + (valid ? outer * k + k0 + column : 0);
    cp_async_16(is_a ? &a_ring[stage][row][column] : &b_ring[stage][row][column], from, valid);
}

KERNEL_BOUNDED(128, product_bf16, const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int m, int n, int k) {
    SHARED(__nv_bfloat16, a_ring, [STAGES][TILE][PITCH]);
    SHARED(__nv_bfloat16, b_ring, [STAGES][TILE][PITCH]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row0 = warp / 2 * 16, column0 = warp % 2 * 16;
    float sums[2][4] = {};
    const int slices = (k + DEPTH - 1) / DEPTH;
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        if (stage < slices) load_stage(a_ring, b_ring, stage, a, b, m, n, k, stage * DEPTH);
        cp_async_commit();
    }
    for (int slice = 0; slice < slices; ++slice) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        const int ahead = slice + STAGES - 1;
        if (ahead < slices) load_stage(a_ring, b_ring, ahead % STAGES, a, b, m, n, k, ahead * DEPTH);
        cp_async_commit();
        const int stage = slice % STAGES;
        unsigned x[4], y[4];
        ldmatrix_x4(x, &a_ring[stage][row0 + lane % 16][lane / 16 * 8]);
        ldmatrix_x4(y, &b_ring[stage][column0 + lane % 8 + lane / 16 * 8][lane / 8 % 2 * 8]);
        const unsigned left[2] = {y[0], y[1]}, right[2] = {y[2], y[3]};
        mma_m16n8k16_bf16(sums[0], x, left, sums[0]);
        mma_m16n8k16_bf16(sums[1], x, right, sums[1]);
    }
    for (int half = 0; half < 2; ++half)
        for (int i = 0; i < 4; ++i) {
            const int row = int(blockIdx.y) * TILE + row0 + lane / 4 + i / 2 * 8;
            const int column = int(blockIdx.x) * TILE + column0 + half * 8 + lane % 4 * 2 + i % 2;
            if (row < m && column < n) c[row * n + column] = sums[half][i];
        }
}

// ---- softmax of rows, a block each: shuffles within warps, shared memory between them ----

__device__ float combine(float a, float b, bool maximum) { return maximum ? fmaxf(a, b) : a + b; }

__device__ float combine_block(float value, bool maximum) {
    SHARED(float, parts, [32]);
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int offset = 16; offset > 0; offset /= 2) {
        value = combine(value, __shfl_xor_sync(0xffffffff, value, offset), maximum);
    }
    if (lane == 0) parts[warp] = value;
    __syncthreads();
    if (warp == 0) {
        const float part = parts[lane < warps ? lane : 0];
        value = __shfl_sync(0xffffffff, part, 0);
        for (int i = 1; i < int(warps); ++i) value = combine(value, __shfl_sync(0xffffffff, part, i), maximum);
        if (lane == 0) parts[0] = value;
    }
    __syncthreads();
    value = parts[0];
    __syncthreads();
    return value;
}

KERNEL(softmax, const float* in, float* out, int width) {
    const float* row = in + blockIdx.x * width;
    float largest = -INFINITY;
    for (int i = threadIdx.x; i < width; i += blockDim.x) largest = fmaxf(largest, row[i]);
    largest = combine_block(largest, true);
    float sum = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += expf(row[i] - largest);
    sum = combine_block(sum, false);
    for (int i = threadIdx.x; i < width; i += blockDim.x) out[blockIdx.x * width + i] = expf(row[i] - largest) / sum;
}

// ---- transposition of elements of 1, 2, 4 and 8 bytes through a padded tile ----

template <class T>
__device__ __forceinline__ void transpose_tile(const T* in, T* out, int height, int width) {
    SHARED(T, tile, [32][33]);
    int x = int(blockIdx.x) * 32 + int(threadIdx.x);
    const int y0 = int(blockIdx.y) * 32;
    for (int r = threadIdx.y; r < 32; r += blockDim.y)
        if (x < width && y0 + r < height) tile[r][threadIdx.x] = in[(y0 + r) * width + x];
    __syncthreads();
    x = y0 + int(threadIdx.x);
    for (int r = threadIdx.y; r < 32; r += blockDim.y) {
        const int y = int(blockIdx.x) * 32 + r;
        if (x < height && y < width) out[y * height + x] = tile[threadIdx.x][r];
    }
}

KERNEL(transpose_1, const unsigned char* in, unsigned char* out, int height, int width) { transpose_tile(in, out, height, width); }
KERNEL(transpose_2, const __nv_bfloat16* in, __nv_bfloat16* out, int height, int width) { transpose_tile(in, out, height, width); }
KERNEL(transpose_4, const float* in, float* out, int height, int width) { transpose_tile(in, out, height, width); }
KERNEL(transpose_8, const double* in, double* out, int height, int width) { transpose_tile(in, out, height, width); }

// ---- a histogram: counts in dynamic shared memory, then one atomic for each bin ----

KERNEL(histogram, const unsigned char* in, unsigned* counts, int n) {
    DYNAMIC_SHARED(unsigned, bins);
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
    __syncthreads();
    for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += int(gridDim.x * blockDim.x)) atomicAdd(&bins[in[i]], 1u);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
        if (bins[i]) atomicAdd(&counts[i], bins[i]);
}

// ---- an inclusive scan of a block, by a tree in shared memory whose last steps stay within one warp ----

KERNEL(scan, const int* in, int* out) {
    SHARED(int, sums, [2][256]);
    int current = 0;
    sums[0][threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    for (unsigned offset = 1; offset < blockDim.x; offset *= 2) {
        int value = sums[current][threadIdx.x];
        if (threadIdx.x >= offset) value += sums[current][threadIdx.x - offset];
        current ^= 1;
        sums[current][threadIdx.x] = value;
        __syncthreads();
    }
    out[threadIdx.x] = sums[current][threadIdx.x];
}

// ---- local arrays that are passed on by reference and indexed at run time ----

__device__ __noinline__ void sort(float (&values)[8]) {
    for (int i = 1; i < 8; ++i)
        for (int j = i; j > 0 && values[j] < values[j - 1]; --j) {
            const float t = values[j];
            values[j] = values[j - 1], values[j - 1] = t;
        }
}

__constant__ float WEIGHTS[8] = {1, 2, 3, 4, 5, 6, 7, 8};

KERNEL(sorted_sum, const float4* in, float* out) {
    float values[8];
    *reinterpret_cast<float4*>(values) = in[2 * threadIdx.x];
    *reinterpret_cast<float4*>(values + 4) = in[2 * threadIdx.x + 1];
    sort(values);
    float sum = 0;
    for (int i = 0; i < 8; ++i) sum += WEIGHTS[i] * values[i];
    out[threadIdx.x] = sum;
}
