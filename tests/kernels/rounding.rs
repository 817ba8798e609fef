//! Rounded operands: which the kernels and the CPU round, how, and what they make of them.

use crate::executors::{differences_from, emulated, emulated_as, emulated_in_tf32, on_tensor_cores, results_from};
use crate::tensor_cores::products;
use half::bf16;
use simt::Options;
use vgan_cuda::Result;
use vgan_cuda::device::kernels::size;
use vgan_cuda::device::{Cpu, Precision};
use vgan_cuda::ops::layers::affine;
use vgan_cuda::ops::layers::conv_transpose2d::ConvTranspose2d;
use vgan_cuda::ops::layers::conv2d::Conv2d;
use vgan_cuda::ops::layers::epilogue::Epilogue;
use vgan_cuda::ops::layers::linear::Linear;
use vgan_cuda::ops::{Case, CaseIn, CaseOut, Executor, Kind, Tensor};

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

type Run<B> = dyn Fn(&B, CaseIn<'_, B>, CaseIn<'_, B>, CaseOut<'_, B>) -> Result<()> + Send + Sync;

/// A pass as a function of two operands: its name, both and the result, and how it runs.
type Pass<B> = (&'static str, [Tensor; 3], Box<Run<B>>);

/// x, w and y of a layer, which serve their gradients too.
fn tensors(x: usize, w: usize, y: usize) -> [Tensor; 3] {
    [Tensor::stored("x", x), Tensor::stored("w", w), Tensor::stored("y", y)]
}

/// Every product that rounds: with channels that fill no tile, and that fill one.
fn passes<B: Executor<Real = f32>>() -> Vec<Pass<B>> {
    let linear = Linear { n: 9, c: 35, k: 7 };
    let [x, w, y] = tensors(9 * 35, 35 * 7, 9 * 7);
    let mut passes: Vec<Pass<B>> = vec![
        (
            "linear_forward",
            [x.clone(), w.clone(), y.clone()],
            Box::new(move |be, x, w, y| be.linear_forward(&linear, x.stored(), w.stored(), None, y.stored())),
        ),
        (
            "linear_backward_input",
            [y.clone(), w.clone(), x.clone()],
            Box::new(move |be, dy, w, dx| be.linear_backward_input(&linear, dy.stored(), w.stored(), dx.stored())),
        ),
        (
            "linear_backward_weight",
            [x, y, Tensor::real("dw", w.len)],
            Box::new(move |be, x, dy, dw| {
                be.linear_backward_weight(&linear, x.stored(), dy.stored(), dw.real(), None, true)
            }),
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
fn conv2d_passes<B: Executor<Real = f32>>(conv: Conv2d) -> Vec<Pass<B>> {
    let [x, w, y] = tensors(conv.x_len(), conv.w_len(), conv.y_len());
    vec![
        (
            "conv2d_forward",
            [x.clone(), w.clone(), y.clone()],
            Box::new(move |be, x, w, y| {
                be.conv2d_forward(&conv, x.stored(), w.stored(), None, Epilogue::none(), y.stored())
            }),
        ),
        (
            "conv2d_backward_input",
            [y.clone(), w.clone(), x.clone()],
            Box::new(move |be, dy, w, dx| {
                be.conv2d_backward_input(&conv, dy.stored(), w.stored(), Epilogue::none(), dx.stored())
            }),
        ),
        (
            "conv2d_backward_weight",
            [x, y, Tensor::real("dw", w.len)],
            Box::new(move |be, x, dy, dw| {
                be.conv2d_backward_weight(&conv, x.stored(), dy.stored(), dw.real(), None, true)
            }),
        ),
    ]
}

/// The result of a pass for operands that were rounded before.
fn computed<B: Executor<Real = f32>>(be: &B, pass: &Pass<B>, left: Precision, right: Precision) -> Vec<f64> {
    let (_, [left_tensor, right_tensor, result], run) = pass;
    let buffer = |tensor: &Tensor, seed, precision: Precision| {
        let values = unrounded(tensor.len, seed).into_iter().map(|v| f64::from(precision.round(v)));
        tensor.buffer(be, &values.collect::<Vec<_>>()).expect("memory")
    };
    let (left, right) = (buffer(left_tensor, 1, left), buffer(right_tensor, 2, right));
    let mut result = result.zeros(be).expect("memory");
    be.run(|| run(be, left.view(be), right.view(be), result.view_mut(be))).expect("no findings");
    result.values(be).expect("a copy")
}

fn in_f32() -> Cpu<f32> {
    Cpu::new(Some(2)).expect("threads")
}

fn in_tf32() -> Cpu<f32> {
    Cpu::in_tf32(Some(2)).expect("threads")
}

fn in_bf16() -> Cpu<f32, bf16> {
    Cpu::new(Some(2)).expect("threads")
}

/// That a backend rounds as [`Precision::round`] does, and rounds both operands; in f32, that it rounds neither. What is stored as
/// bf16 is so before the product.
fn assert_both_operands_are_rounded<B: Executor<Real = f32>>(be: &B) {
    let precision = be.precision();
    for pass in passes() {
        let (name, computed) = (pass.0, |left, right| computed(be, &pass, left, right));
        let whole = Precision::F32;
        let ours = computed(whole, whole);
        for rounded in [Precision::Tf32, Precision::Bf16] {
            // A number that is rounded to tf32 and then to bf16 is mostly what bf16 makes of it at once.
            if (precision, rounded) == (Precision::Bf16, Precision::Tf32) {
                continue;
            }
            let same = precision == rounded;
            assert_eq!(ours == computed(rounded, whole), same, "{name} in {precision:?}, left in {rounded:?}");
            assert_eq!(ours == computed(whole, rounded), same, "{name} in {precision:?}, right in {rounded:?}");
        }
    }
}

#[test]
fn both_operands_of_every_product_are_rounded_to_nearest() {
    assert_both_operands_are_rounded(&emulated::<f32>(Options::default()));
    assert_both_operands_are_rounded(&emulated_in_tf32(Options::default()));
    assert_both_operands_are_rounded(&emulated_as::<f32, bf16>(Options::default()));
    assert_both_operands_are_rounded(&in_f32());
    assert_both_operands_are_rounded(&in_tf32());
    assert_both_operands_are_rounded(&in_bf16());
}

/// With few channels reals stay f32 in every pass, whatever products round to: `exact` computes the same of operands that are rounded
/// where `be` stores them, and its result is rounded where `be` stores it.
fn assert_few_channels_round_nothing<A: Executor<Real = f32>, B: Executor<Real = f32>>(
    exact: &A,
    be: &B,
    stored: Precision,
) {
    let precision = be.precision();
    // From few, and with stride 1 to few.
    let sizes =
        (1..=size::DIRECT_CHANNELS as usize).flat_map(|few| [conv2d(few, 7), Conv2d { stride: 1, ..conv2d(7, few) }]);
    for conv in sizes {
        for (plain, pass) in conv2d_passes(conv).iter().zip(conv2d_passes(conv)) {
            let lies_in = |tensor: &Tensor| if tensor.kind == Kind::Stored { stored } else { Precision::F32 };
            let [left, right, result] = pass.1.each_ref().map(lies_in);
            let expected: Vec<f64> = computed(exact, plain, left, right)
                .into_iter()
                .map(|value| f64::from(result.round(value as f32)))
                .collect();
            let ours = |left, right| computed(be, &pass, left, right) == expected;
            assert!(ours(Precision::F32, Precision::F32), "{} of {conv:?} in {precision:?}", pass.0);
            for (seen, left, right) in [(left, precision, Precision::F32), (right, Precision::F32, precision)] {
                // What is stored so is so.
                assert_eq!(ours(left, right), seen == precision, "it would be seen: {} of {conv:?}", pass.0);
            }
        }
    }
}

#[test]
fn operands_of_convolutions_with_few_channels_are_never_rounded() {
    let kernels = emulated::<f32>(Options::default());
    assert_few_channels_round_nothing(&kernels, &emulated_in_tf32(Options::default()), Precision::F32);
    // Those on tensor cores sum in another order.
    let in_bf16 = emulated_as::<f32, bf16>(Options::default());
    assert_few_channels_round_nothing(&kernels, &in_bf16.without(on_tensor_cores()), Precision::Bf16);
    assert_few_channels_round_nothing(&in_f32(), &in_tf32(), Precision::F32);
    assert_few_channels_round_nothing(&in_f32(), &self::in_bf16(), Precision::Bf16);
}

/// Sizes that the CPU packs straight into tiles, with tails in every direction: more pixels, filters and steps than a tile, a
/// block and a part have.
pub(crate) fn tiled<B: Executor>() -> Vec<Case<B>> {
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

/// A product of rounded operands is exact in f64, and what is left between the two is the rounding of f32 sums. In tf32; storage.rs
/// has the same in bf16.
#[test]
fn rounded_operands_give_on_the_cpu_what_f64_gives() {
    let double = Cpu::<f64>::new(Some(2)).expect("threads");
    let cases = || products().into_iter().chain(tiled()).collect::<Vec<_>>();
    let exact: Vec<_> =
        products().iter().chain(&tiled()).map(|case| results_from(&double, case, Precision::Tf32)).collect();
    let failed = differences_from(&in_tf32(), cases(), &exact, Precision::Tf32);
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Operands as they are: the CPU's own unit for f32, which reads windows where they lie, and crate `gemm` for the rest.
#[test]
fn products_in_f32_give_on_the_cpu_what_f64_gives() {
    let double = Cpu::<f64>::new(Some(2)).expect("threads");
    let exact: Vec<_> = tiled().iter().map(|case| results_from(&double, case, Precision::F32)).collect();
    let failed = differences_from(&in_f32(), tiled(), &exact, Precision::F32);
    assert!(failed.is_empty(), "{failed:#?}");
}
