//! Draws the latent vectors z `[N, latent]` from Philox: U[0, 1) or N(0, 1).

use crate::Result;
use crate::choices::choices;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::normal::fill_normals;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::philox::{DrawStep, Stream, draw, uniform};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Real, StepState, Storage, StoredOut};
use crate::ops::Case;
use crate::ops::models::BATCH;
use crate::ops::pass::{Pass, stored};

choices! {
    /// The distribution of the latent vector.
    pub enum Prior {
        /// U[0, 1) in each dimension, as the article has it.
        Uniform = "uniform",
        /// N(0, 1) in each dimension, as the paper has it.
        Normal = "normal",
    }
}

/// Sizes of a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorDraw {
    /// Length of one z.
    pub latent: usize,
    /// The distribution.
    pub prior: Prior,
    /// The purpose of the draw.
    pub stream: Stream,
    /// The number of the draw in its step, and of the first sample; the others follow.
    pub draws: DrawStep,
}

/// Drawing z.
pub trait PriorOp: Backend {
    /// Overwrites z `[N, latent]` with the draws of the samples from the first on, for the seed and step in `state`.
    fn prior_sample(&self, d: &PriorDraw, state: In<'_, Self, StepState>, z: StoredOut<'_, Self>) -> Result<()>;
}

impl<T: Real, S: Storage<T>> PriorOp for Cpu<T, S> {
    fn prior_sample(&self, d: &PriorDraw, state: &[StepState], z: &mut [S]) -> Result<()> {
        const BLOCK: usize = 64;
        let (seed, step) = (state[0].seed, d.draws.of(state[0].step));
        z.par_chunks_mut(d.latent).enumerate().for_each(|(image, z)| {
            let sample = d.draws.sample(image);
            for (block, z) in z.chunks_mut(BLOCK).enumerate() {
                let mut drawn = [0.0f32; BLOCK];
                match d.prior {
                    Prior::Normal => fill_normals(seed, d.stream, step, sample, block * BLOCK, &mut drawn),
                    Prior::Uniform => {
                        for (four, drawn) in drawn.chunks_exact_mut(4).enumerate() {
                            let counter = u32::try_from(block * BLOCK / 4 + four).unwrap_or(u32::MAX);
                            drawn.copy_from_slice(&draw(seed, d.stream, step, sample, counter).map(uniform));
                        }
                    }
                }
                z.iter_mut().zip(drawn).for_each(|(z, drawn)| *z = S::of_real(T::of_f32(drawn)));
            }
        });
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> PriorOp for Accelerator<T, S> {
    fn prior_sample(&self, d: &PriorDraw, state: In<'_, Self, StepState>, z: StoredOut<'_, Self>) -> Result<()> {
        let (normal, stream, draws) = (i32::from(d.prior == Prior::Normal), d.stream as u32, Argument::new(d.draws));
        let arguments = arguments![normal, stream, draws, d.latent, state, z, z.len() as u64];
        self.launch_elements(Kernel::PriorSample, z.len(), &arguments)
    }
}

dry_run! {
    PriorOp:
    prior_sample(_d: &PriorDraw, _state, z) => z;
}

/// Both distributions, lengths that end within a draw of four, several samples.
pub fn cases<B: PriorOp>() -> Vec<Case<B>> {
    let sizes = [(1, 1), (3, 17), (2, 62), (5, 130)];
    let both = [Prior::Uniform, Prior::Normal].into_iter();
    both.flat_map(|prior| sizes.map(|(n, latent)| case(n, latent, prior))).collect()
}

fn case<B: PriorOp>(n: usize, latent: usize, prior: Prior) -> Case<B> {
    let draws = DrawStep { per_step: 1 + n as u32 / 2, index: n as u32 / 3, first_sample: 7 };
    let d = PriorDraw { latent, prior, stream: Stream::LatentGenerator, draws };
    Case::new("prior", format!("n{n} latent{latent} {prior:?}")).output("z", n * latent).forward(
        move |be: &B, [], [z]| {
            let state = be.buffer_of(&[StepState { step: 5, ..StepState::new(9, 0.0) }])?;
            be.prior_sample(&d, be.view(&state), z.stored())
        },
    )
}

/// At the sizes of the models.
pub(super) fn passes<B: PriorOp>() -> [Pass<B>; 2] {
    [62, 100].map(|latent| {
        let (prior, draws) = (Prior::Uniform, DrawStep::ONCE);
        let d = PriorDraw { latent, prior, stream: Stream::LatentGenerator, draws };
        let shape = format!("n{BATCH} latent{latent}");
        Pass::of("prior", shape, "sample", [], [stored(BATCH * latent)], move |be: &B, [], [z], state| {
            be.prior_sample(&d, be.freeze(state), z.stored())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second of three draws of step 5 is what a sixteenth step draws that has one.
    #[test]
    fn draws_of_one_step_are_numbered_on() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        let drawn = |step, per_step, index| {
            let draws = DrawStep { per_step, index, ..DrawStep::ONCE };
            let (prior, stream) = (Prior::Uniform, Stream::LatentDiscriminator);
            let d = PriorDraw { latent: 5, prior, stream, draws };
            let (state, mut z) = ([StepState { step, ..StepState::new(9, 0.0) }], vec![0.0; 10]);
            cpu.prior_sample(&d, &state, &mut z).expect("a draw");
            z
        };
        assert_eq!(drawn(5, 3, 1), drawn(16, 1, 0));
        assert_ne!(drawn(5, 3, 1), drawn(5, 3, 2));
    }
}
