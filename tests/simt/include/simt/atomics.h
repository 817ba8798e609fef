// Atomics and fences. The runtime performs them, so that the detector knows them from plain accesses.
#pragma once

#pragma GCC visibility push(hidden)
extern "C" {
unsigned simt_atomic_32(int operation, unsigned* address, unsigned value, unsigned compare);
unsigned long long simt_atomic_64(int operation, unsigned long long* address, unsigned long long value,
                                  unsigned long long compare);
double simt_float_atomic(void* address, double value, int bytes);
void simt_fence();
}
#pragma GCC visibility pop

namespace simt {
enum Atomic { ADD, EXCHANGE, COMPARE_AND_SWAP, AND, OR, XOR, MIN_SIGNED, MAX_SIGNED, MIN_UNSIGNED, MAX_UNSIGNED };

inline int atomic(int operation, int* address, int value, int compare = 0) {
    return int(simt_atomic_32(operation, reinterpret_cast<unsigned*>(address), unsigned(value), unsigned(compare)));
}
inline unsigned atomic(int operation, unsigned* address, unsigned value, unsigned compare = 0) {
    return simt_atomic_32(operation, address, value, compare);
}
inline unsigned long long atomic(int operation, unsigned long long* address, unsigned long long value,
                                 unsigned long long compare = 0) {
    return simt_atomic_64(operation, address, value, compare);
}
inline long long atomic(int operation, long long* address, long long value) {
    auto* bits = reinterpret_cast<unsigned long long*>(address);
    return (long long)(simt_atomic_64(operation, bits, (unsigned long long)(value), 0));
}
template <class T>
constexpr bool is_unsigned = std::is_unsigned<T>::value;
}  // namespace simt

#define SIMT_ATOMIC(name, operation, type) \
    inline type name(type* address, type value) { return simt::atomic(operation, address, value); }
#define SIMT_ATOMICS(type)                                                                           \
    SIMT_ATOMIC(atomicAdd, simt::ADD, type)                                                          \
    SIMT_ATOMIC(atomicExch, simt::EXCHANGE, type)                                                    \
    SIMT_ATOMIC(atomicAnd, simt::AND, type)                                                          \
    SIMT_ATOMIC(atomicOr, simt::OR, type)                                                            \
    SIMT_ATOMIC(atomicXor, simt::XOR, type)                                                          \
    SIMT_ATOMIC(atomicMin, simt::is_unsigned<type> ? simt::MIN_UNSIGNED : simt::MIN_SIGNED, type)    \
    SIMT_ATOMIC(atomicMax, simt::is_unsigned<type> ? simt::MAX_UNSIGNED : simt::MAX_SIGNED, type)    \
    inline type atomicCAS(type* address, type compare, type value) {                                 \
        return simt::atomic(simt::COMPARE_AND_SWAP, address, value, compare);                        \
    }                                                                                                \
    inline type atomicSub(type* address, type value) { return simt::atomic(simt::ADD, address, 0 - value); }

SIMT_ATOMICS(int)
SIMT_ATOMICS(unsigned)
SIMT_ATOMICS(unsigned long long)
SIMT_ATOMIC(atomicMin, simt::MIN_SIGNED, long long)
SIMT_ATOMIC(atomicMax, simt::MAX_SIGNED, long long)
#undef SIMT_ATOMICS
#undef SIMT_ATOMIC

// The order in which a GPU adds floats atomically changes from run to run: these exist to be reported.
inline float atomicAdd(float* address, float value) {
    return float(simt_float_atomic(address, value, 4));
}
inline double atomicAdd(double* address, double value) {
    return simt_float_atomic(address, value, 8);
}

inline void __threadfence() { simt_fence(); }
inline void __threadfence_system() { simt_fence(); }
inline void __threadfence_block() {}
