// Does what a table says: for each thread a row of steps {what, byte or mask}.

enum Step : unsigned { NOTHING, READ_1, WRITE_1, READ_2, WRITE_2, READ_4, WRITE_4, READ_8, WRITE_8, ATOMIC, BLOCK, WARP };

__device__ __forceinline__ void follow(const uint2* steps, int count, unsigned char* memory) {
    for (int i = 0; i < count; ++i) {
        const uint2 step = steps[i];
        volatile unsigned char* at = memory + step.y;
        switch (step.x) {
            case READ_1: (void)*at; break;
            case WRITE_1: *at = 1; break;
            case READ_2: (void)*reinterpret_cast<volatile unsigned short*>(at); break;
            case WRITE_2: *reinterpret_cast<volatile unsigned short*>(at) = 1; break;
            case READ_4: (void)*reinterpret_cast<volatile unsigned*>(at); break;
            case WRITE_4: *reinterpret_cast<volatile unsigned*>(at) = 1; break;
            case READ_8: (void)*reinterpret_cast<volatile unsigned long long*>(at); break;
            case WRITE_8: *reinterpret_cast<volatile unsigned long long*>(at) = 1; break;
            case ATOMIC: atomicAdd(reinterpret_cast<unsigned*>(memory + step.y), 1u); break;
            case BLOCK: __syncthreads(); break;
            case WARP: __syncwarp(step.y); break;
            default: break;
        }
    }
}

KERNEL(in_shared, const uint2* steps, int count) {
    SHARED(unsigned long long, memory, [8]);
    if (threadIdx.x < 8) memory[threadIdx.x] = 0;
    __syncthreads();
    const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
    follow(steps + thread * count, count, reinterpret_cast<unsigned char*>(memory));
}

KERNEL(in_global, const uint2* steps, int count, unsigned char* memory) {
    const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
    follow(steps + thread * count, count, memory);
}
