//! `kill -9` of one of several ranks at random moments: the others end within seconds with a message that names it, the last checkpoint
//! is whole, and the run ends as one in which nobody died.

// Each test takes what it needs of this, and none is a library.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use crate::whole_runs::{Run, assert_same_checkpoint, stderr, succeed, wait_for};

/// Steps between two checkpoints.
pub const SNAP: u64 = 2;

/// As many kills as `VGAN_RANK_KILLS` asks for; in the suite a few.
pub fn kills() -> u64 {
    std::env::var("VGAN_RANK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// The processes of the ranks that live now, by their signs of life in the folder of the runs.
pub fn ranks(outdir: &Path) -> Vec<(usize, u32)> {
    let entries =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let launches = entries(outdir).into_iter().filter(|path| path.to_string_lossy().contains("/.ranks-"));
    let beats = launches.flat_map(|launch| entries(&launch));
    let beat = |path: &Path| {
        let rank = path.file_name()?.to_str()?.strip_prefix("beat-")?.parse().ok()?;
        let beat: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let pid = u32::try_from(beat["pid"].as_u64()?).ok()?;
        // A process that has ended, and that nobody has asked about yet, has no command line any more.
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        (!command.is_empty()).then_some((rank, pid))
    };
    let mut found: Vec<_> = beats.filter_map(|path| beat(&path)).collect();
    found.sort_unstable();
    found
}

/// The process of a rank, once it trains.
pub fn rank(child: &mut Child, outdir: &Path, wanted: usize) -> u32 {
    let mut pid = None;
    wait_for(child, "rank", || {
        pid = ranks(outdir).into_iter().find(|(rank, _)| *rank == wanted).map(|(_, pid)| pid);
        pid.is_some()
    });
    pid.expect("a process")
}

/// Sends a signal to a process.
pub fn send_to(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(sent.expect("kill").success());
}

/// The way in which the ranks of a test are started.
pub struct Starts<'a> {
    /// The folder of the runs.
    pub outdir: &'a Path,
    /// Number of ranks.
    pub world: usize,
    /// The command that begins the run.
    pub begin: &'a dyn Fn() -> Command,
    /// The command that goes on with the run in this folder.
    pub resume: &'a dyn Fn(&Path) -> Command,
}

impl Starts<'_> {
    fn run(&self) -> Option<Run> {
        let runs = fs::read_dir(self.outdir).ok()?.flatten().map(|entry| entry.path());
        runs.into_iter().find(|path| path.join("checkpoints").is_dir()).map(|path| Run::at(&path))
    }

    /// The newest checkpoint, without a check of the others: one of them may be being written.
    fn newest(&self) -> u64 {
        let latest = self.run().and_then(|run| fs::read_to_string(run.file("checkpoints/latest")).ok());
        latest.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Kills so many times, goes on each time, and holds the end against a run in which nobody died.
    pub fn killed(&self, kills: u64, straight: &Run) {
        let steps = straight.newest_step();
        for kill in 0..kills {
            let before = self.newest();
            let mut child = match self.run() {
                Some(run) => (self.resume)(run.path()),
                None => (self.begin)(),
            }
            .spawn()
            .expect("a start");
            let victim = (kill as usize + 1) % self.world;
            wait_for(&mut child, "checkpoint", || self.newest() > before);
            let pid = rank(&mut child, self.outdir, victim);
            // The moments differ, and are the same each time.
            std::thread::sleep(Duration::from_micros(kill * 7919 % 20_000));
            send_to(pid, "KILL");
            let killed = Instant::now();
            let output = child.wait_with_output().expect("the end");
            assert_lost(&output, victim, killed.elapsed());
            let newest = self.run().expect("a run").newest_step();
            assert!(newest > before && newest < steps, "from {before} to {newest} of {steps} steps");
        }
        let run = self.run().expect("a run");
        succeed((self.resume)(run.path()));
        assert_same_checkpoint(&run.checkpoint(steps), &straight.checkpoint(steps), "after the kills");
        assert_eq!(run.numbers(), straight.numbers());
    }
}

/// The end of ranks of which one was killed: soon, not with success, and with a message that names it and the way to go on.
pub fn assert_lost(output: &Output, victim: usize, time: Duration) {
    let text = stderr(output);
    assert!(time < Duration::from_secs(10), "{time:?}\n{text}");
    assert!(!output.status.success(), "{text}");
    for part in [&format!("rank {victim}"), "the last checkpoint is of step", "continue with `vgan-cuda resume "] {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
}
