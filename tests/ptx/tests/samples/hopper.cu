// Hopper: a tensor map, mbarriers with a wait in a scope of its own, wgmma, clusters, registers handed over.
// nvcc -arch=compute_90a -lineinfo -ptx hopper.cu
#include <cstdint>

struct alignas(64) Map { char bytes[128]; };

__device__ void wait(uint32_t barrier, uint32_t parity) {
    asm volatile(
        "{\n\t.reg .pred P1;\n\tLAB_WAIT:\n\t"
        "mbarrier.try_wait.parity.shared::cta.b64 P1, [%0], %1;\n\t"
        "@P1 bra DONE;\n\tbra LAB_WAIT;\n\tDONE:\n\t}" ::"r"(barrier), "r"(parity) : "memory");
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(128)
tile(const __grid_constant__ Map map, float *out, int steps) {
    extern __shared__ __align__(1024) char shared[];
    __shared__ uint64_t full;
    uint32_t data = (uint32_t)__cvta_generic_to_shared(shared), barrier = (uint32_t)__cvta_generic_to_shared(&full);
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier));
        asm volatile("fence.mbarrier_init.release.cluster;");
    }
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
    asm volatile("griddepcontrol.wait;");
    asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
    float d[4] = {0, 0, 0, 0};
    for (int step = 0; step < steps; step++) {
        if (threadIdx.x == 0) {
            asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 8192;" ::"r"(barrier));
            asm volatile(
                "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
                ::"r"(data), "l"(&map), "r"(step * 64), "r"((int)blockIdx.x * 64), "r"(barrier) : "memory");
        }
        wait(barrier, step & 1);
        uint64_t a = (data & 0x3ffff) >> 4 | 1ull << 62, b = a + 256;
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        asm volatile(
            "{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %6, 0;\n\t"
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, p, 1, 1, 0, 0;\n\t}"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a), "l"(b), "r"(step));
        asm volatile("wgmma.commit_group.sync.aligned;\n\twgmma.wait_group.sync.aligned 0;" ::: "memory");
    }
    uint32_t rank, leads;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    asm volatile("{\n\t.reg .pred p;\n\telect.sync _|p, 0xffffffff;\n\tselp.u32 %0, 1, 0, p;\n\t}" : "=r"(leads));
    for (int i = 0; i < 4; i++) out[(rank * 128 + threadIdx.x) * 4 + i] = d[i] + (float)leads;
}
