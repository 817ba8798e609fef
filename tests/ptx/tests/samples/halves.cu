// Half precision and bfloat16, packed and single, with a product of matrices and asynchronous copies.
// nvcc -arch=compute_90 -lineinfo -ptx halves.cu
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void mix(__half2 *h, __nv_bfloat162 *b, const float2 *f, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __half2 x = __hfma2(h[i], __float22half2_rn(f[i]), __float2half2_rn(0.5f));
    __nv_bfloat162 y = __hmul2(b[i], __float22bfloat162_rn(f[i]));
    h[i] = __hlt(x.x, x.y) ? __hmax2(x, h2exp2(x)) : h2tanh_approx(x);
    b[i] = __hadd2(y, __habs2(b[i + 1]));
}

extern "C" __global__ void product(const uint4 *a, const uint2 *b, float4 *out) {
    __shared__ uint4 tile[32];
    unsigned to = (unsigned)__cvta_generic_to_shared(&tile[threadIdx.x]);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(a + threadIdx.x) : "memory");
    asm volatile("cp.async.commit_group;\n\tcp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    uint4 x;
    uint2 y = b[threadIdx.x];
    float4 c = {0, 0, 0, 0};
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(to));
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c.x), "+f"(c.y), "+f"(c.z), "+f"(c.w)
                 : "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w), "r"(y.x), "r"(y.y));
    out[threadIdx.x] = c;
}
