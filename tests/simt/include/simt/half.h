// __half: IEEE binary16. Storage and conversions only.
#pragma once

namespace simt {
inline std::uint16_t half_bits(float value) {
    const std::uint32_t bits = bits_as<std::uint32_t>(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return 0x7fff;
    if (rest >= 0x477ff000) return std::uint16_t(sign | 0x7c00);  // 65520 and above round to infinity
    if (rest < 0x38800000) {
        // Below the smallest normal number: adding 0.5 puts the last place of the result where float rounds.
        const float shifted = bits_as<float>(rest) + 0.5f;
        return std::uint16_t(sign | (bits_as<std::uint32_t>(shifted) - 0x3f000000));
    }
    return std::uint16_t(sign | ((rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13));
}
inline float half_value(std::uint16_t bits) {
    const std::uint32_t sign = std::uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 31) return bits_as<float>(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) return bits_as<float>(sign | bits_as<std::uint32_t>(float(fraction) * 0x1p-24f));
    return bits_as<float>(sign | (exponent + 112) << 23 | fraction << 13);
}
}  // namespace simt

struct __half {
    std::uint16_t bits;
    __half() = default;
    __half(float value) : bits(simt::half_bits(value)) {}
    operator float() const { return simt::half_value(bits); }
};
using half = __half;

struct alignas(4) __half2 {
    __half x, y;
    __half2() = default;
    __half2(__half x, __half y) : x(x), y(y) {}
};
using half2 = __half2;

inline __half __float2half_rn(float value) { return __half(value); }
inline __half __float2half(float value) { return __half(value); }
inline float __half2float(__half value) { return float(value); }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline float2 __half22float2(__half2 value) { return {float(value.x), float(value.y)}; }
