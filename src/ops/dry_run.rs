//! Every operation on [`DryRun`]: what it multiplies, and what it reads and writes. Matrix products and convolutions are
//! counted as arithmetic; all else is bound by memory, and counted as such.
//!
//! A new operation needs its lines here: [`DryRun`] is an [`Executor`] too, and the estimates run the same step on it.

use crate::Result;
use crate::device::philox::DrawStep;
use crate::device::{DryRun, Network, Real};
use crate::ops::inputs::gather::{Gather, GatherOp};
use crate::ops::inputs::instance_noise::{InstanceNoise, InstanceNoiseOp};
use crate::ops::inputs::prior::{Prior, PriorOp};
use crate::ops::losses::energy::{Energy, EnergyOp};
use crate::ops::losses::feature_matching::{FeatureMatching, FeatureMatchingOp};
use crate::ops::losses::historical_averaging::HistoricalAveragingOp;
use crate::ops::losses::loss::{DiscriminatorLoss, LossOp};
use crate::ops::losses::objective::Objective;
use crate::ops::losses::penalty::{GradientPenalty, PenaltyOp};
use crate::ops::losses::reconstruction::{Reconstruction, ReconstructionOp};
use crate::ops::losses::repelling::{Repelling, RepellingOp};
use crate::ops::optimizers::adam::{Adam, AdamOp};
use crate::ops::optimizers::clip::ClipOp;
use crate::ops::optimizers::ema::EmaOp;
use crate::ops::optimizers::rmsprop::{Rmsprop, RmspropOp};

impl<T: Real> DryRun<T> {
    fn elements(&self, moved: usize) -> Result<()> {
        self.moves(moved);
        Ok(())
    }
}

impl<T: Real> AdamOp for DryRun<T> {
    fn check_gradients(&self, _network: Network, gradients: usize, _state: usize) -> Result<()> {
        self.elements(gradients)
    }
    fn adam_update(&self, _d: &Adam, gradients: usize, w: usize, m: usize, v: usize, _state: usize) -> Result<()> {
        self.elements(gradients + 2 * (w + m + v))
    }
}

impl<T: Real> ClipOp for DryRun<T> {
    fn clip_weights(&self, _limit: f64, _state: usize, weights: usize) -> Result<()> {
        self.elements(2 * weights)
    }
}

impl<T: Real> EmaOp for DryRun<T> {
    fn ema_update(&self, _decay: f64, weights: usize, average: usize) -> Result<()> {
        self.elements(weights + 2 * average)
    }
}

impl<T: Real> EnergyOp for DryRun<T> {
    fn energy_forward(&self, _d: &Energy, x: usize, y: usize, e: usize) -> Result<()> {
        self.elements(x + y + e)
    }
    fn energy_backward_input(&self, _d: &Energy, x: usize, y: usize, de: usize, dy: usize) -> Result<()> {
        self.elements(x + y + de + dy)
    }
    fn energy_backward_image(&self, _d: &Energy, x: usize, y: usize, de: usize, dx: usize) -> Result<()> {
        self.elements(x + y + de + 2 * dx)
    }
}

impl<T: Real> FeatureMatchingOp for DryRun<T> {
    fn feature_matching_mean(&self, d: &FeatureMatching, _features: usize, mean: usize) -> Result<()> {
        self.elements(d.n * d.matched() + mean)
    }
    fn feature_matching_loss(&self, _d: &FeatureMatching, real: usize, fake: usize, _state: usize) -> Result<()> {
        self.elements(real + fake)
    }
    fn feature_matching_backward_input(
        &self,
        _d: &FeatureMatching,
        real: usize,
        fake: usize,
        d_features: usize,
    ) -> Result<()> {
        self.elements(real + fake + d_features)
    }
}

impl<T: Real> GatherOp for DryRun<T> {
    fn gather(&self, _d: &Gather, _draws: DrawStep, _images: usize, _state: usize, x: usize) -> Result<()> {
        self.elements(x + x / 4)
    }
}

impl<T: Real> HistoricalAveragingOp for DryRun<T> {
    fn historical_mean(&self, _network: Network, weights: usize, _state: usize, mean: usize) -> Result<()> {
        self.elements(weights + 2 * mean)
    }
    fn historical_penalty(
        &self,
        _network: Network,
        _weight: f64,
        weights: usize,
        mean: usize,
        gradients: usize,
        _state: usize,
    ) -> Result<()> {
        self.elements(weights + mean + 2 * gradients)
    }
}

impl<T: Real> InstanceNoiseOp for DryRun<T> {
    fn instance_noise(
        &self,
        _d: &InstanceNoise<'_>,
        x: usize,
        given: Option<usize>,
        _state: usize,
        y: usize,
    ) -> Result<()> {
        self.elements(x + given.unwrap_or(0) + y)
    }
}

impl<T: Real> LossOp for DryRun<T> {
    fn discriminator_loss(
        &self,
        _d: &DiscriminatorLoss,
        logits: usize,
        kl: usize,
        dlogits: usize,
        dkl: usize,
        _state: usize,
    ) -> Result<()> {
        self.elements(logits + kl + dlogits + dkl)
    }
    fn generator_loss(
        &self,
        _objective: &Objective,
        logits: usize,
        dlogits: usize,
        dkl: usize,
        _state: usize,
    ) -> Result<()> {
        self.elements(logits + dlogits + dkl)
    }
    fn finish_step(&self, _state: usize, _history: usize) -> Result<()> {
        Ok(())
    }
}

impl<T: Real> PenaltyOp for DryRun<T> {
    fn penalty_interpolate(&self, x: usize, toward: usize, u: usize, target: usize) -> Result<()> {
        self.elements(x + toward + u + target)
    }
    fn penalty_moments(&self, x: usize, moments: usize) -> Result<()> {
        // Once for the mean, once for the variance.
        self.elements(2 * x + moments)
    }
    fn penalty_perturb(&self, x: usize, moments: usize, w: usize, u: usize, target: usize) -> Result<()> {
        self.elements(x + moments + w + u + target)
    }
    fn gradient_penalty(&self, _d: &GradientPenalty, g: usize, v: usize, norms: usize, _state: usize) -> Result<()> {
        // Once for the norms, once to scale.
        self.elements(2 * g + v + 2 * norms)
    }
}

impl<T: Real> PriorOp for DryRun<T> {
    fn prior_sample(&self, _d: &Prior, _state: usize, z: usize) -> Result<()> {
        self.elements(z)
    }
}

impl<T: Real> ReconstructionOp for DryRun<T> {
    fn reconstruction_loss(&self, _d: &Reconstruction, errors: usize, _state: usize) -> Result<()> {
        self.elements(errors)
    }
    fn reconstruction_backward_input(&self, _d: &Reconstruction, x: usize, y: usize, dy: usize) -> Result<()> {
        self.elements(x + y + 2 * dy)
    }
    fn mode_loss(
        &self,
        _objective: &Objective,
        _weight: f64,
        logits: usize,
        dlogits: usize,
        _state: usize,
    ) -> Result<()> {
        self.elements(logits + dlogits)
    }
}

impl<T: Real> RepellingOp for DryRun<T> {
    fn repelling_forward(&self, d: &Repelling, codes: usize, cosines: usize) -> Result<()> {
        // Each code is read beside every other one.
        self.elements(d.n * codes + cosines)
    }
    fn repelling_loss(&self, _d: &Repelling, cosines: usize, _state: usize) -> Result<()> {
        self.elements(cosines)
    }
    fn repelling_backward_input(&self, d: &Repelling, codes: usize, cosines: usize, d_codes: usize) -> Result<()> {
        self.elements(d.n * codes + cosines + 2 * d_codes)
    }
}

impl<T: Real> RmspropOp for DryRun<T> {
    fn rmsprop_update(&self, _d: &Rmsprop, gradients: usize, w: usize, v: usize, _state: usize) -> Result<()> {
        self.elements(gradients + 2 * (w + v))
    }
}
