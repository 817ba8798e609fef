//! Layers: functions of an input and parameters that know their forward pass, their gradients, their tangent
//! and what a gradient penalty asks of them. A layer owns no parameters, only ranges of an arena, and whatever its backward
//! pass needs to remember.
//!
//! A gradient penalty R(g₀) of the gradient g₀ = J₁ᵀ ⋯ J_Lᵀ 1 of the logit by the image is differentiated without
//! automatic differentiation. With v₀ = ∂R/∂g₀ held fixed, dR = d⟨v₀, g₀⟩ = d⟨J_L ⋯ J₁ v₀, 1⟩. So the backward pass gives
//! g_l = J_lᵀ g_{l+1} at every layer, the tangent pass v_{l+1} = J_l v_l, and layer l adds the derivative of
//! ⟨J_l v_l, g_{l+1}⟩ by its parameters ([`Layer::tangent_weight`]) and by its input ([`Layer::curvature`]), which then
//! goes back through the layers below it like any gradient. Layers that are piecewise linear in their input have none of
//! the latter.

use super::operation::Operation;
use crate::device::{In, Out, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::{Error, Result};

/// Modes of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, one set for each of this many equal groups of images; running statistics follow.
    Train {
        /// Groups.
        groups: usize,
    },
    /// Running statistics.
    Eval,
}

/// Arguments of every pass of a layer, beside its tensors.
pub struct Pass<'a, B: Executor> {
    /// The backend.
    pub backend: &'a B,
    /// The network's parameters, the whole arena.
    pub params: In<'a, B>,
    /// The same as products read them.
    pub rounded: Stored<'a, B>,
    /// Images, on this rank.
    pub n: usize,
    /// Images of the last forward pass that lie before these: 0, but in a backward pass over the later groups alone.
    pub before: usize,
    /// Ranks whose images batch normalisation takes together: 1, or all.
    pub ranks: usize,
    /// Whether a backward pass adds its gradients of parameters to what the arena holds, or overwrites that.
    pub accumulates: bool,
    /// The class of each image, `[n]`, where the nets are told: the same in all passes over the same images.
    pub classes: Option<In<'a, B, u32>>,
}

impl<B: Executor> Clone for Pass<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Executor> Copy for Pass<'_, B> {}

impl<'a, B: Executor> Pass<'a, B> {
    /// The parameters of one tensor, or of neighbours.
    pub fn param(&self, range: &std::ops::Range<usize>) -> In<'a, B> {
        self.backend.slice(self.params, range.clone())
    }

    /// The same pass over images of these classes.
    #[must_use]
    pub fn of(self, classes: Option<In<'a, B, u32>>) -> Self {
        Pass { classes, ..self }
    }

    /// The same pass over images that were the later ones of the last forward pass, behind this many.
    #[must_use]
    pub fn behind(self, before: usize) -> Self {
        Pass { before, ..self }
    }

    /// Its images' part of what the last forward pass left for a backward pass, so many elements for each image.
    pub fn kept<'b>(&self, buffer: &'b StoredBuffer<B>, len: usize) -> Stored<'b, B> {
        self.backend.part(buffer, self.before * len..(self.before + self.n) * len)
    }

    /// The classes of its images, for a layer that can't do without.
    ///
    /// # Errors
    /// If there are none: a mistake of this program's.
    pub fn of_classes(&self) -> Result<In<'a, B, u32>> {
        self.classes.ok_or_else(|| Error::Internal("a layer that is told the class, in a pass without classes".into()))
    }

    /// The weight of a product, as it is read there.
    pub fn weight(&self, range: &std::ops::Range<usize>) -> Stored<'a, B> {
        self.backend.slice(self.rounded, range.clone())
    }
}

/// A layer of a network on backend `B`.
///
/// x, y, dx, dy hold exactly `pass.n` images. Gradients of parameters accumulate where the pass says so, and overwrite otherwise, as
/// gradients of activations do; where a
/// gradient is not wanted it is `None`, and nothing is computed for it.
pub trait Layer<B: Executor>: Send + Sync {
    /// One line for people: `conv2d 1→64 k4 s2 p1`.
    fn describe(&self) -> String;
    /// Elements of one image's input.
    fn x_len(&self) -> usize;
    /// Elements of one image's output.
    fn y_len(&self) -> usize;

    /// Its operations in evaluation mode, step by step, for export; `None` for a layer that other programs don't have.
    fn operations(&self) -> Option<Vec<Operation>> {
        None
    }

    /// Says that batch normalisation of so many features follows. It takes each one's mean away, and with it whatever a bias of that
    /// feature adds: the gradient of such a bias is zero but for rounding, and is not computed.
    fn norm_follows(&mut self, _features: usize) {}

    /// y = f(x). `stats` is the network's arena of running statistics.
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        stats: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()>;

    /// The gradients of the last forward pass in [`Mode::Train`], whose x and y are given again; or those of its later groups of images
    /// alone, behind [`Pass::before`] others. `d_params` is the whole arena of gradients.
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        d_params: Option<Out<'_, B>>,
    ) -> Result<()>;

    /// Allocates what a layer made of layers keeps from [`Layer::tangent`] for [`Layer::tangent_weight`], for up to
    /// `capacity` images. Called once, before the first tangent pass, and only where a gradient penalty is wanted.
    ///
    /// # Errors
    /// If memory is used up.
    fn allocate_tangents(&mut self, _backend: &B, _capacity: usize) -> Result<()> {
        Ok(())
    }

    /// vy = J vx, J = ∂f/∂x at the last forward pass in [`Mode::Train`].
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()>;

    /// `d_params` += ∂⟨J vx, dy⟩/∂θ for the layer's parameters θ, x held fixed; a layer without parameters adds nothing.
    /// `d_params` is the whole arena.
    ///
    /// It follows a [`Layer::backward`] with this dy and then a [`Layer::tangent`] with this vx, for the same images and
    /// with no other pass between, so that a layer made of layers finds its inner gradients and tangents in place.
    ///
    /// # Errors
    /// A layer whose Jacobian mixes the images of a batch, as batch normalisation does, has no such derivative of one
    /// image's gradient, and refuses.
    fn tangent_weight(
        &mut self,
        _pass: Pass<'_, B>,
        _vx: Stored<'_, B>,
        _dy: Stored<'_, B>,
        _d_params: Out<'_, B>,
    ) -> Result<()> {
        Ok(())
    }

    /// Returns true if J depends on x beyond jumps, so that there is a [`Layer::curvature`] to ask for. Not so for what is
    /// piecewise linear. A layer made of layers must be that: its backward pass, which the curvature from above goes down
    /// through, takes its inner gradients.
    fn curves(&self) -> bool {
        false
    }

    /// dx += ∂⟨J vx, dy⟩/∂x, where the layer [curves](Layer::curves). It adds, since the curvature of the layers above
    /// has come down to dx before.
    fn curvature(
        &mut self,
        _pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        _y: Stored<'_, B>,
        _vx: Stored<'_, B>,
        _dy: Stored<'_, B>,
        _dx: StoredOut<'_, B>,
    ) -> Result<()> {
        Ok(())
    }
}
