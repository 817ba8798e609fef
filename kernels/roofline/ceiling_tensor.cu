// What ceiling.cu does, with products on tensor cores: how fast they run is the ceiling of every product of the files whose
// names end in _tensor.cu. It is that of mma: what Hopper and Blackwell have beside it is faster, and not used here.
// In bf16 where activations are stored so, or else in tf32. Not compiled for f64.
#include "lib/ptx.cuh"

static_assert(sizeof(real) == 4, "tensor cores sum in f32: files that include this end in _tensor.cu");
static_assert(ELEMENT_THREADS % WARP == 0, "all lanes of a warp must come to an mma");

// How many products make a depth of 16, what a word of an operand's fragment is whose elements are all `value`, and the
// product of fragments. `value` is one that the type can hold.
#ifdef STORED_BF16
struct Chain {
    static constexpr int PRODUCTS = 1;
    static __device__ __forceinline__ unsigned word(float value) {
        unsigned upper_half = __float_as_uint(value) >> 16;
        return upper_half << 16 | upper_half;
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k16_bf16(sums, a, b, sums);
    }
};
#else
struct Chain {
    static constexpr int PRODUCTS = 2;
    static __device__ __forceinline__ unsigned word(float value) {
        return to_tf32(value);
    }
    static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                        const unsigned (&b)[2]) {
        mma_m16n8k8_tf32(sums, a, b, sums);
    }
};
#endif

// y[i] = the sum of 16 numbers, each begun as (i mod 7) + its index and then raised `rounds` times by 16 a b.
// y: [count]. The 16 are a thread's elements of four fragments that its warp sums, and that do not wait for one another; A
// and B are a and b in every element, so that it does not matter which lane has which. The grid's warps stride over the
// elements, blocks have whole warps. Nothing but mma in registers. Overwrites y.
// Twin: Cpu::product_chains in src/ops/roofline/ceiling.rs.
KERNEL_BOUNDED(ELEMENT_THREADS, product_chains_tensor, int rounds, real a, real b, real* y, unsigned long long count) {
    constexpr int FRAGMENTS = 4;
    unsigned lane = threadIdx.x % WARP, a_word = Chain::word(a), b_word = Chain::word(b);
    const unsigned left[4] = {a_word, a_word, a_word, a_word}, right[2] = {b_word, b_word};
    // By warps, not by elements: the lanes behind the last element multiply with the others, and store nothing.
    unsigned long long first = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x - lane;
    for (; first < count; first += gridDim.x * (unsigned long long)blockDim.x) {
        unsigned long long i = first + lane;
        float sums[FRAGMENTS][4];
#pragma unroll
        for (int chain = 0; chain < FRAGMENTS * 4; ++chain) {
            sums[chain / 4][chain % 4] = (float)(int)(i % 7 + chain);
        }
        for (int round = 0; round < rounds; ++round) {
#pragma unroll
            for (int product = 0; product < Chain::PRODUCTS; ++product) {
#pragma unroll
                for (int fragment = 0; fragment < FRAGMENTS; ++fragment) {
                    Chain::multiply_add(sums[fragment], left, right);
                }
            }
        }
        float sum = 0.0f;
#pragma unroll
        for (int chain = 0; chain < FRAGMENTS * 4; ++chain) {
            sum += sums[chain / 4][chain % 4];
        }
        if (i < count) {
            y[i] = sum;
        }
    }
}
