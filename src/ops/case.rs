//! A case: one operation at one size and mode, described so that gradient checks, parity tests and benchmarks all walk the
//! same list.
//!
//! It is built from closures over arrays of windows, one window for each input and output:
//!
//! ```text
//! Case::new("scaled_add", format!("len{len}"))
//!     .input("a", len)
//!     .input("b", len)
//!     .output("y", len)
//!     .forward(move |be: &B, [a, b], [y]| be.scaled_add_forward(scale, a, b, y))
//!     .backward(move |be: &B, [_, _], [_], [dy], [da, db]| {
//!         be.copy(dy, da)?;
//!         be.scaled_add_backward_input(scale, dy, db)
//!     })
//! ```
//!
//! The compiler learns the numbers of inputs and outputs from the patterns, so a window that is not used is `_` within an array.

use std::borrow::Cow;

use crate::Result;
use crate::device::philox::{Stream, draw};
use crate::device::{Backend, Buffer, In, Out, normal, philox};

/// The values of a case's input before it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// N(0, 1).
    Normal,
    /// U[low, high).
    Uniform(f64, f64),
    /// |x| ≥ 0.1, either sign: away from a kink at 0.
    AwayFromZero,
    /// ||x| − 1| ≥ 0.1, on either side of either one: away from kinks at ±1.
    AwayFromOne,
}

/// One input or output of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name in the operation's contract: x, w, b, mu, ….
    pub name: Cow<'static, str>,
    /// Elements.
    pub len: usize,
    /// Its values before the case runs (inputs only).
    pub fill: Fill,
}

impl Tensor {
    /// A tensor of `len` elements, filled with normal draws.
    pub fn new(name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        Tensor { name: name.into(), len, fill: Fill::Normal }
    }

    /// The same, filled otherwise.
    pub fn filled(self, fill: Fill) -> Self {
        Tensor { fill, ..self }
    }
}

type Forward<B> = dyn Fn(&B, &[Buffer<B>], &mut [Buffer<B>]) -> Result<()> + Send + Sync;
type Backward<B> = dyn Fn(&B, &[Buffer<B>], &[Buffer<B>], &[Buffer<B>], &mut [Buffer<B>]) -> Result<()> + Send + Sync;
type Tangent<B> = dyn Fn(&B, &[Buffer<B>], &[Buffer<B>], &Buffer<B>, &mut [Buffer<B>]) -> Result<()> + Send + Sync;

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
        let forward = Box::new(|_: &B, _: &[Buffer<B>], _: &mut [Buffer<B>]| Ok(()));
        let (inputs, outputs) = (Vec::new(), Vec::new());
        Case { op, name: name.into(), inputs, outputs, forward, backward: None, tangent: None }
    }

    /// One more input of `len` elements, filled with normal draws.
    #[must_use]
    pub fn input(self, name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        self.filled_input(name, len, Fill::Normal)
    }

    /// One more input, filled otherwise.
    #[must_use]
    pub fn filled_input(mut self, name: impl Into<Cow<'static, str>>, len: usize, fill: Fill) -> Self {
        self.inputs.push(Tensor::new(name, len).filled(fill));
        self
    }

    /// One more output of `len` elements.
    #[must_use]
    pub fn output(mut self, name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        self.outputs.push(Tensor::new(name, len));
        self
    }

    /// outputs = f(inputs).
    #[must_use]
    pub fn forward<const I: usize, const O: usize>(
        self,
        f: impl for<'a> Fn(&B, [In<'a, B>; I], [Out<'a, B>; O]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let forward = move |be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]| {
            f(be, windows(be, inputs), windows_mut(be, outputs))
        };
        Case { forward: Box::new(forward), ..self }
    }

    /// d_inputs = (∂f/∂inputs)ᵀ d_outputs, from inputs, outputs = f(inputs) and d_outputs; d_inputs come zeroed. A case
    /// without a backward pass is not differentiable: drawing, picking and updating have none.
    #[must_use]
    pub fn backward<const I: usize, const O: usize>(
        self,
        f: impl for<'a> Fn(&B, [In<'a, B>; I], [In<'a, B>; O], [In<'a, B>; O], [Out<'a, B>; I]) -> Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let backward = move |be: &B, x: &[Buffer<B>], y: &[Buffer<B>], dy: &[Buffer<B>], dx: &mut [Buffer<B>]| {
            f(be, windows(be, x), windows(be, y), windows(be, dy), windows_mut(be, dx))
        };
        Case { backward: Some(Box::new(backward)), ..self }
    }

    /// v_output = (∂ output 0 / ∂ input 0) v_input, the other inputs held fixed, from inputs, outputs and v_input.
    #[must_use]
    pub fn tangent<const I: usize, const O: usize>(
        self,
        f: impl for<'a> Fn(&B, [In<'a, B>; I], [In<'a, B>; O], In<'a, B>, Out<'a, B>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let tangent = move |be: &B, x: &[Buffer<B>], y: &[Buffer<B>], v: &Buffer<B>, vy: &mut [Buffer<B>]| {
            f(be, windows(be, x), windows(be, y), be.view(v), be.view_mut(&mut vy[0]))
        };
        Case { tangent: Some(Box::new(tangent)), ..self }
    }

    /// [`Case::forward`] where the number of tensors is known at run time alone: a closure over their buffers.
    #[must_use]
    pub fn forward_of_many(
        self,
        f: impl Fn(&B, &[Buffer<B>], &mut [Buffer<B>]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Case { forward: Box::new(f), ..self }
    }

    /// [`Case::backward`] of such a case: a closure over inputs, d_outputs and d_inputs.
    #[must_use]
    pub fn backward_of_many(
        self,
        f: impl Fn(&B, &[Buffer<B>], &[Buffer<B>], &mut [Buffer<B>]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let backward =
            move |be: &B, x: &[Buffer<B>], _: &[Buffer<B>], dy: &[Buffer<B>], dx: &mut [Buffer<B>]| f(be, x, dy, dx);
        Case { backward: Some(Box::new(backward)), ..self }
    }

    /// The same case with something done to the gradient of input 0 and to the tangent of output 0: how a test of the tests
    /// plants a fault.
    #[must_use]
    pub fn spoilt(
        self,
        gradient: impl Fn(&mut Buffer<B>) + Send + Sync + 'static,
        tangent_of: impl Fn(&mut Buffer<B>) + Send + Sync + 'static,
    ) -> Self {
        let Case { backward, tangent, .. } = self;
        let backward = backward.map(|backward| -> Box<Backward<B>> {
            Box::new(move |be: &B, x: &[Buffer<B>], y: &[Buffer<B>], dy: &[Buffer<B>], dx: &mut [Buffer<B>]| {
                backward(be, x, y, dy, dx)?;
                gradient(&mut dx[0]);
                Ok(())
            })
        });
        let tangent = tangent.map(|tangent| -> Box<Tangent<B>> {
            Box::new(move |be: &B, x: &[Buffer<B>], y: &[Buffer<B>], v: &Buffer<B>, vy: &mut [Buffer<B>]| {
                tangent(be, x, y, v, vy)?;
                tangent_of(&mut vy[0]);
                Ok(())
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
    pub fn run_forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        (self.forward)(be, inputs, outputs)
    }

    /// d_inputs = (∂f/∂inputs)ᵀ d_outputs; nothing where there is no backward pass. `d_inputs` comes zeroed.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run_backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        self.backward.as_ref().map_or(Ok(()), |backward| backward(be, inputs, outputs, d_outputs, d_inputs))
    }

    /// `v_outputs[0]` = (∂ `outputs[0]` / ∂ `inputs[0]`) `v_input`; `None` where there is no tangent pass.
    pub fn run_tangent(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        outputs: &[Buffer<B>],
        v_input: &Buffer<B>,
        v_outputs: &mut [Buffer<B>],
    ) -> Option<Result<()>> {
        self.tangent.as_ref().map(|tangent| tangent(be, inputs, outputs, v_input, v_outputs))
    }
}

/// Windows on all of these buffers.
///
/// # Panics
/// If there are not as many as the closure takes: a mistake of this program's.
pub(super) fn windows<'a, B: Backend, const N: usize>(be: &B, buffers: &'a [Buffer<B>]) -> [In<'a, B>; N] {
    assert_eq!(buffers.len(), N, "a closure takes another number of tensors than it was given");
    std::array::from_fn(|i| be.view(&buffers[i]))
}

/// The same, to write.
pub(super) fn windows_mut<'a, B: Backend, const N: usize>(be: &B, buffers: &'a mut [Buffer<B>]) -> [Out<'a, B>; N] {
    assert_eq!(buffers.len(), N, "a closure takes another number of tensors than it was given");
    let mut buffers = buffers.iter_mut();
    std::array::from_fn(|_| be.view_mut(buffers.next().expect("as many as were counted")))
}

/// Draws for tensor `number`, in the backend's type of numbers: a tensor that a case holds fixed.
///
/// # Errors
/// If memory is used up.
pub fn drawn<B: Backend>(be: &B, len: usize, fill: Fill, number: u32) -> Result<Buffer<B>> {
    use crate::device::Real;
    let values = self::fill(&Tensor::new("fixed", len).filled(fill), number);
    be.buffer_of(&values.into_iter().map(B::Real::of).collect::<Vec<_>>())
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
