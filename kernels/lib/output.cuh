// Where a product's sums go: to an output, added to what is there or not; or to a part of it, where the product is split along its
// depth. Sums are a thread's (product.cuh) or a warp's (product_tensor.cuh), which know their places in the tile.
#pragma once

#include "lib/device.cuh"
#include "lib/runs.cuh"

// An output's end that leaves sums as they are.
struct AsTheyAre {
    __device__ __forceinline__ bool in_runs(int) const {
        return true;
    }
    __device__ __forceinline__ real operator()(size_t, real sum) const {
        return sum;
    }
    template <int COUNT>
    __device__ __forceinline__ void end(size_t, real (&)[COUNT]) const {}
};

// A product's output: sums go to data[row(m) + n], or are added to what is there; a bias of N numbers, or null, is added first, and then
// they are ended by `last`.
template <bool ADDS, class Number, class Row, class Last>
struct Output {
    Number* data;
    const real* bias;
    Last last;
    // Whether neighbours of a row, up to four and the first at a multiple of their number, are all inside N, and aligned.
    bool in_runs;
    Row row;

    template <class Sums>
    __device__ __forceinline__ void take(const Sums& sums, int m0, int n0, int M, int N) const {
        sums.store(m0, n0, M, N, *this);
    }

    // One sum of column n to its place.
    __device__ __forceinline__ void put(Number* to, int n, real sum) const {
        real whole = last((size_t)(to - data), bias ? sum + bias[n] : sum);
        *to = ADDS ? *to + whole : whole;
    }
    // A run of sums, and the bias that they have in common with those of other rows.
    template <int COUNT>
    __device__ __forceinline__ void put_run(Number* to, const Run<COUNT>& shift, const real* sums) const {
        Run<COUNT, Number> whole = ADDS ? *reinterpret_cast<const Run<COUNT, Number>*>(to) : Run<COUNT, Number>{};
        real ended[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            ended[i] = sums[i] + shift.values[i];
        }
        last.template end<COUNT>((size_t)(to - data), ended);
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            whole.values[i] = ADDS ? whole.values[i] + ended[i] : ended[i];
        }
        *reinterpret_cast<Run<COUNT, Number>*>(to) = whole;
    }

    // Puts those of a row's COUNT sums from column n on away that lie inside N.
    template <int COUNT>
    __device__ __forceinline__ void put_columns(Number* row, int n, int N, const Run<COUNT>& shift, const real* sums) const {
        if (in_runs) {
            if (n < N) {
                put_run<COUNT>(row + n, shift, sums);
            }
            return;
        }
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            if (n + e < N) {
                put(row + n + e, n + e, sums[e]);
            }
        }
    }
    // The bias of a run of columns; zeros where there is none.
    template <int COUNT>
    __device__ __forceinline__ Run<COUNT> shift(int n, int N) const {
        return bias && in_runs && n < N ? *reinterpret_cast<const Run<COUNT>*>(bias + n) : Run<COUNT>{};
    }
};
// An output at `data`, whose rows are N long, one behind another in whatever order `row` says.
template <bool ADDS, class Number, class Row, class Last = AsTheyAre>
__device__ __forceinline__ Output<ADDS, Number, Row, Last> output(const real* bias, Number* data, int N, Row row,
                                                                  Last last = Last{}) {
    bool in_runs = N % 4 == 0 && aligned_for_runs(data, 4) && (!bias || aligned_for_runs(bias, 4)) && last.in_runs(4);
    return Output<ADDS, Number, Row, Last>{data, bias, last, in_runs, row};
}

// The output of a weight gradient, which is added to what is there, or overwrites it: then nothing waits for memory.
template <class Row>
struct Gradient {
    real* data;
    bool adds;
    Row row;

    template <class Sums>
    __device__ __forceinline__ void take(const Sums& sums, int m0, int n0, int M, int N) const {
        if (adds) {
            output<true>(nullptr, data, N, row).take(sums, m0, n0, M, N);
        } else {
            output<false>(nullptr, data, N, row).take(sums, m0, n0, M, N);
        }
    }
};
template <class Row>
__device__ __forceinline__ Gradient<Row> gradient(real* data, bool adds, Row row) {
    return Gradient<Row>{data, adds, row};
}

// The output of a product that may be split along its depth. Where it is not, `parts` is null and `number` 0, and the output is
// `whole`; where it is, the sums of part `number` go to the outputs at `parts`, each `length` numbers long, and there is neither bias nor
// end.
template <class Number, class Row, class Last>
struct PartOrWhole {
    const real* bias;
    real* parts;
    int number;
    size_t length;
    Number* whole;
    Row row;
    Last last;

    template <class Sums>
    __device__ __forceinline__ void take(const Sums& sums, int m0, int n0, int M, int N) const {
        if constexpr (sizeof(Number) == sizeof(real)) {
            output<false>(bias, (parts ? parts : whole) + number * length, N, row, last).take(sums, m0, n0, M, N);
        } else if (parts) {
            output<false>(nullptr, parts + number * length, N, row).take(sums, m0, n0, M, N);
        } else {
            output<false>(bias, whole, N, row, last).take(sums, m0, n0, M, N);
        }
    }
};
// Where real is stored, both are one output, whose place can be worked out before the loop (EARLY) or after it. Callers choose
// what spills no registers on any architecture.
template <bool EARLY, class Number, class Row, class Last = AsTheyAre>
__device__ __forceinline__ auto part_or_whole(const real* bias, real* parts, int number, size_t length, Number* whole, int N,
                                              Row row, Last last = Last{}) {
    if constexpr (EARLY && sizeof(Number) == sizeof(real)) {
        return output<false>(bias, (parts ? parts : whole) + number * length, N, row, last);
    } else {
        return PartOrWhole<Number, Row, Last>{bias, parts, number, length, whole, row, last};
    }
}
