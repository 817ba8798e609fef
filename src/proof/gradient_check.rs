//! The gradient check: every derivative that a case claims, against central differences of its forward pass.
//!
//! With a fixed random cotangent u and the scalar L = Σ u · f(x), the backward pass must give
//! (L(x + h) − L(x − h)) / 2h for every element of every input; the tangent pass must give
//! (f(x + h v) − f(x − h v)) / 2h. The differences are summed output by output, so that nothing large cancels.
//!
//! The error of an element is |analytic − numeric| relative to the larger of the two, or to a floor where that is
//! larger: 1e-2 of its tensor's largest element, 1e-3 of the largest gradient in the case (not for tangents), and 1e-8.
//! Elements below the floor are thus held to an absolute error, 1e-6 of the floor.

use crate::Result;
use crate::device::Backend;
use crate::ops::case::fill;
use crate::ops::{Case, CaseBuffer, Fill, Tensor};

/// The step of the differences: the error of the formula falls with h², that of f64 grows with 1/h.
const STEP: f64 = 1e-5;
/// The largest relative error of a derivative that is right.
pub const TOLERANCE: f64 = 1e-6;
/// Differences are taken relative to the element's size, but at least to this part of its tensor's largest…
const FLOOR: f64 = 1e-2;
/// … and to this part of the case's largest. A whole loss has gradients that are zero by cancellation (a bias in front
/// of a batch normalisation), where differences see nothing but the rounding of the loss.
const CASE_FLOOR: f64 = 1e-3;

/// The result of checking one tensor of one case.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Finding {
    /// The operation.
    pub op: String,
    /// The case.
    pub case: String,
    /// The derivative: `d x`, `tangent`.
    pub of: String,
    /// Elements compared.
    pub elements: usize,
    /// The largest relative error.
    pub worst: f64,
    /// The element that has it.
    pub at: usize,
    /// The backward pass's value there.
    pub analytic: f64,
    /// The differences' value there.
    pub numeric: f64,
}

impl Finding {
    /// Says whether the error is within `tolerance`.
    pub fn passes(&self, tolerance: f64) -> bool {
        self.worst <= tolerance
    }
}

/// Checks every derivative of one case, on a backend in f64: in f32 the differences drown in rounding. A case without a
/// backward pass has none to check.
///
/// # Errors
/// If the backend fails. What is wrong with a derivative is not an error but a [`Finding`].
pub fn check<B: Backend>(backend: &B, case: &Case<B>) -> Result<Vec<Finding>> {
    compare(backend, case, &differences(backend, case)?)
}

/// Differences of L by each element of each input, one list for each input. They take most of the time of [`check`], and do not depend
/// on the backward pass.
///
/// # Errors
/// If the backend fails.
pub fn differences<B: Backend>(backend: &B, case: &Case<B>) -> Result<Vec<Vec<f64>>> {
    if !case.differentiable() {
        return Ok(Vec::new());
    }
    let probe = Probe::new(backend, case)?;
    let by_element =
        |(input, tensor): (usize, &Tensor)| (0..tensor.len).map(|at| probe.difference(input, at)).collect();
    case.inputs().iter().enumerate().map(by_element).collect()
}

/// The derivatives of one case against its [`differences`], and its tangent against differences of its own.
///
/// # Errors
/// If the backend fails.
///
/// # Panics
/// If the differences are of another case: not one for each element of each input.
pub fn compare<B: Backend>(backend: &B, case: &Case<B>, differences: &[Vec<f64>]) -> Result<Vec<Finding>> {
    if !case.differentiable() {
        return Ok(Vec::new());
    }
    let lengths = case.inputs().iter().map(|tensor| tensor.len);
    assert!(
        lengths.eq(differences.iter().map(Vec::len)),
        "differences of another case than {} {}",
        case.op(),
        case.name()
    );
    let probe = Probe::new(backend, case)?;
    let mut findings = Vec::new();
    let analytic = probe.backward()?;
    let case_floor = CASE_FLOOR * analytic.iter().map(|gradient| largest(gradient)).fold(0.0, f64::max);
    for ((tensor, analytic), numeric) in case.inputs().iter().zip(&analytic).zip(differences) {
        findings.push(probe.compare(format!("d {}", tensor.name), analytic, numeric, case_floor));
    }
    if let Some((analytic, numeric)) = probe.tangent()? {
        findings.push(probe.compare("tangent".into(), &analytic, &numeric, 0.0));
    }
    Ok(findings)
}

struct Probe<'a, B: Backend> {
    backend: &'a B,
    case: &'a Case<B>,
    inputs: Vec<Vec<f64>>,
    cotangents: Vec<Vec<f64>>,
}

impl<'a, B: Backend> Probe<'a, B> {
    fn new(backend: &'a B, case: &'a Case<B>) -> Result<Self> {
        let filled = |tensors: &[Tensor], first: u32| {
            (first..).zip(tensors).map(|(number, tensor)| fill(tensor, number)).collect::<Vec<_>>()
        };
        Ok(Probe { backend, case, inputs: filled(case.inputs(), 0), cotangents: filled(case.outputs(), 1000) })
    }

    fn buffers(&self, tensors: &[Tensor], values: &[Vec<f64>]) -> Result<Vec<CaseBuffer<B>>> {
        tensors.iter().zip(values).map(|(tensor, values)| tensor.buffer(self.backend, values)).collect()
    }

    fn zeros(&self, tensors: &[Tensor]) -> Result<Vec<CaseBuffer<B>>> {
        tensors.iter().map(|tensor| tensor.zeros(self.backend)).collect()
    }

    fn read(&self, buffers: &[CaseBuffer<B>]) -> Result<Vec<Vec<f64>>> {
        buffers.iter().map(|buffer| buffer.values(self.backend)).collect()
    }

    fn inputs(&self) -> Result<Vec<CaseBuffer<B>>> {
        self.buffers(self.case.inputs(), &self.inputs)
    }

    fn outputs(&self, inputs: &[Vec<f64>]) -> Result<Vec<CaseBuffer<B>>> {
        let mut outputs = self.zeros(self.case.outputs())?;
        self.case.run_forward(self.backend, &self.buffers(self.case.inputs(), inputs)?, &mut outputs)?;
        Ok(outputs)
    }

    fn backward(&self) -> Result<Vec<Vec<f64>>> {
        let outputs = self.outputs(&self.inputs)?;
        let gradients = self.case.inputs().iter().map(|input| input.of_gradient().zeros(self.backend));
        let mut gradients = gradients.collect::<Result<Vec<_>>>()?;
        let (inputs, cotangents) = (self.inputs()?, self.buffers(self.case.outputs(), &self.cotangents)?);
        self.case.run_backward(self.backend, &inputs, &outputs, &cotangents, &mut gradients)?;
        self.read(&gradients)
    }

    /// (L(x + h) − L(x − h)) / 2h along one element.
    fn difference(&self, input: usize, element: usize) -> Result<f64> {
        let moved = |by: f64| {
            let mut inputs = self.inputs.clone();
            inputs[input][element] += by;
            self.read(&self.outputs(&inputs)?)
        };
        let (above, below) = (moved(STEP)?, moved(-STEP)?);
        let outputs = self.cotangents.iter().flatten().zip(above.iter().flatten().zip(below.iter().flatten()));
        Ok(outputs.map(|(u, (above, below))| u * (above - below)).sum::<f64>() / (2.0 * STEP))
    }

    /// The tangent of output 0 along a random direction of input 0, and its differences.
    fn tangent(&self) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
        let tensor = self.case.inputs()[0].clone().filled(Fill::Normal);
        let direction = fill(&tensor, 2000);
        let (inputs, outputs) = (self.inputs()?, self.outputs(&self.inputs)?);
        let v = tensor.buffer(self.backend, &direction)?;
        let mut tangents = self.zeros(self.case.outputs())?;
        let Some(done) = self.case.run_tangent(self.backend, &inputs, &outputs, &v, &mut tangents) else {
            return Ok(None);
        };
        done?;
        let moved = |by: f64| {
            let mut inputs = self.inputs.clone();
            inputs[0].iter_mut().zip(&direction).for_each(|(x, v)| *x += by * v);
            self.read(&self.outputs(&inputs)?[..1])
        };
        let (above, below) = (moved(STEP)?, moved(-STEP)?);
        let numeric = above[0].iter().zip(&below[0]).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
        Ok(Some((self.read(&tangents[..1])?.remove(0), numeric)))
    }

    fn compare(&self, of: String, analytic: &[f64], numeric: &[f64], case_floor: f64) -> Finding {
        // Below 1e-8 both are zero as far as differences can tell.
        let floor = (FLOOR * largest(analytic).max(largest(numeric))).max(case_floor).max(1e-8);
        let mut finding = Finding {
            op: self.case.op().into(),
            case: self.case.name().into(),
            of,
            elements: analytic.len(),
            worst: 0.0,
            at: 0,
            analytic: 0.0,
            numeric: 0.0,
        };
        for (at, (&analytic, &numeric)) in analytic.iter().zip(numeric).enumerate() {
            let error = (analytic - numeric).abs() / analytic.abs().max(numeric.abs()).max(floor);
            // A NaN is worse than any number.
            if error > finding.worst || error.is_nan() {
                let worst = if error.is_nan() { f64::INFINITY } else { error };
                finding = Finding { worst, at, analytic, numeric, ..finding };
            }
        }
        finding
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}
