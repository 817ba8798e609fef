//! Losses, penalties and regularisers: what a step minimises, with its gradients.

pub mod cross_entropy;
pub mod energy;
pub mod feature_matching;
pub mod historical_averaging;
pub mod loss;
pub mod mode_loss;
pub mod objective;
pub mod penalty;
pub mod reconstruction;
pub mod repelling;

operations! {
    Losses:
    cross_entropy: CrossEntropyOp,
    energy: EnergyOp,
    feature_matching: FeatureMatchingOp,
    historical_averaging: HistoricalAveragingOp,
    loss: LossOp,
    penalty: PenaltyOp,
    reconstruction: ReconstructionOp,
    mode_loss: ModeLossOp,
    repelling: RepellingOp,
}

use crate::Result;
use crate::device::kernels::{Kernel, size};
use crate::device::{Accelerator, Argument, Backend, Buffer, Metrics, Real, StepState, Storage};
use crate::ops::{Case, CaseBuffer, CaseIn, CaseOut};

/// Gives a case its passes, where one computation makes numbers from the inputs, and the gradient of the first of them by
/// each input. The other numbers must not depend on the inputs, or must be what `run` has no gradient for: the backward pass
/// leaves them out. The numbers are reals.
fn with_gradient<B: Backend, const I: usize, const O: usize>(
    case: Case<B>,
    run: impl for<'a> Fn(&B, [CaseIn<'a, B>; I]) -> Result<([f64; O], [CaseBuffer<B>; I])> + Copy + Send + Sync + 'static,
) -> Case<B> {
    case.forward(move |be: &B, inputs, outputs| put(be, run(be, inputs)?.0, outputs)).backward(
        move |be: &B, inputs, _, d_outputs: [CaseIn<'_, B>; O], d_inputs| {
            let (_, gradients) = run(be, inputs)?;
            let scale = be.read(d_outputs[0].real())?[0];
            for (gradient, target) in gradients.iter().zip(d_inputs) {
                let scaled: Vec<_> = gradient.view(be).read(be)?.into_iter().map(|d| d * scale).collect();
                target.write(be, &scaled)?;
            }
            Ok(())
        },
    )
}

/// Writes each number to the output of one element that a case has for it.
fn put<B: Backend, const O: usize>(be: &B, numbers: [f64; O], outputs: [CaseOut<'_, B>; O]) -> Result<()> {
    numbers.into_iter().zip(outputs).try_for_each(|(number, output)| be.upload(&[B::Real::of(number)], output.real()))
}

/// A state in which the generator's loss is something already, and so are β and k.
fn loss_before<B: Backend>(be: &B) -> Result<Buffer<B, StepState>> {
    let before = StepState { balance: 0.6, ..StepState::new(0, 0.7) };
    be.buffer_of(&[StepState { metrics: Metrics { loss_g: 0.25, ..before.metrics }, ..before }])
}

impl<T: Real, S: Storage<T>> Accelerator<T, S> {
    /// Runs a kernel that sums up a batch in a single block.
    fn launch_sum(&self, kernel: Kernel, arguments: &[Argument]) -> Result<()> {
        self.launch(kernel, [1, 1, 1], [size::LOSS_THREADS, 1, 1], arguments)
    }
}
