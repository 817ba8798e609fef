//! The layers that are told the class of an image: its embedding beside the features, and its part in the logit.
//! `src/ops/layers/class_concat.rs` and `class_projection.rs` have the formulas.

use std::ops::Range;

use super::init::initialisation;
use super::layer::{Layer, Mode, Pass};
use super::layers::AffineLayer;
use super::operation::Operation;
use super::table::{Flattened, Init, Table};
use crate::config::{Conditional, Settings};
use crate::device::{Out, Stored, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::class_concat::ClassConcat;
use crate::ops::layers::class_projection::ClassProjection;
use crate::ops::layers::linear::Linear;
use crate::{Error, Result};

/// The name of the table of embeddings, in either net.
const EMBEDDING: &str = "class_embedding.weight";

/// The number of classes of conditional nets.
///
/// # Errors
/// [`Error::Usage`] where the settings name none.
fn classes(settings: &Settings) -> Result<usize> {
    match settings.nets.classes {
        0 => Err(Error::Usage(format!(
            "nets.classes is 0 and there are no images to take it from: pass --set nets.classes=K, the number of classes \
             (nets.conditional is {})",
            settings.nets.conditional.word()
        ))),
        classes => Ok(classes),
    }
}

/// The layers before the generator's first linear one, and what they make of z `[N, latent]`: conditional nets have the class's embedding beside
/// it, others are given z itself.
///
/// # Errors
/// [`Error::Usage`] where the settings name no number of classes.
pub(super) fn class_beside<B: Executor>(
    settings: &Settings,
    latent: usize,
    params: &mut Table,
) -> Result<(Vec<Box<dyn Layer<B>>>, Flattened)> {
    let Some(layer) = ClassConcatLayer::of(settings, latent, params)? else {
        return Ok((Vec::new(), Flattened::vector(latent)));
    };
    let inputs = Flattened::vector(layer.outputs());
    Ok((vec![Box::new(layer)], inputs))
}

/// The layer to a discriminator's logit, whatever part the class has in it: `{name}.weight`, `{name}.bias`, and with `projection`
/// `class_embedding.weight`.
///
/// # Errors
/// [`Error::Usage`] where the settings name no number of classes.
pub(super) fn logit<B: Executor>(
    settings: &Settings,
    name: &str,
    inputs: Flattened,
    params: &mut Table,
) -> Result<Box<dyn Layer<B>>> {
    if let Some(layer) = ClassLogitLayer::of(settings, name, inputs, params)? {
        return Ok(Box::new(layer));
    }
    Ok(Box::new(AffineLayer::linear(params, name, inputs, Flattened::vector(1), initialisation(settings))))
}

/// Features `[N, C]` → the same and the embedding of the class, `[N, C + W]`.
pub(super) struct ClassConcatLayer {
    /// For no images.
    d: ClassConcat,
    /// `[K, W]`.
    weight: Range<usize>,
}

impl ClassConcatLayer {
    /// Adds `class_embedding.weight` `[K, W]` to the table, drawn from N(0, 1) as PyTorch's `nn.Embedding` draws it: only directions
    /// count. `None` where the nets are not conditional.
    ///
    /// # Errors
    /// [`Error::Usage`] where the settings name no number of classes.
    pub(super) fn of(settings: &Settings, features: usize, params: &mut Table) -> Result<Option<Self>> {
        if !settings.nets.is_conditional() {
            return Ok(None);
        }
        let (classes, width) = (classes(settings)?, settings.nets.class_embedding);
        let [rows, columns] = [classes, width].map(Flattened::vector);
        let weight = params.add_matrix(EMBEDDING.into(), rows, columns, Init::Normal(1.0));
        Ok(Some(ClassConcatLayer { d: ClassConcat { n: 0, c: features, classes, width }, weight }))
    }

    /// The same for a discriminator, whose head it is in with `concatenation` alone.
    ///
    /// # Errors
    /// As above.
    pub(super) fn of_head(settings: &Settings, features: usize, params: &mut Table) -> Result<Option<Self>> {
        if settings.nets.conditional == Conditional::Concatenation {
            Self::of(settings, features, params)
        } else {
            Ok(None)
        }
    }

    /// Elements of one image's output.
    pub(super) fn outputs(&self) -> usize {
        self.d.y_len()
    }

    fn dims(&self, n: usize) -> ClassConcat {
        ClassConcat { n, ..self.d }
    }
}

impl<B: Executor> Layer<B> for ClassConcatLayer {
    fn describe(&self) -> String {
        let ClassConcat { c, classes, width, .. } = self.d;
        format!("class_concat {c} + {width}, {classes} classes")
    }
    fn x_len(&self) -> usize {
        self.d.c
    }
    fn y_len(&self) -> usize {
        self.d.y_len()
    }
    fn operations(&self) -> Option<Vec<Operation>> {
        Some(vec![Operation::ClassConcat { weight: self.weight.clone() }])
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        _: Mode,
        _: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        let e = pass.param(&self.weight);
        pass.backend.class_concat_forward(&self.dims(pass.n), x, pass.of_classes()?, e, y)
    }
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        _y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let (backend, d) = (pass.backend, self.dims(pass.n));
        if let Some(d_params) = d_params {
            let (e, de) = (pass.param(&self.weight), backend.slice_mut(d_params, self.weight.clone()));
            backend.class_concat_backward_weight(&d, pass.of_classes()?, e, dy, de, pass.accumulates)?;
        }
        dx.map_or(Ok(()), |dx| backend.class_concat_backward_input(&d, dy, dx))
    }
    /// The embedding's own tangent is 0, so that it has no part in [`Layer::tangent_weight`].
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        _: Stored<'_, B>,
        _: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.class_concat_tangent(&self.dims(pass.n), vx, vy)
    }
}

/// Features `[N, C]` → a logit `[N]` in which the class has a part.
pub(super) struct ClassLogitLayer {
    /// For no images.
    d: ClassProjection,
    /// `[K, C]`.
    weight: Range<usize>,
    /// The bias of each class `[K]` right behind it, where the class selects a logit.
    bias: Option<Range<usize>>,
    /// The logit that all classes share, where theirs is added to it.
    shared: Option<AffineLayer<Linear>>,
}

impl ClassLogitLayer {
    /// The discriminator's last layer under `projection` and `selection`. Adds to the table for the former `{name}.weight` `[1, C]`,
    /// `{name}.bias` and `class_embedding.weight` `[K, C]`, which starts as that weight does; for the latter `{name}.weight` `[K, C]` and
    /// `{name}.bias` `[K]`. `None` under the others, whose logit is a linear layer's.
    ///
    /// # Errors
    /// [`Error::Usage`] where the settings name no number of classes.
    pub(super) fn of(settings: &Settings, name: &str, inputs: Flattened, params: &mut Table) -> Result<Option<Self>> {
        let init = initialisation(settings);
        let c = inputs.len();
        let (classes, shared) = match settings.nets.conditional {
            Conditional::None | Conditional::Concatenation => return Ok(None),
            Conditional::Projection => {
                let linear = AffineLayer::linear(params, name, inputs, Flattened::vector(1), init);
                (classes(settings)?, Some(linear))
            }
            Conditional::Selection => (classes(settings)?, None),
        };
        let rows = Flattened::vector(classes);
        let weight = if shared.is_some() { EMBEDDING.into() } else { format!("{name}.weight") };
        let weight = params.add_matrix(weight, rows, inputs, init.weight(c));
        let bias = shared.is_none().then(|| params.add_vector(format!("{name}.bias"), rows, init.bias(c, 0.0)));
        Ok(Some(ClassLogitLayer { d: ClassProjection { n: 0, c, classes }, weight, bias, shared }))
    }

    fn dims(&self, n: usize) -> ClassProjection {
        ClassProjection { n, ..self.d }
    }

    /// de, and db where there is a bias and it is wanted.
    fn backward_weight<B: Executor>(
        &self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        dy: Stored<'_, B>,
        d_params: Out<'_, B>,
        with_bias: bool,
    ) -> Result<()> {
        let (backend, d) = (pass.backend, self.dims(pass.n));
        let end = self.bias.as_ref().filter(|_| with_bias).map_or(self.weight.end, |bias| bias.end);
        let both = backend.slice_mut(d_params, self.weight.start..end);
        let (de, db) = backend.split_mut(both, self.weight.len());
        let db = (end > self.weight.end).then_some(db);
        backend.class_projection_backward_weight(&d, x, pass.of_classes()?, dy, de, db, pass.accumulates)
    }
}

impl<B: Executor> Layer<B> for ClassLogitLayer {
    fn describe(&self) -> String {
        let ClassProjection { c, classes, .. } = self.d;
        let way = if self.shared.is_some() { "projection" } else { "selection" };
        format!("class_{way} {c}, {classes} classes")
    }
    fn x_len(&self) -> usize {
        self.d.c
    }
    fn y_len(&self) -> usize {
        1
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        stats: Out<'_, B>,
        x: Stored<'_, B>,
        mut y: StoredOut<'_, B>,
    ) -> Result<()> {
        let backend = pass.backend;
        if let Some(shared) = &mut self.shared {
            shared.forward(pass, mode, stats, x, backend.reborrow(&mut y))?;
        }
        let (e, bias) = (pass.param(&self.weight), self.bias.as_ref().map(|bias| pass.param(bias)));
        let (d, adds) = (self.dims(pass.n), self.shared.is_some());
        backend.class_projection_forward(&d, x, pass.of_classes()?, e, bias, y, adds)
    }
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        dy: Stored<'_, B>,
        mut dx: Option<StoredOut<'_, B>>,
        mut d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let backend = pass.backend;
        if let Some(shared) = &mut self.shared {
            let dx = dx.as_mut().map(|dx| backend.reborrow(dx));
            let d_params = d_params.as_mut().map(|d_params| backend.reborrow(d_params));
            shared.backward(pass, x, y, dy, dx, d_params)?;
        }
        if let Some(d_params) = d_params {
            self.backward_weight(pass, x, dy, d_params, true)?;
        }
        let Some(dx) = dx else { return Ok(()) };
        let (d, e, adds) = (self.dims(pass.n), pass.param(&self.weight), self.shared.is_some());
        backend.class_projection_backward_input(&d, pass.of_classes()?, e, dy, dx, adds)
    }
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        mut vy: StoredOut<'_, B>,
    ) -> Result<()> {
        let backend = pass.backend;
        if let Some(shared) = &mut self.shared {
            shared.tangent(pass, x, y, vx, backend.reborrow(&mut vy))?;
        }
        let (d, e, adds) = (self.dims(pass.n), pass.param(&self.weight), self.shared.is_some());
        backend.class_projection_forward(&d, vx, pass.of_classes()?, e, None, vy, adds)
    }
    fn tangent_weight(
        &mut self,
        pass: Pass<'_, B>,
        vx: Stored<'_, B>,
        dy: Stored<'_, B>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        if let Some(shared) = &mut self.shared {
            shared.tangent_weight(pass, vx, dy, pass.backend.reborrow(&mut d_params))?;
        }
        // ⟨E vx, dy⟩ is linear in E as ⟨E x, dy⟩ is, and knows no bias.
        self.backward_weight(Pass { accumulates: true, ..pass }, vx, dy, d_params, false)
    }
}
