//! Draws samples from a run, as a grid and as numbers.
//!
//! ```sh
//! cargo run --release --example sample -- runs/00000-example samples.png
//! ```

#![allow(clippy::print_stdout)]

use std::path::Path;

use vgan_cuda::device::Cpu;
use vgan_cuda::nn::ImageShape;
use vgan_cuda::run::picture::write_grid;
use vgan_cuda::train::TrainedGenerator;
use vgan_cuda::train::sampler::{Way, between, latent};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [run, picture] = &words[..] else { return Err("expected a run's folder and the name of a picture".into()) };
    let mean = sample(Path::new(run), Path::new(picture))?;
    println!("{picture}: mean of all pixels {mean:.1} of 255");
    Ok(())
}

/// Draws 16 samples of seeds, and 16 on the way from the first to the second; returns the mean of all pixels.
pub fn sample(run: &Path, picture: &Path) -> vgan_cuda::Result<f64> {
    let mut generator = TrainedGenerator::open(Cpu::<f32>::new(None)?, run)?;
    let settings = generator.settings.clone();
    let ends = [latent(&settings, 0), latent(&settings, 1)];
    let mut latents: Vec<f32> = (0..16).flat_map(|seed| latent(&settings, seed)).collect();
    for step in 0..16 {
        latents.extend(between(Way::of(settings.generator.prior), &ends[0], &ends[1], f64::from(step) / 15.0));
    }
    let pixels = generator.draw(&latents)?;
    let ImageShape { h, w, c } = generator.image;
    write_grid(picture, &pixels, 32, h, w, c, 8, 0)?;
    Ok(pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / pixels.len() as f64)
}
