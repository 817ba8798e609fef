//! Softmax cross-entropy of a classifier: x `[N, K]` the logits of K classes, t `[N]` the class of each image:
//!
//! `loss[n] = log Σ_k e^x[n, k] − x[n, t[n]]`, `∂loss[n]/∂x[n, k] = e^x[n, k] / Σ_j e^x[n, j] − [k = t[n]]`
//!
//! in nats, as PyTorch's `cross_entropy(x, t, reduction="none")`. The largest logit of an image is taken off first, so that nothing
//! overflows.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Out, Real, Storage, Stored, StoredOut};
use crate::ops::case::{drawn, drawn_stored};
use crate::ops::models::BOTH;
use crate::ops::pass::{Pass, Work};
use crate::ops::{Case, Fill};

/// Sizes of a batch of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossEntropy {
    /// Images.
    pub n: usize,
    /// K, the classes.
    pub classes: usize,
}

/// The loss's passes. The labels are numbers below K.
pub trait CrossEntropyOp: Backend {
    /// losses `[N]` from logits `[N, K]` and labels `[N]`; overwrites.
    fn cross_entropy_forward(
        &self,
        d: &CrossEntropy,
        logits: Stored<'_, Self>,
        labels: In<'_, Self, u32>,
        losses: Out<'_, Self>,
    ) -> Result<()>;

    /// dlogits `[N, K]` from the gradient by the losses `[N]`; overwrites.
    fn cross_entropy_backward_input(
        &self,
        d: &CrossEntropy,
        logits: Stored<'_, Self>,
        labels: In<'_, Self, u32>,
        dlosses: In<'_, Self>,
        dlogits: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// The largest of an image's logits, and Σ e^(logit − largest).
fn normaliser<T: Real, S: Storage<T>>(logits: &[S]) -> (T, f64) {
    let mut largest = logits[0].real();
    for logit in &logits[1..] {
        let logit = logit.real();
        // What is not a number stays.
        #[expect(clippy::eq_op, reason = "NaN alone differs from itself")]
        if logit > largest || logit != logit {
            largest = logit;
        }
    }
    (largest, logits.iter().map(|logit| (logit.real() - largest).exp().to_f64()).sum())
}

impl<T: Real, S: Storage<T>> CrossEntropyOp for Cpu<T, S> {
    fn cross_entropy_forward(&self, d: &CrossEntropy, logits: &[S], labels: &[u32], losses: &mut [T]) -> Result<()> {
        losses.par_iter_mut().zip(logits.par_chunks(d.classes)).zip(labels).for_each(|((loss, logits), &label)| {
            let (largest, sum) = normaliser::<T, S>(logits);
            let of_label: T = logits[label as usize].real();
            *loss = T::of(sum.ln() - (of_label - largest).to_f64());
        });
        Ok(())
    }

    fn cross_entropy_backward_input(
        &self,
        d: &CrossEntropy,
        logits: &[S],
        labels: &[u32],
        dlosses: &[T],
        dlogits: &mut [S],
    ) -> Result<()> {
        let images = dlogits.par_chunks_mut(d.classes).zip(logits.par_chunks(d.classes));
        images.zip(labels).zip(dlosses).for_each(|(((dlogits, logits), &label), dloss)| {
            let (largest, sum) = normaliser::<T, S>(logits);
            for (k, (dlogit, logit)) in dlogits.iter_mut().zip(logits).enumerate() {
                let share = (logit.real() - largest).exp().to_f64() / sum;
                let target = if k == label as usize { 1.0 } else { 0.0 };
                *dlogit = S::of_real(T::of(dloss.to_f64() * (share - target)));
            }
        });
        Ok(())
    }
}

/// The sizes as kernels/losses/cross_entropy.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelCrossEntropy {
    n: i32,
    classes: i32,
}

impl AsArgument for CrossEntropy {
    fn argument(&self) -> Argument {
        Argument::new(KernelCrossEntropy { n: int(self.n), classes: int(self.classes) })
    }
}

impl<T: Real, S: Storage<T>> CrossEntropyOp for Accelerator<T, S> {
    fn cross_entropy_forward(
        &self,
        d: &CrossEntropy,
        logits: Stored<'_, Self>,
        labels: In<'_, Self, u32>,
        losses: Out<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::CrossEntropyForward, d.n, &arguments![d, logits, labels, losses])
    }

    fn cross_entropy_backward_input(
        &self,
        d: &CrossEntropy,
        logits: Stored<'_, Self>,
        labels: In<'_, Self, u32>,
        dlosses: In<'_, Self>,
        dlogits: StoredOut<'_, Self>,
    ) -> Result<()> {
        let kernel = Kernel::CrossEntropyBackwardInput;
        self.launch_elements(kernel, d.n, &arguments![d, logits, labels, dlosses, dlogits])
    }
}

dry_run! {
    CrossEntropyOp:
    cross_entropy_forward(_d: &CrossEntropy, logits, _labels, losses) => logits + losses;
    cross_entropy_backward_input(_d: &CrossEntropy, logits, _labels, dlosses, dlogits) => logits + dlosses + dlogits;
}

/// Two classes, many classes, one image, and more images than a block has threads; logits of which e^(logit − another) overflows.
pub fn cases<B: CrossEntropyOp>() -> Vec<Case<B>> {
    let mut cases: Vec<_> =
        [(3, 2), (1, 17), (5, 10), (261, 3)].map(|(n, classes)| case(CrossEntropy { n, classes }, Fill::Normal)).into();
    cases.push(case(CrossEntropy { n: 6, classes: 5 }, Fill::Uniform(-900.0, 900.0)));
    cases
}

/// A class for each image: every one comes, and neighbours differ.
fn some_labels<B: Backend>(be: &B, d: CrossEntropy) -> Result<Buffer<B, u32>> {
    let label = |i: usize| u32::try_from((7 * i + 1) % d.classes).unwrap_or_default();
    be.buffer_of(&(0..d.n).map(label).collect::<Vec<_>>())
}

fn case<B: CrossEntropyOp>(d: CrossEntropy, logits: Fill) -> Case<B> {
    Case::new("cross_entropy", format!("n{} k{}", d.n, d.classes))
        .filled_input("logits", d.n * d.classes, logits)
        .real_output("losses", d.n)
        .forward(move |be: &B, [logits], [losses]| {
            let labels = some_labels(be, d)?;
            be.cross_entropy_forward(&d, logits.stored(), be.view(&labels), losses.real())
        })
        .backward(move |be: &B, [logits], _, [dlosses], [dlogits]| {
            let labels = some_labels(be, d)?;
            be.cross_entropy_backward_input(&d, logits.stored(), be.view(&labels), dlosses.real(), dlogits.stored())
        })
}

/// A batch of ten classes, with memory of their own: the labels are neither stored nor real.
pub(super) fn passes<B: CrossEntropyOp>() -> [Pass<B>; 2] {
    let d = CrossEntropy { n: BOTH, classes: 10 };
    let (op, shape, len) = ("cross_entropy", format!("n{BOTH} k10"), BOTH * 10);
    [
        Pass::new(op, shape.clone(), "forward", move |be: B| {
            let (logits, labels) = (drawn_stored(&be, len, Fill::Normal, 0)?, some_labels(&be, d)?);
            let mut losses = be.alloc(BOTH)?;
            Ok(Box::new(move || {
                be.cross_entropy_forward(&d, be.view(&logits), be.view(&labels), be.view_mut(&mut losses))
            }) as Work)
        }),
        Pass::new(op, shape, "backward_input", move |be: B| {
            let (logits, labels) = (drawn_stored(&be, len, Fill::Normal, 0)?, some_labels(&be, d)?);
            let (dlosses, mut dlogits) = (drawn(&be, BOTH, Fill::Normal, 1)?, be.alloc(len)?);
            Ok(Box::new(move || {
                let (logits, labels, dlosses) = (be.view(&logits), be.view(&labels), be.view(&dlosses));
                be.cross_entropy_backward_input(&d, logits, labels, dlosses, be.view_mut(&mut dlogits))
            }) as Work)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_losses() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let d = CrossEntropy { n: 3, classes: 2 };
        // log 2; an image that is right beyond doubt, at logits whose powers overflow; one that is wrong by 3.
        let logits = [5.0, 5.0, 2000.0, 0.0, 0.0, 3.0];
        let (mut losses, mut dlogits) = ([f64::NAN; 3], [f64::NAN; 6]);
        cpu.cross_entropy_forward(&d, &logits, &[0, 0, 0], &mut losses).expect("losses");
        let expected = [2f64.ln(), 0.0, 3.0 + (-3f64).exp().ln_1p()];
        assert!(losses.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{losses:?}");
        cpu.cross_entropy_backward_input(&d, &logits, &[0, 0, 0], &[1.0, 1.0, 2.0], &mut dlogits).expect("gradients");
        let wrong = 1.0 / (1.0 + (-3f64).exp());
        let expected = [-0.5, 0.5, 0.0, 0.0, -2.0 * wrong, 2.0 * wrong];
        assert!(dlogits.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{dlogits:?}");
    }

    #[test]
    fn nan_is_never_hidden() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        for logits in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            let mut losses = [0.0];
            cpu.cross_entropy_forward(&CrossEntropy { n: 1, classes: 2 }, &logits, &[0], &mut losses).expect("a loss");
            assert!(losses[0].is_nan());
        }
    }
}
