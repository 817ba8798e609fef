// The main loop of every matrix product: C[m, n] (+)= sum over k of A[m, k] B[k, n], a tile a block.
//
// A and B are functions of their indices, so one loop serves linear layers and convolutions (implicit GEMM): whoever calls
// says where an element lies, and that it is 0 outside the image. While the threads multiply one stage, which lies in shared
// memory, the next is on its way into registers: no thread waits for memory as long as a stage takes longer. Each sum is
// taken in the order of k.
//
// What limits it: the issue of instructions. Of 128 × 128 sums, 64 of a warp's instructions multiply, four load from
// shared memory, and those that fetch and keep count are few beside them.
#pragma once

#include "lib/device.cuh"
#include "lib/tile.cuh"

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

// Operands as they are, where others are rounded to a type of numbers.
struct Unrounded {
    static __device__ __forceinline__ real round(real value) {
        return value;
    }
};

// Four neighbours, as a vector in memory.
struct alignas(16) Four {
    real values[4];
};

// Operands, for this loop and for the one on tensor cores (product_tensor.cuh).
//
// An operand is no function of two indices but of what each of them stands for, which a loop may keep: across(m or n),
// and depth(count), where a count is k in a form that can be added to without a division: count(k), and sum(count, count).
// place(across, depth) is where the element lies, or null where it is 0 because it lies outside an image. Indices are in
// range wherever across and place are asked.
//
// in_quads() says whether four neighbours, the first at a multiple of 4, always lie side by side in memory, aligned to 16
// bytes, all in range or none, all inside the image or none: then they can be copied as one.

__device__ __forceinline__ bool aligned_to_quads(const real* data) {
    return (unsigned long long)data % 16 == 0;
}

// A matrix: element (i, k) lies at i across_stride + k depth_stride, and one of the strides is 1.
struct Strided {
    using Across = size_t;
    using Count = int;
    using Depth = size_t;
    const real* data;
    int across_stride, depth_stride;

    __device__ __forceinline__ size_t across(int i) const {
        return (size_t)i * across_stride;
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
    __device__ __forceinline__ const real* place(size_t across, size_t depth) const {
        return data + across + depth;
    }
    // The other stride is the length of a row, so that rows are whole quads where it is a multiple of 4.
    __device__ __forceinline__ bool in_quads() const {
        return (depth_stride == 1 ? across_stride : depth_stride) % 4 == 0 && aligned_to_quads(data);
    }
};

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

// A product's output: sums go to row(m)[n], or are added to what is there; a bias of N numbers, or null, is added first.
template <bool ADDS, class Row>
struct Output {
    const real* bias;
    // Whether four neighbours of a row, the first at a multiple of 4, are all inside N, and aligned to 16 bytes.
    bool in_quads;
    Row row;

    __device__ __forceinline__ void put(real* to, int n, real sum) const {
        real whole = bias ? sum + bias[n] : sum;
        to[n] = ADDS ? to[n] + whole : whole;
    }
    // Four sums of a row, and the bias that they have in common with other rows.
    static __device__ __forceinline__ void put_quad(real* to, const Four& shift, const real (&sums)[4]) {
        Four whole = ADDS ? *reinterpret_cast<const Four*>(to) : Four{};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            real sum = sums[i] + shift.values[i];
            whole.values[i] = ADDS ? whole.values[i] + sum : sum;
        }
        *reinterpret_cast<Four*>(to) = whole;
    }
    // The bias of four columns.
    __device__ __forceinline__ Four shift(int n) const {
        return bias ? *reinterpret_cast<const Four*>(bias + n) : Four{};
    }
};
// An output at `data`, whose rows are N long, one behind another in whatever order `row` says.
template <bool ADDS, class Row>
__device__ __forceinline__ Output<ADDS, Row> output(const real* bias, const real* data, int N, Row row) {
    bool in_quads = N % 4 == 0 && aligned_to_quads(data) && (!bias || aligned_to_quads(bias));
    return Output<ADDS, Row>{bias, in_quads, row};
}

// A thread's share of an operand's stages: quads of the tile whose first index across is `first`, stage by stage, on their
// way from memory through registers. Where the operand does not lie in quads, numbers are stored as they are fetched.
template <class Tile, Along ALONG, int SIDE, bool QUADS, class Operand>
struct Fetcher {
    static constexpr int COUNT = SIDE * TILE_K / 4 / Tile::THREADS;
    static_assert(COUNT * Tile::THREADS * 4 == SIDE * TILE_K, "all threads fetch as many quads");
    // Along the depth a thread's quads lie at one depth of COUNT rows, across at COUNT depths of one place: what they
    // share is worked out once.
    static constexpr int ROWS = ALONG == Along::Depth ? COUNT : 1, DEPTHS = COUNT / ROWS;
    using Stage = real[TILE_K * TILE_STRIDE<SIDE>];
    Operand operand;
    int first, end, depth, depth_end;
    typename Operand::Across across[ROWS];
    typename Operand::Count counts[DEPTHS], stride;
    Four quads[COUNT];

    // For indices across from `first`, of which `end` is the end, and depths from `from` to `depth_end`.
    __device__ __forceinline__ Fetcher(int first, int end, int from, int depth_end, Operand operand)
        : operand(operand), first(first), end(end), depth(from), depth_end(depth_end), stride(operand.count(TILE_K)) {
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            int index = first + quad(i).across;
            across[i] = index < end ? operand.across(index) : typename Operand::Across{};
        }
#pragma unroll
        for (int i = 0; i < DEPTHS; ++i) {
            counts[i] = operand.count(from + quad(i).depth);
        }
    }

    static __device__ __forceinline__ Quad quad(int i) {
        return tile_quad<ALONG, SIDE>((int)threadIdx.x + i * Tile::THREADS);
    }

    // Fetches the next TILE_K depths; zeros beyond the ends.
    __device__ __forceinline__ void fetch() {
        if (QUADS) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                bool within = first + quad(i).across < end && depth + quad(i).depth < depth_end;
                const real* place = within ? operand.place(across[i % ROWS], operand.depth(counts[i % DEPTHS])) : nullptr;
                quads[i] = place ? *reinterpret_cast<const Four*>(place) : Four{};
            }
#pragma unroll
            for (int i = 0; i < DEPTHS; ++i) {
                counts[i] = operand.sum(counts[i], stride);
            }
        }
        depth += TILE_K;
    }

    // Stores what was fetched last.
    __device__ __forceinline__ void store(Stage& stage) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            Quad q = quad(i);
            if (!QUADS) {
                one_by_one(stage, q);
            } else if (ALONG == Along::Across) {
                *reinterpret_cast<Four*>(&stage[tile_place<SIDE>(q.across, q.depth)]) = quads[i];
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    // The depths of a quad are in one half of the stage.
                    stage[tile_place<SIDE>(q.across, q.depth) + j * TILE_STRIDE<SIDE>] = quads[i].values[j];
                }
            }
        }
    }

    __device__ __forceinline__ void one_by_one(Stage& stage, Quad q) const {
#pragma unroll 1
        for (int j = 0; j < 4; ++j) {
            int index = first + q.across, k = depth - TILE_K + q.depth;
            const real* place = index < end && k < depth_end
                                    ? operand.place(operand.across(index), operand.depth(operand.count(k)))
                                    : nullptr;
            stage[tile_place<SIDE>(q.across, q.depth)] = place ? *place : (real)0;
            q.across += ALONG == Along::Across;
            q.depth += ALONG == Along::Depth;
        }
    }
};

// A thread's sums: quads of columns of quads of rows.
template <class Tile>
struct ThreadSums {
    static constexpr int DOWN = Tile::THREAD_M / 4, ACROSS = Tile::THREAD_N / 4;
    real values[Tile::THREAD_M][ACROSS][4] = {};

    // Adds the product of a stage.
    __device__ __forceinline__ void add(const real* a, const real* b) {
        int thread = (int)threadIdx.x;
#pragma unroll
        for (int k = 0; k < TILE_K; ++k) {
            Four left[DOWN], right[ACROSS];
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
                left[i] = *reinterpret_cast<const Four*>(&a[tile_place<Tile::M>(Tile::row(thread, i), k)]);
            }
#pragma unroll
            for (int j = 0; j < ACROSS; ++j) {
                right[j] = *reinterpret_cast<const Four*>(&b[tile_place<Tile::N>(Tile::column(thread, j), k)]);
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
        Four shift[ACROSS];
#pragma unroll
        for (int j = 0; j < ACROSS; ++j) {
            int n = n0 + Tile::column(thread, j);
            shift[j] = output.in_quads && n < N ? output.shift(n) : Four{};
        }
#pragma unroll
        for (int i = 0; i < Tile::THREAD_M; ++i) {
            int m = m0 + Tile::row(thread, i / 4) + i % 4;
            real* row = m < M ? output.row(m) : nullptr;
#pragma unroll
            for (int j = 0; j < ACROSS; ++j) {
                int n = n0 + Tile::column(thread, j);
                if (row && output.in_quads) {
                    if (n < N) {
                        output.put_quad(row + n, shift[j], values[i][j]);
                    }
                } else if (row) {
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        if (n + e < N) {
                            output.put(row, n + e, values[i][j][e]);
                        }
                    }
                }
            }
        }
    }
};

// The loop, on plain arithmetic units.
template <class Tile>
struct Scalar {
    static constexpr int ROWS = Tile::M, COLUMNS = Tile::N;
    static constexpr int STAGE_A = TILE_K * TILE_STRIDE<ROWS>, STAGE_B = TILE_K * TILE_STRIDE<COLUMNS>;

    // Sums `depths` of the tile at (m0, n0), for operands with `a` across m and `b` across n, which lie in memory as ALONG_A
    // and ALONG_B say. Every thread of the block must come.
    template <Along ALONG_A, Along ALONG_B, class A, class B, class Output>
    static __device__ __forceinline__ void product(int m0, int n0, int M, int N, Depths depths, A a, B b, Output output) {
        SHARED(real, stages_a, [2][STAGE_A]);
        SHARED(real, stages_b, [2][STAGE_B]);
        if (depths.from >= depths.to) {
            // Nothing to count in, and nothing to sum: a parity that no tap reaches.
            ThreadSums<Tile>{}.store(m0, n0, M, N, output);
        } else if (a.in_quads() && b.in_quads()) {
            Fetcher<Tile, ALONG_A, ROWS, true, A> fetcher_a(m0, M, depths.from, depths.to, a);
            Fetcher<Tile, ALONG_B, COLUMNS, true, B> fetcher_b(n0, N, depths.from, depths.to, b);
            sum(stages_a, stages_b, depths, fetcher_a, fetcher_b).store(m0, n0, M, N, output);
        } else {
            Fetcher<Tile, ALONG_A, ROWS, false, A> fetcher_a(m0, M, depths.from, depths.to, a);
            Fetcher<Tile, ALONG_B, COLUMNS, false, B> fetcher_b(n0, N, depths.from, depths.to, b);
            sum(stages_a, stages_b, depths, fetcher_a, fetcher_b).store(m0, n0, M, N, output);
        }
    }

private:
    template <class FetcherA, class FetcherB>
    static __device__ __forceinline__ ThreadSums<Tile> sum(real (&stages_a)[2][STAGE_A], real (&stages_b)[2][STAGE_B],
                                                           Depths depths, FetcherA& a, FetcherB& b) {
        ThreadSums<Tile> sums;
        a.fetch();
        b.fetch();
        a.store(stages_a[0]);
        b.store(stages_b[0]);
        __syncthreads();
        int now = 0;
#pragma unroll 1
        for (int k0 = depths.from; k0 < depths.to; k0 += TILE_K) {
            bool more = k0 + TILE_K < depths.to;
            if (more) {
                a.fetch();
                b.fetch();
            }
            sums.add(stages_a[now], stages_b[now]);
            // The other stage is free: all were done with it at the last barrier.
            now ^= 1;
            if (more) {
                a.store(stages_a[now]);
                b.store(stages_b[now]);
            }
            __syncthreads();
        }
        return sums;
    }
};
