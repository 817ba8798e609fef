//! Every operation on [`DryRun`]: what it multiplies, and what it reads and writes. Matrix products and convolutions are
//! counted as arithmetic; all else is bound by memory, and counted as such.
//!
//! A new operation needs its lines here: [`DryRun`] is an [`Executor`] too, and the estimates run the same step on it.

use crate::Result;
use crate::device::{DryRun, Real};
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

    /// An operation that reads and writes this many reals, and multiplies nothing worth counting.
    pub(super) fn elements(&self, moved: usize) -> Result<()> {
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
