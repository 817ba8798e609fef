// Barriers, votes and shuffles. Each waits until all lanes that its mask names have come; the last one does the
// operation for all.
#pragma once

#pragma GCC visibility push(hidden)
extern "C" {
int simt_barrier(int kind, int predicate);
void simt_syncwarp(unsigned mask);
unsigned simt_vote(int kind, unsigned mask, int predicate);
unsigned long long simt_shuffle(int kind, unsigned mask, unsigned long long value, int argument, int width);
unsigned simt_match(unsigned mask, unsigned long long value);
unsigned simt_activemask();
}
#pragma GCC visibility pop

namespace simt {
enum Barrier { PLAIN, COUNT, ALL_OF, ANY_OF };
enum Vote { BALLOT, ANY, ALL };
enum Shuffle { INDEXED, UP, DOWN, EXCLUSIVE_OR };

template <class T>
inline T shuffle(int kind, unsigned mask, T value, int argument, int width) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    using Bits = typename std::conditional<sizeof(T) == 4, std::uint32_t, std::uint64_t>::type;
    return bits_as<T>(Bits(simt_shuffle(kind, mask, bits_as<Bits>(value), argument, width)));
}
}  // namespace simt

inline void __syncthreads() { simt_barrier(simt::PLAIN, 0); }
inline int __syncthreads_count(int predicate) { return simt_barrier(simt::COUNT, predicate); }
inline int __syncthreads_and(int predicate) { return simt_barrier(simt::ALL_OF, predicate); }
inline int __syncthreads_or(int predicate) { return simt_barrier(simt::ANY_OF, predicate); }
inline void __syncwarp(unsigned mask = 0xffffffff) { simt_syncwarp(mask); }

inline unsigned __ballot_sync(unsigned mask, int predicate) { return simt_vote(simt::BALLOT, mask, predicate); }
inline int __any_sync(unsigned mask, int predicate) { return int(simt_vote(simt::ANY, mask, predicate)); }
inline int __all_sync(unsigned mask, int predicate) { return int(simt_vote(simt::ALL, mask, predicate)); }
inline unsigned __activemask() { return simt_activemask(); }

template <class T>
inline unsigned __match_any_sync(unsigned mask, T value) {
    using Bits = typename std::conditional<sizeof(T) == 4, std::uint32_t, std::uint64_t>::type;
    return simt_match(mask, simt::bits_as<Bits>(value));
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    return simt::shuffle(simt::INDEXED, mask, value, lane, width);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return simt::shuffle(simt::UP, mask, value, int(delta), width);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return simt::shuffle(simt::DOWN, mask, value, int(delta), width);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
    return simt::shuffle(simt::EXCLUSIVE_OR, mask, value, lane_mask, width);
}

// Integer reductions of a warp, as sm_80 and later have them.
#define SIMT_REDUCE(name, type, expression)                                               \
    inline type name(unsigned mask, type value) {                                         \
        type result = value;                                                              \
        bool first = true;                                                                \
        for (int lane = 0; lane < 32; ++lane) {                                           \
            if (!(mask >> lane & 1)) continue;                                            \
            const type other = __shfl_sync(mask, value, lane);                            \
            result = first ? other : (expression);                                        \
            first = false;                                                                \
        }                                                                                 \
        return result;                                                                    \
    }
SIMT_REDUCE(__reduce_add_sync, unsigned, result + other)
SIMT_REDUCE(__reduce_min_sync, unsigned, min(result, other))
SIMT_REDUCE(__reduce_max_sync, unsigned, max(result, other))
SIMT_REDUCE(__reduce_add_sync, int, int(unsigned(result) + unsigned(other)))
SIMT_REDUCE(__reduce_min_sync, int, min(result, other))
SIMT_REDUCE(__reduce_max_sync, int, max(result, other))
#undef SIMT_REDUCE
