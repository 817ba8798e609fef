// The main loop of every matrix product: C[m, n] (+)= sum over k of A[m, k] B[k, n], a tile a block.
//
// A and B are functions of their indices, so one loop serves linear layers and convolutions (implicit GEMM): whoever calls
// says where an element lies, and that it is 0 outside the image. While the threads multiply one stage, which lies in shared
// memory, the next is on its way into registers: no thread waits for memory as long as a stage takes longer. Each sum is
// taken in the order of k.
//
//   memory ──fetch──▶ registers ──store──▶ stage 1    while    stage 0 ──add──▶ sums in registers    then they change places
//
// Operands that lie in memory as a stage holds them, bf16 for tensor cores, are copied past the registers, several stages in advance:
//
//   memory ──copy──▶ stage 3, stage 2, stage 1        while    stage 0 ──add──▶ sums in registers    then each is one further
//
// The same loop runs on plain arithmetic units and on tensor cores (product_tensor.cuh); a Units says how a stage lies and
// how it is multiplied. What limits plain units: the issue of instructions. Of 128 × 128 sums, 64 of a warp's
// instructions multiply, four load from shared memory, and those that fetch and keep count are few beside them.
#pragma once

#include "lib/device.cuh"
#include "lib/output.cuh"
#include "lib/tile.cuh"

// The bound of a kernel for which ptxas, left to itself, spills a few registers so that a multiprocessor may hold another block, in bf16
// on one architecture or another: to nvcc also how many blocks there are to be at least.
#if defined(STORED_BF16) && !defined(SIMT)
#define NARROW_UNSPILT NARROW_THREADS, 1
#else
#define NARROW_UNSPILT NARROW_THREADS
#endif

__device__ __forceinline__ float multiply_add(float a, float b, float c) {
    return fmaf(a, b, c);
}
__device__ __forceinline__ double multiply_add(double a, double b, double c) {
    return fma(a, b, c);
}

// The depths from .. to.
struct Depths {
    int from, to;
};
// Those that part `number` of a product sums which is split along its depth, `length` a part: the last has the rest, and
// one beyond it none. The host chooses the length by the sizes alone (src/device/product.rs), so the order of a sum is
// fixed: along the depth in a part, then the parts.
__device__ __forceinline__ Depths part_of_depth(int number, int length, int depth) {
    int from = number * length, rest = depth - from;
    return Depths{from, rest < length ? depth : from + length};
}

// Operands as plain units take them: as they are, but weights, which are real, are rounded where activations are stored as
// bf16. So they multiply what tensor cores multiply.
struct AsStored {
    template <class Source>
    static __device__ __forceinline__ real round(Source value) {
        return (real)(stored)value;
    }
};

// Operands.
//
// An operand is no function of two indices but of what each of them stands for, which a loop may keep: across(m or n),
// and depth(count), where a count is k in a form that can be added to without a division: count(k), and sum(count, count).
// place(across, depth) is where the element lies, and whether it is there or 0, because it lies outside an image. Indices are in
// range wherever across is asked, and wherever a place counts.
//
// in_runs(n) says whether n neighbours, the first at a multiple of n, always lie side by side in memory, aligned to what one
// access takes of them, all in range or none, all inside the image or none: then they can be fetched as one. n is 4 or 8.
//
// Source is the type of its numbers, which may be another one for A than for B, and `data` where they begin.

// Where an element lies, if it is `there`; else `data` leads nowhere. The address is worked out in either case, so that no branch stands
// before it.
template <class Number>
struct Place {
    const Number* data;
    bool there;
};

// A matrix: element (i, k) lies at i across_stride + k depth_stride, and one of the strides is 1.
template <class Number>
struct Strided {
    using Source = Number;
    using Across = const Source*;
    using Count = int;
    using Depth = size_t;
    const Source* data;
    int across_stride, depth_stride;

    __device__ __forceinline__ const Source* across(int i) const {
        return data + (size_t)i * across_stride;
    }
    __device__ __forceinline__ int count(int k) const {
        return k;
    }
    __device__ __forceinline__ int sum(int a, int b) const {
        return a + b;
    }
    __device__ __forceinline__ size_t depth(int k) const {
        return (size_t)k * depth_stride;
    }
    __device__ __forceinline__ Place<Source> place(const Source* across, size_t depth) const {
        return {across + depth, true};
    }
    // The other stride is the length of a row, so that rows are whole runs where it is a multiple of their length.
    __device__ __forceinline__ bool in_runs(int run) const {
        return (depth_stride == 1 ? across_stride : depth_stride) % run == 0 && aligned_for_runs(data, run);
    }
};
template <class Number>
Strided(const Number*, int, int) -> Strided<Number>;

// A number in digits: low < bases.low, middle < bases.middle, and the rest.
struct Digits {
    int low, middle, high;
};
struct Bases {
    int low, middle;

    __device__ __forceinline__ Digits digits(int number) const {
        int rest = number / low;
        return Digits{number - rest * low, rest % middle, rest / middle};
    }
    // Of numbers in digits, by carrying: two comparisons where digits of the sum would be three divisions.
    __device__ __forceinline__ Digits sum(Digits a, Digits b) const {
        int one = a.low + b.low, two = a.middle + b.middle, three = a.high + b.high;
        if (one >= low) {
            one -= low;
            two += 1;
        }
        if (two >= middle) {
            two -= middle;
            three += 1;
        }
        return Digits{one, two, three};
    }
};

// A run of an operand in registers, in vectors as memory gives them.
template <int RUN, class Source, bool IN_WORDS = sizeof(Source) == 2>
struct Fetched {
    static constexpr int VECTOR = RUN * sizeof(Source) <= 16 ? RUN : 4, VECTORS = RUN / VECTOR;
    Run<VECTOR, Source> vectors[VECTORS];

    // From a place in memory, or zeros where nothing is there.
    __device__ __forceinline__ void fetch(Place<Source> place) {
#pragma unroll
        for (int i = 0; i < VECTORS; ++i) {
            vectors[i] = place.there ? reinterpret_cast<const Run<VECTOR, Source>*>(place.data)[i] : Run<VECTOR, Source>{};
        }
    }
    __device__ __forceinline__ Source operator[](int i) const {
        return vectors[i / VECTOR].values[i % VECTOR];
    }
};
// Of numbers of two bytes the pairs stay together in words: nvcc would take them apart in registers.
template <int RUN, class Source>
struct Fetched<RUN, Source, true> {
    static_assert(RUN == 4 || RUN == 8, "one access");
    Run<RUN / 2, unsigned> words;

    __device__ __forceinline__ void fetch(Place<Source> place) {
        words = place.there ? *reinterpret_cast<const Run<RUN / 2, unsigned>*>(place.data) : Run<RUN / 2, unsigned>{};
    }
    __device__ __forceinline__ Source operator[](int i) const {
        unsigned short bits = (unsigned short)(words.values[i / 2] >> i % 2 * 16);
        Source number;
        memcpy(&number, &bits, sizeof number);
        return number;
    }
};

// A thread's share of an operand's stages: runs of the tile whose first index across is `first`, stage by stage, on their
// way from memory through registers. Where the operand does not lie in runs, numbers are stored as they are fetched.
template <class Stage, int THREADS, bool IN_RUNS, class Operand>
struct Fetcher {
    static constexpr int RUN = Stage::RUN, COUNT = Stage::RUNS / THREADS;
    static_assert(COUNT * THREADS == Stage::RUNS, "all threads fetch as many runs");
    static_assert(THREADS % Stage::ROW_RUNS == 0, "a thread's runs are a whole number of rows apart");
    using Source = typename Operand::Source;
    static constexpr bool ALONG_DEPTH = Stage::ALONG == Along::Depth;
    // Along the depth a thread's runs lie at one depth of COUNT rows, across at COUNT depths of one place: what they
    // share is worked out once.
    static constexpr int ROWS = ALONG_DEPTH ? COUNT : 1, DEPTHS = COUNT / ROWS;
    Operand operand;
    // The thread's first run.
    Element own;
    int first, end, depth, depth_end;
    typename Operand::Across across[ROWS];
    typename Operand::Count counts[DEPTHS], stride;
    Fetched<RUN, Source> runs[COUNT];

    // For indices across from `first`, of which `end` is the end, and the depths of a part.
    __device__ __forceinline__ Fetcher(int first, int end, Depths depths, Operand operand)
        : operand(operand), own(Stage::run((int)threadIdx.x)), first(first), end(end), depth(depths.from), depth_end(depths.to),
          stride(operand.count(Stage::DEPTH)) {
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            int index = first + run(i).across;
            across[i] = index < end ? operand.across(index) : typename Operand::Across{};
        }
#pragma unroll
        for (int i = 0; i < DEPTHS; ++i) {
            counts[i] = operand.count(depths.from + run(i).depth);
        }
    }

    // Where the thread's i-th run begins in the stage.
    __device__ __forceinline__ Element run(int i) const {
        Element way = Stage::run(i * THREADS);
        return Element{own.across + way.across, own.depth + way.depth};
    }

    // Fetches the next stage; zeros beyond the ends.
    __device__ __forceinline__ void fetch() {
        if (IN_RUNS) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                runs[i].fetch(place(i));
            }
        }
        advance();
    }

    // Begins to copy the next stage from memory into `stage`, past the registers; zeros beyond the ends.
    __device__ __forceinline__ void copy(typename Stage::Data& stage) {
        static_assert(IN_RUNS, "a run is one copy");
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            Place<Source> from = place(i);
            Stage::copy(stage, run(i), from.data, from.there);
        }
        advance();
    }

    // Stores what was fetched last.
    __device__ __forceinline__ void store(typename Stage::Data& stage) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (IN_RUNS) {
                Stage::put(stage, run(i), runs[i]);
            } else {
                one_by_one(stage, run(i));
            }
        }
    }

private:
    // Where the i-th run of the next stage lies in memory; nothing is there beyond the ends.
    __device__ __forceinline__ Place<Source> place(int i) const {
        bool within = first + run(i).across < end && depth + run(i).depth < depth_end;
        Place<Source> found = operand.place(across[i % ROWS], operand.depth(counts[i % DEPTHS]));
        return {found.data, within && found.there};
    }

    __device__ __forceinline__ void advance() {
        if (IN_RUNS) {
#pragma unroll
            for (int i = 0; i < DEPTHS; ++i) {
                counts[i] = operand.sum(counts[i], stride);
            }
        }
        depth += Stage::DEPTH;
    }

    __device__ __forceinline__ void one_by_one(typename Stage::Data& stage, Element at) const {
#pragma unroll 1
        for (int j = 0; j < RUN; ++j) {
            int index = first + at.across, k = depth - Stage::DEPTH + at.depth;
            bool within = index < end && k < depth_end;
            Source value{};
            if (within) {
                Place<Source> found = operand.place(operand.across(index), operand.depth(operand.count(k)));
                value = found.there ? *found.data : value;
            }
            Stage::put_one(stage, at, value);
            at.across += !ALONG_DEPTH;
            at.depth += ALONG_DEPTH;
        }
    }
};

// The loop. Units is PlainUnits<…> or TensorUnits<…>: the tile's sizes; Stage<ALONG, SIDE>, how a stage of an operand lies in
// shared memory, and puts runs there; Sums, a thread's sums, which add<ALONG_A, ALONG_B>(a, b) a stage's product and store.
template <class Units>
struct Loop {
    static constexpr int ROWS = Units::M, COLUMNS = Units::N;

    // Sums `depths` of the tile at (m0, n0), for operands with `a` across m and `b` across n, which lie in memory as ALONG_A
    // and ALONG_B say. Every thread of the block must come, and depths.from is a multiple of SPLIT_STEP.
    template <Along ALONG_A, Along ALONG_B, class A, class B, class Output>
    static __device__ __forceinline__ void product(int m0, int n0, int M, int N, Depths depths, A a, B b, Output output) {
        using StageA = typename Units::template Stage<ALONG_A, ROWS>;
        using StageB = typename Units::template Stage<ALONG_B, COLUMNS>;
        constexpr int RUN = StageA::RUN;
        constexpr bool COPIES = Units::template COPIES<typename A::Source> && Units::template COPIES<typename B::Source>;
        constexpr int STAGES = COPIES ? Units::STAGES : 2;
        SHARED(typename StageA::Data, stages_a, [STAGES]);
        SHARED(typename StageB::Data, stages_b, [STAGES]);
        typename Units::Sums sums;
        if (depths.from >= depths.to) {
            // Nothing to count in, and nothing to sum: a parity that no tap reaches.
        } else if (a.in_runs(RUN) && b.in_runs(RUN)) {
            Fetcher<StageA, Units::THREADS, true, A> fetcher_a(m0, M, depths, a);
            Fetcher<StageB, Units::THREADS, true, B> fetcher_b(n0, N, depths, b);
            if constexpr (COPIES) {
                add_copied<ALONG_A, ALONG_B>(sums, stages_a, stages_b, depths, fetcher_a, fetcher_b);
            } else {
                add<ALONG_A, ALONG_B>(sums, stages_a, stages_b, depths, fetcher_a, fetcher_b);
            }
        } else {
            Fetcher<StageA, Units::THREADS, false, A> fetcher_a(m0, M, depths, a);
            Fetcher<StageB, Units::THREADS, false, B> fetcher_b(n0, N, depths, b);
            add<ALONG_A, ALONG_B>(sums, stages_a, stages_b, depths, fetcher_a, fetcher_b);
        }
        output.take(sums, m0, n0, M, N);
    }

private:
    // Through registers, one stage in advance.
    template <Along ALONG_A, Along ALONG_B, class Sums, int STAGES, class DataA, class DataB, class FetcherA, class FetcherB>
    static __device__ __forceinline__ void add(Sums& sums, DataA (&stages_a)[STAGES], DataB (&stages_b)[STAGES],
                                               Depths depths, FetcherA& a, FetcherB& b) {
        constexpr int DEPTH = Units::DEPTH;
        a.fetch();
        b.fetch();
        a.store(stages_a[0]);
        b.store(stages_b[0]);
        __syncthreads();
        int now = 0;
#pragma unroll 1
        for (int k0 = depths.from; k0 < depths.to; k0 += DEPTH) {
            bool more = k0 + DEPTH < depths.to;
            if (more) {
                a.fetch();
                b.fetch();
            }
            sums.template add<ALONG_A, ALONG_B>(stages_a[now], stages_b[now]);
            // The other stage is free: all were done with it at the last barrier.
            now ^= 1;
            if (more) {
                a.store(stages_a[now]);
                b.store(stages_b[now]);
            }
            __syncthreads();
        }
    }

    // By copies that are STAGES - 1 stages in advance. A group of copies is a stage; one that is not there is an empty group, so
    // that all but the last STAGES - 2 groups are done means that the stage to multiply has come.
    template <Along ALONG_A, Along ALONG_B, class Sums, int STAGES, class DataA, class DataB, class FetcherA, class FetcherB>
    static __device__ __forceinline__ void add_copied(Sums& sums, DataA (&stages_a)[STAGES], DataB (&stages_b)[STAGES],
                                                      Depths depths, FetcherA& a, FetcherB& b) {
        constexpr int DEPTH = Units::DEPTH, AHEAD = STAGES - 1;
        auto copy = [&](int stage, int depth) {
            if (depth < depths.to) {
                a.copy(stages_a[stage]);
                b.copy(stages_b[stage]);
            }
            Units::end_copies();
        };
#pragma unroll
        for (int stage = 0; stage < AHEAD; ++stage) {
            copy(stage, depths.from + stage * DEPTH);
        }
        int now = 0, free = AHEAD;
#pragma unroll 1
        for (int k0 = depths.from; k0 < depths.to; k0 += DEPTH) {
            Units::template wait_for_copies<AHEAD - 1>();
            // Now every thread's copies of this stage have come, and all are done with the stage before it.
            __syncthreads();
            copy(free, k0 + AHEAD * DEPTH);
            sums.template add<ALONG_A, ALONG_B>(stages_a[now], stages_b[now]);
            free = now;
            now = now + 1 < STAGES ? now + 1 : 0;
        }
    }
};

// How a stage of an operand lies for plain units: depth by depth (lib/tile.cuh).
template <Along LIES, int SIDE>
struct PlainStage {
    static constexpr Along ALONG = LIES;
    static constexpr int RUN = 4, DEPTH = TILE_K, RUNS = SIDE * DEPTH / RUN;
    static constexpr int ROW_RUNS = (ALONG == Along::Depth ? DEPTH : SIDE) / RUN;
    using Data = real[DEPTH * TILE_STRIDE<SIDE>];

    static __device__ __forceinline__ Element run(int i) {
        return tile_run<ALONG, SIDE>(i);
    }
    template <class Source>
    static __device__ __forceinline__ void put(Data& stage, Element at, const Fetched<RUN, Source>& run) {
        real* to = &stage[tile_place<SIDE>(at.across, at.depth)];
        Run<RUN> numbers;
#pragma unroll
        for (int j = 0; j < RUN; ++j) {
            numbers.values[j] = AsStored::round(run[j]);
        }
        if (ALONG == Along::Across) {
            *reinterpret_cast<Run<RUN>*>(to) = numbers;
        } else {
#pragma unroll
            for (int j = 0; j < RUN; ++j) {
                // The depths of a run are in one half of the stage.
                to[j * TILE_STRIDE<SIDE>] = numbers.values[j];
            }
        }
    }
    template <class Source>
    static __device__ __forceinline__ void put_one(Data& stage, Element at, Source value) {
        stage[tile_place<SIDE>(at.across, at.depth)] = AsStored::round(value);
    }
};

// A thread's sums: runs of columns of runs of rows.
template <class Tile>
struct ThreadSums {
    static constexpr int DOWN = Tile::THREAD_M / 4, ACROSS = Tile::THREAD_N / 4;
    real values[Tile::THREAD_M][ACROSS][4] = {};

    // Adds the product of a stage.
    template <Along, Along>
    __device__ __forceinline__ void add(const real* a, const real* b) {
        int thread = (int)threadIdx.x;
#pragma unroll
        for (int k = 0; k < TILE_K; ++k) {
            Run<4> left[DOWN], right[ACROSS];
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
                left[i] = *reinterpret_cast<const Run<4>*>(&a[tile_place<Tile::M>(Tile::row(thread, i), k)]);
            }
#pragma unroll
            for (int j = 0; j < ACROSS; ++j) {
                right[j] = *reinterpret_cast<const Run<4>*>(&b[tile_place<Tile::N>(Tile::column(thread, j), k)]);
            }
#pragma unroll
            for (int i = 0; i < Tile::THREAD_M; ++i) {
#pragma unroll
                for (int j = 0; j < Tile::THREAD_N; ++j) {
                    real& sum = values[i][j / 4][j % 4];
                    sum = multiply_add(left[i / 4].values[i % 4], right[j / 4].values[j % 4], sum);
                }
            }
        }
    }

    // Puts every sum of the tile at (m0, n0) away that lies inside M and N.
    template <class Output>
    __device__ __forceinline__ void store(int m0, int n0, int M, int N, const Output& output) const {
        int thread = (int)threadIdx.x;
        auto column = [=](int j) { return n0 + Tile::column(thread, j); };
        Run<4> shift[ACROSS];
#pragma unroll
        for (int j = 0; j < ACROSS; ++j) {
            shift[j] = output.template shift<4>(column(j), N);
        }
#pragma unroll
        for (int i = 0; i < Tile::THREAD_M; ++i) {
            int m = m0 + Tile::row(thread, i / 4) + i % 4;
            if (m < M) {
                auto* row = output.data + output.row(m);
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) {
                    output.put_columns(row, column(j), N, shift[j], values[i][j]);
                }
            }
        }
    }
};

// Plain arithmetic units, in f32 or f64.
template <class Tile>
struct PlainUnits : Tile {
    static constexpr int DEPTH = TILE_K;
    // A stage lies depth by depth, and memory seldom does.
    template <class>
    static constexpr bool COPIES = false;
    static constexpr int STAGES = 2;
    template <Along ALONG, int SIDE>
    using Stage = PlainStage<ALONG, SIDE>;
    using Sums = ThreadSums<Tile>;
};
