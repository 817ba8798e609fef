// Shows the test where the threads of kernels/lib/product_tensor.cuh go in a stage of shared memory.
#include "lib/product_tensor.cuh"

// For each thread the first number of the i-th of its runs of an operand along the depth (i = 0, 1) and of one across it
// (i = 2, 3), and the number that its lane points ldmatrix at for A (i = 4) and for B (i = 5), along the depth; what serves
// an operand across differs between the two types of numbers: below.
template <int RUN>
__device__ __forceinline__ void show_stages(int* across, int* depth, int* place) {
    constexpr int SIDE = NARROW_M;
    constexpr Along DEPTH = Along::Depth, ACROSS = Along::Across;
    int thread = (int)threadIdx.x, lane = thread % 32;
    auto show = [&](int i, Element element, int at) {
        across[i * NARROW_THREADS + thread] = element.across;
        depth[i * NARROW_THREADS + thread] = element.depth;
        place[i * NARROW_THREADS + thread] = at;
    };
    auto along = [&](int i, Element e) { show(i, e, stage_place<RUN, DEPTH, SIDE>(e.across, e.depth)); };
    auto beside = [&](int i, Element e) { show(i, e, stage_place<RUN, ACROSS, SIDE>(e.across, e.depth)); };
    for (int i = 0; i < 2; ++i) {
        along(i, stage_run<RUN, DEPTH, SIDE>(thread + i * NARROW_THREADS));
        beside(2 + i, stage_run<RUN, ACROSS, SIDE>(thread + i * NARROW_THREADS));
    }
    along(4, fragment_a<RUN>(lane));
    along(5, fragment_b<RUN>(lane));
    if (RUN == 8) {
        // bf16: what ldmatrix turns, for A and for B.
        beside(6, turned_a(lane));
        beside(7, turned_b(lane));
    } else {
        // tf32: the number that the lane loads alone as register i - 6 of a fragment of A and i - 10 of B.
        for (int i = 0; i < 4; ++i) {
            beside(6 + i, alone_a(lane, i));
            beside(10 + i, alone_b(lane, i));
        }
    }
}

// across, depth, place: [14, NARROW_THREADS], the element's indices and its place in the stage, in numbers. One block.
// Overwrites all three, of bf16 the first 8 rows.
KERNEL_BOUNDED(NARROW_THREADS, tensor_layout_bf16, int* across, int* depth, int* place) {
    show_stages<8>(across, depth, place);
}
KERNEL_BOUNDED(NARROW_THREADS, tensor_layout_tf32, int* across, int* depth, int* place) {
    show_stages<4>(across, depth, place);
}
