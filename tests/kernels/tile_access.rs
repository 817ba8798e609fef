//! How a warp of a matrix product's f32 tile, and one of the direct weight gradient, meets memory: ways of bank conflict in
//! shared memory, sectors of global memory a request. Counted on the index functions of kernels/lib/tile.cuh and
//! kernels/layers/conv2d_direct.cuh, compiled for the host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use vgan_cuda::device::kernels::size;

const WARP: usize = 32;
/// A bank is 4 bytes wide, and so is a float.
const BANKS: usize = 32;
/// Floats of a sector of global memory: 32 bytes.
const SECTOR: usize = 8;

/// What kernels/lib/tile.cuh says.
#[derive(Debug)]
struct Tile {
    a_stride: usize,
    b_stride: usize,
    /// (across, depth) of each element that is fetched, in the order of fetching, where depth is contiguous.
    by_depth: Vec<(usize, usize)>,
    /// The same where the other index is.
    by_across: Vec<(usize, usize)>,
    /// (row, column) of the sums of each thread.
    sums: Vec<(usize, usize)>,
}

const PROGRAM: &str = r#"
#include "lib/tile.cuh"
#include <cstdio>
template <Along ALONG> void fetched() {
    for (int i = 0; i < TILE_M * TILE_K; ++i) {
        std::printf("%d %d\n", tile_across<ALONG>(i, TILE_M), tile_depth<ALONG>(i, TILE_M));
    }
}
int main() {
    std::printf("%d %d\n", TILE_A_STRIDE, TILE_B_STRIDE);
    fetched<Along::Depth>();
    fetched<Along::Across>();
    for (int thread = 0; thread < TILE_THREADS; ++thread) {
        std::printf("%d %d\n", thread_row(thread), thread_column(thread));
    }
}
"#;

impl Tile {
    fn new() -> Self {
        let mut pairs = printed_by(PROGRAM).into_iter();
        let (a_stride, b_stride) = pairs.next().expect("strides");
        assert_eq!(size::TILE_M, size::TILE_N, "one list serves both operands");
        let elements = (size::TILE_M * size::TILE_K) as usize;
        let by_depth = pairs.by_ref().take(elements).collect();
        let by_across = pairs.by_ref().take(elements).collect();
        Tile { a_stride, b_stride, by_depth, by_across, sums: pairs.collect() }
    }
}

/// What a program prints that is compiled with the kernels' headers: two numbers a line.
fn printed_by(text: &str) -> Vec<(usize, usize)> {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (folder.path().join("access.cpp"), folder.path().join("access"));
    std::fs::write(&source, text).expect("writing");
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler.args(["-std=c++17", "-D__device__=", "-D__forceinline__=inline", "-I"]).arg(kernels);
    let compiled = compiler.arg("-o").arg(&program).arg(&source).status().expect("a C++ compiler");
    assert!(compiled.success(), "the kernels' headers do not compile for the host");
    let output = Command::new(&program).output().expect("the program runs").stdout;
    String::from_utf8(output).expect("text").lines().map(pair).collect()
}

fn pair(line: &str) -> (usize, usize) {
    let (first, second) = line.split_once(' ').expect("two numbers");
    (first.parse().expect("a number"), second.parse().expect("a number"))
}

/// Passes that shared memory makes for the words that one part of a warp asks for: equal words are handed out at once,
/// different words of one bank after one another.
fn ways(words: impl IntoIterator<Item = usize>) -> usize {
    let mut banks = BTreeMap::<usize, BTreeSet<usize>>::new();
    for word in words {
        banks.entry(word % BANKS).or_default().insert(word);
    }
    banks.values().map(BTreeSet::len).max().unwrap_or(0)
}

/// The worst of all warps that fetch these elements and store them in shared memory.
fn store_ways(fetched: &[(usize, usize)], stride: usize) -> usize {
    fetched
        .chunks_exact(WARP)
        .map(|warp| ways(warp.iter().map(|(across, k)| k * stride + across)))
        .max()
        .expect("warps")
}

/// Sectors of a warp's request for elements at these places, counted in floats.
fn sectors(places: impl Iterator<Item = usize>) -> usize {
    places.map(|place| place / SECTOR).collect::<BTreeSet<_>>().len()
}

#[test]
fn the_counting_is_right() {
    assert_eq!(ways([5; WARP]), 1, "a broadcast");
    assert_eq!(ways(0..WARP), 1);
    assert_eq!(ways((0..WARP).map(|i| 2 * i)), 2);
    assert_eq!(ways((0..WARP).map(|i| BANKS * i)), 32);
    assert_eq!(sectors(0..WARP), 4);
    assert_eq!(sectors((0..WARP).map(|i| 100 * i)), 32);
}

#[test]
fn every_element_is_fetched_once_and_summed_once() {
    let tile = Tile::new();
    let all: BTreeSet<_> =
        (0..size::TILE_M as usize).flat_map(|m| (0..size::TILE_K as usize).map(move |k| (m, k))).collect();
    for fetched in [&tile.by_depth, &tile.by_across] {
        assert_eq!(fetched.iter().copied().collect::<BTreeSet<_>>(), all);
        assert_eq!(fetched.len(), all.len());
    }
    let (m, n) = (size::THREAD_M as usize, size::THREAD_N as usize);
    let summed = tile.sums.iter().flat_map(|&(row, column)| (0..m * n).map(move |i| (row + i / n, column + i % n)));
    assert_eq!(summed.collect::<BTreeSet<_>>().len(), (size::TILE_M * size::TILE_N) as usize);
}

#[test]
fn storing_a_tile_meets_no_bank_conflict() {
    let tile = Tile::new();
    for stride in [tile.a_stride, tile.b_stride] {
        assert_eq!(store_ways(&tile.by_depth, stride), 1);
        assert_eq!(store_ways(&tile.by_across, stride), 1);
    }
    // What the padding is for: without it, the eight depths of a request share four banks.
    assert_eq!(store_ways(&tile.by_depth, size::TILE_M as usize), 8);
}

/// A thread reads its four rows and its four columns of one depth as a vector of 16 bytes each, so a warp's request is
/// served in four parts of eight threads, each of which may use all banks once.
#[test]
fn reading_a_tile_meets_no_bank_conflict() {
    const PART: usize = 8;
    let tile = Tile::new();
    assert_eq!((size::THREAD_M, size::THREAD_N), (4, 4), "a vector");
    assert_eq!((tile.a_stride % 4, tile.b_stride % 4), (0, 0), "rows that vectors are not aligned in");
    let vector = |first: usize| first..first + 4;
    for k in 0..size::TILE_K as usize {
        for part in tile.sums.chunks_exact(PART) {
            let rows = part.iter().flat_map(|&(row, _)| vector(k * tile.a_stride + row));
            assert_eq!(ways(rows), 1, "A at depth {k}");
            let columns = part.iter().flat_map(|&(_, column)| vector(k * tile.b_stride + column));
            assert_eq!(ways(columns), 1, "B at depth {k}");
        }
    }
}

/// y = x wᵀ at C = 1024, K = 6272: both operands lie along their depth. 32 floats are 4 sectors at best.
#[test]
fn the_linear_layer_fetches_whole_sectors() {
    let tile = Tile::new();
    let c = 1024;
    let worst = |fetched: &[(usize, usize)], place: fn((usize, usize), usize) -> usize| {
        fetched.chunks_exact(WARP).map(|warp| sectors(warp.iter().map(|&at| place(at, c)))).max().expect("warps")
    };
    let along_depth = |(across, k): (usize, usize), c: usize| across * c + k;
    let along_across = |(across, k): (usize, usize), c: usize| k * c + across;
    // Forward: x and w; gradients by the input: dy along its depth, w across; by the weight: both across.
    assert_eq!(worst(&tile.by_depth, along_depth), 4);
    assert_eq!(worst(&tile.by_across, along_across), 4);
    // What it costs to fetch against the grain: a sector for every float.
    assert_eq!(worst(&tile.by_across, along_depth), 32);
}

/// The sums leave as single floats, four columns apart from thread to thread: each request touches the sectors of two
/// rows of 64 columns and fills a quarter of them. The four requests of a row fill them whole, in the cache; it happens
/// once a tile, beside at least 62 depths of work, and is left so.
#[test]
fn storing_the_sums_takes_four_times_the_sectors_that_it_fills() {
    let tile = Tile::new();
    let columns = 6272;
    for warp in tile.sums.chunks_exact(WARP) {
        let request = sectors(warp.iter().map(|&(row, column)| row * columns + column));
        assert_eq!(request, 16);
    }
}

/// What kernels/layers/conv2d_direct.cuh says, each list by thread, a row's neighbours side by side.
struct Direct {
    /// The pixels of a step that a thread's row takes, and where the thread puts its tap of each in shared memory.
    brought: Vec<Vec<(usize, usize)>>,
    /// The filters that a thread sums.
    filters: Vec<Vec<usize>>,
    /// Where it puts a filter's sum over each tap to be joined.
    joined: Vec<Vec<usize>>,
}

const DIRECT_PROGRAM: &str = r#"
#include "layers/conv2d_direct.cuh"
#include <cstdio>
int main() {
    for (int thread = 0; thread < DIRECT_ROWS * DIRECT_TAPS; ++thread) {
        int row = thread / DIRECT_TAPS, lane = thread % DIRECT_TAPS;
        for (int round = 0; round < DIRECT_ROUNDS; ++round) {
            int pixel = direct_pixel(row, round);
            std::printf("%d %d\n", pixel, direct_window(pixel, lane));
        }
        for (int i = 0; i < DIRECT_FILTERS; ++i) {
            std::printf("%d 0\n", direct_filter(lane, i));
        }
        for (int tap = 0; tap < DIRECT_TAPS; ++tap) {
            std::printf("%d 0\n", direct_joined(row, lane, tap));
        }
    }
}
"#;

impl Direct {
    const TAPS: usize = size::DIRECT_TAPS as usize;
    const ROWS: usize = size::DIRECT_ROWS as usize;

    fn new() -> Self {
        let (mut pairs, threads) = (printed_by(DIRECT_PROGRAM).into_iter(), Self::ROWS * Self::TAPS);
        let mut direct = Direct { brought: Vec::new(), filters: Vec::new(), joined: Vec::new() };
        for _ in 0..threads {
            direct.brought.push(pairs.by_ref().take(size::DIRECT_STEP as usize / Self::ROWS).collect());
            direct.filters.push(pairs.by_ref().take(size::DIRECT_FILTERS as usize).map(|pair| pair.0).collect());
            direct.joined.push(pairs.by_ref().take(Self::TAPS).map(|pair| pair.0).collect());
        }
        assert_eq!(pairs.next(), None);
        direct
    }
}

#[test]
fn the_direct_weight_gradient_brings_every_tap_once_and_sums_every_filter_with_every_pixel_once() {
    let direct = Direct::new();
    let mut places: Vec<_> = direct.brought.iter().flatten().map(|brought| brought.1).collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(0..size::DIRECT_STEP as usize * Direct::TAPS));
    let threads = direct.brought.iter().zip(&direct.filters);
    let summed: BTreeSet<_> = threads
        .flat_map(|(pixels, filters)| pixels.iter().flat_map(|pixel| filters.iter().map(|filter| (pixel.0, *filter))))
        .collect();
    assert_eq!(summed.len(), (size::DIRECT_STEP * size::DIRECT_TAPS * size::DIRECT_FILTERS) as usize);
    let joined: BTreeSet<_> = direct.joined.iter().flatten().collect();
    assert_eq!(joined.len(), direct.joined.len() * Direct::TAPS);
}

/// Half a warp is a row: each request takes 16 filters of two pixels.
#[test]
fn the_direct_weight_gradient_reads_dy_in_whole_sectors() {
    let direct = Direct::new();
    for k in [64, 128] {
        for warp in (0..direct.filters.len()).collect::<Vec<_>>().chunks_exact(WARP) {
            for (round, i) in
                (0..direct.brought[0].len()).flat_map(|r| (0..direct.filters[0].len()).map(move |i| (r, i)))
            {
                let places = warp.iter().map(|&thread| direct.brought[thread][round].0 * k + direct.filters[thread][i]);
                assert_eq!(sectors(places), 4, "K = {k}, round {round}, filter {i}");
            }
        }
    }
}

#[test]
fn the_direct_weight_gradient_meets_no_bank_conflict_in_its_loop_and_a_pair_when_it_is_joined() {
    let direct = Direct::new();
    for (warp, joined) in direct.brought.chunks_exact(WARP).zip(direct.joined.chunks_exact(WARP)) {
        for round in 0..warp[0].len() {
            assert_eq!(ways(warp.iter().map(|thread| thread[round].1)), 1, "bringing windows");
        }
        for tap in 0..Direct::TAPS {
            assert_eq!(ways(joined.iter().map(|thread| thread[tap])), 1, "putting sums down");
        }
    }
    // A window is read in vectors of 16 bytes, a warp in four parts of eight threads, all of one row: a broadcast.
    assert_eq!(Direct::TAPS % 8, 0);
    // When a sum is joined, a row's threads read its taps of one filter, and the next row's those of the next.
    for rows in direct.joined.chunks_exact(Direct::TAPS) {
        for pair in rows.windows(2) {
            assert!(ways(pair.iter().flatten().copied()) <= 2, "taking sums up");
        }
    }
}
