//! Linear layers and convolutions on tensor cores, under the emulator: against the CPU in f64, in every order of threads,
//! and how their words lie in shared memory.
//!
//! The emulator sums a fragment in the order of depth; a GPU's order inside one mma is its own.

mod executors;

use std::collections::BTreeSet;
use std::path::Path;

use executors::{Emulated, differences_from, emulated_in, results, results_from};
use simt::{CopyMode, Emulator, Options, Order, Program, Sources};
use vgan_cuda::Result;
use vgan_cuda::device::kernels::size;
use vgan_cuda::device::{Accelerator, Backend, Cpu, In, Out, Precision};
use vgan_cuda::ops::conv_transpose2d::ConvTranspose2d;
use vgan_cuda::ops::conv2d::{Conv2d, Conv2dOp};
use vgan_cuda::ops::linear::{Linear, LinearOp};
use vgan_cuda::ops::{self, Case, Executor, affine};

const TENSOR: [Precision; 2] = [Precision::Tf32, Precision::Bf16];

/// The products among all cases, and sizes of several tiles and steps with tails in every direction.
fn products<B: Executor>() -> Vec<Box<dyn Case<B>>> {
    let mut cases = ops::cases::<B>();
    cases.retain(|case| ["linear", "conv2d", "conv_transpose2d"].contains(&case.op()));
    assert!(cases.len() > 30, "{} cases", cases.len());
    let linear = [(65, 67, 33), (130, 70, 100), (64, 64, 64), (3, 129, 65)];
    cases.extend(affine::cases(linear.map(|(n, c, k)| Linear { n, c, k })));
    let square = |n, side, c, k, r, stride, padding| Conv2d { n, h: side, w: side, c, k, r, s: r, stride, padding };
    let plain = [square(2, 9, 17, 33, 3, 1, 1), square(3, 9, 17, 33, 4, 2, 1), square(1, 33, 5, 3, 4, 2, 1)];
    cases.extend(affine::cases(plain));
    // More than SPLIT_K output pixels: the weight gradient comes in parts.
    cases.extend(affine::cases([square(5, 15, 3, 65, 1, 1, 0)]));
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
    cases
}

/// A product of rounded operands is exact in f64, and what is left between the two is the rounding of f32 sums.
#[test]
fn rounded_operands_give_what_the_cpu_gives_and_nothing_is_found() {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    for precision in TENSOR {
        let exact: Vec<_> = products().iter().map(|case| results_from(&cpu, &**case, precision)).collect();
        let emulated = emulated_in(precision, Options::default());
        let failed = differences_from(&emulated, products(), &exact, precision);
        assert!(failed.is_empty(), "{precision:?}: {failed:#?}");
    }
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    for precision in TENSOR {
        let run = |threads, blocks, copies| {
            let emulated = emulated_in(precision, Options { threads, blocks, copies, ..Options::default() });
            products().iter().map(|case| results(&emulated, &**case)).collect::<Vec<_>>()
        };
        let expected = run(Order::Ascending, Order::Ascending, CopyMode::Late);
        assert!(run(Order::Descending, Order::Descending, CopyMode::Early) == expected, "{precision:?}, descending");
        assert!(run(Order::Random(1), Order::Random(2), CopyMode::Late) == expected, "{precision:?}, random");
    }
}

/// Numbers with all bits in use, of many sizes, and ties of both types.
fn unrounded(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    };
    let value = |(i, bits): (usize, u32)| {
        let fraction = match i % 7 {
            0 => bits & 0x7f_e000 | 0x1000,
            1 => bits & 0x7f_0000 | 0x8000,
            _ => bits & 0x7f_ffff,
        };
        f32::from_bits(bits & 0x8000_0000 | (120 + bits % 13) << 23 | fraction)
    };
    (0..len).map(|i| value((i, draw() ^ draw() >> 16))).collect()
}

type Run<'a> = dyn Fn(
        &Accelerator<Emulated, f32>,
        In<'_, Accelerator<Emulated, f32>>,
        In<'_, Accelerator<Emulated, f32>>,
        Out<'_, Accelerator<Emulated, f32>>,
    ) -> Result<()>
    + 'a;

/// Every product, as a function of two operands: its name, the elements of both and of the result, and how it runs.
fn passes() -> Vec<(&'static str, [usize; 3], Box<Run<'static>>)> {
    let linear = Linear { n: 9, c: 35, k: 7 };
    let conv = Conv2d { n: 2, h: 6, w: 5, c: 5, k: 7, r: 3, s: 3, stride: 2, padding: 1 };
    let [x, w, y] = [9 * 35, 35 * 7, 9 * 7];
    let [cx, cw, cy] = [conv.x_len(), conv.w_len(), conv.y_len()];
    vec![
        ("linear_forward", [x, w, y], Box::new(move |be, x, w, y| be.linear_forward(&linear, x, w, None, y))),
        (
            "linear_backward_input",
            [y, w, x],
            Box::new(move |be, dy, w, dx| be.linear_backward_input(&linear, dy, w, dx)),
        ),
        (
            "linear_backward_weight",
            [x, y, w],
            Box::new(move |be, x, dy, dw| be.linear_backward_weight(&linear, x, dy, dw, None)),
        ),
        ("conv2d_forward", [cx, cw, cy], Box::new(move |be, x, w, y| be.conv2d_forward(&conv, x, w, None, y))),
        (
            "conv2d_backward_input",
            [cy, cw, cx],
            Box::new(move |be, dy, w, dx| be.conv2d_backward_input(&conv, dy, w, dx)),
        ),
        (
            "conv2d_backward_weight",
            [cx, cy, cw],
            Box::new(move |be, x, dy, dw| be.conv2d_backward_weight(&conv, x, dy, dw, None)),
        ),
    ]
}

/// That the kernels round as [`Precision::round`] does, and round both operands; in f32, that they round neither.
#[test]
fn both_operands_of_every_product_are_rounded_to_nearest() {
    for precision in Precision::ALL {
        let be = emulated_in(precision, Options::default());
        for (name, [left, right, len], run) in passes() {
            let computed = |round_left: Precision, round_right: Precision| {
                let buffer = |len, seed, precision: Precision| {
                    let values: Vec<f32> = unrounded(len, seed).into_iter().map(|v| precision.round(v)).collect();
                    be.buffer_of(&values).expect("memory")
                };
                let (left, right) = (buffer(left, 1, round_left), buffer(right, 2, round_right));
                let mut result = be.alloc::<f32>(len).expect("memory");
                run(&be, be.view(&left), be.view(&right), be.view_mut(&mut result)).expect("no findings");
                be.read(be.view(&result)).expect("a copy")
            };
            let (whole, [tf32, bf16]) = (Precision::F32, TENSOR);
            let ours = computed(whole, whole);
            assert_eq!(ours == computed(tf32, whole), precision == tf32, "{name} in {precision:?}, left in tf32");
            assert_eq!(ours == computed(whole, tf32), precision == tf32, "{name} in {precision:?}, right in tf32");
            assert_eq!(ours == computed(bf16, whole), precision == bf16, "{name} in {precision:?}, left in bf16");
            assert_eq!(ours == computed(whole, bf16), precision == bf16, "{name} in {precision:?}, right in bf16");
        }
    }
}

/// Places in a stage of shared memory, one a thread: (row, word of the row, word of the stage).
type Places = Vec<(usize, usize, usize)>;

/// What the index functions of kernels/product_tensor.cuh say: stores along the depth and across it, fragments of A and B.
fn layout() -> [Places; 4] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = vec![root.join("tests/probes/tensor_layout.cu")];
    let sources = Sources {
        files,
        include_dirs: vec![root.join("kernels")],
        defines: vec!["REAL=float".into()],
        ..Sources::default()
    };
    let program = Program::compile(&sources).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Emulator::new(&program, Options::default()).expect("an emulator");
    let threads = size::TENSOR_THREADS as usize;
    let addresses = [0; 3].map(|_: i32| emulator.alloc(4 * 4 * threads).expect("memory"));
    let arguments = addresses.map(u64::to_ne_bytes);
    let arguments: Vec<&[u8]> = arguments.iter().map(|bytes| &bytes[..]).collect();
    let block = [size::TENSOR_THREADS, 1, 1];
    emulator.launch("tensor_layout", [1, 1, 1], block, 0, &arguments).unwrap_or_else(|report| panic!("{report}"));
    let [rows, words, places] = addresses.map(|address| {
        let mut bytes = vec![0; 4 * 4 * threads];
        emulator.download(address, &mut bytes).expect("a copy");
        bytes.chunks_exact(4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize).collect::<Vec<_>>()
    });
    [0, 1, 2, 3].map(|i| {
        let of = |values: &[usize], thread: usize| values[i * threads + thread];
        (0..threads).map(|t| (of(&rows, t), of(&words, t), of(&places, t))).collect()
    })
}

/// How often the busiest of 32 banks is asked at once: 1 where there is no conflict.
fn busiest(words: impl Iterator<Item = usize>) -> usize {
    let words: BTreeSet<usize> = words.collect();
    (0..32).map(|bank| words.iter().filter(|word| *word % 32 == bank).count()).max().unwrap_or(0)
}

#[test]
fn shared_memory_is_stored_and_loaded_without_bank_conflicts() {
    assert_eq!((busiest(0..32), busiest((0..32).map(|i| i * 2)), busiest((0..32).map(|_| 7))), (1, 2, 1));
    let [along, across, a, b] = layout();
    for (name, stores) in [("along", &along), ("across", &across)] {
        for (warp, lanes) in stores.chunks(32).enumerate() {
            assert_eq!(busiest(lanes.iter().map(|place| place.2)), 1, "stores of warp {warp}, {name} the depth");
        }
    }
    // ldmatrix reads eight rows of four words at once, and a warp begins at a multiple of eight rows and eight words.
    for (name, rows) in [("A", &a[..32]), ("B", &b[..32])] {
        for (matrix, lanes) in rows.chunks(8).enumerate() {
            let words = lanes.iter().flat_map(|place| (0..4).map(|word| place.2 + word));
            assert_eq!(busiest(words), 1, "matrix {matrix} of {name}");
            assert!(lanes.iter().all(|place| place.2 % 4 == 0), "16 bytes, aligned");
        }
    }
}

/// A warp's load takes 32 elements in runs that fill whole sectors of 32 bytes, as the operand lies in memory.
#[test]
fn global_memory_is_loaded_in_whole_sectors() {
    let [along, across, ..] = layout();
    for (warp, lanes) in along.chunks(32).enumerate() {
        let sectors: BTreeSet<_> = lanes.iter().map(|&(row, word, _)| (row, word / 8)).collect();
        assert_eq!(sectors.len(), 4, "warp {warp}, along the depth");
    }
    for (warp, lanes) in across.chunks(32).enumerate() {
        let sectors: BTreeSet<_> = lanes.iter().map(|&(row, word, _)| (row / 8, word)).collect();
        assert_eq!(sectors.len(), 4, "warp {warp}, across the depth");
    }
}

/// Every word of a stage is brought by one thread.
#[test]
fn the_threads_bring_every_word_once() {
    let words = size::TENSOR_WORDS as usize;
    let rows_at_once = size::TENSOR_THREADS as usize / words;
    for places in layout().into_iter().take(2) {
        let brought: BTreeSet<_> = places.iter().map(|&(row, word, _)| (row, word)).collect();
        assert_eq!(brought, (0..rows_at_once).flat_map(|row| (0..words).map(move |word| (row, word))).collect());
        assert_eq!(brought.len(), places.len());
    }
}
