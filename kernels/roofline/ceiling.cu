#include "lib/product.cuh"

// y[i] = the sum of 16 numbers x, each begun as (i mod 7) + its index and then replaced `rounds` times by x a + b. Nothing
// but arithmetic in registers: how fast it runs is the ceiling of every kernel that multiplies without tensor cores.
// y: [count]. The grid's threads stride over the elements; a thread's 16 chains do not wait for one another. Overwrites y.
// Twin: Cpu::multiply_add_chains in src/ops/roofline/ceiling.rs.
KERNEL(multiply_add_chains, int rounds, real a, real b, real* y, unsigned long long count) {
    constexpr int CHAINS = 16;
    FOR_EACH_ELEMENT(i, count) {
        real x[CHAINS];
#pragma unroll
        for (int chain = 0; chain < CHAINS; ++chain) {
            x[chain] = (real)(int)(i % 7 + chain);
        }
        for (int round = 0; round < rounds; ++round) {
#pragma unroll
            for (int chain = 0; chain < CHAINS; ++chain) {
                x[chain] = multiply_add(x[chain], a, b);
            }
        }
        real sum = (real)0;
#pragma unroll
        for (int chain = 0; chain < CHAINS; ++chain) {
            sum += x[chain];
        }
        y[i] = sum;
    }
}
