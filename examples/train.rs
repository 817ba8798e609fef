//! Trains a small model on the embedded digits and reads its losses.
//!
//! ```sh
//! cargo run --release --example train -- runs 200
//! ```

#![allow(clippy::print_stdout)]

use std::path::Path;

use vgan_cuda::config::{preset, to_toml};
use vgan_cuda::data::glyphs;
use vgan_cuda::device::Cpu;
use vgan_cuda::run::{Record, RunFolder, stats, write_file};
use vgan_cuda::train::{Interrupt, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outdir = words.first().map_or("runs", |word| word);
    let steps = words.get(1).map_or(Ok(200), |word| word.parse())?;
    let (folder, record) = train(Path::new(outdir), steps)?;
    println!(
        "step {}: loss_d {:.3}, loss_g {:.3}, in {}",
        record.step,
        record.loss_d,
        record.loss_g,
        folder.path().display()
    );
    Ok(())
}

/// Trains for so many steps in a new folder of `outdir`; returns the folder and the last record of `stats.jsonl`.
pub fn train(outdir: &Path, steps: u64) -> vgan_cuda::Result<(RunFolder, Record)> {
    let mut settings = preset("quick")?;
    settings.train.steps = steps;
    settings.train.batch = 16;
    settings.train.tick = steps.min(20);
    settings.generator.hidden = vec![64];
    settings.generator.channels = vec![16, 8];
    settings.discriminator.channels = vec![8, 16];
    settings.discriminator.hidden = vec![64];

    let images = glyphs::draw(500, 0);
    let folder = RunFolder::create(outdir, "example")?;
    // What `vgan-cuda resume` and `generate` find a run by.
    write_file(&folder.config_path(), to_toml(&settings, "quick")?.as_bytes())?;
    let mut session = Session::start(Cpu::<f32>::new(None)?, settings, "quick", &images, folder.clone())?;
    session.train(&Interrupt::default())?;
    let records = stats::read(&folder.stats_path())?;
    let last = records.last().copied();
    last.map(|record| (folder, record)).ok_or_else(|| vgan_cuda::Error::Internal("no record".into()))
}
