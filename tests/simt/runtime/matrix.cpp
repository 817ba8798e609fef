// ldmatrix and mma, with the fragment layouts of the PTX ISA ("Matrix fragments for mma.m16n8k16 / mma.m16n8k8").
// In both, lane = 4 * group + member.
#include "runtime.h"

using namespace simt;

// Lanes 8 i to 8 i + 7 give the addresses of the eight rows of matrix i; each lane gets, of each matrix, elements 2 m
// and 2 m + 1 of row g (or, transposed, of column g), in one register. For fewer than four matrices the upper lanes'
// addresses are not used.
static Fragment ldmatrix(u32 count, bool transposed, const void* row, u64 pc) {
    Post& mine = my_post();
    mine.row = static_cast<const char*>(row);
    if (state.current % 32 < count * 8) {
        if (!in_shared(row)) wrong_space(Kind::OutOfBoundsShared, row, 16, pc, "ldmatrix of what is not shared memory");
        touch(row, 16, Access::Read, pc, 16);
    }
    meet(transposed ? LDMATRIX_TRANSPOSED : LDMATRIX, count, 0xffffffff, pc, mine, [count, transposed](Warp& warp, u32) {
        for (u32 matrix = 0; matrix < count; ++matrix) {
            u16 elements[8][8];
            for (u32 r = 0; r < 8; ++r) std::memcpy(elements[r], warp.posts[matrix * 8 + r].row, 16);
            for (u32 lane = 0; lane < 32; ++lane) {
                const u32 g = lane / 4, m = lane % 4 * 2;
                const u32 low = transposed ? elements[m][g] : elements[g][m];
                const u32 high = transposed ? elements[m + 1][g] : elements[g][m + 1];
                warp.posts[lane].fragment[matrix] = low | high << 16;
            }
        }
    });
    Fragment fragment = {};
    std::memcpy(&fragment, mine.fragment, count * 4);
    return fragment;
}

extern "C" Fragment simt_ldmatrix(int count, bool transposed, const void* row) {
    return ldmatrix(u32(count), transposed, row, SIMT_CALLER);
}

// d = a b + c for a [16][K], b [K][8], summed over k in order.
template <u32 K>
static void multiply(Warp& warp, const float (&a)[16][K], const float (&b)[K][8]) {
    float sums[16][8];
    for (u32 lane = 0; lane < 32; ++lane) {
        const u32 g = lane / 4, m = lane % 4 * 2;
        for (u32 i = 0; i < 4; ++i) sums[g + i / 2 * 8][m + i % 2] = warp.posts[lane].c[i];
    }
    for (u32 row = 0; row < 16; ++row)
        for (u32 k = 0; k < K; ++k)
            for (u32 column = 0; column < 8; ++column) sums[row][column] += a[row][k] * b[k][column];
    for (u32 lane = 0; lane < 32; ++lane) {
        const u32 g = lane / 4, m = lane % 4 * 2;
        for (u32 i = 0; i < 4; ++i) warp.posts[lane].d[i] = sums[g + i / 2 * 8][m + i % 2];
    }
}

// a: registers hold (row g, k 2m), (row g + 8, k 2m), (row g, k 2m + 8), (row g + 8, k 2m + 8), two of k each;
// b: (k 2m, column g), (k 2m + 8, column g).
static void multiply_bf16(Warp& warp) {
    float a[16][16], b[16][8];
    for (u32 lane = 0; lane < 32; ++lane) {
        const u32 g = lane / 4, m = lane % 4 * 2;
        const Post& post = warp.posts[lane];
        for (u32 i = 0; i < 4; ++i)
            for (u32 half = 0; half < 2; ++half)
                a[g + i % 2 * 8][m + i / 2 * 8 + half] = bfloat16_value(u16(post.a[i] >> 16 * half));
        for (u32 i = 0; i < 2; ++i)
            for (u32 half = 0; half < 2; ++half) b[m + i * 8 + half][g] = bfloat16_value(u16(post.b[i] >> 16 * half));
    }
    multiply<16>(warp, a, b);
}

// a: (row g, k m), (row g + 8, k m), (row g, k m + 4), (row g + 8, k m + 4); b: (k m, column g), (k m + 4, column g).
// The hardware looks at 19 bits of each.
static void multiply_tf32(Warp& warp) {
    float a[16][8], b[8][8];
    for (u32 lane = 0; lane < 32; ++lane) {
        const u32 g = lane / 4, m = lane % 4;
        const Post& post = warp.posts[lane];
        for (u32 i = 0; i < 4; ++i) a[g + i % 2 * 8][m + i / 2 * 4] = bits_as<float>(post.a[i] & 0xffffe000);
        for (u32 i = 0; i < 2; ++i) b[m + i * 4][g] = bits_as<float>(post.b[i] & 0xffffe000);
    }
    multiply<8>(warp, a, b);
}

static inline Post& operands(unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1, float c0,
                             float c1, float c2, float c3) {
    Post& mine = my_post();
    mine.a[0] = a0, mine.a[1] = a1, mine.a[2] = a2, mine.a[3] = a3;
    mine.b[0] = b0, mine.b[1] = b1;
    mine.c[0] = c0, mine.c[1] = c1, mine.c[2] = c2, mine.c[3] = c3;
    return mine;
}

extern "C" Accumulator simt_mma_bf16(unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1,
                                     float c0, float c1, float c2, float c3) {
    Post& mine = operands(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3);
    meet(MMA_BF16, 0, 0xffffffff, SIMT_CALLER, mine, [](Warp& warp, u32) { multiply_bf16(warp); });
    return {{mine.d[0], mine.d[1], mine.d[2], mine.d[3]}};
}

extern "C" Accumulator simt_mma_tf32(unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1,
                                     float c0, float c1, float c2, float c3) {
    Post& mine = operands(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3);
    meet(MMA_TF32, 0, 0xffffffff, SIMT_CALLER, mine, [](Warp& warp, u32) { multiply_tf32(warp); });
    return {{mine.d[0], mine.d[1], mine.d[2], mine.d[3]}};
}
