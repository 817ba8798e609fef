//! The ranks of one start, as files: how they meet, and how each sees that the others are alive.
//!
//! ```text
//! runs/.ranks-1f0c…/          one folder for each start, removed at its end
//!   hello-3  answer           the meeting
//!   beat-3                    signs of life, locked by their rank
//!   verdict                   which rank was lost: the one that is found first
//!   run                       the run's folder, for whoever starts the ranks anew
//! ```
//!
//! All ranks must see the folder: on several machines it lies on a file system that they share.

pub mod heartbeat;
pub mod meeting;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic;
use super::checkpoint::sha256;
use crate::error::{Error, Result, readable_path};

pub use heartbeat::{Doing, Lost, Pulse, Watch};
pub use meeting::{Meeting, Met};

/// The prefix of the folders of starts.
const PREFIX: &str = ".ranks-";

/// The folder of one start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchFolder {
    path: PathBuf,
}

impl LaunchFolder {
    /// That of the start `launch`, a text that its ranks have in common, in the folder of the runs. It is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] where it can't be made.
    pub fn open(outdir: &Path, launch: &str) -> Result<LaunchFolder> {
        let path = outdir.join(format!("{PREFIX}{}", &sha256(launch.as_bytes())[..16]));
        fs::create_dir_all(&path).map_err(|e| Error::io(&path, "create the folder", e))?;
        Ok(LaunchFolder { path })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Notes where the run is, for whoever starts the ranks anew.
    ///
    /// # Errors
    /// [`Error::Io`] where the system refuses.
    pub fn note_run(&self, run: &Path) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        atomic::write_file(&self.file("run"), run.as_os_str().as_bytes())
    }

    /// The run's folder, once it is noted.
    pub fn run(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let bytes = fs::read(self.file("run")).ok()?;
        Some(std::ffi::OsString::from_vec(bytes).into())
    }

    /// Returns true for the first who asks: of several ranks that find another one lost, one says so.
    pub fn take_verdict(&self, text: &str) -> bool {
        use std::io::Write;
        let file = fs::OpenOptions::new().write(true).create_new(true).open(self.file("verdict"));
        match file {
            // The text is for people who look into the folder.
            Ok(mut file) => {
                let _ = file.write_all(text.as_bytes());
                true
            }
            Err(error) => error.kind() != std::io::ErrorKind::AlreadyExists,
        }
    }

    /// Whether somebody has found a rank lost.
    pub fn has_verdict(&self) -> bool {
        self.file("verdict").exists()
    }

    /// Removes what an earlier start of the same name has left of its end.
    fn forget_verdict(&self) {
        let _ = fs::remove_file(self.file("verdict"));
        let _ = fs::remove_file(self.file("run"));
    }

    /// Removes the folders of starts of which nobody has shown a sign for a week: those of ranks that were killed.
    pub fn sweep(outdir: &Path) {
        const OLD: Duration = Duration::from_secs(7 * 24 * 3600);
        let is_old = |path: &Path| {
            let age =
                fs::metadata(path).and_then(|found| found.modified()).map(|time| time.elapsed().unwrap_or_default());
            age.is_ok_and(|age| age > OLD)
        };
        for (name, path) in atomic::entries(outdir) {
            if name.starts_with(PREFIX) && is_old(&path) && atomic::entries(&path).iter().all(|(_, file)| is_old(file))
            {
                LaunchFolder { path }.remove();
            }
        }
    }

    /// Removes the folder. What can't be removed stays, and harms no later start.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl std::fmt::Display for LaunchFolder {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(text, "{}", readable_path(&self.path))
    }
}

/// `rank 2`, or `ranks 1, 3`.
pub fn named(ranks: &[usize]) -> String {
    let numbers = ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{} {numbers}", if ranks.len() == 1 { "rank" } else { "ranks" })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_killed_ranks_left_is_swept_after_a_week() {
        let outdir = tempfile::tempdir().unwrap();
        let [old, new, lives] = ["old", "new", "lives"].map(|name| LaunchFolder::open(outdir.path(), name).unwrap());
        let run = outdir.path().join("00000-quick");
        fs::create_dir(&run).unwrap();
        let week = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
        let age = |path: &Path| fs::File::open(path).unwrap().set_modified(week).unwrap();
        for folder in [&old, &lives] {
            fs::write(folder.file("beat-0"), "x").unwrap();
            age(folder.path());
        }
        age(&old.file("beat-0"));
        age(&run);
        LaunchFolder::sweep(outdir.path());
        assert!(!old.path().exists() && new.path().exists() && lives.path().exists() && run.exists());
    }

    #[test]
    fn a_run_is_noted_and_found() {
        let outdir = tempfile::tempdir().unwrap();
        let folder = LaunchFolder::open(outdir.path(), "x").unwrap();
        assert_eq!(folder.run(), None);
        folder.note_run(Path::new("runs/é 1")).unwrap();
        assert_eq!(folder.run(), Some(PathBuf::from("runs/é 1")));
        assert_eq!((named(&[2]), named(&[0, 3])), ("rank 2".into(), "ranks 0, 3".into()));
    }
}
