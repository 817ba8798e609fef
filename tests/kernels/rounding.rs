//! Rounded operands: which the kernels and the CPU round, how, and what they make of them.

use crate::executors::{differences_from, emulated_in, results_from};
use crate::tensor_cores::{TENSOR, products};
use simt::Options;
use vgan_cuda::Result;
use vgan_cuda::device::kernels::size;
use vgan_cuda::device::{Backend, Cpu, In, Out, Precision};
use vgan_cuda::ops::layers::affine;
use vgan_cuda::ops::layers::conv_transpose2d::ConvTranspose2d;
use vgan_cuda::ops::layers::conv2d::Conv2d;
use vgan_cuda::ops::layers::linear::Linear;
use vgan_cuda::ops::{Case, Executor};

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

type Run<B> = dyn Fn(&B, In<'_, B>, In<'_, B>, Out<'_, B>) -> Result<()> + Send + Sync;

/// A pass as a function of two operands: its name, the elements of both and of the result, and how it runs.
type Pass<B> = (&'static str, [usize; 3], Box<Run<B>>);

/// Every product that rounds: with channels that fill no tile, and that fill one.
fn passes<B: Executor + Backend<Real = f32>>() -> Vec<Pass<B>> {
    let linear = Linear { n: 9, c: 35, k: 7 };
    let [x, w, y] = [9 * 35, 35 * 7, 9 * 7];
    let mut passes: Vec<Pass<B>> = vec![
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
    ];
    passes.extend(conv2d_passes(conv2d(size::DIRECT_CHANNELS as usize + 1, 7)));
    passes.extend(conv2d_passes(conv2d(32, 64)));
    passes.extend(conv2d_passes(Conv2d { stride: 1, ..conv2d(7, size::DIRECT_CHANNELS as usize + 1) }));
    passes
}

/// A convolution from `c` channels to `k`.
fn conv2d(c: usize, k: usize) -> Conv2d {
    Conv2d { n: 2, h: 6, w: 5, c, k, r: 3, s: 3, stride: 2, padding: 1 }
}

/// The passes of a convolution.
fn conv2d_passes<B: Executor + Backend<Real = f32>>(conv: Conv2d) -> Vec<Pass<B>> {
    let [x, w, y] = [conv.x_len(), conv.w_len(), conv.y_len()];
    vec![
        ("conv2d_forward", [x, w, y], Box::new(move |be, x, w, y| be.conv2d_forward(&conv, x, w, None, y))),
        ("conv2d_backward_input", [y, w, x], Box::new(move |be, dy, w, dx| be.conv2d_backward_input(&conv, dy, w, dx))),
        (
            "conv2d_backward_weight",
            [x, y, w],
            Box::new(move |be, x, dy, dw| be.conv2d_backward_weight(&conv, x, dy, dw, None)),
        ),
    ]
}

/// What a pass makes of operands that were rounded before.
fn computed<B: Executor + Backend<Real = f32>>(be: &B, pass: &Pass<B>, left: Precision, right: Precision) -> Vec<f32> {
    let (_, [left_len, right_len, len], run) = pass;
    let buffer = |len, seed, precision: Precision| {
        let values: Vec<f32> = unrounded(len, seed).into_iter().map(|v| precision.round(v)).collect();
        be.buffer_of(&values).expect("memory")
    };
    let (left, right) = (buffer(*left_len, 1, left), buffer(*right_len, 2, right));
    let mut result = be.alloc::<f32>(*len).expect("memory");
    be.run(|| run(be, be.view(&left), be.view(&right), be.view_mut(&mut result))).expect("no findings");
    be.read(be.view(&result)).expect("a copy")
}

fn cpu(precision: Precision) -> Cpu<f32> {
    Cpu::with_precision(Some(2), precision).expect("threads")
}

/// That a backend rounds as [`Precision::round`] does, and rounds both operands; in f32, that it rounds neither.
fn assert_both_operands_are_rounded<B: Executor + Backend<Real = f32>>(be: &B) {
    let precision = be.precision();
    for pass in passes() {
        let (name, computed) = (pass.0, |left, right| computed(be, &pass, left, right));
        let (whole, [tf32, bf16]) = (Precision::F32, TENSOR);
        let ours = computed(whole, whole);
        assert_eq!(ours == computed(tf32, whole), precision == tf32, "{name} in {precision:?}, left in tf32");
        assert_eq!(ours == computed(whole, tf32), precision == tf32, "{name} in {precision:?}, right in tf32");
        assert_eq!(ours == computed(bf16, whole), precision == bf16, "{name} in {precision:?}, left in bf16");
        assert_eq!(ours == computed(whole, bf16), precision == bf16, "{name} in {precision:?}, right in bf16");
    }
}

#[test]
fn both_operands_of_every_product_are_rounded_to_nearest() {
    for &precision in Precision::ALL {
        assert_both_operands_are_rounded(&emulated_in(precision, Options::default()));
        assert_both_operands_are_rounded(&cpu(precision));
    }
}

/// With few channels they stay f32 in every pass, whatever products round to.
fn assert_few_channels_round_nothing<B: Executor + Backend<Real = f32>>(exact: &B, be: &B) {
    let precision = be.precision();
    // From few, and with stride 1 to few.
    let sizes =
        (1..=size::DIRECT_CHANNELS as usize).flat_map(|few| [conv2d(few, 7), Conv2d { stride: 1, ..conv2d(7, few) }]);
    for conv in sizes {
        for pass in conv2d_passes(conv) {
            let expected = computed(exact, &pass, Precision::F32, Precision::F32);
            let ours = |left, right| computed(be, &pass, left, right) == expected;
            assert!(ours(Precision::F32, Precision::F32), "{} of {conv:?} in {precision:?}", pass.0);
            assert!(!ours(precision, Precision::F32) && !ours(Precision::F32, precision), "it would be seen");
        }
    }
}

#[test]
fn operands_of_convolutions_with_few_channels_are_never_rounded() {
    let emulated = |precision| emulated_in(precision, Options::default());
    for precision in TENSOR {
        assert_few_channels_round_nothing(&emulated(Precision::F32), &emulated(precision));
        assert_few_channels_round_nothing(&cpu(Precision::F32), &cpu(precision));
    }
}

/// Sizes that the CPU rounds straight into tiles, with tails in every direction: more pixels, filters and steps than a tile, a
/// block and a part have.
fn tiled<B: Executor>() -> Vec<Case<B>> {
    let square = |n, side, c, k, r, stride, padding| Conv2d { n, h: side, w: side, c, k, r, s: r, stride, padding };
    let sizes = [
        square(2, 9, 32, 33, 4, 2, 1),
        square(3, 7, 64, 20, 3, 1, 1),
        square(2, 5, 32, 64, 1, 1, 0),
        square(5, 15, 32, 32, 5, 2, 2),
        square(1, 3, 20, 32, 4, 4, 2),
        square(3, 1, 32, 32, 4, 2, 2),
    ];
    let long = Conv2d { n: 2, h: 20, w: 33, c: 96, k: 544, r: 5, s: 3, stride: 3, padding: 1 };
    let turned = ConvTranspose2d { n: 2, h: 4, w: 3, c: 96, k: 32, r: 4, s: 3, stride: 2, padding: 1 };
    affine::cases(sizes).into_iter().chain(affine::cases([long])).chain(affine::cases([turned])).collect()
}

/// A product of rounded operands is exact in f64, and what is left between the two is the rounding of f32 sums.
#[test]
fn rounded_operands_give_on_the_cpu_what_f64_gives() {
    let double = Cpu::<f64>::new(Some(2)).expect("threads");
    let cases = || products().into_iter().chain(tiled()).collect::<Vec<_>>();
    for precision in TENSOR {
        let exact: Vec<_> =
            products().iter().chain(&tiled()).map(|case| results_from(&double, case, precision)).collect();
        let failed = differences_from(&cpu(precision), cases(), &exact, precision);
        assert!(failed.is_empty(), "{precision:?}: {failed:#?}");
    }
}
