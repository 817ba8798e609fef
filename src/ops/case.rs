//! A case: one operation at one size and mode, described so that gradient checks, parity tests and benchmarks can all
//! walk the same list.

use std::borrow::Cow;

use crate::Result;
use crate::device::{Backend, Buffer};

/// How a case's input is filled before it runs.
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
    /// How it is filled (inputs only).
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

/// An operation at one size and mode, as a function from inputs to outputs with its derivatives.
///
/// The buffers come in the order of [`Case::inputs`] and [`Case::outputs`].
pub trait Case<B: Backend>: Send + Sync {
    /// The operation's one name.
    fn op(&self) -> &'static str;
    /// Size and mode, unique within the operation.
    fn name(&self) -> String;
    /// What goes in: the tensors that the operation can be differentiated by.
    fn inputs(&self) -> Vec<Tensor>;
    /// What comes out.
    fn outputs(&self) -> Vec<Tensor>;
    /// Multiplications and additions of one forward pass, for throughput; 0 where only bytes count.
    fn flops(&self) -> u64 {
        0
    }
    /// Whether it has a backward pass: drawing, picking and updating have none.
    fn differentiable(&self) -> bool {
        true
    }

    /// outputs = f(inputs).
    fn forward(&self, backend: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()>;

    /// d_inputs = (∂f/∂inputs)ᵀ d_outputs. `outputs` holds f(inputs); `d_inputs` comes zeroed. Not called where
    /// [`Case::differentiable`] says no.
    fn backward(
        &self,
        _backend: &B,
        _inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        _d_outputs: &[Buffer<B>],
        _d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        Ok(())
    }

    /// `v_outputs[0]` = (∂ `outputs[0]` / ∂ `inputs[0]`) `v_input`, the other inputs held fixed; `None` where there is no
    /// tangent.
    fn tangent(
        &self,
        _backend: &B,
        _inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        _v_input: &Buffer<B>,
        _v_outputs: &mut [Buffer<B>],
    ) -> Option<Result<()>> {
        None
    }
}
