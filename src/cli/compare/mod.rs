//! `compare`: puts runs side by side.

mod member;
mod metrics;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

pub(super) use self::member::descended;
use self::member::{Member, members};
pub(super) use self::table::matrix;
use super::output;
use super::target::{require_ours, target_parser};
use crate::error::{Error, Result, readable_path};
use crate::run::comparison::{self, Curves};
use crate::run::contact_sheet::{self, Tile};
use crate::train::report::figures;

/// Compare runs: a table, all curves in one SVG, and the newest samples in one PNG
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda compare runs/00000-vgan runs/00001-gan
  vgan-cuda compare runs/0* --smooth 20 --output comparison
  vgan-cuda compare runs/0* --json

Losses, KL, the outputs of D and images/s are means over the last 10 records of a run; beta, steps
and time are those of its last record. Metrics that `eval` or `train --metrics` has measured are
those of the last measured step. A folder of runs, such as an experiment's, stands for all
runs in it. Folders that can't be read are skipped with a warning.")]
pub(super) struct CompareArgs {
    /// Folders of runs, or folders that contain runs
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// Folder for curves.svg and samples.png
    #[arg(long, value_name = "DIR", default_value = "compare", value_parser = target_parser())]
    output: PathBuf,

    /// Draw means over N records, with the records themselves faint in the background
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    smooth: u16,

    /// Print one JSON object for each run instead of the table
    #[arg(long)]
    json: bool,
}

/// The options of `compare`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CompareOptions {
    /// The runs' folders.
    pub(crate) runs: Vec<PathBuf>,
    /// The folder that gets the pictures.
    pub(crate) output: PathBuf,
    /// Records that a point of a curve is the mean of.
    pub(crate) smooth: usize,
    /// JSON lines instead of a table.
    pub(crate) json: bool,
}

impl CompareArgs {
    pub(super) fn resolve(self) -> CompareOptions {
        let CompareArgs { runs, output, smooth, json } = self;
        CompareOptions { runs, output, smooth: usize::from(smooth), json }
    }
}

/// Stands near the beginning of the files that `compare` writes, which it may write again.
const MARK: &str = "vgan-cuda compare";

/// Compares, and leaves both pictures.
pub(super) fn run(options: CompareOptions) -> Result<()> {
    let CompareOptions { runs, output, smooth, json } = options;
    let [curves, samples] = ["curves.svg", "samples.png"].map(|name| output.join(name));
    // Refused before the work, and before one of the two is written.
    [&curves, &samples].into_iter().try_for_each(|path| require_ours(path, MARK))?;
    let members = members(&runs)?;
    fs::create_dir_all(&output).map_err(|error| Error::io(&output, "create the folder", error))?;
    let pictures = [
        ("curves", &curves, draw_curves(&curves, &members, smooth)?),
        ("samples", &samples, draw_samples(&samples, &members)?),
    ];
    let mut text = if json { table::json(&members)? } else { table::text(&members)? };
    if !json {
        text += &metrics::table(&members, output::terminal_columns());
    }
    for (what, path, drawn) in pictures {
        match (drawn, json) {
            (false, _) => {
                output::to_stderr(&format!("note: no run has {what}, so there is no {}", readable_path(path)))
            }
            (true, false) => text += &format!("{what:<8} {}\n", readable_path(path)),
            (true, true) => output::to_stderr(&format!("{what:<8} {}", readable_path(path))),
        }
    }
    output::print(&text)
}

/// Draws all curves; whether there are any. A file of an earlier comparison goes where there are none now.
fn draw_curves(path: &Path, members: &[Member], smooth: usize) -> Result<bool> {
    let curves = |(number, member): (usize, &Member)| -> Option<(String, usize)> {
        (!member.records.is_empty()).then(|| (format!("{}  {}", number + 1, member.name), number))
    };
    let named: Vec<(String, usize)> = members.iter().enumerate().filter_map(curves).collect();
    let curves: Vec<Curves<'_>> = named
        .iter()
        .map(|(name, number)| {
            let Member { records, settings, .. } = &members[*number];
            Curves { name, number: *number, records, figures: figures(settings) }
        })
        .collect();
    if curves.is_empty() {
        return remove(path);
    }
    comparison::draw(path, &curves, smooth, MARK).map(|()| true)
}

/// Draws all newest samples; whether there are any.
fn draw_samples(path: &Path, members: &[Member]) -> Result<bool> {
    let tile = |(number, member): (usize, &Member)| {
        let (step, picture) = member.picture.as_ref()?;
        Some(Tile {
            title: format!("{} {} step {step}", number + 1, member.name),
            colour: comparison::colour(number),
            height: picture.shape.h,
            width: picture.shape.w,
            channels: picture.shape.c,
            pixels: picture.pixels.clone(),
        })
    };
    let tiles: Vec<Tile> = members.iter().enumerate().filter_map(tile).collect();
    if tiles.is_empty() {
        return remove(path);
    }
    match contact_sheet::write(path, &tiles, MARK) {
        Ok(()) => Ok(true),
        // Too many for one sheet: no reason to withhold the table.
        Err(Error::Usage(message)) => {
            output::to_stderr(&format!("warning: {}: {message}", readable_path(path)));
            remove(path)
        }
        Err(error) => Err(error),
    }
}

/// Takes an earlier comparison's picture away, which would seem to be of these runs.
fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, "remove", error)),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn options() {
        let cli = Cli::try_parse_from("vgan-cuda compare a b --output c --smooth 5 --json".split(' ')).unwrap();
        let Command::Compare(args) = cli.command else { panic!("{cli:?}") };
        let runs = vec!["a".into(), "b".into()];
        assert_eq!(args.resolve(), CompareOptions { runs, output: "c".into(), smooth: 5, json: true });
        assert!(Cli::try_parse_from("vgan-cuda compare".split(' ')).is_err());
        assert!(Cli::try_parse_from("vgan-cuda compare a --smooth 0".split(' ')).is_err());
    }
}
