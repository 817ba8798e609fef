//! A case: one operation at one size and mode, described so that gradient checks, parity tests and benchmarks all walk the
//! same list.
//!
//! It is built from closures over arrays of windows, one window for each input and output, each of the kind that the tensor has
//! ([`CaseIn`], [`CaseOut`]):
//!
//! ```text
//! Case::new("scaled_add", format!("len{len}"))
//!     .input("a", len)
//!     .input("b", len)
//!     .output("y", len)
//!     .forward(move |be: &B, [a, b], [y]| {
//!         be.scaled_add_forward(scale, a.stored(), b.stored(), y.stored())
//!     })
//!     .backward(move |be: &B, [_, _], [_], [dy], [da, db]| {
//!         be.copy(dy.stored(), da.stored())?;
//!         be.scaled_add_backward_input(scale, dy.stored(), db.stored())
//!     })
//! ```
//!
//! `input` and `output` are tensors as activations are stored, `real_input` and `real_output` are reals, and `weight_input` is stored
//! with a gradient of reals.
//!
//! The compiler learns the numbers of inputs and outputs from the patterns, so a window that is not used is `_` within an array.

use std::borrow::Cow;

pub use super::tensor::Fill;
use super::tensor::{CaseBuffer, CaseIn, CaseOut, Tensor, windows, windows_mut};
use crate::Result;
use crate::device::philox::{Stream, draw};
use crate::device::{Backend, Buffer, Out, Precision, Real, StoredBuffer, normal, philox};

/// The tensors that a case works on, in the order of its inputs or of its outputs.
pub type Buffers<B> = [CaseBuffer<B>];

type Forward<B> = dyn Fn(&B, &Buffers<B>, &mut Buffers<B>) -> Result<()> + Send + Sync;
type Backward<B> = dyn Fn(&B, &Buffers<B>, &Buffers<B>, &Buffers<B>, &mut Buffers<B>) -> Result<()> + Send + Sync;
type Tangent<B> = dyn Fn(&B, &Buffers<B>, &Buffers<B>, &CaseBuffer<B>, &mut Buffers<B>) -> Result<()> + Send + Sync;

/// An operation at one size and mode, as a function from inputs to outputs with its derivatives.
pub struct Case<B: Backend> {
    op: &'static str,
    name: String,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    forward: Box<Forward<B>>,
    backward: Option<Box<Backward<B>>>,
    tangent: Option<Box<Tangent<B>>>,
}

impl<B: Backend> Case<B> {
    /// A case of the operation `op`; `name` is its size and mode, unique within the operation.
    pub fn new(op: &'static str, name: impl Into<String>) -> Self {
        let forward = Box::new(|_: &B, _: &Buffers<B>, _: &mut Buffers<B>| Ok(()));
        let (inputs, outputs) = (Vec::new(), Vec::new());
        Case { op, name: name.into(), inputs, outputs, forward, backward: None, tangent: None }
    }

    /// One more stored input of `len` elements, filled with normal draws.
    #[must_use]
    pub fn input(self, name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        self.input_of(Tensor::stored(name, len))
    }

    /// One more stored input, filled otherwise.
    #[must_use]
    pub fn filled_input(self, name: impl Into<Cow<'static, str>>, len: usize, fill: Fill) -> Self {
        self.input_of(Tensor::stored(name, len).filled(fill))
    }

    /// One more input of `len` reals, filled with normal draws.
    #[must_use]
    pub fn real_input(self, name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        self.input_of(Tensor::real(name, len))
    }

    /// One more input that is a product's weight of `len` elements: stored, with a gradient of reals.
    #[must_use]
    pub fn weight_input(self, name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        self.input_of(Tensor::weight(name, len))
    }

    /// One more input of reals, filled otherwise.
    #[must_use]
    pub fn filled_real_input(self, name: impl Into<Cow<'static, str>>, len: usize, fill: Fill) -> Self {
        self.input_of(Tensor::real(name, len).filled(fill))
    }

    /// This tensor as one more input.
    #[must_use]
    pub fn input_of(mut self, tensor: Tensor) -> Self {
        self.inputs.push(tensor);
        self
    }

    /// One more stored output of `len` elements.
    #[must_use]
    pub fn output(mut self, name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        self.outputs.push(Tensor::stored(name, len));
        self
    }

    /// One more output of `len` reals.
    #[must_use]
    pub fn real_output(mut self, name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        self.outputs.push(Tensor::real(name, len));
        self
    }

    /// outputs = f(inputs).
    #[must_use]
    pub fn forward<const I: usize, const O: usize>(
        self,
        f: impl for<'a> Fn(&B, [CaseIn<'a, B>; I], [CaseOut<'a, B>; O]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let forward = move |be: &B, inputs: &Buffers<B>, outputs: &mut Buffers<B>| {
            f(be, windows(be, inputs), windows_mut(be, outputs))
        };
        Case { forward: Box::new(forward), ..self }
    }

    /// d_inputs = (∂f/∂inputs)ᵀ d_outputs, from inputs, outputs = f(inputs) and d_outputs; d_inputs come zeroed. A case
    /// without a backward pass is not differentiable: drawing, picking and updating have none.
    #[must_use]
    pub fn backward<const I: usize, const O: usize>(
        self,
        f: impl for<'a> Fn(
            &B,
            [CaseIn<'a, B>; I],
            [CaseIn<'a, B>; O],
            [CaseIn<'a, B>; O],
            [CaseOut<'a, B>; I],
        ) -> Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let backward = move |be: &B, x: &Buffers<B>, y: &Buffers<B>, dy: &Buffers<B>, dx: &mut Buffers<B>| {
            f(be, windows(be, x), windows(be, y), windows(be, dy), windows_mut(be, dx))
        };
        Case { backward: Some(Box::new(backward)), ..self }
    }

    /// v_output = (∂ output 0 / ∂ input 0) v_input, the other inputs held fixed, from inputs, outputs and v_input.
    #[must_use]
    pub fn tangent<const I: usize, const O: usize>(
        self,
        f: impl for<'a> Fn(&B, [CaseIn<'a, B>; I], [CaseIn<'a, B>; O], CaseIn<'a, B>, CaseOut<'a, B>) -> Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let tangent = move |be: &B, x: &Buffers<B>, y: &Buffers<B>, v: &CaseBuffer<B>, vy: &mut Buffers<B>| {
            f(be, windows(be, x), windows(be, y), v.view(be), vy[0].view_mut(be))
        };
        Case { tangent: Some(Box::new(tangent)), ..self }
    }

    /// [`Case::forward`] where the number of tensors is known at run time alone: a closure over their buffers.
    #[must_use]
    pub fn forward_of_many(
        self,
        f: impl Fn(&B, &Buffers<B>, &mut Buffers<B>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Case { forward: Box::new(f), ..self }
    }

    /// [`Case::backward`] of such a case: a closure over inputs, d_outputs and d_inputs.
    #[must_use]
    pub fn backward_of_many(
        self,
        f: impl Fn(&B, &Buffers<B>, &Buffers<B>, &mut Buffers<B>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let backward =
            move |be: &B, x: &Buffers<B>, _: &Buffers<B>, dy: &Buffers<B>, dx: &mut Buffers<B>| f(be, x, dy, dx);
        Case { backward: Some(Box::new(backward)), ..self }
    }

    /// The same case with something done to the gradient of input 0 and to the tangent of output 0: how a test of the tests
    /// plants a fault.
    #[must_use]
    pub fn spoilt(
        self,
        gradient: impl Fn(&mut [f64]) + Send + Sync + 'static,
        tangent_of: impl Fn(&mut [f64]) + Send + Sync + 'static,
    ) -> Self {
        let Case { backward, tangent, .. } = self;
        let backward = backward.map(|backward| -> Box<Backward<B>> {
            Box::new(move |be: &B, x: &Buffers<B>, y: &Buffers<B>, dy: &Buffers<B>, dx: &mut Buffers<B>| {
                backward(be, x, y, dy, dx)?;
                dx[0].change(be, &gradient)
            })
        });
        let tangent = tangent.map(|tangent| -> Box<Tangent<B>> {
            Box::new(move |be: &B, x: &Buffers<B>, y: &Buffers<B>, v: &CaseBuffer<B>, vy: &mut Buffers<B>| {
                tangent(be, x, y, v, vy)?;
                vy[0].change(be, &tangent_of)
            })
        });
        Case { backward, tangent, ..self }
    }

    /// The operation's one name.
    pub fn op(&self) -> &'static str {
        self.op
    }
    /// Size and mode, unique within the operation.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The inputs: the tensors that the operation can be differentiated by.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }
    /// The outputs.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }
    /// True if it has a backward pass.
    pub fn differentiable(&self) -> bool {
        self.backward.is_some()
    }

    /// outputs = f(inputs), buffers in the order of [`Case::inputs`] and [`Case::outputs`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn run_forward(&self, be: &B, inputs: &Buffers<B>, outputs: &mut Buffers<B>) -> Result<()> {
        (self.forward)(be, inputs, outputs)
    }

    /// The outputs of these inputs, by way of the host.
    ///
    /// # Errors
    /// If the device fails.
    pub fn outputs_of(&self, be: &B, inputs: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let inputs = self.inputs.iter().zip(inputs).map(|(tensor, values)| tensor.buffer(be, values));
        let mut outputs = self.outputs.iter().map(|tensor| tensor.zeros(be)).collect::<Result<Vec<_>>>()?;
        self.run_forward(be, &inputs.collect::<Result<Vec<_>>>()?, &mut outputs)?;
        outputs.iter().map(|output| output.values(be)).collect()
    }

    /// d_inputs = (∂f/∂inputs)ᵀ d_outputs; nothing where there is no backward pass. `d_inputs` comes zeroed.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run_backward(
        &self,
        be: &B,
        inputs: &Buffers<B>,
        outputs: &Buffers<B>,
        d_outputs: &Buffers<B>,
        d_inputs: &mut Buffers<B>,
    ) -> Result<()> {
        self.backward.as_ref().map_or(Ok(()), |backward| backward(be, inputs, outputs, d_outputs, d_inputs))
    }

    /// `v_outputs[0]` = (∂ `outputs[0]` / ∂ `inputs[0]`) `v_input`; `None` where there is no tangent pass.
    pub fn run_tangent(
        &self,
        be: &B,
        inputs: &Buffers<B>,
        outputs: &Buffers<B>,
        v_input: &CaseBuffer<B>,
        v_outputs: &mut Buffers<B>,
    ) -> Option<Result<()>> {
        self.tangent.as_ref().map(|tangent| tangent(be, inputs, outputs, v_input, v_outputs))
    }
}

/// Gradients of parameters before a backward pass that is to overwrite them: something else. One that accumulates finds what is there.
///
/// # Errors
/// If the device fails.
pub(super) fn gradients<'a, B: Backend, const N: usize>(
    be: &B,
    mut gradients: [Out<'a, B>; N],
    accumulates: bool,
) -> Result<[Out<'a, B>; N]> {
    for gradient in gradients.iter_mut().filter(|_| !accumulates) {
        let len = be.len(be.freeze(be.reborrow(gradient)));
        be.upload(&vec![B::Real::ONE; len], be.reborrow(gradient))?;
    }
    Ok(gradients)
}

/// Draws for tensor `number`, as reals: a tensor that a case holds fixed.
///
/// # Errors
/// If memory is used up.
pub fn drawn<B: Backend>(be: &B, len: usize, fill: Fill, number: u32) -> Result<Buffer<B>> {
    let values = self::fill(&Tensor::real("fixed", len).filled(fill), number);
    be.buffer_of(&values.into_iter().map(B::Real::of).collect::<Vec<_>>())
}

/// The same as activations are stored. The draws are rounded to bf16 on every backend, so that all hold the same numbers fixed.
///
/// # Errors
/// If memory is used up.
pub fn drawn_stored<B: Backend>(be: &B, len: usize, fill: Fill, number: u32) -> Result<StoredBuffer<B>> {
    let values = self::fill(&Tensor::stored("fixed", len).filled(fill), number);
    be.stored_of(
        &values.into_iter().map(|value| B::Real::of_f32(Precision::Bf16.round(value as f32))).collect::<Vec<_>>(),
    )
}

/// The values of tensor `number`: a function of its fill alone, the same on every device.
pub fn fill(tensor: &Tensor, number: u32) -> Vec<f64> {
    const SEED: u64 = 0x5EED;
    let mut normals = vec![0.0f32; tensor.len];
    normal::fill_normals(SEED, Stream::Init, 0, number, 0, &mut normals);
    let uniform = |i: usize| {
        let block = u32::try_from(i / 4).unwrap_or(u32::MAX);
        f64::from(philox::uniform(draw(SEED, Stream::Init, 1, number, block)[i % 4]))
    };
    normals
        .iter()
        .enumerate()
        .map(|(i, &normal)| match tensor.fill {
            Fill::Normal => f64::from(normal),
            Fill::Uniform(low, high) => low + (high - low) * uniform(i),
            Fill::AwayFromOne => {
                // Of N(0, 2²) three in eight lie between the kinks, the others beyond either.
                let x = 2.0 * f64::from(normal);
                if x.abs() < 1.0 { 0.9 * x } else { 1.1 * x }
            }
            Fill::AwayFromZero => f64::from(normal) + 0.1f64.copysign(f64::from(normal)),
        })
        .collect()
}
