//! `animate`: the same latents over the snapshots of a run, as a picture that moves.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{self, to_stderr};
use super::survey::named;
use super::target::{ForceArgs, moving, require_new, target_parser};
use crate::data::LoadOptions;
use crate::data::decoded::Picture;
use crate::data::picture::decode;
use crate::error::{Error, Result, readable_path};
use crate::image::ImageShape;
use crate::run::RunFolder;
use crate::run::animation::{self, Animation, Format, MOST_FRAMES, captioned, require_ffmpeg};
use crate::run::report::{chosen, listed};

/// Show how the samples of a run change during training: its snapshots as one GIF, APNG or MP4
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda animate latest
  vgan-cuda animate runs/00000-quick-b64 --output quick.apng --fps 8
  vgan-cuda animate runs/00000-quick-b64 --output quick.mp4 --frames 200

The frames are the run's own pictures (fakes*.png), so neither the checkpoints nor a device are
needed. GIF has 256 colours; APNG keeps every pixel; MP4 needs ffmpeg.")]
pub(super) struct AnimateArgs {
    /// Folder of a run; `latest` is the run in runs/ that was trained last
    #[arg(value_name = "RUN|latest")]
    run: PathBuf,

    /// File to write, in .gif, .apng or .mp4
    #[arg(long, value_name = "FILE", default_value = "training.gif", value_parser = target_parser())]
    output: PathBuf,

    /// Frames a second
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=50))]
    fps: u16,

    /// The most frames; of more snapshots, some
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(1..=MOST_FRAMES as i64))]
    frames: u16,

    #[command(flatten)]
    force: ForceArgs,
}

/// The options of `animate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnimateOptions {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// File to write.
    pub(crate) output: PathBuf,
    /// Its format.
    pub(crate) format: Format,
    /// Frames a second.
    pub(crate) fps: u16,
    /// The most frames.
    pub(crate) frames: usize,
    /// Overwrite an existing file.
    pub(crate) force: ForceArgs,
}

impl AnimateArgs {
    pub(super) fn resolve(self) -> Result<AnimateOptions> {
        let AnimateArgs { run, output, fps, frames, force } = self;
        let format = moving("--output", &output)?;
        let run = named(run, Path::new("runs"))?;
        Ok(AnimateOptions { run, output, format, fps, frames: usize::from(frames), force })
    }
}

/// The last frame is shown for so many seconds.
const HOLD: u16 = 2;

/// Writes the moving picture.
pub(super) fn run(options: AnimateOptions) -> Result<()> {
    let AnimateOptions { run, output, format, fps, frames: most, force } = options;
    require_new(std::slice::from_ref(&output), force, "--output")?;
    if format == Format::Mp4 {
        require_ffmpeg(&output)?;
    }
    let folder = RunFolder::open(&run)?;
    let (shape, pixels) = frames(&folder, most)?;
    let animation = Animation { shape, pixels, scale: 1, fps, hold: HOLD * fps };
    animation::write(&animation, &output, format)?;
    output::print(&format!("{} snapshots of {}: {}\n", animation.count(), readable_path(&run), readable_path(&output)))
}

/// The pictures of the chosen snapshots, each over its step. All are of the size of the first; what can't be read is said to the user
/// and left out.
///
/// # Errors
/// [`Error::BadData`] where there is none.
fn frames(folder: &RunFolder, most: usize) -> Result<(ImageShape, Vec<u8>)> {
    let all = listed(folder);
    let last = all.last().map_or(0, |(step, _)| *step).to_string().len();
    let mut frames: Option<(ImageShape, Vec<u8>)> = None;
    for (step, path) in chosen(&all, most) {
        let Picture { shape, pixels, .. } = match decode(&path, &LoadOptions::default()) {
            Ok(picture) => picture,
            Err(error) => {
                to_stderr(&format!("warning: passed over: {error}"));
                continue;
            }
        };
        let (shape, pixels) = captioned(shape, &pixels, &format!("step {step:>last$}"));
        match &mut frames {
            None => frames = Some((shape, pixels)),
            Some((first, all)) if *first == shape => all.extend(pixels),
            Some(_) => to_stderr(&format!("warning: passed over: {}: a picture of another size", readable_path(&path))),
        }
    }
    frames.ok_or_else(|| {
        let error = Error::bad_data(folder.path(), "grids of samples (fakes*.png)", "none that can be read");
        error.with_hint("`train` writes one at each snapshot (--snap)")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn resolution() {
        let options =
            |words: &str| match Cli::try_parse_from(["vgan-cuda", "animate"].into_iter().chain(words.split(' '))) {
                Ok(Cli { command: Command::Animate(args), .. }) => args.resolve(),
                other => Err(Error::Usage(format!("{other:?}"))),
            };
        let plain = options("a").unwrap();
        assert_eq!((plain.output, plain.format, plain.fps, plain.frames), ("training.gif".into(), Format::Gif, 5, 100));
        assert_eq!(options("a --output b.mp4").unwrap().format, Format::Mp4);
        for wrong in ["a --output b.png", "a --output -", "a --fps 0", "a --fps 51", "a --frames 0", "a --frames 20000"]
        {
            assert_eq!(options(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
