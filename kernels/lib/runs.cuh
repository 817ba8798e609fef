// Runs: neighbours in memory that a thread reads or writes at once instead of one number at a time. What takes numbers one by one is
// bounded by instructions, above all in bf16, where a number is 2 bytes; what takes runs, by memory. A run of what is stored is 16
// bytes; one of reals has as many numbers, so that in bf16 it is 32 bytes, in two accesses.
#pragma once

#include "lib/device.cuh"

// So many neighbours, as a vector in memory.
template <int COUNT, class Number = real>
struct alignas(COUNT * sizeof(Number) < 16 ? COUNT * sizeof(Number) : 16) Run {
    Number values[COUNT];
};

// Numbers that are stored in 16 bytes: the run of operations element by element.
constexpr int STORED_RUN = 16 / (int)sizeof(stored);

// An access takes a whole run, or 16 bytes of it.
template <class Number>
__device__ __forceinline__ bool aligned_for_runs(const Number* data, int run) {
    int bytes = run * (int)sizeof(Number);
    return (unsigned long long)data % (bytes < 16 ? bytes : 16) == 0;
}
// The same of all pointers.
template <class... Numbers>
__device__ __forceinline__ bool all_aligned_for_runs(int run, const Numbers*... data) {
    return (aligned_for_runs(data, run) && ...);
}

// How a run is read and written.
template <int COUNT, class Number, bool IN_WORDS = sizeof(Number) == 2 && COUNT % 2 == 0>
struct Access {
    static __device__ __forceinline__ Run<COUNT> read(const Number* from) {
        auto run = *reinterpret_cast<const Run<COUNT, Number>*>(from);
        Run<COUNT> values;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            values.values[i] = run.values[i];
        }
        return values;
    }
    static __device__ __forceinline__ void write(Number* to, const Run<COUNT>& values) {
        Run<COUNT, Number> run;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            run.values[i] = values.values[i];
        }
        *reinterpret_cast<Run<COUNT, Number>*>(to) = run;
    }
};
#ifdef STORED_BF16
// Of bf16 two come in a word: nvcc would take each apart in a register of its own.
template <int COUNT>
struct Access<COUNT, stored, true> {
    using Words = Run<COUNT / 2, unsigned>;

    static __device__ __forceinline__ Run<COUNT> read(const stored* from) {
        Words words = *reinterpret_cast<const Words*>(from);
        Run<COUNT> values;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            unsigned word = words.values[i / 2];
            values.values[i] = __uint_as_float(i % 2 == 0 ? word << 16 : word & 0xffff0000u);
        }
        return values;
    }
    static __device__ __forceinline__ void write(stored* to, const Run<COUNT>& values) {
        Words words;
#pragma unroll
        for (int i = 0; i < COUNT / 2; ++i) {
            __nv_bfloat162 pair = __floats2bfloat162_rn(values.values[2 * i], values.values[2 * i + 1]);
            memcpy(&words.values[i], &pair, sizeof pair);
        }
        *reinterpret_cast<Words*>(to) = words;
    }
};
#endif

// Reads a run, widened to real.
template <int COUNT, class Number>
__device__ __forceinline__ Run<COUNT> read_run(const Number* from) {
    return Access<COUNT, Number>::read(from);
}
// Writes a run, each number rounded to what is stored.
template <int COUNT, class Number>
__device__ __forceinline__ void write_run(Number* to, const Run<COUNT>& values) {
    Access<COUNT, Number>::write(to, values);
}

// The length of a run as a type, so that a lambda can be told it: `constexpr int COUNT = decltype(length)::value`.
template <int COUNT>
struct RunLength {
    static constexpr int value = COUNT;
};

// Calls work(i, length) for every run of `count` elements, and for each element that is left at the end, or for each of all where they
// are not `in_runs`, as a run of one. The grid's threads stride over them.
template <class Work>
__device__ __forceinline__ void for_each_run(unsigned long long count, bool in_runs, Work work) {
    unsigned long long whole = in_runs ? count / STORED_RUN : 0;
    FOR_EACH_ELEMENT(i, whole) {
        work(i * STORED_RUN, RunLength<STORED_RUN>{});
    }
    FOR_EACH_ELEMENT(i, count - whole * STORED_RUN) {
        work(whole * STORED_RUN + i, RunLength<1>{});
    }
}

// Calls work(row, column) for every run of COUNT of `rows` rows of `columns`, which are whole runs. The threads of the grid's row
// stride over them. No division but at the start.
template <int COUNT, class Work>
__device__ __forceinline__ void for_each_of_rows(size_t rows, int columns, Work work) {
    unsigned thread = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
    unsigned across = (unsigned)columns / COUNT, rows_on = threads / across, runs_on = threads % across;
    unsigned run = thread % across;
    for (size_t row = thread / across; row < rows; row += rows_on) {
        work(row, (int)run * COUNT);
        run += runs_on;
        if (run >= across) {
            run -= across;
            ++row;
        }
    }
}

// Calls work(row, column, length) for every run of the elements of `rows` rows of `columns`, or for every element where they are not
// `in_runs` or a row is not whole runs.
template <class Work>
__device__ __forceinline__ void for_each_run_of_rows(size_t rows, int columns, bool in_runs, Work work) {
    if (in_runs && columns % STORED_RUN == 0) {
        for_each_of_rows<STORED_RUN>(rows, columns, [&](size_t row, int column) { work(row, column, RunLength<STORED_RUN>{}); });
    } else {
        for_each_of_rows<1>(rows, columns, [&](size_t row, int column) { work(row, column, RunLength<1>{}); });
    }
}
