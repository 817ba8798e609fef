//! Differentiable augmentation (DiffAugment: Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training",
//! section 3.2; the sizes are those of the authors' `DiffAugment_pytorch.py`): random changes of every image that the
//! discriminator sees, real and fake, through which gradients flow back.
//!
//! y = T(x; u) with u `[7]` ~ U[0, 1) of its own for each image. For pixels in [−1, 1], in this order:
//!
//! - `color`: brightness, x + (u₀ − ½); saturation, m + 2 u₁ (x − m) with m the mean of a pixel's channels; contrast,
//!   M + (u₂ + ½) (x − M) with M the mean of the whole image;
//! - `translation`: pixel (i, j) becomes pixel (i + r, j + s), r and s uniform in −t..=t by u₃ and u₄, t = ⌊side / 8 + ½⌋ of
//!   the height and of the width;
//! - `cutout`: ⌊side / 2 + ½⌋ rows and columns around a centre by u₅ and u₆, less what lies beyond the edges.
//!
//! What is shifted in and what is cut out is 0. Pixels in [0, 1] are treated as if they were mapped to [−1, 1] before and back
//! afterwards: the brightness moves by half as much, and grey is ½. (The authors' code adds and fills the same numbers
//! whatever the range; all of its models have images in [−1, 1].)
//!
//! T is affine in x. The three steps of `color` together are, with σ = 2 u₁ and k = u₂ + ½,
//!
//! y = k σ x + k (1 − σ) m(x) + (1 − k) M(x) + (u₀ − ½),
//!
//! whose linear part is its own transpose; the other two pick pixels. So backward_input is Aᵀ dy and the tangent A v, for the
//! A of the same u. As in the authors' code nothing is cut off at the ends of the range.

mod cpu;
mod policy;

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::philox::{DrawStep, Stream};
use crate::device::{Accelerator, Argument, Backend, Buffer, In, Real, StepState, Storage, Stored, StoredOut, Window};
use crate::ops::case::{self, Case, Fill};
use crate::ops::models::{BOTH, IMAGES};
use crate::ops::pass::{self, Pass, stored};

pub use policy::AugmentPolicy;

/// Numbers that are drawn for each image.
pub const DRAWS: usize = 7;

/// Sizes of a batch, and what may happen to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment<'a> {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// The policies that are applied.
    pub policy: AugmentPolicy,
    /// Half of the pixels' range: how far 1 is in the formulas above.
    pub half_range: f64,
    /// The middle of the range, which fills what is empty.
    pub middle: f64,
    /// The images come in equal groups, one a stream (two at most); within its group an image is numbered from 0.
    pub streams: &'a [Stream],
    /// The number of the draw in its step.
    pub draws: DrawStep,
}

impl Augment<'_> {
    /// Elements of an image.
    fn image(&self) -> usize {
        self.h * self.w * self.c
    }

    /// The factor that turns a sum over a pixel's channels into their mean.
    fn per_pixel(&self) -> f64 {
        1.0 / self.c as f64
    }

    /// The same of a sum over an image.
    fn per_image(&self) -> f64 {
        1.0 / self.image() as f64
    }

    /// A of y = A x + b: brightness and grey are 0.
    fn linear_part(&self) -> Self {
        Augment { half_range: 0.0, middle: 0.0, ..*self }
    }
}

/// The augmentation's passes. u `[N, 7]` in [0, 1) is `given` or, without, drawn by seed and step in `state`; equal u make equal
/// changes in every pass.
pub trait AugmentOp: Backend {
    /// y `[N, H, W, C]` = T(x; u); overwrites y.
    fn augment_forward(
        &self,
        d: &Augment<'_>,
        x: Stored<'_, Self>,
        given: Option<In<'_, Self>>,
        state: In<'_, Self, StepState>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx = Aᵀ dy; overwrites dx.
    fn augment_backward_input(
        &self,
        d: &Augment<'_>,
        dy: Stored<'_, Self>,
        given: Option<In<'_, Self>>,
        state: In<'_, Self, StepState>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// `vy` = A v; overwrites `vy`.
    fn augment_tangent(
        &self,
        d: &Augment<'_>,
        v: Stored<'_, Self>,
        given: Option<In<'_, Self>>,
        state: In<'_, Self, StepState>,
        vy: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.augment_forward(&d.linear_part(), v, given, state, vy)
    }
}

/// The sizes as kernels/inputs/augment.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelAugment {
    half_range: f64,
    middle: f64,
    per_pixel: f64,
    per_image: f64,
    sizes: [i32; 3],
    group: i32,
    policies: [i32; 3],
    streams: [u32; 2],
    draws: DrawStep,
}

impl AsArgument for Augment<'_> {
    fn argument(&self) -> Argument {
        assert!(self.streams.len() <= 2, "the kernel knows two groups at most");
        let stream = |group: usize| self.streams.get(group).map_or(0, |&stream| stream as u32);
        let AugmentPolicy { color, translation, cutout } = self.policy;
        Argument::new(KernelAugment {
            half_range: self.half_range,
            middle: self.middle,
            per_pixel: self.per_pixel(),
            per_image: self.per_image(),
            sizes: [self.h, self.w, self.c].map(int),
            group: int(self.n / self.streams.len()),
            policies: [color, translation, cutout].map(i32::from),
            streams: [stream(0), stream(1)],
            draws: self.draws,
        })
    }
}

impl<T: Real, S: Storage<T>> AugmentOp for Accelerator<T, S> {
    fn augment_forward(
        &self,
        d: &Augment<'_>,
        x: Stored<'_, Self>,
        given: Option<In<'_, Self>>,
        state: In<'_, Self, StepState>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        let (grid, block) = ([int(d.n).unsigned_abs(), 1, 1], [size::IMAGE_THREADS, 1, 1]);
        self.launch(Kernel::AugmentForward, grid, block, &arguments![d, x, given, state, y])
    }

    fn augment_backward_input(
        &self,
        d: &Augment<'_>,
        dy: Stored<'_, Self>,
        given: Option<In<'_, Self>>,
        state: In<'_, Self, StepState>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        let (grid, block) = ([int(d.n).unsigned_abs(), 1, 1], [size::IMAGE_THREADS, 1, 1]);
        self.launch(Kernel::AugmentBackwardInput, grid, block, &arguments![d, dy, given, state, dx])
    }
}

// Once for the mean of an image, once for the rest.
dry_run! {
    AugmentOp:
    augment_forward(d: &Augment<'_>, x, given: Option<Window>, _state, y) =>
        (1 + usize::from(d.policy.color)) * x + given.unwrap_or_default() + y;
    augment_backward_input(d: &Augment<'_>, dy, given: Option<Window>, _state, dx) =>
        (1 + usize::from(d.policy.color)) * dy + given.unwrap_or_default() + dx;
}

const REAL_AND_FAKE: &[Stream] = &[Stream::AugmentReal, Stream::AugmentFake];
const GENERATOR: &[Stream] = &[Stream::AugmentGenerator];

/// Every policy alone, all of them and none; images that are no squares, of one pixel, of one and three channels and of more
/// pixels than a block has threads; both ranges; u given and drawn.
pub fn cases<B: AugmentOp>() -> Vec<Case<B>> {
    let policy = |color, translation, cutout| AugmentPolicy { color, translation, cutout };
    let [color, translation, cutout] =
        [policy(true, false, false), policy(false, true, false), policy(false, false, true)];
    vec![
        given_case(3, [5, 7, 3], color),
        given_case(3, [7, 5, 1], translation),
        given_case(3, [6, 9, 3], cutout),
        given_case(2, [4, 3, 2], policy(false, false, false)),
        given_case(3, [9, 6, 3], AugmentPolicy::ALL),
        given_case(3, [8, 8, 1], AugmentPolicy::ALL),
        given_case(2, [17, 18, 3], AugmentPolicy::ALL),
        // u that is not in [0, 1), as a file may have it: still no pixel beyond the image.
        case_of(4, [9, 10, 1], AugmentPolicy::ALL, Fill::Uniform(-4.0, 4.0), " wild"),
        given_case(2, [1, 1, 3], policy(true, true, false)),
        given_case(1, [1, 1, 1], color),
        all_cut_case(),
        drawn_case(4, [5, 4, 3], color, REAL_AND_FAKE),
        drawn_case(6, [13, 12, 1], policy(false, true, true), REAL_AND_FAKE),
        drawn_case(2, [17, 18, 3], policy(false, true, true), GENERATOR),
    ]
}

fn named<B: AugmentOp>(n: usize, [h, w, c]: [usize; 3], policy: AugmentPolicy, rest: &str) -> Case<B> {
    Case::new("augment", format!("n{n} {h}x{w}x{c} {policy}{rest}"))
}

/// Pixels in [0, 1] where there is one channel, in [−1, 1] elsewhere.
fn sizes(n: usize, [h, w, c]: [usize; 3], policy: AugmentPolicy, streams: &'static [Stream]) -> Augment<'static> {
    let (half_range, middle) = if c == 1 { (0.5, 0.5) } else { (1.0, 0.0) };
    Augment {
        n,
        h,
        w,
        c,
        policy,
        half_range,
        middle,
        streams,
        draws: DrawStep { per_step: 3, index: 1, first_sample: 2 },
    }
}

/// T of numbers as they are drawn.
fn given_case<B: AugmentOp>(n: usize, image: [usize; 3], policy: AugmentPolicy) -> Case<B> {
    case_of(n, image, policy, IN_RANGE, "")
}

/// T with u held fixed: integers follow from it, by which there is no derivative.
fn case_of<B: AugmentOp>(n: usize, image: [usize; 3], policy: AugmentPolicy, u: Fill, rest: &str) -> Case<B> {
    let d = sizes(n, image, policy, GENERATOR);
    let len = n * d.image();
    let fixed = move |be: &B| fixed(be, n, u);
    named(n, image, policy, rest)
        .input("x", len)
        .output("y", len)
        .forward(move |be: &B, [x], [y]| {
            let (u, state) = fixed(be)?;
            be.augment_forward(&d, x.stored(), Some(be.view(&u)), be.view(&state), y.stored())
        })
        .backward(move |be: &B, [_], [_], [dy], [dx]| {
            let (u, state) = fixed(be)?;
            be.augment_backward_input(&d, dy.stored(), Some(be.view(&u)), be.view(&state), dx.stored())
        })
        .tangent(move |be: &B, [_], [_], v, vy| {
            let (u, state) = fixed(be)?;
            be.augment_tangent(&d, v.stored(), Some(be.view(&u)), be.view(&state), vy.stored())
        })
}

const IN_RANGE: Fill = Fill::Uniform(0.0, 1.0);

/// u `[N, 7]`, and a state that nothing is drawn by.
fn fixed<B: Backend>(be: &B, n: usize, fill: Fill) -> Result<(Buffer<B>, Buffer<B, StepState>)> {
    let u = case::drawn(be, n * DRAWS, fill, 77)?;
    Ok((u, be.buffer_of(&[StepState::new(0, 0.0)])?))
}

/// The only pixel of an image is always cut out: grey, and without a gradient.
fn all_cut_case<B: AugmentOp>() -> Case<B> {
    let d = sizes(2, [1, 1, 3], AugmentPolicy::ALL, GENERATOR);
    named(2, [1, 1, 3], AugmentPolicy::ALL, "").input("x", 6).output("y", 6).forward(move |be: &B, [x], [y]| {
        let (u, state) = fixed(be, 2, IN_RANGE)?;
        be.augment_forward(&d, x.stored(), Some(be.view(&u)), be.view(&state), y.stored())
    })
}

/// Drawn changes give the same bits on every device: of the colours those of an image that is black, which brightness alone
/// changes; pixels of a fixed pattern that are only moved. Nothing is rounded in either.
fn drawn_case<B: AugmentOp>(n: usize, image: [usize; 3], policy: AugmentPolicy, streams: &'static [Stream]) -> Case<B> {
    let d = Augment { half_range: 1.0, middle: 0.0, ..sizes(n, image, policy, streams) };
    let len = n * d.image();
    named(n, image, policy, " drawn").output("y", len).forward(move |be: &B, [], [y]| {
        let value = |i: usize| if policy.color { 0.0 } else { (i * 31 % 256) as f64 / 256.0 };
        let pattern: Vec<B::Real> = (0..len).map(|i| B::Real::of(value(i))).collect();
        let state = be.buffer_of(&[StepState { step: 5, ..StepState::new(9, 0.0) }])?;
        be.augment_forward(&d, be.view(&be.stored_of(&pattern)?), None, be.view(&state), y.stored())
    })
}

/// On the real and fake images of a batch; the way back is by the fakes alone.
pub(super) fn passes<B: AugmentOp>() -> Vec<Pass<B>> {
    pass::of_each(IMAGES, passes_of)
}

fn passes_of<B: AugmentOp>(image: [usize; 3]) -> [Pass<B>; 2] {
    let [h, w, c] = image;
    let pass = |n: usize, streams| (sizes(n, image, AugmentPolicy::ALL, streams), format!("n{n} {h}x{w}x{c}"));
    let ((both, both_shape), (fakes, fakes_shape)) = (pass(BOTH, REAL_AND_FAKE), pass(BOTH / 2, GENERATOR));
    let (len, half) = (BOTH * both.image(), BOTH / 2 * both.image());
    [
        Pass::of("augment", both_shape, "forward", [stored(len)], [stored(len)], move |be: &B, [x], [y], state| {
            be.augment_forward(&both, x.stored(), None, be.freeze(state), y.stored())
        }),
        Pass::of(
            "augment",
            fakes_shape,
            "backward_input",
            [stored(half)],
            [stored(half)],
            move |be: &B, [dy], [dx], state| {
                be.augment_backward_input(&fakes, dy.stored(), None, be.freeze(state), dx.stored())
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    /// Images of `value` in [−1, 1] by these u.
    fn augmented(image: [usize; 3], policy: AugmentPolicy, u: &[f64], x: impl Fn(usize) -> f64) -> Vec<f64> {
        let n = u.len() / DRAWS;
        let d = Augment { half_range: 1.0, middle: 0.0, ..sizes(n, image, policy, GENERATOR) };
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        let (x, mut y) = ((0..n * d.image()).map(x).collect::<Vec<_>>(), vec![f64::NAN; n * d.image()]);
        cpu.augment_forward(&d, &x, Some(u), &[StepState::new(0, 0.0)], &mut y).expect("a pass");
        y
    }

    /// By the definition, by hand: numbers that a short sum in decimal gives.
    #[test]
    fn known_colours() {
        let policy = AugmentPolicy { color: true, ..AugmentPolicy::default() };
        let two_pixels = [0.5, 0.25, -0.75, 0.0, 0.5, 1.0];
        for (u, expected) in [
            // Nothing, brighter, grey, twice the saturation.
            ([0.5, 0.5, 0.5], two_pixels),
            ([0.75, 0.5, 0.5], two_pixels.map(|x| x + 0.25)),
            ([0.5, 0.0, 0.5], [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]),
            ([0.5, 1.0, 0.5], [1.0, 0.5, -1.5, -0.5, 0.5, 1.5]),
            // Half of the contrast, around the mean 0.25; one and a half times as much of a brighter one, around 0.75.
            ([0.5, 0.5, 0.0], two_pixels.map(|x| (x + 0.25) / 2.0)),
            ([1.0, 0.5, 1.0], two_pixels.map(|x| 1.5 * (x + 0.5) - 0.375)),
        ] {
            let u = [u[0], u[1], u[2], 0.9, 0.9, 0.9, 0.9];
            let found = augmented([1, 2, 3], policy, &u, |i| two_pixels[i]);
            // Thirds are rounded.
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{u:?}: {found:?}, {expected:?}");
        }
    }

    /// Over evenly spread u every shift comes equally often, and every pixel near the middle is cut out equally often.
    #[test]
    fn shifts_and_cuts_are_evenly_spread() {
        const SIDE: usize = 12;
        let spread: Vec<f64> = (0..60).map(|i| (f64::from(i) + 0.5) / 60.0).collect();
        let rows_of = |policy, at: usize| -> Vec<Vec<f64>> {
            let u: Vec<f64> =
                spread.iter().flat_map(|&u| (0..DRAWS).map(move |i| if i == at { u } else { 0.5 })).collect();
            let y = augmented([SIDE, 1, 1], policy, &u, |i| (1 + i % SIDE) as f64);
            y.chunks(SIDE).map(<[f64]>::to_vec).collect()
        };
        let translation = AugmentPolicy { translation: true, ..AugmentPolicy::default() };
        let shifted = rows_of(translation, 3);
        // ⌊12 / 8 + ½⌋ = 2: five shifts, of which each is twelve times among sixty; the fourth row is never shifted out.
        for shift in 0..5 {
            let seen = shifted.iter().filter(|rows| rows[3] == (2 + shift) as f64).count();
            assert_eq!(seen, 12, "rows shifted by {shift} - 2");
        }
        assert!(shifted.iter().all(|rows| rows.iter().filter(|&&row| row == 0.0).count() <= 2));
        let cutout = AugmentPolicy { cutout: true, ..AugmentPolicy::default() };
        let cut = rows_of(cutout, 5);
        // Six rows around thirteen centres: from three at the edges to six. A column of one pixel is cut as a whole.
        let counts: Vec<usize> = cut.iter().map(|rows| rows.iter().filter(|&&row| row == 0.0).count()).collect();
        assert_eq!((counts.iter().min(), counts.iter().max()), (Some(&3), Some(&6)), "{counts:?}");
        let middle = |row: usize| cut.iter().filter(|rows| rows[row] == 0.0).count();
        assert!(
            (3..9).all(|row| middle(row).abs_diff(60 * 6 / 13) <= 2),
            "{:?}",
            (0..SIDE).map(middle).collect::<Vec<_>>()
        );
    }
}
