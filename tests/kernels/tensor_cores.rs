//! Linear layers and convolutions on tensor cores, under the emulator: against the CPU in f64, in every order of threads,
//! and how their words lie in shared memory.
//!
//! The emulator sums a fragment in the order of depth; a GPU's order inside one mma is its own.

use std::collections::BTreeSet;
use std::path::Path;

use crate::executors::{
    defines, differences_from, differences_of, emulated_as, emulated_in_tf32, header_folders, results, results_from,
    say_digest,
};
use crate::limits::unchecked;
use half::bf16;
use simt::{CopyMode, Emulator, Options, Order, Program, Sources};
use vgan_cuda::device::kernels::size;
use vgan_cuda::device::product::TileSize;
use vgan_cuda::device::{Accelerator, Backend, Cpu, Precision, Storage, cuda};
use vgan_cuda::ops::layers::affine::{self, Affine};
use vgan_cuda::ops::layers::conv_transpose2d::ConvTranspose2d;
use vgan_cuda::ops::layers::conv2d::Conv2d;
use vgan_cuda::ops::layers::linear::Linear;
use vgan_cuda::ops::roofline::ceiling::CeilingOp;
use vgan_cuda::ops::{self, Case, Executor};

/// The precisions that round: tf32 in the f32 form of the kernels, bf16 in that which stores bf16.
pub(crate) const TENSOR: [Precision; 2] = [Precision::Tf32, Precision::Bf16];

/// The products among all cases, and sizes of several tiles and steps with tails in every direction.
pub(crate) fn products<B: Executor>() -> Vec<Case<B>> {
    let mut cases = ops::cases::<B>();
    cases.retain(|case| ["linear", "conv2d", "conv_transpose2d"].contains(&case.op()));
    assert!(cases.len() > 30, "{} cases", cases.len());
    let linear = [(65, 67, 33), (130, 70, 100), (64, 64, 64), (3, 129, 65)];
    cases.extend(affine::cases(linear.map(|(n, c, k)| Linear { n, c, k })));
    let square = |n, side, c, k, r, stride, padding| Conv2d { n, h: side, w: side, c, k, r, s: r, stride, padding };
    let plain = [square(2, 9, 17, 33, 3, 1, 1), square(3, 9, 17, 33, 4, 2, 1), square(1, 33, 5, 3, 4, 2, 1)];
    cases.extend(affine::cases(plain));
    // Many output pixels: the weight gradient comes in parts, in this kernel and in the direct one.
    cases.extend(affine::cases([square(5, 15, 5, 65, 1, 1, 0), square(5, 15, 3, 65, 1, 1, 0)]));
    // Deep and of few tiles: every product comes in parts, the last one short. Of those of an input gradient at a stride of
    // two some are empty, where a pixel is reached by a quarter of the taps; the last linear layer has rows of no quads.
    cases.extend(affine::cases([square(2, 8, 20, 264, 3, 2, 1), square(1, 5, 116, 120, 3, 1, 1)]));
    cases.extend(affine::cases([(5, 1030, 68), (5, 67, 1031)].map(|(n, c, k)| Linear { n, c, k })));
    // Few channels, of the shapes that have kernels of their own: several tiles of pixels, groups of filters and chunks of them, with
    // and without whole runs; more tiles than blocks.
    let halved = |n, h, w, c, k| Conv2d { n, h, w, c, k, r: 4, s: 4, stride: 2, padding: 1 };
    let same = |h, w, c, k| Conv2d { n: 2, h, w, c, k, r: 3, s: 3, stride: 1, padding: 1 };
    cases.extend(affine::cases([halved(2, 20, 37, 1, 40), halved(1, 18, 38, 3, 140), halved(1, 4, 6, 3, 136)]));
    cases.extend(affine::cases([same(11, 17, 3, 72), same(9, 18, 132, 3), same(7, 5, 3, 5)]));
    cases.extend(affine::cases([same(5, 6, 40, 3)]));
    cases.extend((0..4).map(|operand| unaligned(halved(1, 4, 6, 3, 16), operand)));
    // One column: rows that a block walks more than once.
    cases.extend(affine::cases([Linear { n: 3, c: 2 * size::ROW_THREADS as usize + 5, k: 1 }]));
    cases.extend(affine::cases([ConvTranspose2d {
        n: 2,
        h: 5,
        w: 5,
        c: 33,
        k: 67,
        r: 4,
        s: 4,
        stride: 2,
        padding: 1,
    }]));
    cases.extend((0..4).map(|operand| unaligned(Linear { n: 8, c: 16, k: 24 }, operand)));
    cases.extend((0..4).map(|operand| unaligned(square(1, 3, 8, 16, 3, 1, 1), operand)));
    cases
}

/// A product of whole quads of which one operand (x, w, b or y) and its gradient begin one number behind the beginning of their
/// buffers, where nothing can be read or written as a vector.
fn unaligned<B: Executor, M: Affine<B>>(d: M, operand: usize) -> Case<B> {
    let behind = [0, 1, 2, 3].map(|number| usize::from(number == operand));
    let ends = [d.x_len(), d.w_len(), d.b_len(), d.y_len()];
    let [x, w, b, y] = std::array::from_fn(|i| behind[i]..behind[i] + ends[i]);
    let (forward, backward) = ([x.clone(), w.clone(), b.clone(), y.clone()], [x, w, b, y]);
    Case::new(M::OP, format!("{} operand {operand} unaligned", d.describe()))
        .input("x", backward[0].end)
        .weight_input("w", backward[1].end)
        .real_input("b", backward[2].end)
        .output("y", backward[3].end)
        .forward(move |be: &B, [x, w, b], [y]| {
            let [x_at, w_at, b_at, y_at] = forward.clone();
            let (x, w) = (be.slice(x.stored(), x_at), be.slice(w.stored(), w_at));
            d.forward(be, x, w, Some(be.slice(b.real(), b_at)), be.slice_mut(y.stored(), y_at))
        })
        .backward(move |be: &B, [x, w, _], _, [dy], [dx, dw, db]| {
            let [x_at, w_at, b_at, y_at] = backward.clone();
            let (dy, w) = (be.slice(dy.stored(), y_at), be.slice(w.stored(), w_at.clone()));
            d.backward_input(be, dy, w, be.slice_mut(dx.stored(), x_at.clone()))?;
            let (dw, db) = (be.slice_mut(dw.real(), w_at), be.slice_mut(db.real(), b_at));
            d.backward_weight(be, be.slice(x.stored(), x_at), dy, dw, Some(db), false)
        })
}

/// A product of rounded operands is exact in f64, and what is left between the two is the rounding of f32 sums. In tf32; storage.rs
/// has the same in bf16.
#[test]
fn rounded_operands_give_what_the_cpu_gives_and_nothing_is_found() {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    let exact: Vec<_> = products().iter().map(|case| results_from(&cpu, case, Precision::Tf32)).collect();
    for size in TileSize::ALL {
        let emulated = emulated_in_tf32(Options::default()).with_tiles(size);
        let failed = differences_from(&emulated, products(), &exact, Precision::Tf32);
        assert!(failed.is_empty(), "{size:?}: {failed:#?}");
    }
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    let run = |threads, blocks, copies| {
        let options = Options { threads, blocks, copies, ..unchecked() };
        let emulated = emulated_in_tf32(options).with_tiles(TileSize::Wide);
        products().iter().map(|case| results(&emulated, case)).collect::<Vec<_>>()
    };
    let expected = run(Order::Ascending, Order::Ascending, CopyMode::Late);
    assert!(run(Order::Descending, Order::Descending, CopyMode::Early) == expected, "descending");
    assert!(run(Order::Random(1), Order::Random(2), CopyMode::Late) == expected, "random");
}

/// An element of a stage of shared memory: across, depth, and its place in the stage, in numbers.
#[derive(Debug, Clone, Copy)]
struct Element {
    across: usize,
    depth: usize,
    place: usize,
}

/// What the index functions of kernels/lib/tile_tensor.cuh say of the narrow tile, an element a thread: see
/// tests/probes/tensor_layout.cu.
struct Layout {
    precision: Precision,
    /// Numbers of a run of 16 bytes in a stage.
    run: usize,
    /// The first number of each run that is stored, of an operand along the depth and of one across it.
    along: [Vec<Element>; 2],
    across: [Vec<Element>; 2],
    /// The runs that ldmatrix is pointed at along the depth, for A and B.
    matrices: [Vec<Element>; 2],
    /// Those that it turns, of an operand across, for A and B in bf16.
    turned: Vec<Vec<Element>>,
    /// The numbers that are loaded alone there, register by register, for A and then B in tf32.
    alone: Vec<Vec<Element>>,
}

fn layout(precision: Precision) -> Layout {
    const SHOWN: usize = 14;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = vec![root.join("tests/probes/tensor_layout.cu")];
    let form = if precision == Precision::Bf16 { "bf16" } else { "f32" };
    let sources = Sources { files, include_dirs: header_folders(), defines: defines(form), ..Sources::default() };
    let program = Program::compile(&sources).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Emulator::new(&program, Options::default()).expect("an emulator");
    let threads = size::NARROW_THREADS as usize;
    let addresses = [0; 3].map(|_: i32| emulator.alloc(4 * SHOWN * threads).expect("memory"));
    addresses.iter().for_each(|&address| emulator.fill_zero(address, 4 * SHOWN * threads).expect("memory"));
    let arguments = addresses.map(u64::to_ne_bytes);
    let arguments: Vec<&[u8]> = arguments.iter().map(|bytes| &bytes[..]).collect();
    let (name, block) = (format!("tensor_layout_{}", precision.word()), [size::NARROW_THREADS, 1, 1]);
    emulator.launch(&name, [1, 1, 1], block, 0, &arguments).unwrap_or_else(|report| panic!("{report}"));
    let [across, depth, place] = addresses.map(|address| {
        let mut bytes = vec![0; 4 * SHOWN * threads];
        emulator.download(address, &mut bytes).expect("a copy");
        bytes.chunks_exact(4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize).collect::<Vec<_>>()
    });
    let shown = |i: usize| -> Vec<Element> {
        let element = |at: usize| Element { across: across[at], depth: depth[at], place: place[at] };
        (i * threads..(i + 1) * threads).map(element).collect()
    };
    let (run, turned, alone) = if precision == Precision::Bf16 { (8, 6..8, 0..0) } else { (4, 0..0, 6..14) };
    Layout {
        precision,
        run,
        along: [shown(0), shown(1)],
        across: [shown(2), shown(3)],
        matrices: [shown(4), shown(5)],
        turned: turned.map(shown).collect(),
        alone: alone.map(shown).collect(),
    }
}

/// How often the busiest of 32 banks is asked at once: 1 where there is no conflict.
fn busiest(words: impl Iterator<Item = usize>) -> usize {
    let words: BTreeSet<usize> = words.collect();
    (0..32).map(|bank| words.iter().filter(|word| *word % 32 == bank).count()).max().unwrap_or(0)
}

impl Layout {
    /// The four words of the run that begins here, aligned to 16 bytes.
    fn words(&self, first: &Element) -> std::ops::Range<usize> {
        assert_eq!(first.place % self.run, 0, "{:?}: 16 bytes, aligned: {first:?}", self.precision);
        let word = first.place / self.run * 4;
        word..word + 4
    }
}

#[test]
fn shared_memory_is_stored_and_loaded_without_bank_conflicts() {
    assert_eq!((busiest(0..32), busiest((0..32).map(|i| i * 2)), busiest((0..32).map(|_| 7))), (1, 2, 1));
    for layout in TENSOR.map(layout) {
        let precision = layout.precision;
        // A request of 16 bytes a thread is served in four parts of eight threads.
        for (name, stores) in [("along", &layout.along), ("across", &layout.across)] {
            for (part, threads) in stores.iter().flat_map(|stores| stores.chunks(8)).enumerate() {
                let words = threads.iter().flat_map(|first| layout.words(first));
                assert_eq!(busiest(words), 1, "{precision:?}: stores of part {part}, {name} the depth");
            }
        }
        // ldmatrix reads eight rows of four words at once. A warp begins at a multiple of eight rows and of two chunks of
        // depth, which moves all its rows alike: rows by whole rounds of the swizzle, chunks by an XOR with one number.
        for (number, rows) in layout.matrices.iter().chain(&layout.turned).enumerate() {
            for (matrix, lanes) in rows[..32].chunks(8).enumerate() {
                let words = lanes.iter().flat_map(|first| layout.words(first));
                assert_eq!(busiest(words), 1, "{precision:?}: matrix {matrix} of load {number}");
            }
        }
        for (register, lanes) in layout.alone.iter().enumerate() {
            let words = lanes[..32].iter().map(|element| element.place);
            assert_eq!(busiest(words), 1, "{precision:?}: register {register}, across the depth");
        }
    }
}

/// A warp fetches whole sectors of 32 bytes, as the operand lies in memory: 8 numbers of f32 or, of what is stored as bf16, 16.
#[test]
fn global_memory_is_fetched_in_whole_sectors() {
    for (layout, sector) in
        [(Precision::Tf32, 8), (Precision::Bf16, 8), (Precision::Bf16, 16)].map(|(p, s)| (layout(p), s))
    {
        let ideal = 32 * layout.run / sector;
        for warp in layout.along.iter().flat_map(|runs| runs.chunks(32)) {
            let sectors: BTreeSet<_> = warp.iter().map(|run| (run.across, run.depth / sector)).collect();
            assert_eq!(sectors.len(), ideal, "{:?}, along the depth", layout.precision);
        }
        for warp in layout.across.iter().flat_map(|runs| runs.chunks(32)) {
            let sectors: BTreeSet<_> = warp.iter().map(|run| (run.depth, run.across / sector)).collect();
            assert_eq!(sectors.len(), ideal, "{:?}, across the depth", layout.precision);
        }
    }
}

/// Every number of a stage is stored by one thread, to a place of its own.
#[test]
fn the_threads_store_every_number_once() {
    for layout in TENSOR.map(layout) {
        let (rows, depths) = (size::NARROW_M as usize, 4 * layout.run);
        let all: BTreeSet<_> = (0..rows).flat_map(|row| (0..depths).map(move |depth| (row, depth))).collect();
        for (runs, along) in [(&layout.along, true), (&layout.across, false)] {
            let numbers = runs.iter().flatten().flat_map(|first| {
                let Element { across, depth, place } = *first;
                let at = move |i| if along { (across, depth + i, place + i) } else { (across + i, depth, place + i) };
                (0..layout.run).map(at)
            });
            let numbers: Vec<_> = numbers.collect();
            assert_eq!(numbers.len(), all.len());
            assert_eq!(numbers.iter().map(|&(across, depth, _)| (across, depth)).collect::<BTreeSet<_>>(), all);
            assert_eq!(numbers.iter().map(|number| number.2).collect::<BTreeSet<_>>(), (0..rows * depths).collect());
        }
    }
}

/// Elements of one stride of the largest grid.
fn stride() -> usize {
    (size::ELEMENT_THREADS * size::ELEMENT_BLOCKS) as usize
}

/// That the chains which are the ceiling of products end in the numbers that they must, for each (rounds, len).
fn assert_product_chains<S: Storage<f32>>(be: &Accelerator<f32, S>, sizes: &[(usize, usize)]) {
    for &(rounds, len) in sizes {
        let mut y = be.alloc::<f32>(len).expect("memory");
        be.product_chains(rounds, be.view_mut(&mut y)).unwrap_or_else(|error| panic!("{error}"));
        for (i, y) in be.read(be.view(&y)).expect("a copy").into_iter().enumerate() {
            let begun: usize = (0..16).map(|chain| i % 7 + chain).sum();
            let precision = be.precision();
            assert_eq!(y, (begun + 16 * rounds) as f32, "{precision:?}, {rounds} rounds, element {i} of {len}");
        }
    }
}

/// In either type, in any order of threads. The lengths end within a warp, at its end and behind it, and behind a stride.
#[test]
fn product_chains_give_exactly_what_they_add() {
    fn check<S: Storage<f32>>(emulated: fn(Options) -> Accelerator<f32, S>) {
        for threads in [Order::Ascending, Order::Descending, Order::Random(1)] {
            let be = emulated(Options { threads, blocks: threads, ..Options::default() });
            assert_product_chains(&be, &[(0, 1), (1, 31), (9, 32), (1000, 33), (2, 300)]);
        }
        // So many threads that to watch every access would take a minute.
        let be = emulated(Options { detection: false, ..Options::default() });
        assert_product_chains(&be, &[(1, stride() + 40)]);
    }
    check(emulated_in_tf32);
    check(emulated_as::<f32, bf16>);
}

/// A GPU with products in tf32; `None`, and said why, where there is none to compute on.
fn gpu() -> Option<Accelerator<f32>> {
    let opened = cuda::open(0).inspect_err(|error| eprintln!("SKIPPED: {error}")).ok()?;
    Some(Accelerator::in_tf32(opened))
}

/// How far a GPU's sums may be from the exact ones, as a part of a tensor's largest value. Inside an mma, products are
/// aligned to the largest and cut off, not rounded, at 24 bits or more, four (tf32) or eight (bf16) at a time on the GPUs
/// that add fewest (Fasi et al. 2021, "Numerical behavior of NVIDIA tensor cores"): in a product of 1,024 terms, and none
/// here has a part as deep, that is 256 times an error of up to 2⁻²³. An operand in the wrong place, or rounded to the other type
/// (2⁻⁹), is far outside.
pub(crate) const GPU_TOLERANCE: f64 = 256.0 / (1u32 << 23) as f64;

#[test]
fn a_gpu_gives_what_the_cpu_gives_for_rounded_operands() {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    let Some(gpu) = gpu() else { return };
    let exact: Vec<_> = products().iter().map(|case| results_from(&cpu, case, Precision::Tf32)).collect();
    for size in TileSize::ALL {
        let (gpu, cases) = (gpu.clone().with_tiles(size), products());
        let ours: Vec<_> = cases.iter().map(|case| results_from(&gpu, case, Precision::Tf32)).collect();
        say_digest(&format!("products in tf32, {size:?}"), &ours);
        let failed = differences_of(GPU_TOLERANCE, &cases, &ours, &exact);
        assert!(failed.is_empty(), "{size:?}: {failed:#?}");
    }
}

#[test]
fn a_gpu_computes_the_same_bits_again_on_tensor_cores() {
    let Some(gpu) = gpu() else { return };
    let run = || products().iter().map(|case| results(&gpu, case)).collect::<Vec<_>>();
    assert!(run() == run());
}

/// Short ones, and one that is longer than a grid.
fn chains() -> [(usize, usize); 6] {
    [(0, 1), (1, 31), (9, 32), (1000, 33), (2, 300), (1, stride() + 40)]
}

#[test]
fn a_gpu_adds_product_chains_exactly_in_tf32() {
    let Some(gpu) = gpu() else { return };
    assert_product_chains(&gpu, &chains());
}

#[test]
fn a_gpu_adds_product_chains_exactly_in_bf16() {
    let Some(gpu) = cuda::open(0).inspect_err(|error| eprintln!("SKIPPED: {error}")).ok() else { return };
    assert_product_chains(&Accelerator::<f32, bf16>::new(gpu), &chains());
}
