// CUDA's vector types, aligned as CUDA aligns them.
#pragma once

#define SIMT_VECTOR(type, name, alignment2, alignment4)                                                 \
    struct name##1 { type x; };                                                                         \
    struct alignas(alignment2) name##2 { type x, y; };                                                  \
    struct name##3 { type x, y, z; };                                                                   \
    struct alignas(alignment4) name##4 { type x, y, z, w; };                                            \
    inline name##1 make_##name##1(type x) { return {x}; }                                               \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                    \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                         \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

SIMT_VECTOR(signed char, char, 2, 4)
SIMT_VECTOR(unsigned char, uchar, 2, 4)
SIMT_VECTOR(short, short, 4, 8)
SIMT_VECTOR(unsigned short, ushort, 4, 8)
SIMT_VECTOR(int, int, 8, 16)
SIMT_VECTOR(unsigned int, uint, 8, 16)
SIMT_VECTOR(long long, longlong, 16, 16)
SIMT_VECTOR(unsigned long long, ulonglong, 16, 16)
SIMT_VECTOR(float, float, 8, 16)
SIMT_VECTOR(double, double, 16, 16)
#undef SIMT_VECTOR

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
