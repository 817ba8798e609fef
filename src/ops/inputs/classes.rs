//! The classes of a batch: those of the real images, picked as [`gather`](super::gather) picks the images themselves, and those of the
//! images to generate, drawn from Philox.
//!
//! A class is drawn evenly, whatever the data set's shares are, as in the paper's code (`get_ydist` in `gan_training/distributions.py`
//! of akanazawa/vgan): the high half of a draw of 32 bits times K. A class is then off by 2⁻³² of its share at most.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::philox::{DrawStep, Stream, draw};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Out, Real, StepState, Storage};
use crate::ops::Case;
use crate::ops::inputs::gather::{Gather, permuted};
use crate::ops::models::BATCH;
use crate::ops::pass::{Pass, Work, state};

/// A draw of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassDraw {
    /// K, the classes.
    pub classes: usize,
    /// The purpose of the draw.
    pub stream: Stream,
    /// The number of the draw in its step.
    pub draws: DrawStep,
}

/// Picking and drawing classes.
pub trait ClassesOp: Backend {
    /// classes `[part]` = the labels `[count]` of the images that [`gather`](super::gather::GatherOp::gather) picks by the same sizes,
    /// draws and state; overwrites.
    fn classes_gather(
        &self,
        d: &Gather,
        draws: DrawStep,
        labels: In<'_, Self, u32>,
        state: In<'_, Self, StepState>,
        classes: Out<'_, Self, u32>,
    ) -> Result<()>;

    /// Overwrites classes `[N]` with numbers below K for the seed and step in `state`.
    fn classes_sample(&self, d: &ClassDraw, state: In<'_, Self, StepState>, classes: Out<'_, Self, u32>) -> Result<()>;
}

impl<T: Real, S: Storage<T>> ClassesOp for Cpu<T, S> {
    fn classes_gather(
        &self,
        d: &Gather,
        draws: DrawStep,
        labels: &[u32],
        state: &[StepState],
        classes: &mut [u32],
    ) -> Result<()> {
        let (seed, number, epoch_images) = (state[0].seed, draws.of(state[0].step), d.epoch_images(draws.per_step));
        classes.par_iter_mut().enumerate().for_each(|(i, class)| {
            let sample = number * d.n as u64 + u64::from(draws.sample(i));
            let (epoch, place) = (sample / epoch_images, sample % epoch_images);
            *class = labels[permuted(seed, epoch, place, d.count as u64) as usize];
        });
        Ok(())
    }

    fn classes_sample(&self, d: &ClassDraw, state: &[StepState], classes: &mut [u32]) -> Result<()> {
        let (seed, step) = (state[0].seed, d.draws.of(state[0].step));
        classes.par_iter_mut().enumerate().for_each(|(i, class)| {
            let bits = draw(seed, d.stream, step, d.draws.sample(i), 0)[0];
            *class = ((u64::from(bits) * d.classes as u64) >> 32) as u32;
        });
        Ok(())
    }
}

/// The sizes as kernels/inputs/classes.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelLabels {
    epoch_images: u64,
    count: u64,
    sizes: [i32; 2],
    draws: DrawStep,
    padding: i32,
}

impl<T: Real, S: Storage<T>> ClassesOp for Accelerator<T, S> {
    fn classes_gather(
        &self,
        d: &Gather,
        draws: DrawStep,
        labels: In<'_, Self, u32>,
        state: In<'_, Self, StepState>,
        classes: Out<'_, Self, u32>,
    ) -> Result<()> {
        let epoch_images = d.epoch_images(draws.per_step);
        let (part, sizes) = (classes.len(), [d.n, classes.len()].map(int));
        let sizes = KernelLabels { epoch_images, count: d.count as u64, sizes, draws, padding: 0 };
        self.launch_elements(Kernel::ClassesGather, part, &arguments![Argument::new(sizes), labels, state, classes])
    }

    fn classes_sample(&self, d: &ClassDraw, state: In<'_, Self, StepState>, classes: Out<'_, Self, u32>) -> Result<()> {
        let (stream, draws, count) = (d.stream as u32, Argument::new(d.draws), classes.len());
        let arguments = arguments![d.classes, stream, draws, state, classes, count as u64];
        self.launch_elements(Kernel::ClassesSample, count, &arguments)
    }
}

dry_run! {
    ClassesOp:
    classes_gather(_d: &Gather, _draws: DrawStep, _labels, _state, classes) => 2 * classes;
    classes_sample(_d: &ClassDraw, _state, classes) => classes;
}

/// Batches of later epochs than the first and of a step with several; more images than a block has threads.
pub fn cases<B: ClassesOp>() -> Vec<Case<B>> {
    let sizes = [(1, 1, 1, 0), (3, 10, 1, 0), (5, 16, 3, 2), (300, 301, 1, 0)];
    let gathered = sizes
        .map(|(n, count, per_step, index)| gather_case(n, count, DrawStep { per_step, index, first_sample: index }));
    let drawn = [(1, 1), (17, 3), (300, 10)].map(|(n, classes)| sample_case(n, classes));
    gathered.into_iter().chain(drawn).collect()
}

/// The state of a run in its fourth step.
fn fourth_step() -> [StepState; 1] {
    [StepState { step: 3, ..StepState::new(4, 0.0) }]
}

/// Sizes of a batch of `n` of `count` images; those of the images have no part in it.
fn sizes(n: usize, count: usize) -> Gather {
    Gather { n, count, h: 1, w: 1, c: 1, low: 0.0, high: 1.0, flip: false }
}

/// Labels that are as many as the images, so that each says which image was picked.
fn gather_case<B: ClassesOp>(n: usize, count: usize, draws: DrawStep) -> Case<B> {
    let DrawStep { per_step, index, first_sample } = draws;
    let part = n - first_sample as usize;
    Case::new("classes", format!("gather n{n} of {count} batch {index} of {per_step} from {first_sample}"))
        .real_output("classes", part)
        .forward(move |be: &B, [], [classes]| {
            let labels = be.buffer_of(&(0..count as u32).collect::<Vec<_>>())?;
            let (state, mut found) = (be.buffer_of(&fourth_step())?, be.alloc::<u32>(part)?);
            be.classes_gather(&sizes(n, count), draws, be.view(&labels), be.view(&state), be.view_mut(&mut found))?;
            classes.write(be, &as_reals::<B>(&be.read(be.view(&found))?))
        })
}

fn sample_case<B: ClassesOp>(n: usize, classes: usize) -> Case<B> {
    let d = ClassDraw {
        classes,
        stream: Stream::ClassGenerator,
        draws: DrawStep { per_step: 2, index: 1, first_sample: 9 },
    };
    Case::new("classes", format!("sample n{n} k{classes}")).real_output("classes", n).forward(
        move |be: &B, [], [classes]| {
            let (state, mut found) = (be.buffer_of(&fourth_step())?, be.alloc::<u32>(n)?);
            be.classes_sample(&d, be.view(&state), be.view_mut(&mut found))?;
            classes.write(be, &as_reals::<B>(&be.read(be.view(&found))?))
        },
    )
}

fn as_reals<B: Backend>(classes: &[u32]) -> Vec<B::Real> {
    classes.iter().map(|&class| B::Real::of(f64::from(class))).collect()
}

/// At the sizes of the models, ten classes.
pub(super) fn passes<B: ClassesOp>() -> [Pass<B>; 2] {
    [
        Pass::new("classes", format!("n{BATCH} of 60000"), "gather", move |be: B| {
            let (labels, state) = (be.alloc::<u32>(60_000)?, state(&be)?);
            let mut found = be.alloc::<u32>(BATCH)?;
            let d = sizes(BATCH, 60_000);
            let work = move || {
                let found = be.view_mut(&mut found);
                be.classes_gather(&d, DrawStep::ONCE, be.view(&labels), be.view(&state), found)
            };
            Ok(Box::new(work) as Work)
        }),
        Pass::new("classes", format!("n{BATCH} k10"), "sample", move |be: B| {
            let (state, mut found) = (state(&be)?, be.alloc::<u32>(BATCH)?);
            let d = ClassDraw { classes: 10, stream: Stream::ClassGenerator, draws: DrawStep::ONCE };
            Ok(Box::new(move || be.classes_sample(&d, be.view(&state), be.view_mut(&mut found))) as Work)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::inputs::gather::GatherOp;

    /// Images that are their own labels: what is picked of both is the same, batch after batch, mirrored or not.
    #[test]
    fn a_label_belongs_to_its_image() {
        let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
        let d = Gather { high: 255.0, flip: true, ..sizes(3, 10) };
        let (pixels, labels): (Vec<u8>, Vec<u32>) = ((0..10).collect(), (0..10).collect());
        for (step, index) in [(0, 0), (0, 1), (1, 0), (7, 1)] {
            let (state, draws) =
                ([StepState { step, ..StepState::new(5, 0.0) }], DrawStep { per_step: 2, index, ..DrawStep::ONCE });
            let (mut x, mut classes) = ([f64::NAN; 3], [u32::MAX; 3]);
            cpu.gather(&d, draws, &pixels, &state, &mut x).expect("images");
            cpu.classes_gather(&d, draws, &labels, &state, &mut classes).expect("labels");
            assert_eq!(x, classes.map(f64::from), "step {step}, batch {index}");
        }
    }

    /// 3000 draws of 7 classes: 429 each, with a standard deviation of 19.
    #[test]
    fn every_class_is_drawn_alike() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        let drawn = |stream, step| {
            let d = ClassDraw { classes: 7, stream, draws: DrawStep::ONCE };
            let (state, mut classes) = ([StepState { step, ..StepState::new(5, 0.0) }], vec![u32::MAX; 3000]);
            cpu.classes_sample(&d, &state, &mut classes).expect("classes");
            classes
        };
        let classes = drawn(Stream::ClassDiscriminator, 3);
        let counts: Vec<usize> = (0..7).map(|class| classes.iter().filter(|&&c| c == class).count()).collect();
        assert!(
            counts.iter().sum::<usize>() == 3000 && counts.iter().all(|count| (350..510).contains(count)),
            "{counts:?}"
        );
        assert_ne!(classes, drawn(Stream::ClassGenerator, 3));
        assert_ne!(classes, drawn(Stream::ClassDiscriminator, 4));
    }
}
