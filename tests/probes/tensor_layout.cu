// Shows the test where the threads of kernels/product_tensor.cuh go in a stage of shared memory.
#include "lib/product_tensor.cuh"

// For each thread the i-th of its quads of an operand along the depth (i = 0, 1) and of one across it (i = 2, 3), the quad
// that its lane points ldmatrix at for A (i = 4) and for B (i = 5), and the number that it loads alone as register i - 6 of
// a fragment of A (i = 6 to 9) and i - 10 of B (i = 10 to 13) that lie across.
// across, depth, place: [14, TENSOR_THREADS], the element's indices and its place in the stage, in numbers. One block.
// Overwrites all three.
KERNEL_BOUNDED(TENSOR_THREADS, tensor_layout, int* across, int* depth, int* place) {
    constexpr Along DEPTH = Along::Depth, ACROSS = Along::Across;
    int thread = (int)threadIdx.x, lane = thread % 32;
    auto show = [&](int i, Quad quad, int at) {
        across[i * TENSOR_THREADS + thread] = quad.across;
        depth[i * TENSOR_THREADS + thread] = quad.depth;
        place[i * TENSOR_THREADS + thread] = at;
    };
    for (int i = 0; i < 2; ++i) {
        Quad along = stage_quad<DEPTH, TENSOR_M>(thread + i * TENSOR_THREADS);
        show(i, along, stage_place<DEPTH, TENSOR_M>(along.across, along.depth));
        Quad beside = stage_quad<ACROSS, TENSOR_M>(thread + i * TENSOR_THREADS);
        show(2 + i, beside, stage_place<ACROSS, TENSOR_M>(beside.across, beside.depth));
    }
    show(4, fragment_a(lane), stage_place<DEPTH, TENSOR_M>(fragment_a(lane).across, fragment_a(lane).depth));
    show(5, fragment_b(lane), stage_place<DEPTH, TENSOR_N>(fragment_b(lane).across, fragment_b(lane).depth));
    for (int i = 0; i < 4; ++i) {
        Quad a = alone_a(lane, i), b = alone_b(lane, i);
        show(6 + i, a, stage_place<ACROSS, TENSOR_M>(a.across, a.depth));
        show(10 + i, b, stage_place<ACROSS, TENSOR_N>(b.across, b.depth));
    }
}
