// __nv_bfloat16: the upper half of a float, rounded to nearest, ties to even.
#pragma once

namespace simt {
template <class To, class From>
inline To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To result;
    __builtin_memcpy(&result, &value, sizeof result);
    return result;
}

inline std::uint16_t bfloat16_bits(float value) {
    std::uint32_t bits = bits_as<std::uint32_t>(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;  // the one NaN that the hardware gives
    // Half of the last place that stays, less one where that place is even: a tie then goes to the even neighbour.
    return std::uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float bfloat16_value(std::uint16_t bits) { return bits_as<float>(std::uint32_t(bits) << 16); }
}  // namespace simt

struct __nv_bfloat16_raw {
    unsigned short x;
};

struct __nv_bfloat16 {
    std::uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) : bits(simt::bfloat16_bits(value)) {}
    __nv_bfloat16(const __nv_bfloat16_raw& raw) : bits(raw.x) {}
    operator float() const { return simt::bfloat16_value(bits); }
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
    __nv_bfloat162() = default;
    __nv_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) : x(x), y(y) {}
};

inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
inline float __bfloat162float(__nv_bfloat16 value) { return float(value); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__nv_bfloat16(x), __nv_bfloat16(y)}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 value) { return __floats2bfloat162_rn(value.x, value.y); }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 value) { return {float(value.x), float(value.y)}; }
inline float __low2float(__nv_bfloat162 value) { return float(value.x); }
inline float __high2float(__nv_bfloat162 value) { return float(value.y); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16_raw{bits}; }
