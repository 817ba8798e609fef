//! The minibatch layer, which tells the discriminator how near an image is to the others of its kind (Salimans et al. 2016,
//! section 3.2; `src/ops/layers/minibatch_discrimination.rs` has the formula).

use std::ops::Range;

use super::layer::{Layer, Mode, Pass};
use super::sequential::{first, first_mut};
use super::table::{Flattened, Initialisation, Table};
use crate::config::DiscriminatorSettings;
use crate::device::{Out, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::linear::Linear;
use crate::ops::layers::minibatch_discrimination::MinibatchDiscrimination;
use crate::{Error, Result};

/// Features `[N, A]` → the same and the sums of their nearness, `[N, A + B]`. It remembers m and the groups for its backward
/// pass.
pub(super) struct MinibatchLayer<B: Executor> {
    /// Of the last forward pass; for no images before it.
    d: MinibatchDiscrimination,
    /// T, `[B · C, A]`.
    weight: Range<usize>,
    /// T x of the last forward pass, `[N, B, C]`, and its gradient.
    m: StoredBuffer<B>,
    d_m: StoredBuffer<B>,
}

impl<B: Executor> MinibatchLayer<B> {
    /// Adds `minibatch.weight` to the table, for `features` of an image and up to `capacity` images.
    ///
    /// # Errors
    /// If memory is used up.
    pub(super) fn new(
        backend: &B,
        params: &mut Table,
        settings: &DiscriminatorSettings,
        features: Flattened,
        init: Initialisation,
        capacity: usize,
    ) -> Result<Self> {
        let (c, kernels, dims) = (features.len(), settings.minibatch_kernels, settings.minibatch_dims);
        let d = MinibatchDiscrimination { n: 0, groups: 1, c, kernels, dims };
        let compared = Flattened::vector(d.m_len());
        let weight = params.add_matrix("minibatch.weight".into(), compared, features, init.weight(c));
        let memory = || backend.alloc(capacity * d.m_len());
        Ok(MinibatchLayer { d, weight, m: memory()?, d_m: memory()? })
    }

    /// The map from features to m.
    fn map(&self) -> Linear {
        Linear { n: self.d.n, c: self.d.c, k: self.d.m_len() }
    }
}

/// The reason that there is no gradient penalty of this layer.
fn mixes() -> Error {
    Error::Internal(
        "a gradient penalty is one of each image on its own, and minibatch discrimination mixes the images of a batch"
            .into(),
    )
}

impl<B: Executor> Layer<B> for MinibatchLayer<B> {
    fn describe(&self) -> String {
        let MinibatchDiscrimination { c, kernels, dims, .. } = self.d;
        format!("minibatch_discrimination {c} + {kernels}, of {dims} dimensions each")
    }
    fn x_len(&self) -> usize {
        self.d.c
    }
    fn y_len(&self) -> usize {
        self.d.y_len()
    }
    /// In [`Mode::Eval`] all images are one group: there are no running statistics of nearness.
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        _: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        let backend = pass.backend;
        (self.d.n, self.d.groups) = (pass.n, if let Mode::Train { groups } = mode { groups } else { 1 });
        let (d, map, len) = (self.d, self.map(), pass.n * self.d.m_len());
        backend.linear_forward(&map, x, pass.weight(&self.weight), None, first_mut(backend, &mut self.m, len))?;
        backend.minibatch_discrimination_forward(&d, x, first(backend, &self.m, len), y)
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
        let (backend, d, map, len) = (pass.backend, self.d, self.map(), pass.n * self.d.m_len());
        let d_m = first_mut(backend, &mut self.d_m, len);
        backend.minibatch_discrimination_backward_input(&d, first(backend, &self.m, len), dy, d_m)?;
        let d_m = first(backend, &self.d_m, len);
        if let Some(d_params) = d_params {
            let dw = backend.slice_mut(d_params, self.weight.clone());
            backend.linear_backward_weight(&map, x, d_m, dw, None, pass.accumulates)?;
        }
        let Some(mut dx) = dx else { return Ok(()) };
        backend.linear_backward_input(&map, d_m, pass.weight(&self.weight), backend.reborrow(&mut dx))?;
        backend.minibatch_discrimination_backward_features(&d, dy, dx)
    }
    fn tangent(
        &mut self,
        _: Pass<'_, B>,
        _: Stored<'_, B>,
        _: Stored<'_, B>,
        _: Stored<'_, B>,
        _: StoredOut<'_, B>,
    ) -> Result<()> {
        Err(mixes())
    }
    fn tangent_weight(&mut self, _: Pass<'_, B>, _: Stored<'_, B>, _: Stored<'_, B>, _: Out<'_, B>) -> Result<()> {
        Err(mixes())
    }
}
