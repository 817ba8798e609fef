// Planted bugs, each with its clean twin. All kernels take (in, out, n); `in` holds n floats, `out` n that nobody wrote.
// A comment BUG with the kernel's name marks the line that the report must point at.

// ---- shared memory ----

KERNEL(shared_race_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    float sum = tile[threadIdx.x ^ 1];
    tile[threadIdx.x] = sum;  // BUG shared_race_bug
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(shared_race_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    float sum = tile[threadIdx.x ^ 1];
    __syncthreads();
    tile[threadIdx.x] = sum;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

// Neighbouring bytes are different bytes: no race, however they share a word.
KERNEL(bytes_race_bug, const float* in, float* out, int n) {
    SHARED(unsigned char, bytes, [64]);
    bytes[threadIdx.x / 2] = (unsigned char)threadIdx.x;  // BUG bytes_race_bug
    __syncthreads();
    out[threadIdx.x] = bytes[threadIdx.x / 2] / 2;
}

KERNEL(bytes_race_clean, const float* in, float* out, int n) {
    SHARED(unsigned char, bytes, [64]);
    bytes[threadIdx.x] = (unsigned char)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = bytes[63 - threadIdx.x];
}

// Lanes of a warp that talk through shared memory need __syncwarp.
KERNEL(syncwarp_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    DYNAMIC_SHARED(float, more);
    more[threadIdx.x] = 0;
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    more[threadIdx.x] = tile[threadIdx.x];
    out[threadIdx.x] = more[threadIdx.x ^ 1];  // BUG syncwarp_bug
}

KERNEL(syncwarp_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    DYNAMIC_SHARED(float, more);
    more[threadIdx.x] = 0;
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    more[threadIdx.x] = tile[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = more[threadIdx.x ^ 1];
}

// Half a warp meets; the other half is no part of it.
KERNEL(half_warp_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    const unsigned lane = threadIdx.x % 32;
    tile[threadIdx.x] = in[threadIdx.x];
    __syncwarp(lane < 16 ? 0x0000ffff : 0xffff0000);
    out[threadIdx.x] = tile[threadIdx.x ^ 16];  // BUG half_warp_bug
}

KERNEL(half_warp_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    const unsigned lane = threadIdx.x % 32;
    tile[threadIdx.x] = in[threadIdx.x];
    __syncwarp(lane < 16 ? 0x0000ffff : 0xffff0000);
    out[threadIdx.x] = tile[threadIdx.x ^ 15];
}

KERNEL(uninitialised_shared_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [65]);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x + 1];  // BUG uninitialised_shared_bug
}

KERNEL(uninitialised_shared_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [65]);
    tile[threadIdx.x] = in[threadIdx.x];
    if (threadIdx.x == 0) tile[64] = 1;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x + 1];
}

KERNEL(uninitialised_dynamic_bug, const float* in, float* out, int n) {
    DYNAMIC_SHARED(float, tile);
    if (blockIdx.x == 0) tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = tile[threadIdx.x];  // BUG uninitialised_dynamic_bug
}

KERNEL(uninitialised_dynamic_clean, const float* in, float* out, int n) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = tile[threadIdx.x];
}

KERNEL(shared_bounds_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [4][16]);
    SHARED(float, next, [4][16]);
    float* flat = &tile[0][0];
    next[0][0] = 0;
    flat[threadIdx.x + 1] = in[threadIdx.x];  // BUG shared_bounds_bug
    __syncthreads();
    out[threadIdx.x] = flat[threadIdx.x];
}

KERNEL(shared_bounds_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [4][16]);
    SHARED(float, next, [4][16]);
    float* flat = &tile[0][0];
    if (threadIdx.x == 0) next[0][0] = 0;
    flat[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = flat[threadIdx.x];
}

KERNEL(dynamic_bounds_bug, const float* in, float* out, int n) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x + 1] = in[threadIdx.x];  // BUG dynamic_bounds_bug
    __syncthreads();
    out[threadIdx.x] = 1;
}

KERNEL(dynamic_bounds_clean, const float* in, float* out, int n) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(shared_limit_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [12289]);  // BUG shared_limit_bug
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(shared_limit_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [12288]);
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = tile[threadIdx.x];
}

// ---- global memory ----

KERNEL(uninitialised_global_bug, const float* in, float* out, int n) {
    out[threadIdx.x] += in[threadIdx.x];  // BUG uninitialised_global_bug
}

KERNEL(uninitialised_global_clean, const float* in, float* out, int n) {
    out[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] += in[threadIdx.x];
}

KERNEL(global_bounds_bug, const float* in, float* out, int n) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    out[i] = in[i + 2];  // BUG global_bounds_bug
}

KERNEL(global_bounds_clean, const float* in, float* out, int n) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    out[i] = i + 2 < n ? in[i + 2] : 0;
}

KERNEL(misaligned_bug, const float* in, float* out, int n) {
    if (threadIdx.x > 0) return;
    const float4 v = *reinterpret_cast<const float4*>(in + 2);  // BUG misaligned_bug
    out[0] = v.x + v.w;
}

KERNEL(misaligned_clean, const float* in, float* out, int n) {
    if (threadIdx.x > 0) return;
    const float4 v = *reinterpret_cast<const float4*>(in + 4);
    const float2 w = *reinterpret_cast<const float2*>(in + 2);
    out[0] = v.x + v.w + w.y;
}

KERNEL(global_race_bug, const float* in, float* out, int n) {
    out[threadIdx.x] = in[threadIdx.x];
    const float other = out[threadIdx.x ^ 32];  // BUG global_race_bug
    __syncthreads();
    out[threadIdx.x] = other;
}

KERNEL(global_race_clean, const float* in, float* out, int n) {
    out[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    const float other = out[threadIdx.x ^ 32];
    __syncthreads();
    out[threadIdx.x] = other;
}

KERNEL(block_write_bug, const float* in, float* out, int n) {
    out[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];  // BUG block_write_bug
}

KERNEL(block_write_clean, const float* in, float* out, int n) {
    out[blockIdx.x * blockDim.x + threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
}

KERNEL(block_read_bug, const float* in, float* out, int n) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = in[i];  // BUG block_read_bug
    if (blockIdx.x == gridDim.x - 1) out[i] = out[threadIdx.x];  // BUG block_read_bug
}

// The last block to arrive may read what the others wrote, if they fenced before they counted.
KERNEL(block_read_clean, const float* in, float* out, int n) {
    SHARED(bool, last, [1]);
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned* count = reinterpret_cast<unsigned*>(out + n - 1);
    out[i] = in[i];
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last[0] = atomicAdd(count, 1u) == gridDim.x - 1;
    __syncthreads();
    if (last[0] && threadIdx.x == 0) {
        float sum = 0;
        for (unsigned j = 0; j < gridDim.x * blockDim.x; ++j) sum += out[j];
        out[n - 2] = sum;
    }
}

// One zeroes, all count: without a barrier between, a count may be lost.
KERNEL(atomic_race_bug, const float* in, float* out, int n) {
    SHARED(unsigned, count, [1]);
    if (threadIdx.x == 0) count[0] = 0;  // BUG atomic_race_bug
    atomicAdd(&count[0], 1u);            // BUG atomic_race_bug
    __syncthreads();
    out[threadIdx.x] = float(count[0]);
}

KERNEL(atomic_race_clean, const float* in, float* out, int n) {
    SHARED(unsigned, count, [1]);
    if (threadIdx.x == 0) count[0] = 0;
    __syncthreads();
    atomicAdd(&count[0], 1u);
    __syncthreads();
    out[threadIdx.x] = float(count[0]);
}

// A type that wants more than the 16 bytes to which shared memory is aligned.
struct alignas(32) Wide {
    float values[8];
};

KERNEL(misaligned_shared_bug, const float* in, float* out, int n) {
    DYNAMIC_SHARED(float, buffer);
    if (threadIdx.x > 0) return;
    Wide* wide = reinterpret_cast<Wide*>(buffer);
    wide->values[0] = in[0];  // BUG misaligned_shared_bug
    out[0] = wide->values[0];
}

KERNEL(misaligned_shared_clean, const float* in, float* out, int n) {
    DYNAMIC_SHARED(float, buffer);
    SHARED(Wide, wide, [2]);
    if (threadIdx.x > 0) return;
    *reinterpret_cast<float4*>(buffer + 4) = make_float4(in[0], 1, 2, 3);
    wide[1].values[0] = in[0];
    out[0] = wide[1].values[0] + buffer[5];
}

KERNEL(misaligned_copy_bug, const float* in, float* out, int n) {
    SHARED(float4, tile, [64]);
    cp_async_16(&tile[threadIdx.x], in + threadIdx.x, true);  // BUG misaligned_copy_bug
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = tile[threadIdx.x].x;
}

KERNEL(misaligned_copy_clean, const float* in, float* out, int n) {
    SHARED(float4, tile, [64]);
    cp_async_16(&tile[threadIdx.x], in + threadIdx.x / 4 * 4, true);
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = tile[threadIdx.x].x;
}

KERNEL(float_atomic_bug, const float* in, float* out, int n) {
    out[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&out[0], in[threadIdx.x]);  // BUG float_atomic_bug
}

KERNEL(float_atomic_clean, const float* in, float* out, int n) {
    int* sum = reinterpret_cast<int*>(out);
    if (threadIdx.x == 0) sum[0] = 0;
    __syncthreads();
    atomicAdd(&sum[0], int(in[threadIdx.x]));
}
