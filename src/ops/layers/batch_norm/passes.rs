//! The passes of batch normalisation, for benchmarks.

use super::{BatchNorm, BatchNormOp};
use crate::Result;
use crate::device::Buffer;
use crate::ops::layers::activation::Activation;
use crate::ops::models::{BATCH, BOTH};
use crate::ops::pass::{Pass, Work, filled};

/// Rows and channels behind each layer: the generator's normalise one group and clip at 0, the discriminator's two.
fn model_sizes() -> Vec<BatchNorm> {
    let size = |rows, c, groups, activation| BatchNorm { rows, c, groups, epsilon: 1e-5, momentum: 0.1, activation };
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
pub(crate) fn passes<B: BatchNormOp>() -> Vec<Pass<B>> {
    model_sizes().into_iter().flat_map(passes_of).collect()
}

/// What a pass of a batch normalisation works on, after one forward pass.
struct Normalised<B: BatchNormOp> {
    be: B,
    x: Buffer<B>,
    gamma: Buffer<B>,
    beta: Buffer<B>,
    running: Buffer<B>,
    saved: Buffer<B>,
    y: Buffer<B>,
}

impl<B: BatchNormOp> Normalised<B> {
    fn new(be: B, d: &BatchNorm) -> Result<Self> {
        let len = d.rows * d.c;
        let (x, gamma, beta) = (filled(&be, len)?, filled(&be, d.c)?, filled(&be, d.c)?);
        let (running, saved, y) = (be.alloc(2 * d.c)?, be.alloc(2 * d.groups * d.c)?, be.alloc(len)?);
        let mut this = Normalised { be, x, gamma, beta, running, saved, y };
        this.forward(d)?;
        Ok(this)
    }

    fn forward(&mut self, d: &BatchNorm) -> Result<()> {
        let Normalised { be, x, gamma, beta, running, saved, y } = self;
        let (running, saved, y) = (be.view_mut(running), be.view_mut(saved), be.view_mut(y));
        be.batch_norm_forward(d, be.view(x), be.view(gamma), be.view(beta), running, saved, y)
    }
}

fn passes_of<B: BatchNormOp>(d: BatchNorm) -> [Pass<B>; 3] {
    let shape = format!("rows{} c{} groups{} {:?}", d.rows, d.c, d.groups, d.activation);
    let forward = move |be: B| -> Result<Work> {
        let mut normalised = Normalised::new(be, &d)?;
        Ok(Box::new(move || normalised.forward(&d)))
    };
    let backward = move |be: B| -> Result<Work> {
        let (dy, mut dx) = (filled(&be, d.rows * d.c)?, be.alloc(d.rows * d.c)?);
        let (mut sums, mut dgamma, mut dbeta) = (be.alloc(2 * d.groups * d.c)?, be.alloc(d.c)?, be.alloc(d.c)?);
        let Normalised { be, x, gamma, saved, y, .. } = Normalised::new(be, &d)?;
        Ok(Box::new(move || {
            let (xv, yv, dyv) = (be.view(&x), be.view(&y), be.view(&dy));
            let (gamma, saved) = (be.view(&gamma), be.view(&saved));
            be.batch_norm_backward_sums(&d, xv, yv, dyv, saved, be.view_mut(&mut sums))?;
            let summed = be.view(&sums);
            be.batch_norm_backward_input(&d, xv, yv, dyv, gamma, saved, summed, be.view_mut(&mut dx))?;
            be.batch_norm_backward_weight(&d, summed, be.view_mut(&mut dgamma), be.view_mut(&mut dbeta))
        }))
    };
    let eval = move |be: B| -> Result<Work> {
        let Normalised { be, x, gamma, beta, running, mut y, .. } = Normalised::new(be, &d)?;
        Ok(Box::new(move || {
            let (x, gamma, beta) = (be.view(&x), be.view(&gamma), be.view(&beta));
            be.batch_norm_eval(&d, x, gamma, beta, be.view(&running), be.view_mut(&mut y))
        }))
    };
    [
        Pass::new("batch_norm", shape.clone(), "forward", forward),
        Pass::new("batch_norm", shape.clone(), "backward", backward),
        Pass::new("batch_norm", shape, "eval", eval),
    ]
}
