// Who copies and who loads what of a tensor-core tile's stages, as functions of numbers alone: tests/tensor_cores.rs
// counts bank conflicts and sectors on them.
//
// A stage of an operand holds TENSOR_K depths of SIDE indices across (m of A, n of B), f32 as in memory, and lies as the
// operand does: in rows along the depth, or in rows across. A row is made of quads, four numbers of 16 bytes, which are
// copied as one and whose places are permuted: quad q lies at place q XOR a number of the row's, and so what a warp loads
// or stores at once lies on different banks, without a word of padding.
#pragma once

#include "lib/tile.cuh"

// Where the element at (across, depth) lies in its stage, in numbers.
template <Along ALONG, int SIDE>
__device__ __forceinline__ int stage_place(int across, int depth) {
    static_assert(TENSOR_K == 16 && SIDE % 32 == 0, "the permutations are made for these");
    if (ALONG == Along::Depth) {
        // Two rows of 16 numbers take all 32 banks, and eight rows are loaded at once: the number changes every two rows.
        return across * TENSOR_K + (depth / 4 ^ across / 2 % 4) * 4 + depth % 4;
    }
    // Four rows are loaded at once, eight numbers of each: neighbouring rows are two quads apart.
    return depth * SIDE + (across / 4 ^ depth % 4 * 2) * 4 + across % 4;
}

// The i-th quad that is copied into a stage. Neighbouring threads copy neighbouring quads of memory.
template <Along ALONG, int SIDE>
__device__ __forceinline__ Quad stage_quad(int i) {
    return ALONG == Along::Depth ? Quad{i / (TENSOR_K / 4), i % (TENSOR_K / 4) * 4}
                                 : Quad{i % (SIDE / 4) * 4, i / (SIDE / 4)};
}

// The quad that a lane points ldmatrix_x4 at, from where the fragment begins, so that the registers come in mma's order. A:
// rows 0–7 and 8–15 of depths 0–3, then of depths 4–7; B, two fragments of eight columns: depths 0–3 and 4–7 of the first,
// then of the second.
__device__ __forceinline__ Quad fragment_a(int lane) {
    return Quad{lane % 16, lane / 16 * 4};
}
__device__ __forceinline__ Quad fragment_b(int lane) {
    return Quad{lane / 16 * 8 + lane % 8, lane / 8 % 2 * 4};
}
// The element that is register i of a lane where ldmatrix can't serve, because the operand lies across: it turns pairs of
// bf16, not f32.
__device__ __forceinline__ Quad alone_a(int lane, int i) {
    return Quad{lane / 4 + i % 2 * 8, lane % 4 + i / 2 * 4};
}
__device__ __forceinline__ Quad alone_b(int lane, int i) {
    return Quad{lane / 4 + i / 2 * 8, lane % 4 + i % 2 * 4};
}
