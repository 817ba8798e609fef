//! Looking into a step: `trace`, tests and proofs are told its values as they come to be.

use super::model::Model;
use crate::Result;
use crate::device::In;
use crate::ops::Executor;

/// What is told of a step while it is under way. Every function does nothing unless it is written anew.
///
/// A step that is looked into is never a recorded one, so a probe may read memory, and a test may plant a fault in it.
pub trait Probe<B: Executor> {
    /// The discriminator's loss and its gradients by the batch are there, without those of a gradient penalty. Told once for
    /// each update.
    ///
    /// # Errors
    /// Those of the device, here and below.
    fn discriminator_loss(&mut self, _model: &Model<B>) -> Result<()> {
        Ok(())
    }

    /// The norms ‖∂ℓ/∂x‖ that a gradient penalty is taken of, `[N]`; only in a step with a penalty.
    fn gradient_norms(&mut self, _model: &Model<B>, _norms: In<'_, B>) -> Result<()> {
        Ok(())
    }

    /// The discriminator's gradients are whole, and its update follows.
    fn discriminator_gradients(&mut self, _model: &mut Model<B>) -> Result<()> {
        Ok(())
    }

    /// The generator's loss and its gradients are there, without those of mode regularisation.
    fn generator_loss(&mut self, _model: &Model<B>) -> Result<()> {
        Ok(())
    }

    /// The reconstructions G(E(x)) of mode regularisation, `[N, H, W, C]`; only where the settings have it.
    fn reconstructions(&mut self, _model: &Model<B>, _images: In<'_, B>) -> Result<()> {
        Ok(())
    }

    /// The gradients of generator and image encoder are whole, and their updates follow.
    fn generator_gradients(&mut self, _model: &mut Model<B>) -> Result<()> {
        Ok(())
    }
}

/// Looks at nothing: the probe of training.
pub struct NoProbe;

impl<B: Executor> Probe<B> for NoProbe {}
