//! The batch: images picked from the resident 8-bit set, normalised, mirrored where the draw says so.
//!
//! Batches walk a keyed permutation of the set: global sample number p lies in epoch p / E at place p mod E. A step takes
//! B images, one batch or, with several discriminator steps, several; E = ⌊count / B⌋ · B, so what is left of an epoch
//! after its last whole step is dropped, as the article's loader drops the last, partial batch. The permutation is a
//! Feistel network (Luby & Rackoff 1988) on the smallest even power of two that holds the set, walked until it lands
//! inside (Black & Rogaway 2002, cycle walking): no index array, the same order on every device, any place at once.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::philox::{DrawStep, Stream, draw};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Real, StepState, Storage, StoredOut};
use crate::ops::Case;
use crate::ops::models::{BATCH, IMAGES};
use crate::ops::pass::{Pass, Work, state};

/// Sizes of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gather {
    /// Images in a batch.
    pub n: usize,
    /// Images in the set; at least `n`.
    pub count: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// The value of pixel 0.
    pub low: f64,
    /// The value of pixel 255.
    pub high: f64,
    /// True if images are mirrored left-right with probability ½.
    pub flip: bool,
}

impl Gather {
    /// Images of an epoch of steps that take `batches` batches each: whole steps only.
    pub fn epoch_images(&self, batches: u32) -> u64 {
        let step = self.n as u64 * u64::from(batches);
        self.count as u64 / step * step
    }
}

/// Picking a batch.
pub trait GatherOp: Backend {
    /// x `[part, H, W, C]` = the batch of number `draws` of the step in `state`, from images `[count, H, W, C]`, or as many images of it
    /// as there are in x, from the first sample of `draws` on; overwrites. Byte p becomes low + (high − low) · p / 255. The set holds all batches of a step at least.
    fn gather(
        &self,
        d: &Gather,
        draws: DrawStep,
        images: In<'_, Self, u8>,
        state: In<'_, Self, StepState>,
        x: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// The place in the set of place `index` of the shuffled epoch `epoch`; a bijection of `0 .. count`.
pub fn permuted(seed: u64, epoch: u64, index: u64, count: u64) -> u64 {
    // Half the bits of a domain of 4^half ≥ count.
    let half = (64 - count.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let keys = [0, 1].map(|block| draw(seed, Stream::Permutation, epoch, 0, block));
    let mut place = index;
    loop {
        let (mut left, mut right) = (place >> half, place & mask);
        for key in keys.as_flattened() {
            (left, right) = (right, left ^ (mix(right as u32 ^ key) & mask));
        }
        place = left << half | right;
        if place < count {
            return place;
        }
    }
}

/// A bijective 32-bit mixer: multiplications by odd constants and xor-shifts.
#[inline(always)]
fn mix(mut x: u32) -> u64 {
    x = (x ^ (x >> 16)).wrapping_mul(0x9E37_79B1);
    x = (x ^ (x >> 15)).wrapping_mul(0x85EB_CA77);
    u64::from(x ^ (x >> 16))
}

impl<T: Real, S: Storage<T>> GatherOp for Cpu<T, S> {
    fn gather(&self, d: &Gather, draws: DrawStep, images: &[u8], state: &[StepState], x: &mut [S]) -> Result<()> {
        let (seed, number) = (state[0].seed, draws.of(state[0].step));
        let epoch_images = d.epoch_images(draws.per_step);
        let mut table = [S::zeroed(); 256];
        for (value, entry) in (0u8..=255).zip(&mut table) {
            *entry = S::of_real(T::of(d.low + (d.high - d.low) * f64::from(value) / 255.0));
        }
        let (image_len, row_len) = (d.h * d.w * d.c, d.w * d.c);
        x.par_chunks_mut(image_len).enumerate().for_each(|(i, x)| {
            let within = draws.sample(i);
            let sample = number * d.n as u64 + u64::from(within);
            let (epoch, place) = (sample / epoch_images, sample % epoch_images);
            let index = permuted(seed, epoch, place, d.count as u64) as usize;
            let image = &images[index * image_len..][..image_len];
            let mirrored = d.flip && draw(seed, Stream::Flip, number, within, 0)[0] & 1 == 1;
            for (x, row) in x.chunks_exact_mut(row_len).zip(image.chunks_exact(row_len)) {
                for (column, x) in x.chunks_exact_mut(d.c).enumerate() {
                    let source = if mirrored { d.w - 1 - column } else { column };
                    for (x, &pixel) in x.iter_mut().zip(&row[source * d.c..]) {
                        *x = table[usize::from(pixel)];
                    }
                }
            }
        });
        Ok(())
    }
}

/// The sizes as kernels/inputs/gather.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelGather {
    epoch_images: u64,
    count: u64,
    sizes: [i32; 4],
    part: i32,
    flip: i32,
    draws: DrawStep,
    padding: i32,
    low: f64,
    high: f64,
}

impl<T: Real, S: Storage<T>> GatherOp for Accelerator<T, S> {
    fn gather(
        &self,
        d: &Gather,
        draws: DrawStep,
        images: In<'_, Self, u8>,
        state: In<'_, Self, StepState>,
        x: StoredOut<'_, Self>,
    ) -> Result<()> {
        let part = x.len() / (d.h * d.w * d.c);
        let sizes = KernelGather {
            epoch_images: d.epoch_images(draws.per_step),
            count: d.count as u64,
            sizes: [d.n, d.h, d.w, d.c].map(int),
            part: int(part),
            flip: i32::from(d.flip),
            draws,
            padding: 0,
            low: d.low,
            high: d.high,
        };
        self.launch_rows(Kernel::Gather, part, &arguments![Argument::new(sizes), images, state, x])
    }
}

dry_run! {
    GatherOp:
    gather(_d: &Gather, _draws: DrawStep, _images, _state, x) => x + x / 4;
}

/// Odd sizes, grey and colour, both ranges, mirrored and not; the batch belongs to a later epoch than the first, and in two
/// cases it is not the only one of its step.
pub fn cases<B: GatherOp>() -> Vec<Case<B>> {
    let size = |n, count, h, w, c, low, flip| Gather { n, count, h, w, c, low, high: 1.0, flip };
    let several = size(3, 10, 5, 3, 3, 0.0, true);
    vec![
        case(size(1, 1, 1, 1, 1, -1.0, false), DrawStep::ONCE),
        case(size(3, 10, 5, 3, 3, -1.0, true), DrawStep::ONCE),
        case(size(17, 33, 3, 17, 1, -1.0, true), DrawStep::ONCE),
        case(size(4, 9, 7, 5, 1, -1.0, false), DrawStep::ONCE),
        case(size(3, 10, 5, 3, 3, 0.0, false), DrawStep::ONCE),
        case(size(2, 5, 3, 5, 1, 0.0, true), DrawStep::ONCE),
        case(several, DrawStep { per_step: 3, ..DrawStep::ONCE }),
        case(several, DrawStep { per_step: 3, index: 2, first_sample: 0 }),
        case(several, DrawStep { per_step: 3, index: 2, first_sample: 1 }),
    ]
}

/// The samples of a batch from the first one of `draws` on.
fn case<B: GatherOp>(d: Gather, draws: DrawStep) -> Case<B> {
    let Gather { n, count, h, w, c, low, high, flip } = d;
    let DrawStep { per_step, index, first_sample: first } = draws;
    let name =
        format!("n{n} of {count} {h}x{w}x{c} to [{low}, {high}] flip {flip} batch {index} of {per_step} from {first}");
    Case::new("gather", name).output("x", (n - first as usize) * h * w * c).forward(move |be: &B, [], [x]| {
        let pixels: Vec<u8> = (0..count * h * w * c).map(|i| (i * 31 % 256) as u8).collect();
        let state = be.buffer_of(&[StepState { step: 3, ..StepState::new(4, 0.0) }])?;
        be.gather(&d, draws, be.view(&be.buffer_of(&pixels)?), be.view(&state), x.stored())
    })
}

/// At the sizes of the models.
pub(super) fn passes<B: GatherOp>() -> [Pass<B>; 2] {
    let size = |count, [h, w, c]: [usize; 3], low, flip| Gather { n: BATCH, count, h, w, c, low, high: 1.0, flip };
    [size(60_000, IMAGES[0], 0.0, false), size(50_000, IMAGES[1], -1.0, true)].map(pass)
}

fn pass<B: GatherOp>(d: Gather) -> Pass<B> {
    let shape = format!("n{} of {} {}x{}x{}", d.n, d.count, d.h, d.w, d.c);
    Pass::new("gather", shape, "forward", move |be: B| -> Result<Work> {
        let image = d.h * d.w * d.c;
        let images =
            be.buffer_from(d.count * image, || (0..d.count * image).map(|i| (i * 31 % 256) as u8).collect())?;
        let (state, mut x) = (state(&be)?, be.alloc(d.n * image)?);
        Ok(Box::new(move || be.gather(&d, DrawStep::ONCE, be.view(&images), be.view(&state), be.view_mut(&mut x))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permutation_is_one_and_differs_by_epoch_and_seed() {
        for count in [1, 2, 3, 17, 64, 65, 1000, 4096, 10_007] {
            let order = |seed, epoch| (0..count).map(|i| permuted(seed, epoch, i, count)).collect::<Vec<_>>();
            let mut sorted = order(7, 3);
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..count), "count {count}");
            if count > 16 {
                assert_ne!(order(7, 3), order(7, 4), "count {count}");
                assert_ne!(order(7, 3), order(8, 3), "count {count}");
            }
        }
    }

    #[test]
    fn the_permutation_leaves_no_order_behind() {
        // Neighbours land a third of the set apart on average, and few places keep their number.
        let count = 60_000u64;
        let order: Vec<u64> = (0..count).map(|i| permuted(1, 0, i, count)).collect();
        let distance: f64 = order.windows(2).map(|w| w[0].abs_diff(w[1]) as f64).sum::<f64>() / (count - 1) as f64;
        assert!((distance / count as f64 - 1.0 / 3.0).abs() < 0.01, "mean distance {distance}");
        let fixed = order.iter().enumerate().filter(|&(i, &p)| i as u64 == p).count();
        assert!(fixed < 10, "{fixed} fixed points");
    }

    #[test]
    fn batches_cover_an_epoch_once_and_flips_mirror() {
        let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
        let d = Gather { n: 3, count: 10, h: 1, w: 2, c: 1, low: -1.0, high: 1.0, flip: true };
        let images: Vec<u8> = (0..20).collect();
        let mut seen = std::collections::BTreeSet::new();
        let mut mirrored = 0;
        for step in 0..3 {
            let state = [StepState { step, ..StepState::new(5, 0.0) }];
            let mut x = vec![0.0; 6];
            cpu.gather(&d, DrawStep::ONCE, &images, &state, &mut x).expect("gather");
            for pair in x.chunks_exact(2) {
                let bytes: Vec<u32> = pair.iter().map(|v| ((v + 1.0) * 127.5).round() as u32).collect();
                mirrored += usize::from(bytes[0] > bytes[1]);
                assert_eq!(bytes[0].abs_diff(bytes[1]), 1);
                assert!(seen.insert(bytes[0] / 2), "image {} came twice in one epoch", bytes[0] / 2);
            }
        }
        assert_eq!(seen.len(), 9);
        assert!((1..9).contains(&mirrored), "{mirrored} of 9 mirrored");
    }

    /// Steps of two batches: ten images make one step of an epoch, of six images, and what is drawn for a later batch is
    /// what a later step would draw.
    #[test]
    fn batches_of_one_step_cover_an_epoch_once() {
        let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
        let d = Gather { n: 3, count: 10, h: 1, w: 1, c: 1, low: 0.0, high: 255.0, flip: false };
        let images: Vec<u8> = (0..10).collect();
        assert_eq!((d.epoch_images(1), d.epoch_images(2), d.epoch_images(3)), (9, 6, 9));
        let batch = |step, draws| {
            let (state, mut x) = ([StepState { step, ..StepState::new(5, 0.0) }], vec![0.0; 3]);
            cpu.gather(&d, draws, &images, &state, &mut x).expect("gather");
            x
        };
        for step in 0..4 {
            let mut seen: Vec<f64> =
                [0, 1].map(|index| batch(step, DrawStep { per_step: 2, index, ..DrawStep::ONCE })).concat();
            seen.sort_by(f64::total_cmp);
            seen.dedup();
            assert_eq!(seen.len(), 6, "step {step}");
        }
        // Three batches a step have the epoch of one batch: nine images.
        assert_eq!(batch(1, DrawStep { per_step: 3, index: 2, ..DrawStep::ONCE }), batch(5, DrawStep::ONCE));
    }
}
