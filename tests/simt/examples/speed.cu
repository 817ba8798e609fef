// What examples/speed.rs times.

// c = a b for square matrices of n, a multiple of 64: tiles of 64 x 64, each thread 4 x 4 of them.
KERNEL_BOUNDED(256, matmul, const float* a, const float* b, float* c, int n) {
    SHARED(float, a_tile, [16][64]);
    SHARED(float, b_tile, [16][64]);
    const unsigned t = threadIdx.x, row = t / 16 * 4, column = t % 16 * 4;
    const unsigned first_row = blockIdx.y * 64, first_column = blockIdx.x * 64;
    float sums[4][4] = {};
    for (int k0 = 0; k0 < n; k0 += 16) {
        const float4 from_a = *reinterpret_cast<const float4*>(a + (first_row + t / 4) * n + k0 + t % 4 * 4);
        const float4 from_b = *reinterpret_cast<const float4*>(b + (k0 + t / 16) * n + first_column + t % 16 * 4);
        a_tile[t % 4 * 4 + 0][t / 4] = from_a.x;
        a_tile[t % 4 * 4 + 1][t / 4] = from_a.y;
        a_tile[t % 4 * 4 + 2][t / 4] = from_a.z;
        a_tile[t % 4 * 4 + 3][t / 4] = from_a.w;
        *reinterpret_cast<float4*>(&b_tile[t / 16][t % 16 * 4]) = from_b;
        __syncthreads();
#pragma unroll
        for (int k = 0; k < 16; ++k) {
            const float4 x = *reinterpret_cast<const float4*>(&a_tile[k][row]);
            const float4 y = *reinterpret_cast<const float4*>(&b_tile[k][column]);
            const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(xs[i], ys[j], sums[i][j]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i) {
        const float4 out = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        *reinterpret_cast<float4*>(c + (first_row + row + i) * n + first_column + column) = out;
    }
}

// c = a b for bf16 a [n][n] and b, transposed, [n][n]: one warp for 16 x 8 of c.
KERNEL_BOUNDED(32, matmul_mma, const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n) {
    SHARED(__nv_bfloat16, a_tile, [16][24]);
    SHARED(__nv_bfloat16, b_tile, [8][24]);
    const unsigned lane = threadIdx.x, first_row = blockIdx.y * 16, first_column = blockIdx.x * 8;
    float sums[4] = {};
    for (int k0 = 0; k0 < n; k0 += 16) {
        cp_async_16(&a_tile[lane / 2][lane % 2 * 8], a + (first_row + lane / 2) * n + k0 + lane % 2 * 8, true);
        if (lane < 16) cp_async_16(&b_tile[lane / 2][lane % 2 * 8], b + (first_column + lane / 2) * n + k0 + lane % 2 * 8, true);
        cp_async_commit();
        cp_async_wait<0>();
        __syncwarp();
        unsigned x[4], y[2];
        ldmatrix_x4(x, &a_tile[lane % 16][lane / 16 * 8]);
        ldmatrix_x2(y, &b_tile[lane % 8][lane / 8 % 2 * 8]);
        mma_m16n8k16_bf16(sums, x, y, sums);
        __syncwarp();
    }
    const unsigned row = first_row + lane / 4, column = first_column + lane % 4 * 2;
    *reinterpret_cast<float2*>(c + row * n + column) = make_float2(sums[0], sums[1]);
    *reinterpret_cast<float2*>(c + (row + 8) * n + column) = make_float2(sums[2], sums[3]);
}

KERNEL(barriers, int count) {
    for (int i = 0; i < count; ++i) __syncthreads();
}

KERNEL(shuffles, int count, unsigned* out) {
    unsigned x = threadIdx.x;
    for (int i = 0; i < count; ++i) x += __shfl_xor_sync(0xffffffff, x, 1 + i % 31);
    out[blockIdx.x * blockDim.x + threadIdx.x] = x;
}

KERNEL(add_one, float* x, int n) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) x[i] += 1;
}
