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
use crate::ops::layers::activation::{Activation, ActivationOp};
use crate::ops::layers::avg_pool2d::{AvgPool2d, AvgPool2dOp};
use crate::ops::layers::batch_norm::{BatchNorm, BatchNormOp};
use crate::ops::layers::bottleneck::{Bottleneck, BottleneckOp, Noise};
use crate::ops::layers::conv_transpose2d::{ConvTranspose2d, ConvTranspose2dOp};
use crate::ops::layers::conv2d::{Conv2d, Conv2dOp};
use crate::ops::layers::linear::{Linear, LinearOp};
use crate::ops::layers::minibatch_discrimination::{MinibatchDiscrimination, MinibatchDiscriminationOp};
use crate::ops::layers::scaled_add::ScaledAddOp;
use crate::ops::layers::spectral_norm::{SpectralNorm, SpectralNormOp};
use crate::ops::layers::upsample2d::{Upsample2d, Upsample2dOp};
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
    fn product(&self, n: usize, c: usize, k: usize, moved: usize) -> Result<()> {
        self.multiplies(&[n, c, k]);
        self.moves(moved);
        Ok(())
    }

    fn convolution(&self, d: &Conv2d, moved: usize) -> Result<()> {
        self.multiplies(&[d.n, d.oh(), d.ow(), d.k, d.r, d.s, d.c]);
        self.moves(moved);
        Ok(())
    }

    fn elements(&self, moved: usize) -> Result<()> {
        self.moves(moved);
        Ok(())
    }
}

impl<T: Real> ActivationOp for DryRun<T> {
    fn activation_forward(&self, _f: Activation, x: usize, y: usize) -> Result<()> {
        self.elements(x + y)
    }
    fn activation_backward_input(&self, _f: Activation, y: usize, dy: usize, dx: usize) -> Result<()> {
        self.elements(y + dy + dx)
    }
    fn activation_curvature(&self, f: Activation, y: usize, vx: usize, dy: usize, dx: usize) -> Result<()> {
        if f.curves() { self.elements(y + vx + dy + 2 * dx) } else { Ok(()) }
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

impl<T: Real> AvgPool2dOp for DryRun<T> {
    fn avg_pool2d_forward(&self, _d: &AvgPool2d, x: usize, y: usize) -> Result<()> {
        self.elements(x + y)
    }
    fn avg_pool2d_backward_input(&self, _d: &AvgPool2d, dy: usize, dx: usize) -> Result<()> {
        self.elements(dy + dx)
    }
}

impl<T: Real> BatchNormOp for DryRun<T> {
    fn batch_norm_forward(
        &self,
        _d: &BatchNorm,
        x: usize,
        _gamma: usize,
        _beta: usize,
        _running: usize,
        _saved: usize,
        y: usize,
    ) -> Result<()> {
        // x is read for the mean, for the variance, and to normalise.
        self.elements(3 * x + y)
    }
    fn batch_norm_eval(
        &self,
        _d: &BatchNorm,
        x: usize,
        _gamma: usize,
        _beta: usize,
        _running: usize,
        y: usize,
    ) -> Result<()> {
        self.elements(x + y)
    }
    fn batch_norm_backward_sums(
        &self,
        _d: &BatchNorm,
        x: usize,
        y: usize,
        dy: usize,
        _saved: usize,
        _sums: usize,
    ) -> Result<()> {
        self.elements(x + y + dy)
    }
    fn batch_norm_backward_input(
        &self,
        _d: &BatchNorm,
        x: usize,
        y: usize,
        dy: usize,
        _gamma: usize,
        _saved: usize,
        _sums: usize,
        dx: usize,
    ) -> Result<()> {
        self.elements(x + y + dy + dx)
    }
    fn batch_norm_backward_weight(&self, _d: &BatchNorm, sums: usize, dgamma: usize, dbeta: usize) -> Result<()> {
        self.elements(sums + dgamma + dbeta)
    }
    fn batch_norm_tangent(
        &self,
        _d: &BatchNorm,
        x: usize,
        y: usize,
        vx: usize,
        _gamma: usize,
        _saved: usize,
        _sums: usize,
        vy: usize,
    ) -> Result<()> {
        self.elements(2 * (x + vx) + y + vy)
    }
}

impl<T: Real> BottleneckOp for DryRun<T> {
    fn bottleneck_forward(
        &self,
        _d: &Bottleneck,
        mu_s: usize,
        _noise: Noise<'_, Self>,
        z: usize,
        kl: usize,
    ) -> Result<()> {
        self.elements(mu_s + z + kl)
    }
    fn bottleneck_backward_input(
        &self,
        _d: &Bottleneck,
        mu_s: usize,
        _noise: Noise<'_, Self>,
        dz: usize,
        dkl: usize,
        d_mu_s: usize,
    ) -> Result<()> {
        self.elements(mu_s + dz + dkl + d_mu_s)
    }
    fn bottleneck_tangent(
        &self,
        _d: &Bottleneck,
        mu_s: usize,
        _noise: Noise<'_, Self>,
        v_mu_s: usize,
        v_z: usize,
    ) -> Result<()> {
        self.elements(mu_s + v_mu_s + v_z)
    }
    fn bottleneck_curvature(
        &self,
        _d: &Bottleneck,
        mu_s: usize,
        _noise: Noise<'_, Self>,
        v_mu_s: usize,
        dz: usize,
        d_mu_s: usize,
    ) -> Result<()> {
        // Of what lies beside μ only s's half is touched.
        self.elements((mu_s + v_mu_s) / 2 + dz + d_mu_s)
    }
}

impl<T: Real> ClipOp for DryRun<T> {
    fn clip_weights(&self, _limit: f64, _state: usize, weights: usize) -> Result<()> {
        self.elements(2 * weights)
    }
}

impl<T: Real> Conv2dOp for DryRun<T> {
    fn conv2d_forward(&self, d: &Conv2d, x: usize, w: usize, _b: Option<usize>, y: usize) -> Result<()> {
        self.convolution(d, x + w + y)
    }
    fn conv2d_backward_input(&self, d: &Conv2d, dy: usize, w: usize, dx: usize) -> Result<()> {
        // The filters are laid out anew for it.
        self.borrows(w);
        self.convolution(d, dy + w + dx)
    }
    fn conv2d_backward_weight(&self, d: &Conv2d, x: usize, dy: usize, dw: usize, _db: Option<usize>) -> Result<()> {
        self.convolution(d, x + dy + 2 * dw)
    }
}

impl<T: Real> ConvTranspose2dOp for DryRun<T> {
    fn conv_transpose2d_forward(
        &self,
        d: &ConvTranspose2d,
        x: usize,
        w: usize,
        _b: Option<usize>,
        y: usize,
    ) -> Result<()> {
        self.conv2d_backward_input(&d.reversed(), x, w, y)
    }
    fn conv_transpose2d_backward_input(&self, d: &ConvTranspose2d, dy: usize, w: usize, dx: usize) -> Result<()> {
        self.conv2d_forward(&d.reversed(), dy, w, None, dx)
    }
    fn conv_transpose2d_backward_weight(
        &self,
        d: &ConvTranspose2d,
        x: usize,
        dy: usize,
        dw: usize,
        db: Option<usize>,
    ) -> Result<()> {
        self.conv2d_backward_weight(&d.reversed(), dy, x, dw, db)
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

impl<T: Real> LinearOp for DryRun<T> {
    fn linear_forward(&self, d: &Linear, x: usize, w: usize, _b: Option<usize>, y: usize) -> Result<()> {
        self.product(d.n, d.c, d.k, x + w + y)
    }
    fn linear_backward_input(&self, d: &Linear, dy: usize, w: usize, dx: usize) -> Result<()> {
        self.product(d.n, d.c, d.k, dy + w + dx)
    }
    fn linear_backward_weight(&self, d: &Linear, x: usize, dy: usize, dw: usize, _db: Option<usize>) -> Result<()> {
        self.product(d.n, d.c, d.k, x + dy + 2 * dw)
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

impl<T: Real> MinibatchDiscriminationOp for DryRun<T> {
    fn minibatch_discrimination_forward(
        &self,
        d: &MinibatchDiscrimination,
        x: usize,
        m: usize,
        y: usize,
    ) -> Result<()> {
        // Each image is read beside every other one of its group.
        self.elements(x + d.n / d.groups * m + y)
    }
    fn minibatch_discrimination_backward_input(
        &self,
        d: &MinibatchDiscrimination,
        m: usize,
        dy: usize,
        dm: usize,
    ) -> Result<()> {
        self.elements(d.n / d.groups * m + dy + dm)
    }
    fn minibatch_discrimination_backward_features(
        &self,
        _d: &MinibatchDiscrimination,
        dy: usize,
        dx: usize,
    ) -> Result<()> {
        self.elements(dy + 2 * dx)
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

impl<T: Real> ScaledAddOp for DryRun<T> {
    fn scaled_add_forward(&self, _scale: f64, a: usize, b: usize, y: usize) -> Result<()> {
        self.elements(a + b + y)
    }
    fn scaled_add_backward_input(&self, _scale: f64, dy: usize, db: usize) -> Result<()> {
        self.elements(dy + db)
    }
}

impl<T: Real> Upsample2dOp for DryRun<T> {
    fn upsample2d_forward(&self, _d: &Upsample2d, x: usize, y: usize) -> Result<()> {
        self.elements(x + y)
    }
    fn upsample2d_backward_input(&self, _d: &Upsample2d, dy: usize, dx: usize) -> Result<()> {
        self.elements(dy + dx)
    }
}

impl<T: Real> SpectralNormOp for DryRun<T> {
    fn spectral_norm_forward(
        &self,
        _d: &SpectralNorm,
        w: usize,
        u: usize,
        v: usize,
        _sigma: usize,
        w_hat: usize,
    ) -> Result<()> {
        // Twice for the power iteration, once to divide.
        self.elements(3 * w + 2 * (u + v) + w_hat)
    }
    fn spectral_norm_backward(
        &self,
        _d: &SpectralNorm,
        w_hat: usize,
        u: usize,
        v: usize,
        _sigma: usize,
        dw: usize,
    ) -> Result<()> {
        self.elements(w_hat + u + v + 3 * dw)
    }
}
