// Philox4x32-10 (Salmon et al. 2011) and normal draws from it: src/device/philox.rs and normal.rs, operation for operation.
#pragma once

#include "lib/device.cuh"

// The streams of src/device/philox.rs that kernels name themselves.
constexpr unsigned STREAM_FLIP = 7;
constexpr unsigned STREAM_PERMUTATION = 8;

// Four 32-bit draws: elements 4 * block .. 4 * block + 4 of `stream` for one sample in one step.
__device__ __forceinline__ uint4 philox_draw(
    unsigned long long seed, unsigned stream, unsigned long long step, unsigned sample, unsigned block) {
    unsigned c0 = block, c1 = sample, c2 = (unsigned)step, c3 = stream | ((unsigned)(step >> 32) << 8);
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        if (round > 0) {
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        unsigned high0 = __umulhi(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
        unsigned high1 = __umulhi(c2, 0xCD9E8D57u), low1 = c2 * 0xCD9E8D57u;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
    }
    return make_uint4(c0, c1, c2, c3);
}

// Which of the draws of one kind within a step, and the number within the batch of the first sample; src/device/philox.rs.
struct DrawStep {
    unsigned per_step, index, first_sample;
};

// Its number, which takes the place of the step's own in a draw: DrawStep::of.
__device__ __forceinline__ unsigned long long draw_step(const DrawStep& draws, unsigned long long step) {
    return step * draws.per_step + draws.index;
}

// A draw as a number in [0, 1), a multiple of 2^-24.
__device__ __forceinline__ float uniform(unsigned bits) {
    return (float)(bits >> 8) * (1.0f / 16777216.0f);
}

// The uniform draw of element `element` of `sample`.
__device__ __forceinline__ float uniform_draw(
    unsigned long long seed, unsigned stream, unsigned long long step, unsigned sample, unsigned element) {
    uint4 bits = philox_draw(seed, stream, step, sample, element / 4);
    return uniform(element & 2 ? (element & 1 ? bits.w : bits.z) : (element & 1 ? bits.y : bits.x));
}

// ln u for u in (0, 1].
__device__ __forceinline__ float unit_logarithm(float u) {
    unsigned shifted = __float_as_uint(u) - 0x3F3504F3u;
    int exponent = (int)shifted >> 23;
    float m = __uint_as_float((shifted & 0x007FFFFFu) + 0x3F3504F3u);
    float s = (m - 1.0f) / (m + 1.0f);
    float q = s * s;
    float series = q * (1.0f / 3.0f + q * (1.0f / 5.0f + q * (1.0f / 7.0f + q * (1.0f / 9.0f))));
    float fraction = 2.0f * (s + s * series);
    return (float)exponent * 0.693147180559945309417f + fraction;
}

// sin and cos of 2 pi turns / 2^24.
__device__ __forceinline__ float2 sin_cos_turns(unsigned turns) {
    unsigned quadrant = (turns + (1u << 21)) >> 22;
    int rest = (int)turns - (int)(quadrant << 22);
    float angle = (float)rest * (1.57079632679489661923f / 4194304.0f);
    float q = angle * angle;
    float sine = angle * (1.0f - q * (1.0f / 6.0f - q * (1.0f / 120.0f - q * (1.0f / 5040.0f - q * (1.0f / 362880.0f)))));
    float cosine =
        1.0f - q * (0.5f - q * (1.0f / 24.0f - q * (1.0f / 720.0f - q * (1.0f / 40320.0f - q * (1.0f / 3628800.0f)))));
    if (quadrant & 1) {
        float turned = -sine;
        sine = cosine;
        cosine = turned;
    }
    return quadrant & 2 ? make_float2(-sine, -cosine) : make_float2(sine, cosine);
}

// Two normal draws by Box-Muller.
__device__ __forceinline__ float2 box_muller(unsigned radius_bits, unsigned angle_bits) {
    float u = (float)((radius_bits >> 8) + 1) * (1.0f / 16777216.0f);
    float radius = sqrtf(-2.0f * unit_logarithm(u));
    float2 turned = sin_cos_turns(angle_bits >> 8);
    return make_float2(radius * turned.y, radius * turned.x);
}

// The normal draws of elements 4 * block .. 4 * block + 4 of `sample`.
__device__ __forceinline__ float4 normal_draws(
    unsigned long long seed, unsigned stream, unsigned long long step, unsigned sample, unsigned block) {
    uint4 bits = philox_draw(seed, stream, step, sample, block);
    float2 first = box_muller(bits.x, bits.y), second = box_muller(bits.z, bits.w);
    return make_float4(first.x, first.y, second.x, second.y);
}

// The normal draw of element `element` of `sample`.
__device__ __forceinline__ float normal_draw(
    unsigned long long seed, unsigned stream, unsigned long long step, unsigned sample, unsigned element) {
    uint4 bits = philox_draw(seed, stream, step, sample, element / 4);
    bool second = element & 2;
    float2 pair = box_muller(second ? bits.z : bits.x, second ? bits.w : bits.y);
    return element & 1 ? pair.y : pair.x;
}
