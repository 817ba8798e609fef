//! Output paths: one rule for all commands. A file or folder is named, nothing goes to standard output by the name
//! `-`, a picture's name ends in .png, and a file that is there stays unless `--force` is given.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::error::{Error, Result, readable_path};
use crate::run::animation::Format;

/// The flag of all commands that write files of a name that the user chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct ForceArgs {
    /// Write over files that are there already
    #[arg(long)]
    pub(super) force: bool,
}

/// Takes a path to write to; not `-`, by which other programs mean standard output.
pub(super) fn target_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.to_str() {
        Some("-") => {
            Err("output to standard output is not supported: pass a file name (./- is the name `-`)".to_string())
        }
        _ => Ok(path),
    })
}

/// The name of a picture, given with `flag`.
///
/// # Errors
/// Those of [`file_of`].
pub(super) fn picture(flag: &str, path: PathBuf) -> Result<PathBuf> {
    file_of(flag, "png", path)
}

/// The name of a file of one format, given with `flag`.
///
/// # Errors
/// [`Error::Usage`] where it has not this ending: what is written is of the format whatever the name says.
pub(super) fn file_of(flag: &str, ending: &str, path: PathBuf) -> Result<PathBuf> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending)) {
        return Ok(path);
    }
    Err(Error::Usage(format!("{flag}: expected a name that ends in .{ending}, found `{}`", readable_path(&path))))
}

/// The format of a moving picture, by its name, given with `flag`.
///
/// # Errors
/// [`Error::Usage`] where the name asks for none.
pub(super) fn moving(flag: &str, path: &Path) -> Result<Format> {
    let endings = Format::ENDINGS;
    Format::of(path).ok_or_else(|| {
        Error::Usage(format!("{flag}: expected a name that ends in {endings}, found `{}`", readable_path(path)))
    })
}

/// Refuses to write over any of these files, before the work is begun; `other` is what to pass to write elsewhere.
///
/// # Errors
/// [`Error::Usage`] with the first of those that are there, and how many more there are.
pub(super) fn require_new(paths: &[PathBuf], force: ForceArgs, other: &str) -> Result<()> {
    // A link that leads nowhere is there, too.
    let is_there = |path: &&PathBuf| Path::symlink_metadata(path).is_ok();
    let there: Vec<&PathBuf> = paths.iter().filter(is_there).collect();
    let (Some(first), false) = (there.first(), force.force) else { return Ok(()) };
    let more = match there.len() - 1 {
        0 => "is there".to_string(),
        1 => "and 1 more file are there".to_string(),
        more => format!("and {more} more files are there"),
    };
    let over = if there.len() == 1 { "it" } else { "them" };
    Err(Error::Usage(format!(
        "{} {more} already: pass --force to write over {over}, or another {other}",
        readable_path(first)
    )))
}

/// Refuses to write over a file that somebody else made: with `--output` a run's own folder, say. `mark` stands near the beginning of
/// those of the command that is its last word.
pub(super) fn require_ours(path: &Path, mark: &str) -> Result<()> {
    let mut start = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(256).read_to_end(&mut start)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(_) if start.windows(mark.len()).any(|bytes| bytes == mark.as_bytes()) => Ok(()),
        Ok(_) => {
            let command = mark.rsplit(' ').next().unwrap_or(mark);
            let error = Error::bad_data(path, format!("no file, or one that `{command}` wrote"), "another one");
            Err(error.with_hint("move it away, or pass another --output"))
        }
        Err(error) => Err(Error::io(path, "read", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_png_by_name() {
        for name in ["a.png", "a.PNG", "b/c.d.png"] {
            assert_eq!(picture("--output", name.into()).unwrap(), PathBuf::from(name));
        }
        for name in ["-", "", "png", "a.jpg", "a.png/", "a.png.gif", ".png"] {
            let found = picture("--output", name.into());
            assert_eq!(found.is_ok(), name == "a.png/", "{name}: {found:?}");
        }
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
        let [force, careful] = [true, false].map(|force| ForceArgs { force });
        require_new(&paths, careful, "--outdir").unwrap();
        std::fs::write(&paths[1], "").unwrap();
        let error = require_new(&paths, careful, "--outdir").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("/b is there already: pass --force to write over it, or another --outdir"));
        std::os::unix::fs::symlink("nowhere", &paths[2]).unwrap();
        let error = require_new(&paths, careful, "--outdir").unwrap_err();
        assert!(error.to_string().contains("/b and 1 more file are there already"), "{error}");
        require_new(&paths, force, "--outdir").unwrap();
    }

    #[test]
    fn only_our_own_files_are_written_over() {
        const COMPARED: &str = "vgan-cuda compare";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        require_ours(&path, COMPARED).unwrap();
        fs::write(&path, format!("<!-- {COMPARED} -->\n<svg/>")).unwrap();
        require_ours(&path, COMPARED).unwrap();
        for other in [&b""[..], b"<svg/>", &[0; 1000]] {
            fs::write(&path, other).unwrap();
            let error = require_ours(&path, COMPARED).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains("pass another --output"), "{error}");
        }
        assert!(require_ours(folder.path(), COMPARED).is_err());
    }
}
