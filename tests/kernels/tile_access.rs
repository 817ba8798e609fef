//! How a warp of a matrix product's f32 tile, and one of the direct weight gradient, meets memory: ways of bank conflict in
//! shared memory, sectors of global memory a request. Counted on the index functions of kernels/lib/tile.cuh and
//! kernels/layers/conv2d/direct.cuh, compiled for the host.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::executors::header_folders;
use vgan_cuda::device::kernels::size;

const WARP: usize = 32;
/// Threads of a warp that shared memory serves at once where each asks for 16 bytes.
const QUARTER: usize = 8;
/// A bank is 4 bytes wide, and so is a float.
const BANKS: usize = 32;
/// Floats of a sector of global memory: 32 bytes.
const SECTOR: usize = 8;
/// Depth of a stage.
const DEPTH: usize = size::TILE_K as usize;

/// What kernels/lib/tile.cuh says of a square tile.
#[derive(Debug)]
struct Tile {
    side: usize,
    /// (across, depth) of the quads that are fetched, in the order of fetching, where depth is contiguous.
    by_depth: Vec<(usize, usize)>,
    /// The same where the other index is.
    by_across: Vec<(usize, usize)>,
    /// Where each element lies in a stage, by across and then depth.
    places: Vec<usize>,
    /// The first row of each quad of rows of each thread, and the first column of each quad of columns.
    rows: Vec<Vec<usize>>,
    columns: Vec<Vec<usize>>,
}

const PROGRAM: &str = r#"
#include "lib/tile.cuh"
#include <cstdio>
template <class Tile, Along ALONG> void fetched() {
    for (int i = 0; i < Tile::M * TILE_K / 4; ++i) {
        Element run = tile_run<ALONG, Tile::M>(i);
        std::printf("%d %d\n", run.across, run.depth);
    }
}
int main() {
    fetched<TILE, Along::Depth>();
    fetched<TILE, Along::Across>();
    for (int i = 0; i < TILE::M * TILE_K; ++i) {
        std::printf("%d 0\n", tile_place<TILE::M>(i / TILE_K, i % TILE_K));
    }
    for (int i = 0; i < TILE::THREADS * TILE::THREAD_M / 4; ++i) {
        std::printf("%d 0\n", TILE::row(i / (TILE::THREAD_M / 4), i % (TILE::THREAD_M / 4)));
    }
    for (int i = 0; i < TILE::THREADS * TILE::THREAD_N / 4; ++i) {
        std::printf("%d 0\n", TILE::column(i / (TILE::THREAD_N / 4), i % (TILE::THREAD_N / 4)));
    }
}
"#;

impl Tile {
    fn new(name: &str, side: u32, threads: u32, [rows, columns]: [u32; 2]) -> Self {
        let [side, threads] = [side, threads].map(|count| count as usize);
        let mut pairs = printed_by(&format!("#define TILE {name}\n{PROGRAM}")).into_iter();
        let quads = side * DEPTH / 4;
        let by_depth = pairs.by_ref().take(quads).collect();
        let by_across = pairs.by_ref().take(quads).collect();
        let mut firsts = pairs.map(|pair| pair.0);
        let places = firsts.by_ref().take(side * DEPTH).collect();
        let mut by_thread = |sums: u32| -> Vec<Vec<usize>> {
            (0..threads).map(|_| firsts.by_ref().take(sums as usize / 4).collect()).collect()
        };
        let (rows, columns) = (by_thread(rows), by_thread(columns));
        assert_eq!(firsts.next(), None);
        Tile { side, by_depth, by_across, places, rows, columns }
    }

    /// The narrow tile and the wide one.
    fn both() -> [Tile; 2] {
        use size::{NARROW_M, NARROW_N, NARROW_THREAD_M, NARROW_THREAD_N, NARROW_THREADS};
        use size::{WIDE_M, WIDE_N, WIDE_THREAD_M, WIDE_THREAD_N, WIDE_THREADS};
        assert_eq!((NARROW_M, WIDE_M), (NARROW_N, WIDE_N), "one list serves both operands");
        [
            Tile::new("NarrowTile", NARROW_M, NARROW_THREADS, [NARROW_THREAD_M, NARROW_THREAD_N]),
            Tile::new("WideTile", WIDE_M, WIDE_THREADS, [WIDE_THREAD_M, WIDE_THREAD_N]),
        ]
    }

    /// The place of an element in its stage.
    fn place(&self, across: usize, depth: usize) -> usize {
        self.places[across * DEPTH + depth]
    }
}

/// What a program prints that is compiled with the kernels' headers: two numbers a line.
fn printed_by(text: &str) -> Vec<(usize, usize)> {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (folder.path().join("access.cpp"), folder.path().join("access"));
    std::fs::write(&source, text).expect("writing");
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler.args(["-std=c++17", "-D__device__=", "-D__forceinline__=inline"]);
    for folder in header_folders() {
        compiler.arg("-I").arg(folder);
    }
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

/// The four words of a vector.
fn vector(first: usize) -> std::ops::Range<usize> {
    first..first + 4
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
fn every_element_is_fetched_once_stored_alone_and_summed_once() {
    for tile in Tile::both() {
        let all: BTreeSet<_> = (0..tile.side).flat_map(|m| (0..DEPTH).map(move |k| (m, k))).collect();
        let along = tile.by_depth.iter().flat_map(|&(m, k)| (0..4).map(move |i| (m, k + i)));
        let across = tile.by_across.iter().flat_map(|&(m, k)| (0..4).map(move |i| (m + i, k)));
        for fetched in [along.collect::<Vec<_>>(), across.collect()] {
            assert_eq!(fetched.len(), all.len());
            assert_eq!(fetched.into_iter().collect::<BTreeSet<_>>(), all);
        }
        assert_eq!(tile.places.iter().collect::<BTreeSet<_>>().len(), all.len());
        let rows_of = |quads: &[usize]| quads.iter().copied().flat_map(vector).collect::<Vec<_>>();
        let summed: BTreeSet<_> = tile
            .rows
            .iter()
            .zip(&tile.columns)
            .flat_map(|(rows, columns)| {
                let columns = rows_of(columns);
                rows_of(rows).into_iter().flat_map(move |m| columns.clone().into_iter().map(move |n| (m, n)))
            })
            .collect();
        assert_eq!(summed.len(), tile.side * tile.side);
    }
}

/// Across the depth a thread stores its quad as one vector, along it four numbers in turn.
#[test]
fn storing_a_tile_meets_no_bank_conflict() {
    for tile in Tile::both() {
        for part in tile.by_across.chunks_exact(QUARTER) {
            assert_eq!(ways(part.iter().flat_map(|&(m, k)| vector(tile.place(m, k)))), 1, "across");
            assert!(part.iter().all(|&(m, k)| tile.place(m, k) % 4 == 0), "an aligned vector");
        }
        for warp in tile.by_depth.chunks_exact(WARP) {
            for i in 0..4 {
                assert_eq!(ways(warp.iter().map(|&(m, k)| tile.place(m, k + i))), 1, "along, number {i}");
            }
            // What the exchange of the upper half is for: in rows that are only turned, depths 8 apart share banks.
            let turned = |&(m, k): &(usize, usize)| k * (tile.side + 4) + m;
            assert_eq!(ways(warp.iter().map(turned)), 2);
        }
    }
}

/// A thread reads four rows or columns of one depth as a vector of 16 bytes.
#[test]
fn reading_a_tile_meets_no_bank_conflict() {
    for tile in Tile::both() {
        for (name, quads) in [("A", &tile.rows), ("B", &tile.columns)] {
            for (k, part) in (0..DEPTH).flat_map(|k| quads.chunks_exact(QUARTER).map(move |part| (k, part))) {
                for i in 0..part[0].len() {
                    let firsts = || part.iter().map(|quads| tile.place(quads[i], k));
                    assert!(firsts().all(|first| first % 4 == 0), "an aligned vector");
                    assert_eq!(ways(firsts().flat_map(vector)), 1, "{name} at depth {k}");
                }
            }
        }
    }
}

/// y = x wᵀ at C = 1024, K = 6272: both operands lie along their depth. 32 quads are 16 sectors at best.
#[test]
fn the_linear_layer_fetches_whole_sectors() {
    let c = 1024;
    let worst = |fetched: &[(usize, usize)], place: fn((usize, usize), usize) -> usize| {
        let request = |warp: &[(usize, usize)]| sectors(warp.iter().flat_map(|&at| vector(place(at, c))));
        fetched.chunks_exact(WARP).map(request).max().expect("warps")
    };
    for tile in Tile::both() {
        // Forward: x and w; gradients by the input: dy along its depth, w across; by the weight: both across.
        assert_eq!(worst(&tile.by_depth, |(across, k), c| across * c + k), 16);
        assert_eq!(worst(&tile.by_across, |(across, k), c| k * c + across), 16);
    }
}

/// Sums leave in quads of columns: a warp's request fills whole sectors of four rows.
#[test]
fn storing_the_sums_fills_whole_sectors() {
    let columns = 6272;
    for tile in Tile::both() {
        for (rows, quads) in tile.rows.chunks_exact(WARP).zip(tile.columns.chunks_exact(WARP)) {
            let places = rows.iter().zip(quads).flat_map(|(rows, quads)| vector(rows[0] * columns + quads[0]));
            assert_eq!(sectors(places), 16);
        }
    }
}

/// What kernels/layers/conv2d/direct.cuh says, each list by thread, a row's neighbours side by side.
struct Direct {
    /// The pixels of a step that a thread's row takes, and where the thread puts its tap of each in shared memory.
    brought: Vec<Vec<(usize, usize)>>,
    /// The filters that a thread sums.
    filters: Vec<Vec<usize>>,
    /// Where it puts a filter's sum over each tap to be joined.
    joined: Vec<Vec<usize>>,
}

const DIRECT_PROGRAM: &str = r#"
#include "layers/conv2d/direct.cuh"
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
