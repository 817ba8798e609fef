//! A run's folder: its number, the names of what lies in it, and the lock that keeps a second process out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic;
use crate::error::{Error, Result, readable_path};
use crate::shell;

/// The most characters of a description that go into a folder's name.
pub(super) const MAX_DESCRIPTION: usize = 100;

/// The folder of one run, such as `runs/00003-vgan-mnist-b128`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the next run's folder, with an empty `checkpoints/` in it. The number is one more than the highest there
    /// is; characters of `description` other than letters, digits, `.`, `_` and `-` become `-`.
    ///
    /// Starts at the same moment get different numbers: each holds the lock on `outdir` while it looks and makes. On a
    /// file system without locks two of them may share a number, if their descriptions differ, but never a folder.
    ///
    /// # Errors
    /// [`Error::Io`] where a folder can't be made.
    pub fn create(outdir: &Path, description: &str) -> Result<RunFolder> {
        fs::create_dir_all(outdir).map_err(|e| Error::io(outdir, "create the folder", e))?;
        let handle = File::open(outdir).map_err(|e| Error::io(outdir, "open the folder", e))?;
        // Dropped at the end; an error means a file system without locks.
        let _ = handle.lock();
        loop {
            let path = outdir.join(format!("{:05}{}", next_number(outdir), suffix(description)));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let checkpoints = path.join("checkpoints");
                    fs::create_dir(&checkpoints).map_err(|e| Error::io(checkpoints, "create the folder", e))?;
                    return Ok(RunFolder { path });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(path, "create the folder", e)),
            }
        }
    }

    /// Makes the folder `name` for a run, with an empty `checkpoints/` in it.
    ///
    /// # Errors
    /// [`Error::Io`] where it is there already or can't be made.
    pub fn create_named(outdir: &Path, name: &str) -> Result<RunFolder> {
        let path = outdir.join(name);
        fs::create_dir_all(outdir).map_err(|e| Error::io(outdir, "create the folder", e))?;
        let checkpoints = path.join("checkpoints");
        for folder in [&path, &checkpoints] {
            fs::create_dir(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
        }
        Ok(RunFolder { path })
    }

    /// Opens the folder of a run that was started before.
    ///
    /// # Errors
    /// [`Error::BadData`] where `path` is no folder, or one without `config.toml` or `checkpoints/`; it says what is
    /// missing and, where it can, which folder was meant.
    pub fn open(path: &Path) -> Result<RunFolder> {
        let run = RunFolder { path: path.to_path_buf() };
        let found = if !path.exists() {
            "no such folder"
        } else if !path.is_dir() {
            "a file"
        } else if !run.config_path().is_file() {
            "a folder without config.toml"
        } else if !run.checkpoints_path().is_dir() {
            "a folder without checkpoints/"
        } else {
            return Ok(run);
        };
        let hint = match meant(path) {
            Some(meant) => format!("did you mean {}?", shell::path(meant)),
            None => "pass the folder that `train` made, such as runs/00000-quick".into(),
        };
        Err(Error::bad_data(path, "the folder of a run, with config.toml and checkpoints/", found).with_hint(hint))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the resolved configuration, which reproduces the run.
    pub fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `env.json`: the machine and the program of each start.
    pub fn env_path(&self) -> PathBuf {
        self.path.join("env.json")
    }

    /// `stats.jsonl`: one record a tick.
    pub fn stats_path(&self) -> PathBuf {
        self.path.join("stats.jsonl")
    }

    /// `metrics.jsonl`: what samples were measured to be.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `log.txt`: what was said to the user.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// `init.json`: the weights that the run began with, where they were not drawn from its seed.
    pub fn init_path(&self) -> PathBuf {
        self.path.join("init.json")
    }

    /// `status.json`: how the run stands, or how its last start ended.
    pub fn status_path(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// `curves.svg`: losses, β and KL over the steps.
    pub fn curves_path(&self) -> PathBuf {
        self.path.join("curves.svg")
    }

    /// `checkpoints/`.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `reals.png`: a grid of the data set's images.
    pub fn reals_path(&self) -> PathBuf {
        self.path.join("reals.png")
    }

    /// `fakes_init.png`: the grid of the fixed latents before the first step.
    pub fn fakes_init_path(&self) -> PathBuf {
        self.path.join("fakes_init.png")
    }

    /// `fakes000200.png`: the grid of the fixed latents after that step.
    pub fn snapshot_picture_path(&self, step: u64) -> PathBuf {
        self.path.join(format!("fakes{step:06}.png"))
    }

    /// Returns true if a process trains this run now; false on a file system without locks.
    ///
    /// The look holds the lock for a moment where it is free, for which [`RunFolder::lock`] waits.
    pub fn is_locked(&self) -> bool {
        let file = File::open(self.path.join(".lock"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Takes the run for this process. The lock falls when the [`RunLock`] is dropped and when the process ends, in
    /// whatever way. On a file system without locks it holds nobody back.
    ///
    /// Half-written files of a killed process are removed from the folder.
    ///
    /// # Errors
    /// [`Error::Usage`] where another process has it; [`Error::Io`] where the lock's file can't be made.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.path.join(".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::io(&path, "create the lock", e))?;
        // Somebody may only have had a look whether it is held.
        let takes = |attempt: u64| {
            std::thread::sleep(Duration::from_millis(attempt * 20));
            atomic::lock_or_unsupported(&file)
        };
        if !(0..3).any(takes) {
            let mut holder = String::new();
            // The number is a help for the user alone: without it, the message is shorter.
            let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut holder);
            let holder = if holder.is_empty() { String::new() } else { format!(" ({})", holder.trim_end()) };
            return Err(Error::Usage(format!(
                "{}: another process{holder} is training in this folder: wait for it, or stop it first",
                readable_path(&self.path)
            )));
        }
        let text = format!("pid {}\n", std::process::id());
        let written = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|e| Error::io(&path, "write the lock", e))?;
        atomic::sweep(&self.path);
        Ok(RunLock { _file: file })
    }
}

/// The right to write into a run's folder; see [`RunFolder::lock`].
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// The step of a snapshot's picture, from its name: `fakes000200.png`.
pub fn picture_step(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("fakes")?.strip_suffix(".png")?;
    let step = digits.parse().ok()?;
    (format!("{step:06}") == digits).then_some(step)
}

/// The number of a run's folder, from its name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.split_once('-').map_or(name, |(digits, _)| digits);
    if digits.len() >= 5 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn next_number(outdir: &Path) -> u64 {
    let highest = atomic::entries(outdir).iter().filter_map(|(name, _)| number_of(name)).max();
    highest.map_or(0, |number| number.saturating_add(1))
}

fn suffix(description: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let clean: String = description.trim().chars().take(MAX_DESCRIPTION).map(clean).collect();
    if clean.is_empty() { clean } else { format!("-{clean}") }
}

/// The run that the user probably meant: the newest one inside `path`, or the one around it.
fn meant(path: &Path) -> Option<PathBuf> {
    let is_run = |p: &Path| p.join("config.toml").is_file() && p.join("checkpoints").is_dir();
    let inside = atomic::entries(path).into_iter().rev().map(|(_, path)| path);
    let around = path.ancestors().skip(1).take(3).map(Path::to_path_buf);
    inside.chain(around).find(|p| is_run(p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::process::Command;

    fn name(run: &RunFolder) -> &str {
        run.path().file_name().unwrap().to_str().unwrap()
    }

    #[test]
    fn numbers_count_on_from_the_highest() {
        let outdir = tempfile::tempdir().unwrap();
        let runs = outdir.path().join("not/yet/there");
        assert_eq!(name(&RunFolder::create(&runs, "vgan-mnist-b128").unwrap()), "00000-vgan-mnist-b128");
        fs::create_dir(runs.join("00041")).unwrap();
        fs::create_dir(runs.join("77-mine")).unwrap();
        fs::write(runs.join("00050-a-file"), b"").unwrap();
        assert_eq!(name(&RunFolder::create(&runs, "").unwrap()), "00051");
        fs::create_dir(runs.join("123456-many")).unwrap();
        let run = RunFolder::create(&runs, " ../b c/ü ").unwrap();
        assert_eq!(name(&run), "123457-..-b-c--");
        assert!(run.checkpoints_path().is_dir());
    }

    #[test]
    fn concurrent_starts_never_share_a_number() {
        let outdir = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(16);
        let names: Vec<String> = std::thread::scope(|scope| {
            let start = |index: usize| {
                let (outdir, barrier) = (outdir.path(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    // Half of them with descriptions of their own, half with the same one.
                    let description = if index.is_multiple_of(2) { "same".into() } else { format!("run{index}") };
                    (0..4).map(|_| name(&RunFolder::create(outdir, &description).unwrap()).to_owned()).collect()
                })
            };
            let threads: Vec<_> = (0..16).map(start).collect();
            threads.into_iter().flat_map(|thread| -> Vec<String> { thread.join().unwrap() }).collect()
        });
        let numbers: BTreeSet<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        assert_eq!(numbers, (0..64).collect());
    }

    /// The threads above may miss each other by luck; here one start is held between the other's look and its make.
    #[test]
    fn a_start_waits_for_the_one_before_it() {
        let outdir = tempfile::tempdir().unwrap();
        let other = File::open(outdir.path()).unwrap();
        other.lock().unwrap();
        std::thread::scope(|scope| {
            let start = scope.spawn(|| RunFolder::create(outdir.path(), "second").unwrap());
            std::thread::sleep(std::time::Duration::from_millis(100));
            fs::create_dir(outdir.path().join("00000-first")).unwrap();
            drop(other);
            assert_eq!(name(&start.join().unwrap()), "00001-second");
        });
    }

    #[test]
    fn opening_says_what_is_missing_and_what_was_meant() {
        let outdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(outdir.path(), "quick").unwrap();
        let message = |path: &Path| {
            let error = RunFolder::open(path).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            error.to_string()
        };
        assert!(message(run.path()).contains("without config.toml"));
        fs::write(run.config_path(), b"").unwrap();
        assert_eq!(RunFolder::open(run.path()).unwrap(), run);
        assert!(message(outdir.path()).contains(&format!("did you mean {}?", run.path().display())));
        assert!(message(&run.checkpoints_path()).contains(&format!("did you mean {}?", run.path().display())));
        assert!(message(&run.config_path()).contains("found a file"));
        assert!(message(Path::new("no/such/run")).contains("no such folder: pass the folder"));
        fs::remove_dir(run.checkpoints_path()).unwrap();
        assert!(message(run.path()).contains("without checkpoints/"));
    }

    #[test]
    fn pictures_of_snapshots_are_known_by_their_names() {
        assert_eq!(picture_step("fakes000200.png"), Some(200));
        assert_eq!(picture_step("fakes1234567.png"), Some(1_234_567));
        for other in
            ["fakes_init.png", "fakes200.png", "fakes0000200.png", "reals.png", "fakes000200.png~", "fakes.png"]
        {
            assert_eq!(picture_step(other), None, "{other}");
        }
    }

    #[test]
    fn the_names_are_those_that_users_know() {
        let run = RunFolder { path: "runs/00003-x".into() };
        assert_eq!(run.snapshot_picture_path(200), Path::new("runs/00003-x/fakes000200.png"));
        assert_eq!(run.snapshot_picture_path(1_234_567), Path::new("runs/00003-x/fakes1234567.png"));
        assert_eq!(run.stats_path(), Path::new("runs/00003-x/stats.jsonl"));
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_falls() {
        let outdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(outdir.path(), "quick").unwrap();
        let lock = run.lock().unwrap();
        let error = run.lock().unwrap_err();
        assert!(error.to_string().contains(&format!("another process (pid {})", std::process::id())), "{error}");
        assert!(run.is_locked() && run.is_locked(), "a look takes nothing");
        drop(lock);
        assert!(!run.is_locked());
        drop(run.lock().unwrap());
    }

    /// If util-linux is installed, another program sees the lock too, and a kill frees it.
    #[test]
    fn a_killed_process_leaves_no_lock() {
        let outdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(outdir.path(), "quick").unwrap();
        let held = outdir.path().join("held");
        // Nothing but the process itself may hold the lock's file, so the shell makes the sign without a child.
        let script = r#": > "$1"; exec sleep 60"#;
        let child = Command::new("flock")
            .arg("--no-fork")
            .arg(run.path().join(".lock"))
            .args(["sh", "-c", script, "sh"])
            .arg(&held)
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("SKIPPED: no program `flock` here");
            return;
        };
        for _ in 0..500 {
            if held.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(run.lock().is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        run.lock().unwrap();
    }
}
