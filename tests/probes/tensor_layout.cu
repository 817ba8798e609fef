// Shows the test where the threads of kernels/product_tensor.cuh go in shared memory.
#include "product_tensor.cuh"

// Each a word's number in a stage, an int a thread: the first that the thread stores of an operand that lies along the
// depth and of one that lies across it, and the first of the four that its lane points ldmatrix at, for A and for B.
// row, word: [4, TENSOR_THREADS], the row and the word of that row behind each of the four; words: the same shape.
// One block. Overwrites all three.
KERNEL_BOUNDED(TENSOR_THREADS, tensor_layout, int* row, int* word, int* words) {
    SHARED(TensorRow, stage, [TENSOR_M]);
    int thread = (int)threadIdx.x, lane = thread % 32;
    Loaded places[4] = {loaded_by(Along::Depth, thread), loaded_by(Along::Across, thread), fragment_a(lane),
                        fragment_b(lane)};
    for (int i = 0; i < 4; ++i) {
        row[i * TENSOR_THREADS + thread] = places[i].row;
        word[i * TENSOR_THREADS + thread] = places[i].word;
        words[i * TENSOR_THREADS + thread] = (int)(&stage[places[i].row].words[places[i].word] - &stage[0].words[0]);
    }
}
