//! Signs of life: each rank shows that it lives, and how far it is, and sees the same of the others, while its training thread may be
//! waiting for them.
//!
//! A rank holds a lock on its file, which the system drops when the process dies, however it dies: ranks of the same machine see that
//! within a second. On another machine locks say nothing for sure, but a number that no longer grows does. Times are those of whoever
//! looks: clocks of machines are not compared, and the time in which a rank was itself stopped does not count.
//!
//! Each rank looks at its neighbour alone, and at the verdict: the work of a look does not grow with the number of ranks.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{LaunchFolder, named};
use crate::error::{Error, Result};
use crate::units;

/// The most time between two signs.
const INTERVAL: Duration = Duration::from_millis(500);
/// Signs in the time after which a rank without any is lost.
const SIGNS: u32 = 8;
/// A training thread may stand still for this many times as long: a step has no sign of its own.
pub const STANDSTILL: u32 = 10;
/// Bytes of a sign of life, which is written over the one before.
const LENGTH: usize = 1024;
/// Bytes of a message that go with it.
const MESSAGE: usize = 500;

/// The state of a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Doing {
    /// Steps, or what is before the first of them.
    #[default]
    Steps,
    /// The leader writes, draws or measures, which may take any time.
    Reports,
    /// It has ended as all have.
    Ended,
    /// It has ended by an error of its own.
    Failed,
}

/// The progress of this rank's training thread.
#[derive(Debug, Default)]
pub struct Pulse {
    step: AtomicU64,
    /// Times that it has gone to wait for the others.
    meetings: AtomicU64,
    reports: AtomicBool,
    /// Whether its error is the one that all ranks have agreed to end with.
    agreed: AtomicBool,
}

impl Pulse {
    /// Steps begun.
    pub fn begins_step(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    /// Goes to wait for the others.
    pub fn meets(&self) {
        self.meetings.fetch_add(1, Ordering::Relaxed);
    }

    /// Does `work` that may take any time, and for which the others wait.
    pub fn while_reporting<R>(&self, work: impl FnOnce() -> R) -> R {
        self.reports.store(true, Ordering::Relaxed);
        let result = work();
        self.reports.store(false, Ordering::Relaxed);
        result
    }

    /// All ranks end now, whatever with.
    pub fn ends_with_all(&self) {
        self.agreed.store(true, Ordering::Relaxed);
    }

    /// Whether they do.
    pub fn has_agreed_to_end(&self) -> bool {
        self.agreed.load(Ordering::Relaxed)
    }

    fn progress(&self) -> (u64, u64) {
        (self.step.load(Ordering::Relaxed), self.meetings.load(Ordering::Relaxed))
    }
}

/// A sign of life.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Beat {
    /// The rank's word in the meeting: no other process's sign is its own.
    word: String,
    /// The machine, as it was started, and the process: for people who look into the folder, and for tests.
    machine: String,
    pid: u32,
    /// Whether the file system gave it its lock.
    locked: bool,
    count: u64,
    step: u64,
    meetings: u64,
    doing: Doing,
    message: String,
}

/// A rank that is lost, for the others' message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Its process is gone.
    Died(usize),
    /// It ended by an error of its own.
    Failed(usize, String),
    /// It has shown no sign for so long.
    Silent(usize, Duration),
    /// Its training thread has not gone on for so long, while others wait for it in that step.
    Stuck(Vec<usize>, Duration, u64),
    /// Another rank has found one lost, and says so.
    FoundByAnother,
}

impl Lost {
    /// The message for the user; each rank has a name for people such as `cuda:2 on node7`.
    pub fn message(&self, names: &[String]) -> String {
        let whom = |rank: usize| match names.get(rank) {
            Some(name) => format!("rank {rank} ({name})"),
            None => format!("rank {rank}"),
        };
        let time = |time: &Duration| units::duration(time.as_secs_f64());
        match self {
            Lost::Died(rank) => format!("{} died: its process ended without a word", whom(*rank)),
            Lost::Failed(rank, message) => format!("{} failed: {message}", whom(*rank)),
            Lost::Silent(rank, silence) => {
                let silence = time(silence);
                format!(
                    "{} has shown no sign of life for {silence}: its process or its machine hangs or is gone",
                    whom(*rank)
                )
            }
            Lost::Stuck(ranks, still, step) if ranks.len() == names.len() => {
                format!("no rank has gone on for {} in step {step}: all wait in the same place", time(still))
            }
            Lost::Stuck(ranks, still, step) => {
                let (time, verb) = (time(still), if ranks.len() == 1 { "has" } else { "have" });
                let ranks = if let [rank] = ranks[..] { whom(rank) } else { named(ranks) };
                format!("{ranks} {verb} not gone on for {time} in step {step}, while all others wait")
            }
            Lost::FoundByAnother => "another rank was lost".into(),
        }
    }
}

/// One of the ranks that see each other.
#[derive(Debug, Clone)]
pub struct Me {
    /// This rank.
    pub rank: usize,
    /// The words of all, from the meeting.
    pub words: Vec<String>,
    /// A rank without a sign for so long is lost.
    pub patience: Duration,
    /// Whether the ranks are on several machines: a file system between them keeps what is not synced to itself.
    pub is_spread: bool,
}

/// Shows signs of life and looks for those of the others, until it is ended or dropped.
pub struct Watch {
    pulse: Arc<Pulse>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The file of this rank, and when to stop.
struct Shared {
    file: File,
    beat: Mutex<Beat>,
    is_spread: bool,
    stop: AtomicBool,
}

impl Shared {
    fn write(&self, change: impl FnOnce(&mut Beat)) -> std::io::Result<()> {
        let mut beat = self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut beat);
        beat.count += 1;
        let mut text = serde_json::to_vec(&*beat)?;
        text.resize(LENGTH.max(text.len()), b' ');
        self.file.write_all_at(&text, 0)?;
        if self.is_spread { self.file.sync_data() } else { Ok(()) }
    }
}

impl Watch {
    /// Begins. `on_lost` is called once, on a thread of its own, when a rank is lost.
    ///
    /// # Errors
    /// [`Error::Io`] where this rank's file can't be made.
    pub fn begin(
        folder: &LaunchFolder,
        me: Me,
        pulse: Arc<Pulse>,
        on_lost: impl FnOnce(Lost) + Send + 'static,
    ) -> Result<Watch> {
        let path = folder.file(&format!("beat-{}", me.rank));
        // Another file than that of an earlier start: whoever holds that one's lock is of no interest.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, "create the file", e))?;
        let locked = (0..50).any(|attempt| {
            // Somebody may have a look at it at this moment.
            std::thread::sleep(Duration::from_millis(attempt.min(5)));
            file.try_lock().is_ok()
        });
        let (word, pid) = (me.words[me.rank].clone(), std::process::id());
        let beat = Beat { word, machine: machine(), pid, locked, ..Beat::default() };
        let shared =
            Arc::new(Shared { file, beat: Mutex::new(beat), is_spread: me.is_spread, stop: AtomicBool::new(false) });
        shared.write(|_| ()).map_err(|e| Error::io(&path, "write", e))?;
        let (for_thread, of_thread, folder) = (Arc::clone(&shared), Arc::clone(&pulse), folder.clone());
        let look = move || {
            let mut looker = Looker::new(folder, me, of_thread);
            if let Some(lost) = looker.look_until_lost(&for_thread) {
                on_lost(lost);
            }
        };
        let thread = std::thread::Builder::new().name("ranks".into()).spawn(look);
        let thread = thread.map_err(|e| Error::Device(format!("can't start a thread: {e}")))?;
        Ok(Watch { pulse, shared, thread: Some(thread) })
    }

    /// Ends: with `error` where that is of this rank alone.
    pub fn end(mut self, error: Option<&Error>) {
        let error = error.filter(|_| !self.pulse.has_agreed_to_end()).map(ToString::to_string);
        self.stop(match &error {
            Some(error) => (Doing::Failed, error),
            None => (Doing::Ended, ""),
        });
    }

    fn stop(&mut self, (doing, message): (Doing, &str)) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stop.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        // A panic there has said what it is.
        let _ = thread.join();
        let message: String = message.chars().take(MESSAGE / 4).collect();
        // The last word; without it the others see that the process is gone.
        let _ = self.shared.write(|beat| {
            beat.doing = doing;
            beat.message = message;
        });
    }
}

impl Drop for Watch {
    /// A thread that panics has not ended as all have.
    fn drop(&mut self) {
        self.stop(if std::thread::panicking() { (Doing::Failed, "it panicked") } else { (Doing::Ended, "") });
    }
}

/// Looks at the others.
struct Looker {
    folder: LaunchFolder,
    me: Me,
    pulse: Arc<Pulse>,
    interval: Duration,
    machine: String,
    /// The neighbour's last count, and how long it has been that.
    heard: (usize, u64, Duration),
    /// This rank's own progress, and how long it has been that.
    progress: ((u64, u64), Duration),
}

impl Looker {
    fn new(folder: LaunchFolder, me: Me, pulse: Arc<Pulse>) -> Looker {
        let interval = INTERVAL.min(me.patience / SIGNS);
        let progress = (pulse.progress(), Duration::ZERO);
        let heard = (me.rank, 0, Duration::ZERO);
        Looker { folder, me, pulse, interval, machine: machine(), heard, progress }
    }

    /// Until a rank is lost, or until it is to stop.
    fn look_until_lost(&mut self, shared: &Shared) -> Option<Lost> {
        let mut last = Instant::now();
        while !shared.stop.load(Ordering::Relaxed) {
            let (step, meetings) = self.pulse.progress();
            let reports = self.pulse.reports.load(Ordering::Relaxed);
            // A disk that refuses is not for this thread to report: without a sign, the others will.
            let _ = shared.write(|beat| {
                (beat.step, beat.meetings) = (step, meetings);
                beat.doing = if reports { Doing::Reports } else { Doing::Steps };
            });
            // Of a time in which this rank was stopped, or its machine slept, the others know nothing.
            let passed = last.elapsed().min(2 * self.interval);
            last = Instant::now();
            if let Some(lost) = self.look(passed, reports) {
                return Some(lost);
            }
            std::thread::park_timeout(self.interval);
        }
        None
    }

    fn look(&mut self, passed: Duration, reports: bool) -> Option<Lost> {
        if self.folder.has_verdict() {
            return Some(Lost::FoundByAnother);
        }
        self.look_at_the_neighbour(passed).or_else(|| self.look_at_progress(passed, reports))
    }

    /// At the next rank that has not ended.
    fn look_at_the_neighbour(&mut self, passed: Duration) -> Option<Lost> {
        let world = self.me.words.len();
        for rank in (1..world).map(|distance| (self.me.rank + distance) % world) {
            let count = match self.beat(rank) {
                Some((beat, _)) if beat.doing == Doing::Ended => continue,
                Some((beat, _)) if beat.doing == Doing::Failed => return Some(Lost::Failed(rank, beat.message)),
                Some((beat, file)) => {
                    // Free, though its rank took it: the process is gone. A rank that ended in between said so in its file.
                    let comparable = beat.locked && beat.machine == self.machine;
                    if comparable && file.try_lock_shared().is_ok() {
                        drop(file);
                        return match self.beat(rank) {
                            Some((beat, _)) if beat.doing == Doing::Ended => continue,
                            Some((beat, _)) if beat.doing == Doing::Failed => Some(Lost::Failed(rank, beat.message)),
                            _ => Some(Lost::Died(rank)),
                        };
                    }
                    beat.count
                }
                None => 0,
            };
            if (self.heard.0, self.heard.1) != (rank, count) {
                self.heard = (rank, count, Duration::ZERO);
            } else {
                self.heard.2 += passed;
            }
            let silence = self.heard.2;
            return (silence > self.me.patience).then_some(Lost::Silent(rank, silence));
        }
        None
    }

    /// At whoever is behind, where this rank's training thread has not gone on for long.
    fn look_at_progress(&mut self, passed: Duration, reports: bool) -> Option<Lost> {
        let now = self.pulse.progress();
        if now != self.progress.0 || reports {
            self.progress = (now, Duration::ZERO);
            return None;
        }
        self.progress.1 += passed;
        let still = self.progress.1;
        if still <= self.me.patience * STANDSTILL {
            return None;
        }
        let others = (0..self.me.words.len()).filter_map(|rank| self.beat(rank).map(|(beat, _)| (rank, beat)));
        let others: Vec<(usize, Beat)> = others.collect();
        if others.iter().any(|(_, beat)| beat.doing == Doing::Reports) {
            return None;
        }
        let place = |beat: &Beat| (beat.step, beat.meetings);
        let behind = others.iter().map(|(_, beat)| place(beat)).min()?;
        let ranks: Vec<usize> =
            others.iter().filter(|(_, beat)| place(beat) == behind).map(|(rank, _)| *rank).collect();
        // Before the first step, images are read, for as long as that takes. A long step is long on all ranks.
        let (is_start, is_everybody) = (behind.0 == 0, ranks.len() == others.len());
        let more = if is_start || is_everybody { 2 } else { 1 };
        if (is_start && is_everybody) || still <= self.me.patience * STANDSTILL * more {
            return None;
        }
        Some(Lost::Stuck(ranks, still, behind.0))
    }

    /// The last heartbeat of a rank of this start, and its file.
    fn beat(&self, rank: usize) -> Option<(Beat, File)> {
        let mut file = File::open(self.folder.file(&format!("beat-{rank}"))).ok()?;
        let mut text = Vec::with_capacity(LENGTH);
        file.read_to_end(&mut text).ok()?;
        file.rewind().ok()?;
        let beat: Beat = serde_json::from_slice(&text).ok()?;
        (beat.word == self.me.words[rank]).then_some((beat, file))
    }
}

/// This machine since its start: locks say something between processes of the same one.
pub fn machine() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests;
