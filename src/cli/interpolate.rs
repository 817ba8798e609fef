//! `interpolate`: walks through the latent space from seed to seed.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{DeviceArgs, Seeds, on_device};
use super::generate::open;
use super::latents::{ClassArgs, TruncationArgs};
use super::output;
use super::survey::named;
use super::target::{ForceArgs, picture, require_new, target_parser};
use crate::config::Prior;
use crate::error::{Error, Result, readable_path};
use crate::nn::ImageShape;
use crate::run::animation::{self, Animation, Format, MOST_FRAMES, require_ffmpeg};
use crate::run::picture::write_grid;
use crate::train::TrainedGenerator;
use crate::train::sampler::{Way, between};
use crate::train::snapshot::F32Executor;

/// Walk through the latent space from seed to seed: one PNG with a row of pictures for each pair of seeds, or a moving picture
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda interpolate runs/00000-quick-b64 --seeds 1,5,9
  vgan-cuda interpolate runs/00000-quick-b64 --seeds 0-8 --frames 12 --output walk.png
  vgan-cuda interpolate runs/00000-quick-b64 --seeds 0-8 --output walk.gif
  vgan-cuda interpolate latest --seeds 3,14 --frames 60 --fps 25 --output walk.mp4

A name that ends in .png gets one picture with a row for each pair of seeds. One in .gif, .apng or
.mp4 gets a picture that moves from seed to seed and back to the first; MP4 needs ffmpeg. The path
is a straight line for a uniform prior, and follows the sphere for a normal prior. A generator that
was trained with classes keeps to one: that of --class, or else that of the first seed.")]
pub(super) struct InterpolateArgs {
    /// Folder of a run (its newest checkpoint is used) or of a checkpoint; `latest` is the run in runs/ that was trained
    /// last
    #[arg(value_name = "RUN|CHECKPOINT")]
    source: PathBuf,

    /// Seeds to visit, at least two
    #[arg(long, value_name = "SEEDS", default_value = "0-7")]
    seeds: Seeds,

    /// Pictures from one seed to the next, including both ends [default: 10, or 30 if it moves]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    frames: Option<u16>,

    /// Pictures a second of a moving picture [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=50))]
    fps: Option<u16>,

    /// Walk straight, whatever the prior
    #[arg(long, conflicts_with = "spherical")]
    linear: bool,

    /// Walk along the sphere (slerp); the default for a normal prior, and not to be had for a uniform one
    #[arg(long)]
    spherical: bool,

    #[command(flatten)]
    truncation: TruncationArgs,

    #[command(flatten)]
    class: ClassArgs,

    /// File to write, in .png, .gif, .apng or .mp4
    #[arg(long, value_name = "FILE", default_value = "interpolation.png", value_parser = target_parser())]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// As many pictures as one walk may have.
const MOST_PICTURES: usize = 65_536;

/// The options of `interpolate`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InterpolateOptions {
    /// A run's folder or a checkpoint's.
    pub(crate) source: PathBuf,
    /// The samples to visit, at least two.
    pub(crate) seeds: Vec<u64>,
    /// Pictures in a row, including both ends; at least two.
    pub(crate) frames: usize,
    /// The way between seeds; `None` is the usual one for the prior.
    pub(crate) way: Option<Way>,
    /// The factor that pulls the latents to the centre.
    pub(crate) truncation: TruncationArgs,
    /// The class of all pictures.
    pub(crate) class: ClassArgs,
    /// File to write.
    pub(crate) output: PathBuf,
    /// The format of a moving picture, and its frames a second; `None` is a PNG that does not move.
    pub(crate) moving: Option<(Format, u16)>,
    /// Overwrite an existing file.
    pub(crate) force: ForceArgs,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
}

impl InterpolateArgs {
    pub(super) fn resolve(self) -> Result<InterpolateOptions> {
        if self.seeds.0.len() < 2 {
            return Err(Error::Usage("--seeds: expected two seeds or more, such as 1,5,9, found one".into()));
        }
        let format = Format::of(&self.output);
        let frames = self.frames.unwrap_or(if format.is_some() { 30 } else { 10 });
        let (rows, most) = match format {
            Some(_) => (self.seeds.0.len(), MOST_FRAMES),
            None => (self.seeds.0.len() - 1, MOST_PICTURES),
        };
        if rows * usize::from(frames) > most {
            return Err(Error::Usage(format!("{rows} rows of {frames} pictures: at most {most} at once")));
        }
        if format.is_none() && self.fps.is_some() {
            let endings = Format::ENDINGS;
            return Err(Error::Usage(format!(
                "--fps is of a moving picture: pass --output with a name that ends in {endings}"
            )));
        }
        let output = if format.is_some() { self.output } else { still_or_moving(self.output)? };
        let way = match (self.linear, self.spherical) {
            (true, _) => Some(Way::Linear),
            (_, true) => Some(Way::Spherical),
            _ => None,
        };
        Ok(InterpolateOptions {
            source: named(self.source, Path::new("runs"))?,
            seeds: self.seeds.0,
            frames: usize::from(frames),
            way,
            truncation: self.truncation,
            class: self.class,
            moving: format.map(|format| (format, self.fps.unwrap_or(20))),
            output,
            force: self.force,
            device: self.device,
        })
    }
}

/// The name of a picture that does not move.
fn still_or_moving(path: PathBuf) -> Result<PathBuf> {
    let shown = readable_path(&path).to_string();
    let wrong =
        |_| Error::Usage(format!("--output: expected a name that ends in .png, {}, found `{shown}`", Format::ENDINGS));
    picture("--output", path).map_err(wrong)
}

/// Draws the walk.
pub(super) fn run(options: InterpolateOptions) -> Result<()> {
    require_new(std::slice::from_ref(&options.output), options.force, "--output")?;
    if matches!(options.moving, Some((Format::Mp4, _))) {
        require_ffmpeg(&options.output)?;
    }
    let opened = options.device.open()?;
    on_device!(opened, |backend| walk(open(backend, &options.source)?, options))
}

fn walk<B: F32Executor>(mut generator: TrainedGenerator<B>, options: InterpolateOptions) -> Result<()> {
    let InterpolateOptions { seeds, frames, way, truncation, class, output, moving, .. } = options;
    let (settings, image) = (&generator.settings, generator.image);
    let way = way_of(way, settings.generator.prior)?;
    let mut visited = truncation.latents(settings, &seeds)?;
    if moving.is_some() {
        // Round and back to the first, so that it can be shown again and again.
        visited.push(visited[0].clone());
    }
    // What moves does not stand still at an end that is the next one's beginning.
    let shown_frames = if moving.is_some() { frames - 1 } else { frames };
    let share = |frame: usize| frame as f64 / (frames - 1) as f64;
    let latents: Vec<f32> = visited
        .windows(2)
        .flat_map(|pair| (0..shown_frames).map(move |frame| (pair, frame)))
        .flat_map(|(pair, frame)| between(way, &pair[0], &pair[1], share(frame)))
        .collect();
    // A walk keeps its class: without a word, that of its first seed.
    let pictures = latents.len() / settings.generator.latent;
    let classes = class.classes(settings, &generator.classes, std::iter::repeat_n(seeds[0], pictures))?;
    let pixels = generator.draw_of(&latents, &classes)?;
    let checkpoint = readable_path(&generator.checkpoint);
    let Some((format, fps)) = moving else {
        let (rows, ImageShape { h, w, c }) = (seeds.len() - 1, image);
        write_grid(&output, &pixels, rows * frames, h, w, c, frames, 0)?;
        let rows = if rows == 1 { "1 row".into() } else { format!("{rows} rows") };
        return output::print(&format!("{rows} of {frames} pictures of {checkpoint}: {}\n", readable_path(&output)));
    };
    let animation = Animation { shape: image, pixels, scale: LEAST_SIDE.div_ceil(image.w.max(image.h)), fps, hold: 1 };
    animation::write(&animation, &output, format)?;
    let seconds = animation.count() as f64 / f64::from(fps);
    output::print(&format!(
        "{} pictures in {seconds:.1} s of {checkpoint}: {}\n",
        animation.count(),
        readable_path(&output)
    ))
}

/// The least side of a moving picture, in pixels.
const LEAST_SIDE: usize = 256;

/// The way to walk between samples of this prior.
///
/// # Errors
/// [`Error::Usage`] for a sphere where there is none.
fn way_of(asked: Option<Way>, prior: Prior) -> Result<Way> {
    if asked == Some(Way::Spherical) && prior == Prior::Uniform {
        return Err(Error::Usage(
            "--spherical: this generator was trained with a uniform prior, whose samples fill a cube: an arc between two of them may \
             leave it. Omit the flag, or train with a normal prior (`train --set generator.prior=normal`)"
                .into(),
        ));
    }
    Ok(asked.unwrap_or(Way::of(prior)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;
    use crate::cli::arguments::DeviceChoice;

    fn options(words: &str) -> Result<InterpolateOptions> {
        match Cli::try_parse_from(["vgan-cuda", "interpolate"].into_iter().chain(words.split(' '))).map(|c| c.command) {
            Ok(Command::Interpolate(args)) => args.resolve(),
            other => Err(Error::Internal(format!("{other:?}"))),
        }
    }

    #[test]
    fn resolution() {
        let walk = options("runs/1 --seeds 1,5 --frames 3 --output a.PNG --device cpu --threads 2").unwrap();
        let (source, output) = ("runs/1".into(), "a.PNG".into());
        let device = DeviceArgs { threads: Some(2), ..DeviceChoice::Cpu.with_defaults() };
        let force = ForceArgs { force: false };
        let (truncation, class, seeds) = (TruncationArgs { truncation: 1.0 }, ClassArgs::default(), vec![1, 5]);
        let (way, moving) = (None, None);
        let expected =
            InterpolateOptions { source, seeds, frames: 3, way, truncation, class, output, moving, force, device };
        assert_eq!(walk, expected);
        let moving = options("runs/1 --output a.gif --spherical --truncation 0.5").unwrap();
        assert_eq!((moving.frames, moving.moving, moving.way), (30, Some((Format::Gif, 20)), Some(Way::Spherical)));
        assert_eq!(moving.truncation.truncation, 0.5);
        let fast = options("runs/1 --output a.mp4 --linear --fps 50").unwrap();
        assert_eq!((fast.moving, fast.way), (Some((Format::Mp4, 50)), Some(Way::Linear)));
        for words in [
            "runs/1 --seeds 3",
            "runs/1 --seeds 0-700 --frames 100",
            "runs/1 --output a.jpg",
            "runs/1 --output png",
            "runs/1 --fps 5",
            "runs/1 --output a.gif --seeds 0-400",
        ] {
            assert_eq!(options(words).unwrap_err().exit_code(), 2, "{words}");
        }
        for wrong in [
            "runs/1 --frames 1",
            "runs/1 --linear --spherical",
            "runs/1 --truncation 3",
            "runs/1 --output a.gif --fps 51",
        ] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
        assert_eq!(way_of(None, Prior::Uniform).unwrap(), Way::Linear);
        assert_eq!(way_of(Some(Way::Linear), Prior::Normal).unwrap(), Way::Linear);
        assert_eq!(way_of(Some(Way::Spherical), Prior::Uniform).unwrap_err().exit_code(), 2);
    }
}
