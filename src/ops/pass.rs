//! One pass of one operation at one size, with its memory set up beforehand: the unit that benchmarks time. One run on
//! [`DryRun`] counts its arithmetic and the bytes that it moves.

use std::sync::Arc;

use super::tensor::{CaseBuffer, CaseIn, CaseOut, Tensor, windows, windows_mut};
use crate::Result;
use crate::device::{Backend, Buffer, DryRun, Network, Out, Real, StepState, Storage};

/// A pass, ready to run again and again.
pub type Work = Box<dyn FnMut() -> Result<()> + Send>;

/// The code of a pass: a closure over its sources, its targets and the state of the training run.
type Run<B> = dyn Fn(&B, &[CaseBuffer<B>], &mut [CaseBuffer<B>], &mut Buffer<B, StepState>) -> Result<()> + Send + Sync;

/// One pass of one operation at one size.
pub struct Pass<B> {
    /// The operation's one name.
    pub op: &'static str,
    /// Its size.
    pub shape: String,
    /// The name of the pass: forward, backward_input, ….
    pub pass: &'static str,
    prepare: Box<dyn Fn(&B) -> Result<Work> + Send + Sync>,
}

impl<B: Backend> Pass<B> {
    /// A pass with memory of its own making: `prepare` allocates and fills it, and returns the work to be timed.
    pub fn new(
        op: &'static str,
        shape: impl Into<String>,
        pass: &'static str,
        prepare: impl Fn(B) -> Result<Work> + Send + Sync + 'static,
    ) -> Self {
        Pass { op, shape: shape.into(), pass, prepare: Box::new(move |be| prepare(be.clone())) }
    }

    /// A pass from `inputs` to `outputs`, [`stored`] or [`real`] tensors: inputs are filled with scattered numbers, outputs with
    /// zeros. The state is that of a training run in its fourth step.
    pub fn of<const I: usize, const O: usize>(
        op: &'static str,
        shape: impl Into<String>,
        pass: &'static str,
        inputs: [Tensor; I],
        outputs: [Tensor; O],
        run: impl for<'a> Fn(&B, [CaseIn<'a, B>; I], [CaseOut<'a, B>; O], Out<'a, B, StepState>) -> Result<()>
        + Copy
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let run: Arc<Run<B>> = Arc::new(move |be, sources, targets, state| {
            run(be, windows(be, sources), windows_mut(be, targets), be.view_mut(state))
        });
        Pass::between(op, shape.into(), pass, inputs.into(), outputs.into(), run)
    }

    /// [`Pass::of`] behind a closure of one type: what it sets up is compiled once, not once for each pass.
    fn between(
        op: &'static str,
        shape: String,
        pass: &'static str,
        inputs: Box<[Tensor]>,
        outputs: Box<[Tensor]>,
        run: Arc<Run<B>>,
    ) -> Self {
        Pass::new(op, shape, pass, move |be: B| -> Result<Work> {
            let sources = inputs.iter().map(|tensor| filled_tensor(&be, tensor)).collect::<Result<Vec<_>>>()?;
            let mut targets = outputs.iter().map(|tensor| tensor.zeros(&be)).collect::<Result<Vec<_>>>()?;
            let mut state = state(&be)?;
            let run = Arc::clone(&run);
            Ok(Box::new(move || run(&be, &sources, &mut targets, &mut state)))
        })
    }

    /// Allocates and fills what the pass works on.
    ///
    /// # Errors
    /// If the device has not the memory.
    pub fn prepare(&self, backend: &B) -> Result<Work> {
        (self.prepare)(backend)
    }
}

/// The passes of each size. A loop, which the compiler is done with sooner than with nested iterators of many types.
pub(super) fn of_each<D, B, const PASSES: usize>(
    sizes: impl IntoIterator<Item = D>,
    passes_of: impl Fn(D) -> [Pass<B>; PASSES],
) -> Vec<Pass<B>> {
    let mut passes = Vec::new();
    for size in sizes {
        passes.extend(passes_of(size));
    }
    passes
}

/// A tensor of `len` elements as activations are stored.
pub fn stored(len: usize) -> Tensor {
    Tensor::stored("a stored tensor of a pass", len)
}

/// A tensor of `len` reals.
pub fn real(len: usize) -> Tensor {
    Tensor::real("a real tensor of a pass", len)
}

/// The arithmetic of one run of a pass, and the bytes that it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Multiplications and additions of matrix products and convolutions.
    pub flops: u64,
    /// Bytes that must be read and written.
    pub bytes: u64,
}

/// Counts a pass, in the numbers that the dry run is of.
///
/// # Errors
/// None that a dry run makes.
pub fn counted<T: Real, S: Storage<T>>(pass: &Pass<DryRun<T, S>>) -> Result<Counts> {
    let dry = DryRun::<T, S>::default();
    let mut work = pass.prepare(&dry)?;
    let before = (dry.flops(), dry.moved());
    work()?;
    Ok(Counts { flops: dry.flops() - before.0, bytes: dry.moved() - before.1 })
}

/// Numbers in [-1, 1) without a pattern that a processor could take advantage of.
fn scattered<T: Real>(len: usize) -> Vec<T> {
    let scattered = |i: usize| (i as u32).wrapping_mul(0x9E37_79B1) >> 8;
    (0..len).map(|i| T::of_f32(scattered(i) as f32 / 8_388_608.0 - 1.0)).collect()
}

/// A buffer of scattered numbers in [-1, 1).
///
/// # Errors
/// If memory is used up.
pub fn filled<B: Backend>(be: &B, len: usize) -> Result<Buffer<B>> {
    be.buffer_from(len, || scattered(len))
}

/// A tensor of them.
fn filled_tensor<B: Backend>(be: &B, tensor: &Tensor) -> Result<CaseBuffer<B>> {
    tensor.buffer_from(be, || scattered(tensor.len))
}

/// The state of a training run in its fourth step.
///
/// # Errors
/// If memory is used up.
pub fn state<B: Backend>(be: &B) -> Result<Buffer<B, StepState>> {
    be.buffer_from(1, || vec![StepState { step: 3, updates: [5; Network::COUNT], ..StepState::new(11, 0.5) }])
}
