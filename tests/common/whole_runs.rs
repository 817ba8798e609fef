//! The common parts of the tests of whole runs: a tiny data set, a tiny model, and a look into the run's folder.

// Each test binary uses its own part of these, and none is a library.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use vgan_cuda::run::{Checkpoint, Record, RunFolder, checkpoint, stats};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vgan-cuda");

/// Nets of a few thousand weights, so that a run takes no longer than its saves.
pub const TINY: &str = "--batch 8 --set generator.channels=8,4 --set generator.hidden=16 --set generator.latent=6 \
                        --set discriminator.channels=4,8 --set discriminator.hidden=16";

/// The images of an epoch of the tiny data set, in batches of 8; four images are left over.
pub const EPOCH: u64 = 5;

/// A temporary folder with a data set in it: 44 images of 8×8.
pub struct TestFolder {
    folder: tempfile::TempDir,
}

impl TestFolder {
    pub fn new() -> TestFolder {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("images-idx3-ubyte"), idx(44, 8)).expect("writing");
        TestFolder { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command that starts a run of the tiny model in the folder `outdir`; `words` begin with the preset.
    pub fn train(&self, outdir: &str, words: &str) -> Command {
        self.train_wide(outdir, &format!("{TINY} {words}"))
    }

    /// The same with the preset's widths.
    pub fn train_wide(&self, outdir: &str, words: &str) -> Command {
        let mut command = program(&format!("train {words}"));
        command.arg("--outdir").arg(self.path(outdir));
        if !words.contains("--data") {
            command.arg("--data").arg(self.path("images-idx3-ubyte"));
        }
        command
    }

    /// Trains to the end and returns the run.
    pub fn trained(&self, outdir: &str, words: &str) -> Run {
        succeed(self.train(outdir, words));
        self.run(outdir)
    }

    /// The only run in the folder `outdir`.
    pub fn run(&self, outdir: &str) -> Run {
        let mut runs = fs::read_dir(self.path(outdir)).expect("the folder of runs");
        let run = runs.next().expect("a run").expect("a run").path();
        assert!(runs.next().is_none(), "one run in {outdir}");
        Run { path: run }
    }
}

/// An IDX file of `count` square images with no pattern in them.
pub fn idx(count: u32, side: u32) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    [count, side, side].iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend((0..count * side * side).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    bytes
}

/// The program with arguments that hold no spaces.
pub fn program(words: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it, and fails the test unless it exits with 0.
pub fn succeed(command: Command) -> Output {
    exit_with(command, 0)
}

/// Runs it, and fails the test unless it exits with `code`.
pub fn exit_with(mut command: Command, code: i32) -> Output {
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    output
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until `condition` holds; a child that ends before fails the test.
pub fn wait_for(child: &mut Child, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "no {what} within a minute");
        assert!(child.try_wait().expect("a child").is_none(), "the program ended before {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal by its name, such as INT.
pub fn send(child: &Child, signal: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
    assert!(sent.expect("a shell").success());
}

/// A run's folder.
pub struct Run {
    path: PathBuf,
}

impl Run {
    pub fn at(path: &Path) -> Run {
        Run { path: path.to_path_buf() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn resume(&self, words: &str) -> Command {
        let mut command = program("resume");
        command.arg(&self.path).args(words.split_whitespace());
        command
    }

    /// The newest checkpoint, which must load without passing over another one.
    pub fn newest(&self) -> Checkpoint {
        let (_, checkpoint, passed_over) = checkpoint::newest_valid(&self.file("checkpoints")).expect("a checkpoint");
        assert!(passed_over.is_empty(), "{passed_over:?}");
        checkpoint
    }

    pub fn newest_step(&self) -> u64 {
        self.newest().state.step
    }

    /// The three files of a step's checkpoint.
    pub fn checkpoint(&self, step: u64) -> [Vec<u8>; 3] {
        ["model.safetensors", "optim.safetensors", "state.json"]
            .map(|name| self.bytes(&format!("checkpoints/{step:06}/{name}")))
    }

    pub fn records(&self) -> Vec<Record> {
        stats::read(&self.file("stats.jsonl")).expect("records")
    }

    /// The records without what the clock says.
    pub fn numbers(&self) -> Vec<Record> {
        let timeless = |record: Record| Record { images_per_s: 0.0, elapsed_s: 0.0, ..record };
        self.records().into_iter().map(timeless).collect()
    }

    /// Whether a process trains it.
    pub fn is_locked(&self) -> bool {
        RunFolder::open(&self.path).expect("a run").is_locked()
    }

    /// Whether a checkpoint is being written, or was when the program died.
    pub fn is_saving(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.file("checkpoints")) else { return false };
        let temporary = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".tmp-");
        entries.flatten().any(temporary)
    }
}

/// Fails the test with the names of the files that differ, and not with all their bytes.
pub fn assert_same_checkpoint(a: &[Vec<u8>; 3], b: &[Vec<u8>; 3], what: &str) {
    let same: Vec<bool> = a.iter().zip(b).map(|(a, b)| a == b).collect();
    assert_eq!(same, [true; 3], "{what}: model, optim, state");
}
