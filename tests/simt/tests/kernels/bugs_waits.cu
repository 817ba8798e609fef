// Planted bugs, each with its clean twin. All kernels take (in, out, n); `in` holds n floats, `out` n that nobody wrote.
// A comment BUG with the kernel's name marks the line that the report must point at.

// ---- barriers and warp operations ----

KERNEL(barrier_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = in[threadIdx.x];
    if (threadIdx.x < 40) __syncthreads();  // BUG barrier_bug
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(barrier_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = in[threadIdx.x];
    if (n > 40) __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(two_barriers_bug, const float* in, float* out, int n) {
    if (threadIdx.x < 32) {
        out[threadIdx.x] = in[threadIdx.x];
        __syncthreads();  // BUG two_barriers_bug
    } else {
        out[threadIdx.x] = 2 * in[threadIdx.x];
        __syncthreads();  // BUG two_barriers_bug
    }
}

KERNEL(two_barriers_clean, const float* in, float* out, int n) {
    if (threadIdx.x < 32) {
        out[threadIdx.x] = in[threadIdx.x];
    } else {
        out[threadIdx.x] = 2 * in[threadIdx.x];
    }
    __syncthreads();
}

KERNEL(barrier_and_shuffle_bug, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    if (threadIdx.x % 32 < 16) {
        x += __shfl_xor_sync(0xffffffff, x, 16);
    } else {
        __syncthreads();  // BUG barrier_and_shuffle_bug
    }
    out[threadIdx.x] = x;
}

KERNEL(barrier_and_shuffle_clean, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    x += __shfl_xor_sync(0xffffffff, x, 16);
    __syncthreads();
    out[threadIdx.x] = x;
}

KERNEL(shuffle_bug, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    if (threadIdx.x < 48) x += __shfl_down_sync(0xffffffff, x, 1);  // BUG shuffle_bug
    out[threadIdx.x] = x;
}

KERNEL(shuffle_clean, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    const float below = __shfl_down_sync(0xffffffff, x, 1);
    if (threadIdx.x < 48) x += below;
    out[threadIdx.x] = x;
}

KERNEL(mismatch_bug, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    if (threadIdx.x % 32 < 16) {
        x += __shfl_xor_sync(0xffffffff, x, 16);  // BUG mismatch_bug
    } else {
        x += __ballot_sync(0xffffffff, x > 2);  // BUG mismatch_bug
    }
    out[threadIdx.x] = x;
}

KERNEL(mismatch_clean, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    if (threadIdx.x % 32 < 16) {
        x += __shfl_xor_sync(0x0000ffff, x, 8);
    } else {
        x += __popc(__ballot_sync(0xffff0000, x > 2));
    }
    out[threadIdx.x] = x;
}

KERNEL(inactive_lane_bug, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    if (threadIdx.x % 32 < 16) x = __shfl_xor_sync(0x0000ffff, x, 16);  // BUG inactive_lane_bug
    out[threadIdx.x] = x;
}

KERNEL(inactive_lane_clean, const float* in, float* out, int n) {
    float x = in[threadIdx.x];
    if (threadIdx.x % 32 < 16) x = __shfl_xor_sync(0x0000ffff, x, 8);
    out[threadIdx.x] = x;
}

// ---- cp.async ----

KERNEL(copy_wait_bug, const float* in, float* out, int n) {
    SHARED(float4, tile, [64]);
    cp_async_16(&tile[threadIdx.x], in + 4 * threadIdx.x, true);
    cp_async_commit();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1].y;  // BUG copy_wait_bug
}

KERNEL(copy_wait_clean, const float* in, float* out, int n) {
    SHARED(float4, tile, [64]);
    cp_async_16(&tile[threadIdx.x], in + 4 * threadIdx.x, threadIdx.x != 7);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1].y;
}

// One stage too few is waited for.
KERNEL(copy_stages_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [2][64]);
    cp_async_4(&tile[0][threadIdx.x], in + threadIdx.x, true);
    cp_async_commit();
    float sum = 0;
    for (int stage = 0; stage < 4; ++stage) {
        if (stage < 3) cp_async_4(&tile[(stage + 1) % 2][threadIdx.x], in + 64 * (stage + 1) + threadIdx.x, true);
        cp_async_commit();
        cp_async_wait<2>();
        __syncthreads();
        sum += tile[stage % 2][threadIdx.x ^ 33];  // BUG copy_stages_bug
        __syncthreads();
    }
    out[threadIdx.x] = sum;
}

KERNEL(copy_stages_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [2][64]);
    cp_async_4(&tile[0][threadIdx.x], in + threadIdx.x, true);
    cp_async_commit();
    float sum = 0;
    for (int stage = 0; stage < 4; ++stage) {
        if (stage < 3) cp_async_4(&tile[(stage + 1) % 2][threadIdx.x], in + 64 * (stage + 1) + threadIdx.x, true);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        sum += tile[stage % 2][threadIdx.x ^ 33];
        __syncthreads();
    }
    out[threadIdx.x] = sum;
    // What nobody waits for at the end is nobody's business.
    cp_async_4(&tile[0][threadIdx.x], in + threadIdx.x, true);
    cp_async_commit();
}

KERNEL(copy_target_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    cp_async_4(&tile[threadIdx.x], in + threadIdx.x, true);
    cp_async_commit();
    if (threadIdx.x == 5) tile[threadIdx.x] = 0;  // BUG copy_target_bug
    cp_async_wait<0>();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

KERNEL(copy_target_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    cp_async_4(&tile[threadIdx.x], in + threadIdx.x, true);
    cp_async_commit();
    cp_async_wait<0>();
    if (threadIdx.x == 5) tile[threadIdx.x] = 0;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

KERNEL(copy_space_bug, const float* in, float* out, int n) {
    cp_async_4(&out[threadIdx.x], in + threadIdx.x, true);  // BUG copy_space_bug
    cp_async_commit();
    cp_async_wait<0>();
}

KERNEL(copy_space_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    cp_async_4(&tile[threadIdx.x], in + threadIdx.x, true);
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(copy_bounds_bug, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    cp_async_4(&tile[threadIdx.x], in + n - 32 + threadIdx.x, true);  // BUG copy_bounds_bug
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(copy_bounds_clean, const float* in, float* out, int n) {
    SHARED(float, tile, [64]);
    cp_async_4(&tile[threadIdx.x], in + n - 32 + threadIdx.x, threadIdx.x < 32);
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = tile[threadIdx.x];
}

// ---- threads that give up ----

KERNEL(assert_bug, const float* in, float* out, int n) {
    assert(in[threadIdx.x] < 40);  // BUG assert_bug
    out[threadIdx.x] = in[threadIdx.x];
}

KERNEL(assert_clean, const float* in, float* out, int n) {
    assert(in[threadIdx.x] < 400);
    out[threadIdx.x] = in[threadIdx.x];
}

KERNEL(trap_bug, const float* in, float* out, int n) {
    if (n == 4097) __trap();  // BUG trap_bug
    out[threadIdx.x] = in[threadIdx.x];
}

KERNEL(trap_clean, const float* in, float* out, int n) {
    if (n == 4097 + 1) __trap();
    out[threadIdx.x] = in[threadIdx.x];
}

KERNEL(division_bug, const float* in, float* out, int n) {
    out[threadIdx.x] = float(n / int(in[threadIdx.x]));  // BUG division_bug
}

KERNEL(division_clean, const float* in, float* out, int n) {
    out[threadIdx.x] = float(n / int(in[threadIdx.x] + 1));
}

__device__ __noinline__ float deep(const float* in, int depth) {
    volatile float local[256];
    local[depth % 256] = in[depth % 64];
    return depth == 0 ? local[0] : deep(in, depth - 1) + local[depth % 256];
}

KERNEL(recursion_bug, const float* in, float* out, int n) {
    out[threadIdx.x] = deep(in, 100000);
}

KERNEL(recursion_clean, const float* in, float* out, int n) {
    out[threadIdx.x] = deep(in, 10);
}

// Waits for a block that comes only after it.
KERNEL(endless, const float* in, float* out, int n) {
    volatile float* flag = out;
    if (blockIdx.x == 0) flag[threadIdx.x] = 0;
    while (flag[threadIdx.x] == 0) continue;  // BUG endless
}
