// One kernel for each group of intrinsics; tests/intrinsics.rs knows what each has to give.

// All shuffles of one kind of value: out[kind][lane] for a given argument, width and mask.
template <class T>
__device__ __forceinline__ void shuffle_all(unsigned mask, T value, int argument, int width, T* out) {
    const unsigned lane = threadIdx.x % 32;
    out[lane] = __shfl_sync(mask, value, argument, width);
    out[32 + lane] = __shfl_up_sync(mask, value, unsigned(argument), width);
    out[64 + lane] = __shfl_down_sync(mask, value, unsigned(argument), width);
    out[96 + lane] = __shfl_xor_sync(mask, value, argument, width);
}

KERNEL(shuffles, int argument, int width, int* ints, unsigned* unsigneds, float* floats, double* doubles,
       long long* longs, unsigned long long* unsigned_longs) {
    const unsigned lane = threadIdx.x;
    shuffle_all(0xffffffff, int(lane) - 16, argument, width, ints);
    shuffle_all(0xffffffff, 0xf0000000u + lane, argument, width, unsigneds);
    shuffle_all(0xffffffff, 0.5f + float(lane), argument, width, floats);
    shuffle_all(0xffffffff, 1e300 * lane, argument, width, doubles);
    shuffle_all(0xffffffff, (long long)lane - (1ll << 60), argument, width, longs);
    shuffle_all(0xffffffff, lane + (1ull << 63), argument, width, unsigned_longs);
}

// Four groups of eight lanes, each on its own, a different number of times.
KERNEL(partial_shuffles, int* out) {
    const unsigned lane = threadIdx.x, group = lane / 8;
    const unsigned mask = 0xffu << 8 * group;
    int x = int(lane);
    for (unsigned i = 0; i <= group; ++i) x += __shfl_xor_sync(mask, x, 1);
    __syncwarp();
    out[lane] = __shfl_sync(0xffffffff, x, 31 - int(lane));
}

KERNEL(votes, unsigned* out) {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned* mine = out + 12 * threadIdx.x;
    mine[0] = __ballot_sync(0xffffffff, lane % 3 == 0);
    mine[1] = unsigned(__any_sync(0xffffffff, lane == 31 && warp == 1));
    mine[2] = unsigned(__all_sync(0xffffffff, lane < 31 || warp == 1));
    mine[3] = unsigned(__syncthreads_count(lane % 4 == 0));
    mine[4] = unsigned(__syncthreads_and(lane < 32));
    mine[5] = unsigned(__syncthreads_or(threadIdx.x == 63));
    mine[6] = unsigned(__syncthreads_and(threadIdx.x != 5));
    mine[7] = unsigned(__syncthreads_or(threadIdx.x == 64));
    mine[8] = __match_any_sync(0xffffffff, int(lane % 2));
    mine[9] = __reduce_add_sync(0xffffffff, lane);
    mine[10] = unsigned(__reduce_min_sync(0xffffffff, int(lane) - 7));
    mine[11] = __activemask();
}

KERNEL(integers, const unsigned* in, unsigned* out, int n) {
    for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) {
        const unsigned x = in[i];
        unsigned* mine = out + 8 * i;
        mine[0] = unsigned(__popc(x));
        mine[1] = unsigned(__ffs(int(x)));
        mine[2] = unsigned(__clz(int(x)));
        mine[3] = __brev(x);
        mine[4] = __umulhi(x, 0x9e3779b9u);
        mine[5] = __float_as_uint(__uint_as_float(x));
        mine[6] = unsigned(__popcll((unsigned long long)x << 20 | x));
        mine[7] = min(x, 77u) + max(x, 5u);
    }
}

KERNEL(roundings, const float* in, unsigned* bf16, unsigned* pairs, unsigned* tf32, unsigned* half_bits, float* back, int n) {
    for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) {
        const __nv_bfloat16 value = __float2bfloat16_rn(in[i]);
        bf16[i] = __bfloat16_as_ushort(value);
        back[i] = __bfloat162float(value);
        const __nv_bfloat162 pair = __floats2bfloat162_rn(in[i], in[n - 1 - i]);
        pairs[i] = *reinterpret_cast<const unsigned*>(&pair);
        tf32[i] = to_tf32(in[i]);
        half_bits[i] = __float2half_rn(in[i]).bits;
    }
}

// a * b + c rounds twice, fmaf once.
KERNEL(contraction, float a, float b, float c, float* out) {
    out[0] = a * b + c;
    out[1] = fmaf(a, b, c);
    out[2] = __fmaf_rn(a, b, c);
    out[3] = __fadd_rn(__fmul_rn(a, b), c);
    out[4] = __fsub_rn(a, b);
    out[5] = __fdiv_rn(a, b);
    out[6] = __fsqrt_rn(b);
    out[7] = rsqrtf(4.0f * b / b);
    out[8] = float(__fma_rn(double(a), double(b), double(c)));
    out[9] = fmaxf(a, fminf(b, c)) + float(isfinite(a / 0.0f)) + float(isnan(c - c));
}

KERNEL(atomics, int* ints, unsigned* unsigneds, unsigned long long* longs) {
    SHARED(int, sum, [1]);
    if (threadIdx.x == 0) sum[0] = 0;
    __syncthreads();
    atomicAdd(&sum[0], int(threadIdx.x));
    __syncthreads();
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(&ints[0], 1);
    atomicMax(&ints[1], i - 50);
    atomicMin(&ints[2], i - 50);
    if (threadIdx.x == 0) atomicAdd(&ints[3], sum[0]);
    atomicMax(&unsigneds[0], 0xfffffff0u - unsigned(i));
    atomicMin(&unsigneds[1], 0xfffffff0u - unsigned(i));
    atomicOr(&unsigneds[2], 1u << i % 32);
    atomicAnd(&unsigneds[3], ~(1u << i % 32));
    atomicAdd(&longs[0], 1ull << 33);
    unsigned old = unsigneds[4 + i];
    unsigned seen;
    do {
        seen = old;
        old = atomicCAS(&unsigneds[4 + i], seen, seen + 7);
    } while (old != seen);
    atomicExch(&ints[4 + i], i);
}

KERNEL(matrix_loads, const unsigned short* in, unsigned* out) {
    SHARED(unsigned short, tile, [32][8]);
    const unsigned lane = threadIdx.x;
    for (int i = 0; i < 8; ++i) tile[lane][i] = in[lane * 8 + i];
    __syncwarp();
    unsigned one[1], two[2], four[4], two_trans[2], four_trans[4];
    ldmatrix_x1(one, &tile[lane % 8]);
    ldmatrix_x2(two, &tile[lane % 16]);
    ldmatrix_x4(four, &tile[lane]);
    ldmatrix_x2_trans(two_trans, &tile[lane % 16]);
    ldmatrix_x4_trans(four_trans, &tile[lane]);
    unsigned* mine = out + 13 * lane;
    mine[0] = one[0];
    for (int i = 0; i < 2; ++i) mine[1 + i] = two[i], mine[7 + i] = two_trans[i];
    for (int i = 0; i < 4; ++i) mine[3 + i] = four[i], mine[9 + i] = four_trans[i];
}

// d [16][8] = a [16][16] b [16][8] + c, all row major; fragments are gathered by hand.
KERNEL(mma_bf16, const __nv_bfloat16* a, const __nv_bfloat16* b, const float* c, float* d) {
    const unsigned group = threadIdx.x / 4, member = threadIdx.x % 4;
    unsigned x[4], y[2];
    float sums[4], start[4];
    for (unsigned i = 0; i < 4; ++i) {
        const __nv_bfloat16* pair = a + (group + i % 2 * 8) * 16 + member * 2 + i / 2 * 8;
        x[i] = __bfloat16_as_ushort(pair[0]) | unsigned(__bfloat16_as_ushort(pair[1])) << 16;
        start[i] = c[(group + i / 2 * 8) * 8 + member * 2 + i % 2];
    }
    for (unsigned i = 0; i < 2; ++i) {
        const unsigned k = member * 2 + i * 8;
        y[i] = __bfloat16_as_ushort(b[k * 8 + group]) | unsigned(__bfloat16_as_ushort(b[(k + 1) * 8 + group])) << 16;
    }
    mma_m16n8k16_bf16(sums, x, y, start);
    for (unsigned i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = sums[i];
}

// The same through ldmatrix: b lies row major, so it is loaded transposed.
KERNEL(mma_bf16_loaded, const __nv_bfloat16* a, const __nv_bfloat16* b, const float* c, float* d) {
    SHARED(__nv_bfloat16, a_tile, [16][16]);
    SHARED(__nv_bfloat16, b_tile, [16][8]);
    const unsigned lane = threadIdx.x, group = lane / 4, member = lane % 4;
    cp_async_16(&a_tile[lane / 2][lane % 2 * 8], a + lane * 8, true);
    cp_async_8(&b_tile[lane / 2][lane % 2 * 4], b + lane * 4, true);
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    unsigned x[4], y[2];
    float sums[4];
    for (unsigned i = 0; i < 4; ++i) sums[i] = c[(group + i / 2 * 8) * 8 + member * 2 + i % 2];
    ldmatrix_x4(x, &a_tile[lane % 16][lane / 16 * 8]);
    ldmatrix_x2_trans(y, &b_tile[lane % 16][0]);
    mma_m16n8k16_bf16(sums, x, y, sums);
    for (unsigned i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = sums[i];
}

// d [16][8] = a [16][8] b [8][8] + c; not rounded before: the instruction drops bits.
KERNEL(mma_tf32, const float* a, const float* b, const float* c, float* d) {
    const unsigned group = threadIdx.x / 4, member = threadIdx.x % 4;
    unsigned x[4], y[2];
    float sums[4], start[4];
    for (unsigned i = 0; i < 4; ++i) {
        x[i] = __float_as_uint(a[(group + i % 2 * 8) * 8 + member + i / 2 * 4]);
        start[i] = c[(group + i / 2 * 8) * 8 + member * 2 + i % 2];
    }
    for (unsigned i = 0; i < 2; ++i) y[i] = __float_as_uint(b[(member + i * 4) * 8 + group]);
    mma_m16n8k8_tf32(sums, x, y, start);
    for (unsigned i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = sums[i];
}

// Where a thread is, in three dimensions.
KERNEL(indices, unsigned* out) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned* mine = out + 6 * (block * blockDim.x * blockDim.y * blockDim.z + thread);
    mine[0] = blockIdx.x, mine[1] = blockIdx.y, mine[2] = blockIdx.z;
    mine[3] = threadIdx.x, mine[4] = threadIdx.y, mine[5] = threadIdx.z;
}

// Shared memory of a helper belongs to each of its instances.
template <int N>
__device__ float sum_of(float value) {
    SHARED(float, parts, [N]);
    parts[threadIdx.x] = value;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < N; ++i) sum += parts[i];
    __syncthreads();
    return sum;
}

struct Pair {
    float x;
    int y;
};

KERNEL(helpers, Pair pair, float* out) {
    const float first = sum_of<32>(pair.x), second = sum_of<64 - 32>(float(pair.y));
    out[threadIdx.x] = first + 1000 * second;
}
