//! The layers that have parameters, as thin wrappers of their operations. Images are `[N, H, W, C]`; names, shapes and layouts of
//! tensors in tables and files are PyTorch's.

use std::ops::Range;

use super::layer::{Layer, Mode, Pass};
use super::operation::{Described, Operation, Parameters};
use super::table::{Flattened, Init, Initialisation, Table};
use crate::device::{Buffer, Out, Stored, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::affine::Affine;
use crate::ops::layers::batch_norm::BatchNorm;
use crate::ops::layers::conv_transpose2d::ConvTranspose2d;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::epilogue::Epilogue;
use crate::ops::layers::linear::Linear;
use crate::{Error, Result};

/// A window on the arena of gradients: a tensor and its bias, which lies right behind it.
fn weight_and_bias<'a, B: Executor>(
    backend: &B,
    arena: Out<'a, B>,
    weight: &Range<usize>,
    bias: &Range<usize>,
) -> (Out<'a, B>, Out<'a, B>) {
    debug_assert_eq!(weight.end, bias.start);
    backend.split_mut(backend.slice_mut(arena, weight.start..bias.end), weight.len())
}

/// Convolution `[N, H, W, C]` → `[N, OH, OW, K]`, transposed convolution, or linear layer `[N, C]` → `[N, K]`: y = A(w) x + b. The
/// number of images is filled in at each pass.
pub struct AffineLayer<M> {
    pub(super) map: M,
    pub(super) weight: Range<usize>,
    /// Right behind the weight; a shortcut has none.
    pub(super) bias: Option<Range<usize>>,
    /// Whether the bias has a gradient.
    pub(super) trains_bias: bool,
}

impl<M> AffineLayer<M> {
    /// The same layer where batch normalisation follows, if it does. That takes the mean away, and with it whatever the bias
    /// adds: the bias's gradient is zero but for rounding, which an optimiser would make whole steps of. So it is not computed,
    /// and the bias stays as it was drawn.
    #[must_use]
    pub fn before_norm(self, follows: bool) -> Self {
        AffineLayer { trains_bias: self.trains_bias && !follows, ..self }
    }
}

impl AffineLayer<Conv2d> {
    /// Adds `{name}.weight` `[K, C, R, S]` and `{name}.bias` `[K]` to the table.
    pub fn conv2d(table: &mut Table, name: &str, d: Conv2d, init: Initialisation) -> Self {
        let layer = AffineLayer::conv2d_without_bias(table, name, d, init);
        let bias = add_bias(table, name, Flattened::vector(d.k), init, d.r * d.s * d.c);
        AffineLayer { bias: Some(bias), ..layer }
    }

    /// Adds `{name}.weight` alone to the table.
    pub fn conv2d_without_bias(table: &mut Table, name: &str, d: Conv2d, init: Initialisation) -> Self {
        let init = init.weight(d.r * d.s * d.c);
        let weight = table.add_filter(format!("{name}.weight"), [d.k, d.r, d.s, d.c], init);
        AffineLayer { map: d, weight, bias: None, trains_bias: true }
    }
}

impl AffineLayer<Conv2d> {
    /// `conv_mean` and `conv_logvar`, `[channels, C, 1, 1]` each, as one convolution of twice the width: their filters and their biases lie
    /// side by side, so one product computes both. The latter is called so whether it makes log σ² or log σ: checkpoints of either
    /// have the same tensors. Its bias starts at `logvar_bias`.
    pub fn bottleneck(
        table: &mut Table,
        last: Flattened,
        channels: usize,
        init: Initialisation,
        logvar_bias: f64,
    ) -> Self {
        let mean = table.add_filter("conv_mean.weight".into(), [channels, 1, 1, last.c], init.weight(last.c));
        let logvar = table.add_filter("conv_logvar.weight".into(), [channels, 1, 1, last.c], init.weight(last.c));
        let mut bias =
            |name: &str, centre| table.add_vector(name.into(), Flattened::vector(channels), init.bias(last.c, centre));
        let mean_bias = bias("conv_mean.bias", 0.0);
        let logvar_bias = bias("conv_logvar.bias", logvar_bias);
        let map = Conv2d { n: 0, h: last.h, w: last.w, c: last.c, k: 2 * channels, r: 1, s: 1, stride: 1, padding: 0 };
        let bias = Some(mean_bias.start..logvar_bias.end);
        AffineLayer { map, weight: mean.start..logvar.end, bias, trains_bias: true }
    }
}

impl AffineLayer<ConvTranspose2d> {
    /// Adds `{name}.weight` `[C, K, R, S]` and `{name}.bias` `[K]` to the table.
    pub fn conv_transpose2d(table: &mut Table, name: &str, d: ConvTranspose2d, init: Initialisation) -> Self {
        let fan_in = d.r * d.s * d.k;
        let weight = table.add_filter(format!("{name}.weight"), [d.c, d.r, d.s, d.k], init.weight(fan_in));
        let bias = add_bias(table, name, Flattened::vector(d.k), init, fan_in);
        AffineLayer { map: d, weight, bias: Some(bias), trains_bias: true }
    }
}

impl AffineLayer<Linear> {
    /// Adds `{name}.weight` `[outputs, inputs]` and `{name}.bias` `[outputs]` to the table; either side may be a flattened image.
    pub fn linear(table: &mut Table, name: &str, inputs: Flattened, outputs: Flattened, init: Initialisation) -> Self {
        let fan_in = inputs.len();
        let weight = table.add_matrix(format!("{name}.weight"), outputs, inputs, init.weight(fan_in));
        let bias = add_bias(table, name, outputs, init, fan_in);
        AffineLayer { map: Linear { n: 0, c: fan_in, k: outputs.len() }, weight, bias: Some(bias), trains_bias: true }
    }
}

fn add_bias(table: &mut Table, name: &str, features: Flattened, init: Initialisation, fan_in: usize) -> Range<usize> {
    table.add_vector(format!("{name}.bias"), features, init.bias(fan_in, 0.0))
}

impl AffineLayer<Conv2d> {
    /// y = f(x), ended by `end`.
    ///
    /// # Errors
    /// Those of [`Conv2dOp::conv2d_forward`](crate::ops::layers::conv2d::Conv2dOp::conv2d_forward).
    pub(super) fn forward_ended<B: Executor>(
        &self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        end: Epilogue<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        let (w, b) = (pass.weight(&self.weight), self.bias.as_ref().map(|bias| pass.param(bias)));
        pass.backend.conv2d_forward(&Conv2d { n: pass.n, ..self.map }, x, w, b, end, y)
    }

    /// The gradient of x, ended by `end`.
    ///
    /// # Errors
    /// As above.
    pub(super) fn backward_input_ended<B: Executor>(
        &self,
        pass: Pass<'_, B>,
        dy: Stored<'_, B>,
        end: Epilogue<'_, B>,
        dx: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.conv2d_backward_input(&Conv2d { n: pass.n, ..self.map }, dy, pass.weight(&self.weight), end, dx)
    }
}

impl<B: Executor, M: Affine<B> + Described> Layer<B> for AffineLayer<M> {
    fn describe(&self) -> String {
        format!("{} {}", M::OP, self.map.describe())
    }
    fn x_len(&self) -> usize {
        self.map.with_n(1).x_len()
    }
    fn y_len(&self) -> usize {
        self.map.with_n(1).y_len()
    }
    fn norm_follows(&mut self, features: usize) {
        // A linear layer to an image has a bias for each pixel, of which the mean of a channel takes only a part away.
        self.trains_bias = self.trains_bias && self.map.with_n(1).b_len() != features;
    }
    fn operations(&self) -> Option<Vec<Operation>> {
        let parameters = Parameters { weight: self.weight.clone(), bias: self.bias.clone() };
        Some(vec![self.map.operation(parameters)])
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        _: Mode,
        _: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        let (w, b) = (pass.weight(&self.weight), self.bias.as_ref().map(|bias| pass.param(bias)));
        self.map.with_n(pass.n).forward(pass.backend, x, w, b, y)
    }
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        _y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let (backend, map) = (pass.backend, self.map.with_n(pass.n));
        if let Some(d_params) = d_params {
            let (dw, db) = match self.bias.as_ref().filter(|_| self.trains_bias) {
                None => (backend.slice_mut(d_params, self.weight.clone()), None),
                Some(bias) => {
                    let (dw, db) = weight_and_bias(backend, d_params, &self.weight, bias);
                    (dw, Some(db))
                }
            };
            map.backward_weight(backend, x, dy, dw, db, pass.accumulates)?;
        }
        dx.map_or(Ok(()), |dx| map.backward_input(backend, dy, pass.weight(&self.weight), dx))
    }
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        _: Stored<'_, B>,
        _: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        self.map.with_n(pass.n).forward(pass.backend, vx, pass.weight(&self.weight), None, vy)
    }
    fn tangent_weight(
        &mut self,
        pass: Pass<'_, B>,
        vx: Stored<'_, B>,
        dy: Stored<'_, B>,
        d_params: Out<'_, B>,
    ) -> Result<()> {
        // ⟨A(w) vx, dy⟩ is linear in w as ⟨A(w) x, dy⟩ is, and knows no bias.
        let dw = pass.backend.slice_mut(d_params, self.weight.clone());
        self.map.with_n(pass.n).backward_weight(pass.backend, vx, dy, dw, None, true)
    }
}

/// An activation on its own, where no normalisation goes before it: `[N, len]` → `[N, len]`.
pub struct ActivationLayer {
    /// The function.
    pub f: Activation,
    /// Elements of one image.
    pub len: usize,
}

impl<B: Executor> Layer<B> for ActivationLayer {
    fn describe(&self) -> String {
        format!("{:?}", self.f)
    }
    fn x_len(&self) -> usize {
        self.len
    }
    fn y_len(&self) -> usize {
        self.len
    }
    fn operations(&self) -> Option<Vec<Operation>> {
        Some(vec![Operation::Activation(self.f)])
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        _: Mode,
        _: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.activation_forward(self.f, x, y)
    }
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        _: Option<Out<'_, B>>,
    ) -> Result<()> {
        dx.map_or(Ok(()), |dx| pass.backend.activation_backward_input(self.f, y, dy, dx))
    }
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        _: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.activation_backward_input(self.f, y, vx, vy)
    }
    fn curves(&self) -> bool {
        self.f.curves()
    }
    fn curvature(
        &mut self,
        pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.activation_curvature(self.f, y, vx, dy, dx)
    }
}

/// Batch normalisation and the activation behind it, `[N, positions, C]` → the same. It remembers the batch's statistics for its
/// backward pass.
pub struct BatchNormLayer<B: Executor> {
    /// Rows of one image.
    positions: usize,
    c: usize,
    activation: Activation,
    /// γ, then β.
    gamma: Range<usize>,
    beta: Range<usize>,
    running: Range<usize>,
    /// Images of each group of the last forward pass, and its groups.
    group_images: usize,
    groups: usize,
    saved: Buffer<B>,
    sums: Buffer<B>,
}

impl<B: Executor> BatchNormLayer<B> {
    /// The most groups that a pass may have: real and fake.
    const MOST_GROUPS: usize = 2;

    /// Adds `{name}.weight` and `{name}.bias` to the table and `{name}.running_mean`, `_var` to that of the statistics, `[C]` each.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn new(
        backend: &B,
        params: &mut Table,
        stats: &mut Table,
        name: &str,
        positions: usize,
        features: Flattened,
        activation: Activation,
    ) -> Result<Self> {
        let gamma = params.add_vector(format!("{name}.weight"), features, Init::Constant(1.0));
        let beta = params.add_vector(format!("{name}.bias"), features, Init::Constant(0.0));
        let mean = stats.add_vector(format!("{name}.running_mean"), features, Init::Constant(0.0));
        let variance = stats.add_vector(format!("{name}.running_var"), features, Init::Constant(1.0));
        let c = features.len();
        let memory = || backend.alloc(2 * Self::MOST_GROUPS * c);
        let running = mean.start..variance.end;
        Ok(BatchNormLayer {
            positions,
            c,
            activation,
            gamma,
            beta,
            running,
            group_images: 1,
            groups: 1,
            saved: memory()?,
            sums: memory()?,
        })
    }

    fn dims(&self, n: usize, ranks: usize) -> BatchNorm {
        BatchNorm {
            rows: n * self.positions,
            c: self.c,
            groups: self.groups,
            ranks,
            epsilon: 1e-5,
            momentum: 0.1,
            activation: self.activation,
        }
    }
}

impl<B: Executor> Layer<B> for BatchNormLayer<B> {
    fn describe(&self) -> String {
        format!("batch_norm {} + {:?}", self.c, self.activation)
    }
    fn x_len(&self) -> usize {
        self.positions * self.c
    }
    fn y_len(&self) -> usize {
        self.positions * self.c
    }
    fn operations(&self) -> Option<Vec<Operation>> {
        let middle = self.running.start + self.c;
        let (mean, variance) = (self.running.start..middle, middle..self.running.end);
        let (gamma, beta) = (self.gamma.clone(), self.beta.clone());
        let norm = Operation::BatchNorm { gamma, beta, mean, variance, epsilon: self.dims(1, 1).epsilon };
        Some(vec![norm, Operation::Activation(self.activation)])
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        stats: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        let backend = pass.backend;
        let (gamma, beta) = (pass.param(&self.gamma), pass.param(&self.beta));
        let running = backend.slice_mut(stats, self.running.clone());
        match mode {
            Mode::Eval => {
                backend.batch_norm_eval(&self.dims(pass.n, pass.ranks), x, gamma, beta, backend.freeze(running), y)
            }
            Mode::Train { groups } => {
                (self.groups, self.group_images) = (groups, pass.n / groups);
                let d = self.dims(pass.n, pass.ranks);
                let saved = backend.view_mut(&mut self.saved);
                let saved = backend.slice_mut(saved, 0..2 * groups * self.c);
                backend.batch_norm_forward(&d, x, gamma, beta, running, saved, y)
            }
        }
    }
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let (backend, groups) = (pass.backend, pass.n / self.group_images);
        let d = BatchNorm { groups, ..self.dims(pass.n, pass.ranks) };
        let pair = 2 * d.c;
        let first = pass.before / self.group_images;
        let saved = backend.part(&self.saved, first * pair..(first + groups) * pair);
        let sums = backend.part_mut(&mut self.sums, 0..groups * pair);
        let weight = d_params.map(|d_params| {
            let (dgamma, dbeta) = weight_and_bias(backend, d_params, &self.gamma, &self.beta);
            [dgamma, dbeta]
        });
        backend.batch_norm_backward(&d, x, y, dy, pass.param(&self.gamma), saved, sums, dx, weight, pass.accumulates)
    }
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        let (backend, d) = (pass.backend, self.dims(pass.n, pass.ranks));
        let used = 0..2 * d.groups * d.c;
        let saved = backend.part(&self.saved, used.clone());
        let sums = backend.part_mut(&mut self.sums, used);
        backend.batch_norm_tangent(&d, x, y, vx, pass.param(&self.gamma), saved, sums, vy)
    }
    fn tangent_weight(&mut self, _: Pass<'_, B>, _: Stored<'_, B>, _: Stored<'_, B>, _: Out<'_, B>) -> Result<()> {
        Err(Error::Internal(
            "a gradient penalty is one of each image on its own, and batch normalisation mixes the images of a batch"
                .into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    /// One for each pixel does make a difference.
    #[test]
    fn a_bias_that_normalisation_takes_away_is_not_trained() {
        let trains = |outputs: Flattened| {
            let (mut table, inputs) = (Table::default(), Flattened::vector(4));
            let mut layer = AffineLayer::linear(&mut table, "fc", inputs, outputs, Initialisation::Normal(0.02));
            assert!(layer.trains_bias);
            Layer::<Cpu<f32>>::norm_follows(&mut layer, outputs.c);
            layer.trains_bias
        };
        assert!(!trains(Flattened::vector(3)) && trains(Flattened { h: 2, w: 2, c: 3 }));
    }
}
