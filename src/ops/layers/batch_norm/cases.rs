//! The cases of batch normalisation; a file of its own because the operation fills one.

use super::BatchNorm;
use crate::Result;
use crate::device::Buffer;
use crate::ops::case::OldCase;
use crate::ops::layers::activation::Activation;
use crate::ops::{Executor, Fill, Tensor};

struct BatchNormCase(BatchNorm);

/// What the running statistics have to do with it; nothing to differentiate.
enum StatisticsCase {
    /// How a batch moves them.
    Running(BatchNorm),
    /// Evaluation, which normalises by them.
    Eval(BatchNorm),
}

/// Odd sizes, one and two groups, every activation that follows a normalisation; backward and tangent passes, the
/// running statistics after a batch, and evaluation.
pub(crate) fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    let size = |rows, c, groups, activation| BatchNorm { rows, c, groups, epsilon: 1e-5, momentum: 0.1, activation };
    let batches = [
        size(3, 1, 1, Activation::Identity),
        size(6, 3, 2, Activation::Identity),
        size(33, 17, 1, Activation::LeakyRelu(0.2)),
        size(34, 33, 2, Activation::LeakyRelu(0.2)),
        size(17, 3, 1, Activation::Relu),
        size(300, 1, 2, Activation::Relu),
        size(15, 5, 3, Activation::Tanh),
    ];
    let statistics = [
        StatisticsCase::Running(size(3, 1, 1, Activation::Identity)),
        StatisticsCase::Running(size(34, 33, 2, Activation::LeakyRelu(0.2))),
        StatisticsCase::Running(size(15, 5, 3, Activation::Tanh)),
        StatisticsCase::Running(BatchNorm { momentum: 0.75, ..size(300, 3, 2, Activation::Relu) }),
        StatisticsCase::Eval(size(1, 1, 1, Activation::Identity)),
        StatisticsCase::Eval(size(33, 17, 1, Activation::LeakyRelu(0.2))),
        StatisticsCase::Eval(size(17, 3, 1, Activation::Relu)),
        StatisticsCase::Eval(size(15, 5, 1, Activation::Tanh)),
    ];
    let batches = batches.map(|d| Box::new(BatchNormCase(d)) as Box<dyn OldCase<B>>);
    batches.into_iter().chain(statistics.map(|case| Box::new(case) as Box<dyn OldCase<B>>)).collect()
}

fn describe(d: &BatchNorm) -> String {
    let BatchNorm { rows, c, groups, activation, .. } = d;
    format!("rows{rows} c{c} groups{groups} {activation:?}")
}

fn inputs(d: &BatchNorm) -> Vec<Tensor> {
    vec![Tensor::new("x", d.rows * d.c), Tensor::new("gamma", d.c), Tensor::new("beta", d.c)]
}

impl BatchNormCase {
    /// The forward pass with statistics of this case's own: returns `saved`.
    fn normalise<B: Executor>(&self, be: &B, inputs: &[Buffer<B>], y: &mut Buffer<B>) -> Result<Buffer<B>> {
        let d = &self.0;
        let mut running = be.alloc(2 * d.c)?;
        let mut saved = be.alloc(2 * d.groups * d.c)?;
        let [x, gamma, beta] = [0, 1, 2].map(|i| be.view(&inputs[i]));
        be.batch_norm_forward(d, x, gamma, beta, be.view_mut(&mut running), be.view_mut(&mut saved), be.view_mut(y))?;
        Ok(saved)
    }
}

impl<B: Executor> OldCase<B> for BatchNormCase {
    fn op(&self) -> &'static str {
        "batch_norm"
    }
    fn name(&self) -> String {
        describe(&self.0)
    }
    fn inputs(&self) -> Vec<Tensor> {
        inputs(&self.0)
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("y", self.0.rows * self.0.c)]
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        self.normalise(be, inputs, &mut outputs[0]).map(drop)
    }
    fn backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let d = &self.0;
        let saved = self.normalise(be, inputs, &mut be.alloc(d.rows * d.c)?)?;
        let mut sums = be.alloc(2 * d.groups * d.c)?;
        let [x, gamma, saved] = [be.view(&inputs[0]), be.view(&inputs[1]), be.view(&saved)];
        let (y, dy) = (be.view(&outputs[0]), be.view(&d_outputs[0]));
        be.batch_norm_backward_sums(d, x, y, dy, saved, be.view_mut(&mut sums))?;
        let [dx, dgamma, dbeta] = d_inputs else { unreachable!("three inputs") };
        be.batch_norm_backward_input(d, x, y, dy, gamma, saved, be.view(&sums), be.view_mut(dx))?;
        be.batch_norm_backward_weight(d, be.view(&sums), be.view_mut(dgamma), be.view_mut(dbeta))
    }
    fn has_tangent(&self) -> bool {
        true
    }
    fn tangent(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        outputs: &[Buffer<B>],
        v_input: &Buffer<B>,
        v_outputs: &mut [Buffer<B>],
    ) -> Option<Result<()>> {
        let d = &self.0;
        let mut run = || {
            let saved = self.normalise(be, inputs, &mut be.alloc(d.rows * d.c)?)?;
            let mut sums = be.alloc(2 * d.groups * d.c)?;
            let [x, gamma] = [be.view(&inputs[0]), be.view(&inputs[1])];
            let (y, v, saved) = (be.view(&outputs[0]), be.view(v_input), be.view(&saved));
            be.batch_norm_tangent(d, x, y, v, gamma, saved, be.view_mut(&mut sums), be.view_mut(&mut v_outputs[0]))
        };
        Some(run())
    }
}

impl StatisticsCase {
    fn d(&self) -> &BatchNorm {
        match self {
            StatisticsCase::Running(d) | StatisticsCase::Eval(d) => d,
        }
    }
}

impl<B: Executor> OldCase<B> for StatisticsCase {
    fn op(&self) -> &'static str {
        "batch_norm"
    }
    fn name(&self) -> String {
        let mode = match self {
            StatisticsCase::Running(_) => "running",
            StatisticsCase::Eval(_) => "eval",
        };
        format!("{mode} {}", describe(self.d()))
    }
    fn inputs(&self) -> Vec<Tensor> {
        let running = Tensor::new("running", 2 * self.d().c).filled(Fill::Uniform(0.5, 2.0));
        inputs(self.d()).into_iter().chain([running]).collect()
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![match self {
            StatisticsCase::Running(d) => Tensor::new("running", 2 * d.c),
            StatisticsCase::Eval(d) => Tensor::new("y", d.rows * d.c),
        }]
    }
    fn differentiable(&self) -> bool {
        false
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let [x, gamma, beta, before] = [0, 1, 2, 3].map(|i| be.view(&inputs[i]));
        let output = &mut outputs[0];
        match self {
            StatisticsCase::Eval(d) => be.batch_norm_eval(d, x, gamma, beta, before, be.view_mut(output)),
            StatisticsCase::Running(d) => {
                be.copy(before, be.view_mut(output))?;
                let (mut saved, mut y) = (be.alloc(2 * d.groups * d.c)?, be.alloc(d.rows * d.c)?);
                let (saved, y) = (be.view_mut(&mut saved), be.view_mut(&mut y));
                be.batch_norm_forward(d, x, gamma, beta, be.view_mut(output), saved, y)
            }
        }
    }
}
