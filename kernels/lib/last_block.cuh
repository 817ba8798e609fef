// The block of a launch that comes last: it finishes what all have begun, so that no second launch is needed for that.
//
//     block 0     part 0 → memory, count → 1
//     block 2     part 2 → memory, count → 2
//     block 1     part 1 → memory, count → 3, the last: adds parts 0, 1, 2 in this order
//
// Which block is last changes from run to run. The bits of the result do not: the last block adds the parts in their order,
// its own like the others, from memory.
#pragma once

#include "lib/device.cuh"

// Returns true, to all threads, in the block that comes last of `blocks` blocks. It may then read what the others wrote to
// global memory before they came. Every thread of the block must come; `counter` is 0 before the first has come and after
// the last.
//
// The barrier puts all writes of a block before the fence of its first thread, and the fence puts them before the count. Of
// the last block, the first thread counts and fences, and the barrier puts all of its reads after that.
__device__ __forceinline__ bool is_last_block(unsigned* counter, unsigned blocks) {
    SHARED(unsigned, before, [1]);
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        __threadfence();
        before[0] = atomicAdd(counter, 1u);
        if (before[0] == blocks - 1) {
            atomicExch(counter, 0u);
        }
        __threadfence();
    }
    __syncthreads();
    return before[0] == blocks - 1;
}
