// Host twins of PTX wrappers: cp.async, ldmatrix, mma and the conversion to tf32. A project wraps the same PTX, under
// the same names and signatures, for nvcc.
#pragma once

namespace simt {
struct Fragment {
    unsigned long long low, high;  // four registers of 32 bits
};
struct Accumulator {
    float value[4];
};
}  // namespace simt

#pragma GCC visibility push(hidden)
extern "C" {
unsigned simt_shared_address(const void* address);
void simt_copy_async(void* shared, const void* global, int bytes, bool valid);
void simt_copy_commit();
void simt_copy_wait(int groups);
simt::Fragment simt_ldmatrix(int count, bool transposed, const void* row);
// By value and in registers, so that the caller's fragments need no address.
simt::Accumulator simt_mma_bf16(unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1, float c0,
                                float c1, float c2, float c3);
simt::Accumulator simt_mma_tf32(unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1, float c0,
                                float c1, float c2, float c3);
}
#pragma GCC visibility pop

inline unsigned shared_address(const void* pointer) { return simt_shared_address(pointer); }

// Copies of 4, 8 or 16 bytes, all aligned to their size; not valid: zeros are written and global is not read.
inline void cp_async_4(void* shared, const void* global, bool valid) { simt_copy_async(shared, global, 4, valid); }
inline void cp_async_8(void* shared, const void* global, bool valid) { simt_copy_async(shared, global, 8, valid); }
inline void cp_async_16(void* shared, const void* global, bool valid) { simt_copy_async(shared, global, 16, valid); }
inline void cp_async_commit() { simt_copy_commit(); }
template <int N>
inline void cp_async_wait() {
    static_assert(N >= 0, "the number of youngest groups that may stay under way");
    simt_copy_wait(N);
}

inline void ldmatrix_x1(unsigned (&r)[1], const void* shared_row) {
    r[0] = unsigned(simt_ldmatrix(1, false, shared_row).low);
}
#define SIMT_LDMATRIX(name2, name4, transposed)                                                 \
    inline void name2(unsigned (&r)[2], const void* shared_row) {                               \
        const simt::Fragment fragment = simt_ldmatrix(2, transposed, shared_row);              \
        r[0] = unsigned(fragment.low), r[1] = unsigned(fragment.low >> 32);                     \
    }                                                                                           \
    inline void name4(unsigned (&r)[4], const void* shared_row) {                               \
        const simt::Fragment fragment = simt_ldmatrix(4, transposed, shared_row);              \
        r[0] = unsigned(fragment.low), r[1] = unsigned(fragment.low >> 32);                     \
        r[2] = unsigned(fragment.high), r[3] = unsigned(fragment.high >> 32);                   \
    }
SIMT_LDMATRIX(ldmatrix_x2, ldmatrix_x4, false)
SIMT_LDMATRIX(ldmatrix_x2_trans, ldmatrix_x4_trans, true)
#undef SIMT_LDMATRIX

#define SIMT_MMA(name, function)                                                                                    \
    inline void name(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4]) {          \
        const simt::Accumulator sum = function(a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], c[2], c[3]);         \
        d[0] = sum.value[0], d[1] = sum.value[1], d[2] = sum.value[2], d[3] = sum.value[3];                         \
    }
SIMT_MMA(mma_m16n8k16_bf16, simt_mma_bf16)
SIMT_MMA(mma_m16n8k8_tf32, simt_mma_tf32)
#undef SIMT_MMA

// cvt.rna.tf32.f32: 10 bits of fraction, to nearest, ties away from zero; the 13 low bits become zero.
inline unsigned to_tf32(float value) {
    const unsigned bits = simt::bits_as<unsigned>(value);
    if ((bits & 0x7f800000) == 0x7f800000) return (bits & 0x7fffff) ? 0x7fffffff : bits;
    return (bits + 0x1000) & 0xffffe000;
}
