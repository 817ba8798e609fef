//! Batch normalisation (Ioffe & Szegedy 2015) with the activation that follows it, in one pass:
//! x `[rows, C]`, y = f(γ · x̂ + β), x̂ = (x − μ) · σ⁻¹, σ² = mean (x − μ)² + ε, per channel and per group of rows.
//!
//! The batch is normalised by its biased variance (divided by the number of rows of a group).
//!
//! Groups let real and fake images pass as one batch of 2N with statistics of their own. Evaluation uses the running
//! statistics instead, which follow the batches group by group: r ← (1 − m) r + m · batch, the variance unbiased
//! (divided by one row less), as PyTorch keeps it.
//!
//! Where the rows of several ranks are normalised together, each finds the statistics of its own, all are gathered, and every rank
//! joins them in rank order: μ = mean μ_r, σ² = mean (σ_r² + (μ_r − μ)²), of as many rows each (Chan et al. 1979, pairwise). In the
//! backward and the tangent pass the two sums of a column are summed over the ranks. Gradients of γ and β are a rank's own, as all
//! gradients of parameters.

mod cpu;
mod launch;

use crate::Result;
use crate::device::{Backend, Buffer, In, Out, Stored, StoredOut, Window};
use crate::ops::case::{self, Case, Fill};
use crate::ops::layers::activation::Activation;
use crate::ops::models::{BATCH, BOTH};
use crate::ops::pass::{self, Pass, real, stored};
use crate::ops::tensor::CaseIn;

/// Sizes and mode of a batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Rows: images times positions.
    pub rows: usize,
    /// Channels.
    pub c: usize,
    /// Groups of consecutive rows with statistics of their own; divides `rows`.
    pub groups: usize,
    /// Ranks of which a group's rows are normalised together, each of which has so many rows: 1, or all (SyncBatchNorm).
    pub ranks: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// m, the weight of the new batch in the running statistics.
    pub momentum: f64,
    /// f.
    pub activation: Activation,
}

impl BatchNorm {
    /// Elements of x.
    fn len(&self) -> usize {
        self.rows * self.c
    }
    /// Rows of a group, on all ranks that are normalised together.
    fn joined_rows(&self) -> usize {
        self.rows / self.groups * self.ranks
    }
    /// The window that a dry run notes as communication: this one if the ranks normalise together, otherwise an empty one.
    fn told(&self, window: Window) -> Window {
        if self.ranks > 1 { window } else { Window::default() }
    }
    /// Elements of `saved` and of `sums`.
    fn saved_len(&self) -> usize {
        2 * self.groups * self.c
    }
    /// The sizes in few words.
    fn describe(&self) -> String {
        let BatchNorm { rows, c, groups, activation, .. } = self;
        format!("rows{rows} c{c} groups{groups} {activation:?}")
    }
}

/// The passes of batch normalisation. With more ranks than one they are collective, but for evaluation.
///
/// x, y and their gradients are `[rows, C]`, γ and β `[C]`. `saved` is `[groups, 2, C]`: μ and σ⁻¹. `sums` is
/// `[groups, 2, C]`: Σ g and Σ g · x̂ with g = dy · f′. `running` is `[2, C]`: mean and variance.
pub trait BatchNormOp: Backend {
    /// Normalises by the batch; overwrites y and `saved`, updates `running` once a group, in order.
    fn batch_norm_forward(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        running: Out<'_, Self>,
        saved: Out<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// From `saved` of every rank, `[ranks, groups, 2, C]`: overwrites it with that of all their rows, and updates `running` once a
    /// group, in order. It is the part of a forward pass that comes between two ranks' own.
    fn batch_norm_join(
        &self,
        d: &BatchNorm,
        gathered: In<'_, Self>,
        running: Out<'_, Self>,
        saved: Out<'_, Self>,
    ) -> Result<()>;

    /// Normalises by the running statistics; overwrites y. `d.groups` and `d.momentum` do not matter.
    fn batch_norm_eval(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        running: In<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// The backward pass. dx = γ σ⁻¹ (g − mean g − x̂ · mean(g x̂)), g = dy · f′, overwrites. `weight` is dγ and dβ, which
    /// are added to or overwritten: dγ += Σ g x̂, dβ += Σ g, over all groups. What is `None` is not computed. Overwrites `sums`.
    fn batch_norm_backward(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
        dx: Option<StoredOut<'_, Self>>,
        weight: Option<[Out<'_, Self>; 2]>,
        accumulate: bool,
    ) -> Result<()>;

    /// vy = f′ · γ σ⁻¹ (vx − mean vx − x̂ · mean(vx x̂)), the forward pass linearised at x; overwrites vy, and
    /// `sums` with those of vx in the place of g.
    fn batch_norm_tangent(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        vx: Stored<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
        vy: StoredOut<'_, Self>,
    ) -> Result<()>;
}

dry_run! {
    BatchNormOp:
    // x is read for the mean, for the variance, and to normalise.
    batch_norm_forward(d: &BatchNorm, x, _gamma, _beta, _running, saved, y) => 3 * x + y, telling AllGather of d.told(d.ranks * saved);
    batch_norm_join(_d: &BatchNorm, gathered, running, saved) => gathered + 2 * running + saved;
    batch_norm_eval(_d: &BatchNorm, x, _gamma, _beta, _running, y) => x + y;
    batch_norm_backward(d: &BatchNorm, x, y, dy, _gamma, _saved, sums, dx: Option<Window>, _weight: Option<[Window; 2]>, _accumulate: bool) =>
        2 * (x + y + dy) + sums + dx.unwrap_or_default(), telling AllReduce of d.told(dx.map_or(Window::default(), |_| sums));
    batch_norm_tangent(d: &BatchNorm, x, y, vx, _gamma, _saved, sums, vy) => 2 * (x + vx) + y + vy, telling AllReduce of d.told(sums);
}

fn size(rows: usize, c: usize, groups: usize, activation: Activation) -> BatchNorm {
    BatchNorm { rows, c, groups, ranks: 1, epsilon: 1e-5, momentum: 0.1, activation }
}

/// Odd sizes, one and two groups, every activation that follows a normalisation; backward and tangent passes, the
/// running statistics after a batch, and evaluation.
pub(super) fn cases<B: BatchNormOp>() -> Vec<Case<B>> {
    let batches = [
        size(3, 1, 1, Activation::Identity),
        size(6, 3, 2, Activation::Identity),
        size(33, 17, 1, Activation::LeakyRelu(0.2)),
        size(34, 33, 2, Activation::LeakyRelu(0.2)),
        size(17, 3, 1, Activation::Relu),
        size(300, 1, 2, Activation::Relu),
        size(15, 5, 3, Activation::Tanh),
    ];
    let running = [
        size(3, 1, 1, Activation::Identity),
        size(34, 33, 2, Activation::LeakyRelu(0.2)),
        size(15, 5, 3, Activation::Tanh),
        BatchNorm { momentum: 0.75, ..size(300, 3, 2, Activation::Relu) },
    ];
    let eval = [
        size(1, 1, 1, Activation::Identity),
        size(33, 17, 1, Activation::LeakyRelu(0.2)),
        size(17, 3, 1, Activation::Relu),
        size(90, 33, 1, Activation::Tanh),
        size(9, 16, 1, Activation::Relu),
    ];
    // Groups of more rows than a block sums, which the kernels do in two launches; more columns than a block has.
    // The last has whole runs of columns.
    let long =
        [(1026, 2, 2, Activation::LeakyRelu(0.2)), (520, 33, 1, Activation::Tanh), (262, 24, 2, Activation::Relu)];
    let long = long.map(|(rows, c, groups, activation)| size(rows, c, groups, activation));
    let batches = batches.into_iter().map(batch_case);
    let joined = [(1, 1, 1), (3, 17, 2), (5, 300, 2)];
    let joined = joined.map(|(ranks, c, groups)| BatchNorm { ranks, ..size(3 * groups, c, groups, Activation::Relu) });
    let batches = batches.chain(running.map(running_case)).chain(long.map(long_case));
    batches.chain(joined.map(joined_case)).chain(eval.map(eval_case)).collect()
}

fn case<B: BatchNormOp>(d: &BatchNorm, mode: &str) -> Case<B> {
    Case::new("batch_norm", format!("{mode}{}", d.describe()))
        .input("x", d.len())
        .real_input("gamma", d.c)
        .real_input("beta", d.c)
}

/// The forward pass with running statistics that nobody reads; returns `saved`.
fn normalise<B: BatchNormOp>(
    be: &B,
    d: &BatchNorm,
    [x, gamma, beta]: [CaseIn<'_, B>; 3],
    y: StoredOut<'_, B>,
) -> Result<Buffer<B>> {
    let (mut running, mut saved) = (be.alloc(2 * d.c)?, be.alloc(d.saved_len())?);
    let (x, gamma, beta) = (x.stored(), gamma.real(), beta.real());
    be.batch_norm_forward(d, x, gamma, beta, be.view_mut(&mut running), be.view_mut(&mut saved), y)?;
    Ok(saved)
}

fn batch_case<B: BatchNormOp>(d: BatchNorm) -> Case<B> {
    case(&d, "")
        .output("y", d.len())
        .forward(move |be: &B, inputs, [y]| normalise(be, &d, inputs, y.stored()).map(drop))
        .backward(move |be: &B, [x, gamma, beta], [y], [dy], [dx, dgamma, dbeta]| {
            let saved = normalise(be, &d, [x, gamma, beta], be.view_mut(&mut be.alloc(d.len())?))?;
            let (saved, mut sums) = (be.view(&saved), be.alloc(d.saved_len())?);
            let (x, y, dy, gamma) = (x.stored(), y.stored(), dy.stored(), gamma.real());
            // Both ways are taken: by sizes with an even number of rows, and by the others.
            let accumulates = d.rows.is_multiple_of(2);
            let weight = Some(case::gradients(be, [dgamma.real(), dbeta.real()], accumulates)?);
            let sums = be.view_mut(&mut sums);
            be.batch_norm_backward(&d, x, y, dy, gamma, saved, sums, Some(dx.stored()), weight, accumulates)
        })
        .tangent(move |be: &B, [x, gamma, beta], [y], vx, vy| {
            let saved = normalise(be, &d, [x, gamma, beta], be.view_mut(&mut be.alloc(d.len())?))?;
            let mut sums = be.alloc(d.saved_len())?;
            let (x, y, vx, gamma) = (x.stored(), y.stored(), vx.stored(), gamma.real());
            be.batch_norm_tangent(&d, x, y, vx, gamma, be.view(&saved), be.view_mut(&mut sums), vy.stored())
        })
}

/// The running statistics after a batch; nothing to differentiate.
fn running_case<B: BatchNormOp>(d: BatchNorm) -> Case<B> {
    case(&d, "running ")
        .filled_real_input("running", 2 * d.c, Fill::Uniform(0.5, 2.0))
        .real_output("running", 2 * d.c)
        .forward(move |be: &B, [x, gamma, beta, before], [running]| {
            let (x, gamma, beta, mut running) = (x.stored(), gamma.real(), beta.real(), running.real());
            be.copy(before.real(), be.reborrow(&mut running))?;
            let (mut saved, mut y) = (be.alloc(d.saved_len())?, be.alloc(d.len())?);
            be.batch_norm_forward(&d, x, gamma, beta, running, be.view_mut(&mut saved), be.view_mut(&mut y))
        })
}

/// All that both passes write, dy being an input: nothing to differentiate, which many rows would make slow.
fn long_case<B: BatchNormOp>(d: BatchNorm) -> Case<B> {
    case(&d, "long ")
        .input("dy", d.len())
        .output("y", d.len())
        .real_output("running", 2 * d.c)
        .output("dx", d.len())
        .real_output("dgamma", d.c)
        .real_output("dbeta", d.c)
        .forward(move |be: &B, [x, gamma, beta, dy], [y, running, dx, dgamma, dbeta]| {
            let (x, gamma, beta, mut y) = (x.stored(), gamma.real(), beta.real(), y.stored());
            let (mut saved, mut sums) = (be.alloc(d.saved_len())?, be.alloc(d.saved_len())?);
            be.batch_norm_forward(&d, x, gamma, beta, running.real(), be.view_mut(&mut saved), be.reborrow(&mut y))?;
            let (y, saved, sums) = (be.freeze(y), be.view(&saved), be.view_mut(&mut sums));
            let weight = Some(case::gradients(be, [dgamma.real(), dbeta.real()], false)?);
            be.batch_norm_backward(&d, x, y, dy.stored(), gamma, saved, sums, Some(dx.stored()), weight, false)
        })
}

/// The statistics of several ranks' rows, and the backward pass of one of them, whose sums are those of all: as a rank has them
/// between what it is told by the others.
fn joined_case<B: BatchNormOp>(d: BatchNorm) -> Case<B> {
    let BatchNorm { ranks, c, groups, .. } = d;
    case(&d, &format!("ranks{ranks} "))
        .filled_real_input("gathered", ranks * d.saved_len(), Fill::Uniform(0.5, 2.0))
        .filled_real_input("running", 2 * c, Fill::Uniform(0.5, 2.0))
        .input("dy", d.len())
        .real_output("saved", d.saved_len())
        .real_output("running", 2 * c)
        .output("dx", d.len())
        .real_output("dgamma", c)
        .forward(move |be: &B, [x, gamma, _, gathered, before, dy], [saved, running, dx, dgamma]| {
            let (x, gamma, mut running, mut saved) = (x.stored(), gamma.real(), running.real(), saved.real());
            be.copy(before.real(), be.reborrow(&mut running))?;
            be.batch_norm_join(&d, gathered.real(), running, be.reborrow(&mut saved))?;
            let (mut sums, mut dbeta) = (be.alloc(2 * groups * c)?, be.alloc(c)?);
            let (saved, mut dgamma) = (be.freeze(saved), dgamma.real());
            let weight = Some([be.reborrow(&mut dgamma), be.view_mut(&mut dbeta)]);
            let sums = be.view_mut(&mut sums);
            be.batch_norm_backward(&d, x, x, dy.stored(), gamma, saved, sums, Some(dx.stored()), weight, false)
        })
}

/// Evaluation, which has no backward pass.
fn eval_case<B: BatchNormOp>(d: BatchNorm) -> Case<B> {
    case(&d, "eval ").filled_real_input("running", 2 * d.c, Fill::Uniform(0.5, 2.0)).output("y", d.len()).forward(
        move |be: &B, [x, gamma, beta, running], [y]| {
            be.batch_norm_eval(&d, x.stored(), gamma.real(), beta.real(), running.real(), y.stored())
        },
    )
}

/// The batch normalisations of the article's models: the generator's have one group and a ReLU, the discriminator's two and
/// a leaky one.
fn model_sizes() -> Vec<BatchNorm> {
    let generator = |side: usize, c| size(BATCH * side * side, c, 1, Activation::Relu);
    let discriminator = |side: usize, c| size(BOTH * side * side, c, 2, Activation::LeakyRelu(0.2));
    vec![
        generator(1, 1024),
        generator(1, 7 * 7 * 128),
        generator(14, 64),
        discriminator(14, 64),
        discriminator(7, 128),
        generator(1, 4 * 4 * 512),
        generator(8, 256),
        generator(16, 128),
        generator(32, 64),
        discriminator(16, 64),
        discriminator(8, 128),
        discriminator(4, 256),
        discriminator(2, 512),
        discriminator(1, 1024),
    ]
}

/// At the sizes of the models.
pub(super) fn passes<B: BatchNormOp>() -> Vec<Pass<B>> {
    pass::of_each(model_sizes(), passes_of)
}

fn passes_of<B: BatchNormOp>(d: BatchNorm) -> [Pass<B>; 3] {
    const OP: &str = "batch_norm";
    let (shape, saved, c) = (d.describe(), d.saved_len(), d.c);
    let x = || stored(d.len());
    [
        Pass::of(
            OP,
            &shape,
            "forward",
            [x(), real(c), real(c)],
            [real(2 * c), real(saved), x()],
            move |be: &B, [x, gamma, beta], [running, saved, y], _| {
                let (gamma, beta, running, saved) = (gamma.real(), beta.real(), running.real(), saved.real());
                be.batch_norm_forward(&d, x.stored(), gamma, beta, running, saved, y.stored())
            },
        ),
        Pass::of(
            OP,
            &shape,
            "backward",
            [x(), x(), x(), real(c), real(saved)],
            [real(saved), x(), real(c), real(c)],
            move |be: &B, [x, y, dy, gamma, saved], [sums, dx, dgamma, dbeta], _| {
                let (x, y, dy, gamma, saved) = (x.stored(), y.stored(), dy.stored(), gamma.real(), saved.real());
                let weight = Some([dgamma.real(), dbeta.real()]);
                be.batch_norm_backward(&d, x, y, dy, gamma, saved, sums.real(), Some(dx.stored()), weight, false)
            },
        ),
        // Running statistics of zeros, which is what outputs begin as: a variance must not be negative.
        Pass::of(
            OP,
            &shape,
            "eval",
            [x(), real(c), real(c)],
            [real(2 * c), x()],
            move |be: &B, [x, gamma, beta], [running, y], _| {
                be.batch_norm_eval(&d, x.stored(), gamma.real(), beta.real(), be.freeze(running.real()), y.stored())
            },
        ),
    ]
}
