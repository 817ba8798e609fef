//! Looking into a step: `trace`, tests and proofs are told its values as they come to be.

use super::model::Model;
use crate::Result;
use crate::device::{In, Stored};
use crate::ops::Executor;

/// Receives a step's values while it is under way. Every function does nothing by default.
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
    fn reconstructions(&mut self, _model: &Model<B>, _images: Stored<'_, B>) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Norm, Penalty, preset};
    use crate::device::Cpu;
    use crate::nn::ImageShape;
    use crate::ops::inputs::gather::Gather;
    use crate::train::Trainer;
    use crate::train::batch::Batch;

    /// The calls in order, each with a number that shows whether the values are those of the moment.
    #[derive(Default)]
    struct Told(Vec<(&'static str, f64)>);

    impl Probe<Cpu<f32>> for Told {
        fn discriminator_loss(&mut self, model: &Model<Cpu<f32>>) -> Result<()> {
            self.0.push(("D's loss", model.read_state()?.updates[0] as f64));
            Ok(())
        }
        fn gradient_norms(&mut self, _: &Model<Cpu<f32>>, norms: &[f32]) -> Result<()> {
            self.0.push(("norms", norms.len() as f64));
            Ok(())
        }
        fn discriminator_gradients(&mut self, model: &mut Model<Cpu<f32>>) -> Result<()> {
            self.0.push(("D's gradients", model.read_state()?.updates[0] as f64));
            Ok(())
        }
        fn generator_loss(&mut self, model: &Model<Cpu<f32>>) -> Result<()> {
            self.0.push(("G's loss", model.read_state()?.updates[0] as f64));
            Ok(())
        }
        fn reconstructions(&mut self, _: &Model<Cpu<f32>>, images: &[f32]) -> Result<()> {
            self.0.push(("reconstructions", images.len() as f64));
            Ok(())
        }
        fn generator_gradients(&mut self, model: &mut Model<Cpu<f32>>) -> Result<()> {
            self.0.push(("G's gradients", model.read_state()?.updates[1] as f64));
            Ok(())
        }
    }

    #[test]
    fn a_probe_is_told_everything_in_the_order_of_the_step() {
        let mut settings = preset("quick").unwrap();
        settings.train.batch = 4;
        settings.discriminator.norm = Norm::None;
        settings.objective.discriminator_steps = 2;
        (settings.objective.penalty, settings.objective.penalty_every) = (Penalty::WganGp, 2);
        settings.objective.reconstruction = 0.2;
        let image = ImageShape { h: 8, w: 8, c: 1 };
        let gather = Gather { n: 4, count: 9, h: 8, w: 8, c: 1, low: 0.0, high: 1.0, flip: false };
        let inputs = Batch::Drawn { gather, images: vec![7; 9 * image.len()], labels: None };
        let mut trainer = Trainer::new(Cpu::<f32>::new(Some(1)).unwrap(), settings, image).unwrap();
        let told = |trainer: &mut Trainer<_>| {
            let mut told = Told::default();
            trainer.probed_step(&inputs, &mut told).unwrap();
            told.0
        };
        let generator = [("reconstructions", 256.0), ("G's gradients", 0.0)];
        let first = [
            ("D's loss", 0.0),
            ("norms", 4.0),
            ("D's gradients", 0.0),
            ("D's loss", 1.0),
            ("norms", 4.0),
            ("D's gradients", 1.0),
            ("G's loss", 2.0),
        ];
        assert_eq!(told(&mut trainer), [&first[..], &generator].concat());
        let second =
            [("D's loss", 2.0), ("D's gradients", 2.0), ("D's loss", 3.0), ("D's gradients", 3.0), ("G's loss", 4.0)];
        assert_eq!(told(&mut trainer), [&second[..], &[generator[0], ("G's gradients", 1.0)]].concat());
    }
}
