//! Trains nets of one's own with the engine's training step: a generator with upsampling, a discriminator with a bottleneck, and a layer
//! that the library does not have.
//!
//! ```sh
//! cargo run --release --example own_nets -- own_nets.png 200
//! ```

#![allow(clippy::print_stdout)]

use std::path::Path;

use vgan_cuda::Result;
use vgan_cuda::config::{Settings, preset};
use vgan_cuda::data::glyphs;
use vgan_cuda::device::{Backend, Cpu, Out, Stored, StoredOut};
use vgan_cuda::nn::stack::{Stack, Window};
use vgan_cuda::nn::table::{Flattened, Initialisation};
use vgan_cuda::nn::{Discriminator, DiscriminatorParts, Generator, Layer, Mode, Parts, Pass};
use vgan_cuda::ops::Executor;
use vgan_cuda::ops::layers::activation::Activation;
use vgan_cuda::ops::layers::bottleneck::Sigma;
use vgan_cuda::run::picture::write_grid;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;
use vgan_cuda::train::sampler::{BATCH, Sampler, latent};
use vgan_cuda::train::session::gather;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let picture = words.first().map_or("own_nets.png", |word| word);
    let steps = words.get(1).map_or(Ok(200), |word| word.parse())?;
    let (loss_d, loss_g) = train(Path::new(picture), steps)?;
    println!("loss_d {loss_d:.3}, loss_g {loss_g:.3}; samples in {picture}");
    Ok(())
}

const LEAK: Activation = Activation::LeakyRelu(0.2);
const START: Initialisation = Initialisation::Normal(0.02);

/// z → 7×7×32 → two upsamplings and convolutions → 28×28×1. `capacity` images fit into its memory.
fn generator<B: Executor>(backend: &B, settings: &Settings, capacity: usize) -> Result<(Generator<B>, Parts)> {
    let same = |k| Window { k, size: 3, stride: 1, padding: 1 };
    let stack = Stack::new(backend, Flattened::vector(settings.generator.latent), START)
        .linear("fc", Flattened { h: 7, w: 7, c: 32 })
        .batch_norm("norm_0", Activation::Relu)?
        .upsample2d()
        .conv2d("conv_1", same(16))?
        .batch_norm("norm_1", Activation::Relu)?
        .upsample2d()
        .conv2d("conv_2", same(1))?
        .activation(Activation::Sigmoid);
    let (layers, parts) = stack.finish();
    Ok((Generator::from_layers(backend, layers, capacity)?, parts))
}

/// 28×28×1 → two convolutions → bottleneck of 8 channels → logit.
fn discriminator<B: Executor>(backend: &B, capacity: usize) -> Result<(Discriminator<B>, Parts)> {
    let halving = |k| Window { k, size: 4, stride: 2, padding: 1 };
    let stack = Stack::new(backend, Flattened { h: 28, w: 28, c: 1 }, START)
        .conv2d("conv_0", halving(16))?
        .activation(LEAK)
        .conv2d("conv_1", halving(32))?
        .batch_norm("norm_1", LEAK)?;
    let image = stack.shape();
    let scale = |_: &mut Parts| -> Box<dyn Layer<B>> { Box::new(Scale { scale: 0.5, len: image.len() }) };
    let (stack, bottleneck) = stack.layer(scale, image).bottleneck(8, Sigma::Logvar);
    let (encoder, head) = stack.split();
    let code = head.shape();
    let (head, parts) = head.linear("fc", Flattened::vector(1)).finish();
    let own = DiscriminatorParts { encoder, bottleneck: Some(bottleneck), code, head, spectral_norm: false };
    Discriminator::from_parts(backend, own, parts, capacity)
}

/// y = scale · x: a layer that the library does not have, of an operation that every backend has.
struct Scale {
    scale: f64,
    len: usize,
}

impl<B: Executor> Layer<B> for Scale {
    fn describe(&self) -> String {
        format!("scale by {}", self.scale)
    }
    fn x_len(&self) -> usize {
        self.len
    }
    fn y_len(&self) -> usize {
        self.len
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        _: Mode,
        _: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.scaled_add_backward_input(self.scale, x, y)
    }
    /// dx = scale · dy; there are no parameters.
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        _y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        _: Option<Out<'_, B>>,
    ) -> Result<()> {
        dx.map_or(Ok(()), |dx| pass.backend.scaled_add_backward_input(self.scale, dy, dx))
    }
    /// The layer is linear, so the tangent goes the way of x.
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        _y: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.scaled_add_backward_input(self.scale, vx, vy)
    }
}

/// Trains for so many steps on the embedded digits, writes 64 samples, and returns the losses of the last step.
pub fn train(picture: &Path, steps: u64) -> Result<(f64, f64)> {
    let mut settings = preset("quick")?;
    settings.train.batch = 16;
    settings.bottleneck.enabled = true;
    let (images, backend) = (glyphs::draw(500, 0), Cpu::<f32>::new(None)?);
    let (n, shape) = (settings.train.batch, images.shape());
    let nets = (generator(&backend, &settings, n)?, discriminator(&backend, 2 * n)?);
    let mut trainer = Trainer::with_networks(backend.clone(), settings.clone(), shape, nets.0, nets.1)?;
    let drawn = backend.buffer_of(&images.pixels)?;
    let batch = Batch::Drawn { gather: gather(&settings, &images.extent()), images: drawn, labels: None };
    // All threads of the backend take part inside of `run`.
    backend.run(|| (0..steps).try_for_each(|_| trainer.step(&batch)))?;
    let metrics = trainer.read_history(steps.saturating_sub(1), steps)?;
    let (loss_d, loss_g) = metrics.last().map_or((f64::NAN, f64::NAN), |last| (last.loss_d, last.loss_g));

    let drawing = generator(&backend, &settings, BATCH)?;
    let mut sampler = Sampler::with_generator(&backend, settings.data.range, shape, drawing)?;
    let latents: Vec<f32> = (0..64).flat_map(|seed| latent(&settings, seed)).collect();
    let memory = &mut trainer.model.generator.memory;
    let pixels = backend.run(|| sampler.draw(&backend, &memory.params, &mut memory.stats, &latents, &[]))?;
    write_grid(picture, &pixels, 64, shape.h, shape.w, shape.c, 8, 0)?;
    Ok((loss_d, loss_g))
}
