// The end of a convolution: what is done to each of its numbers before it is stored, so that no launch of its own reads and writes it
// again. It stands where an Output (lib/output.cuh) ends its sums.
//
//   sum + bias ──round──▶ v ──▶ f(v), or f'(of) v ──round──▶ v ──▶ base + scale v, if there is a base ──▶ memory
//
// Every arrow rounds to what is stored, as the launches of activation.cu and scaled_add.cu would. f is piecewise linear: identity,
// ReLU or leaky ReLU by the slope of its negative side.
#pragma once

#include "lib/device.cuh"
#include "lib/output.cuh"

// Epilogue of src/ops/layers/epilogue.rs. slope_of: f's values at the places of the output, or null, which ends with f itself; base: what
// is added to, of the output's shape, or null.
struct Epilogue {
    real negative;
    const stored* slope_of;
    real scale;
    const stored* base;

    // Whether runs of so many neighbours can be read as one, wherever they can be written so.
    __device__ __forceinline__ bool in_runs(int run) const {
        return aligned_for_runs(slope_of, run) && aligned_for_runs(base, run);
    }

    // A sum that goes to element `at`.
    __device__ __forceinline__ real operator()(size_t at, real sum) const {
        real values[1] = {sum};
        end<1>(at, values);
        return values[0];
    }
    // A run of them.
    template <int COUNT>
    __device__ __forceinline__ void end(size_t at, real (&values)[COUNT]) const {
        Run<COUNT, stored> of = read<COUNT>(slope_of, at), to = read<COUNT>(base, at);
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            real v = (real)(stored)values[i];
            real side = slope_of ? (real)of.values[i] : v;
            v = (real)(stored)(v * (side > (real)0 ? (real)1 : negative));
            values[i] = base ? (real)to.values[i] + scale * v : v;
        }
    }

private:
    // A run of what may not be there.
    template <int COUNT>
    static __device__ __forceinline__ Run<COUNT, stored> read(const stored* data, size_t at) {
        return data ? *reinterpret_cast<const Run<COUNT, stored>*>(data + at) : Run<COUNT, stored>{};
    }
};
