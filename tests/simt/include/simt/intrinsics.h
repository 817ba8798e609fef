// Arithmetic of one thread: CUDA's integer and floating-point intrinsics. What the hardware only approximates
// (__expf and its kin) is the C library's function here.
#pragma once

// CUDA has these without std::, for float and double alike.
using std::isfinite;
using std::isinf;
using std::isnan;

template <class A, class B>
inline typename std::common_type<A, B>::type min(A a, B b) {
    using T = typename std::common_type<A, B>::type;
    return T(a) < T(b) ? T(a) : T(b);
}
template <class A, class B>
inline typename std::common_type<A, B>::type max(A a, B b) {
    using T = typename std::common_type<A, B>::type;
    return T(a) > T(b) ? T(a) : T(b);
}
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __ffsll(long long value) { return __builtin_ffsll(value); }
inline int __clz(int value) { return value ? __builtin_clz(unsigned(value)) : 32; }
inline int __clzll(long long value) { return value ? __builtin_clzll((unsigned long long)value) : 64; }
inline unsigned __brev(unsigned value) {
    value = (value >> 1 & 0x55555555) | (value & 0x55555555) << 1;
    value = (value >> 2 & 0x33333333) | (value & 0x33333333) << 2;
    value = (value >> 4 & 0x0f0f0f0f) | (value & 0x0f0f0f0f) << 4;
    return __builtin_bswap32(value);
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) >> (shift & 31));
}

inline unsigned __float_as_uint(float value) { return simt::bits_as<unsigned>(value); }
inline int __float_as_int(float value) { return simt::bits_as<int>(value); }
inline float __uint_as_float(unsigned bits) { return simt::bits_as<float>(bits); }
inline float __int_as_float(int bits) { return simt::bits_as<float>(bits); }
inline long long __double_as_longlong(double value) { return simt::bits_as<long long>(value); }
inline double __longlong_as_double(long long bits) { return simt::bits_as<double>(bits); }

// The _rn operations round once each; compiled with -ffp-contract=off, so do the plain operators.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline double __drcp_rn(double a) { return 1.0 / a; }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }

inline int __float2int_rn(float value) { return int(nearbyintf(value)); }
inline int __float2int_rz(float value) { return int(value); }
inline int __float2int_rd(float value) { return int(floorf(value)); }
inline unsigned __float2uint_rn(float value) { return unsigned(nearbyintf(value)); }
inline unsigned __float2uint_rz(float value) { return unsigned(value); }
inline float __int2float_rn(int value) { return float(value); }
inline float __uint2float_rn(unsigned value) { return float(value); }
inline float __double2float_rn(double value) { return float(value); }

inline float rsqrtf(float value) { return float(1.0 / std::sqrt(double(value))); }
inline double rsqrt(double value) { return 1.0 / std::sqrt(value); }
inline float __frsqrt_rn(float value) { return rsqrtf(value); }
inline float __saturatef(float value) { return value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __powf(float a, float b) { return powf(a, b); }
inline float __tanhf(float value) { return tanhf(value); }
inline float sinpif(float value) { return float(std::sin(3.14159265358979323846 * std::fmod(double(value), 2.0))); }
inline float cospif(float value) { return float(std::cos(3.14159265358979323846 * std::fmod(double(value), 2.0))); }
inline void sincospif(float value, float* sine, float* cosine) { *sine = sinpif(value), *cosine = cospif(value); }
// glibc declares names like __expf for its own use, with another exception specification.
#define __expf(value) expf(value)
#define __exp10f(value) exp10f(value)
#define __logf(value) logf(value)
#define __log2f(value) log2f(value)
#define __log10f(value) log10f(value)
#define __sinf(value) sinf(value)
#define __cosf(value) cosf(value)
#define __sincosf(value, sine, cosine) sincosf(value, sine, cosine)

template <class T>
inline T __ldg(const T* address) {
    return *address;
}
template <class T>
inline T __ldcs(const T* address) {
    return *address;
}
template <class T>
inline void __stcs(T* address, T value) {
    *address = value;
}

extern "C" [[noreturn]] __attribute__((visibility("hidden"))) void simt_trap();
[[noreturn]] inline void __trap() { simt_trap(); }
