//! The process of `--devices` and `--restart`: it starts the ranks, hands signals on, ends all when one is lost, and starts them anew.
//! It trains nothing itself.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::iterator::Signals;

use super::environment::{OUR_LAUNCH, OUR_PARENT, OURS, our_launch};
use super::flags::RankArgs;
use super::{leave_word_to_another, loss};
use crate::cli::arguments::DeviceArgs;
use crate::cli::output;
use crate::cli::serve::ServeArgs;
use crate::error::{Error, Result};
use crate::run::messages::{Verbosity, verbosity};
use crate::run::ranks::LaunchFolder;
use crate::train::interrupt;
use crate::units;

/// Time between two looks at the ranks.
const LOOK: Duration = Duration::from_millis(20);
/// Once one rank has ended by itself, the others have so long to end as it did.
const GRACE: Duration = Duration::from_secs(10);
/// The same, where it has ended because another one is lost.
const VERDICT: Duration = Duration::from_secs(1);

/// Ranks to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Their GPUs; `None` is one rank on the device of the command line.
    pub(crate) devices: Option<Vec<usize>>,
    /// Times that they are started anew.
    pub(crate) restart: u32,
    /// The folder of the runs.
    pub(crate) outdir: PathBuf,
    /// The flags that `resume` gets when they are.
    pub(crate) flags: Vec<OsString>,
}

/// The end of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All ranks at their end.
    Done,
    /// All ranks with this code, and a message of their own.
    Agreed(i32),
    /// One of them by itself, which is to be said, unless a rank has said it.
    Lost { what: String, is_said: bool, again: bool },
}

/// Starts the ranks and waits for their end.
///
/// # Errors
/// [`Error::Elsewhere`], with the exit code of the ranks, for what they have said themselves; [`Error::Failed`] for a rank that was lost.
pub(crate) fn launch(launch: &Launch) -> Result<()> {
    // From before the first rank on: one that starts late must not miss a signal.
    let refused = |error| Error::Device(format!("can't listen for signals: {error}"));
    let mut signals = Signals::new(interrupt::heeded()).map_err(refused)?;
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut outdir = launch.outdir.clone();
    let mut run = None;
    for attempt in 0.. {
        let start = Start::new(launch, attempt, &outdir)?;
        let end = start.attempt(&words, &mut signals)?;
        run = start.folder.run().or(run);
        start.folder.remove();
        let again = match &end {
            End::Done => return Ok(()),
            // A second attempt would meet the same mistake, the same signal or the same numbers.
            End::Agreed(code) => *code == 1 || *code == 4,
            End::Lost { again, .. } => *again,
        };
        let message = match &end {
            End::Lost { what, is_said: false, .. } => {
                let message = loss::message(what, run.as_deref());
                if let Some(run) = &run {
                    loss::keep(&message, run);
                }
                Some(message)
            }
            _ => None,
        };
        if !again || attempt == launch.restart {
            return Err(error_of(&end, message));
        }
        if let Some(message) = message {
            output::to_stderr(&format!("warning: {message}"));
        }
        let left = launch.restart - attempt - 1;
        output::to_stderr(&format!("starting over from the last checkpoint ({left} more times at most)"));
        if let Some(run) = &run {
            words = [OsString::from("resume"), run.clone().into()].into_iter().chain(launch.flags.clone()).collect();
            outdir = parent_of(run);
        }
    }
    Ok(())
}

/// The flags of a start that hold for the next one, too.
pub(crate) fn flags(device: DeviceArgs, ranks: &RankArgs, serve: &ServeArgs, json: bool) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut flag = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| OsString::from(format!("--{name}={value}"))));
    };
    flag("devices", ranks.devices.as_ref().map(ToString::to_string));
    flag("device", ranks.devices.is_none().then(|| device.device.to_string()));
    flag("rank-timeout", Some(ranks.rank_timeout.to_string()));
    flag("threads", device.threads.map(|threads| threads.to_string()));
    flag("serve", serve.serve.as_ref().map(ToString::to_string));
    words.extend(device.no_selfcheck.then(|| "--no-selfcheck".into()));
    words.extend(json.then(|| "--json".into()));
    words.extend(match verbosity() {
        Verbosity::Quiet => Some("--quiet".into()),
        Verbosity::Normal => None,
        Verbosity::Verbose => Some("--verbose".into()),
    });
    words
}

/// The folder of the runs that a run lies in.
pub(crate) fn parent_of(run: &Path) -> PathBuf {
    match run.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn error_of(end: &End, message: Option<String>) -> Error {
    match (end, message) {
        (_, Some(message)) => Error::Failed(message),
        (End::Agreed(code), None) => {
            leave_word_to_another();
            Error::Elsewhere { rank: 0, code: *code, message: String::new() }
        }
        (_, None) => {
            leave_word_to_another();
            Error::Elsewhere { rank: 0, code: 1, message: String::new() }
        }
    }
}

/// One attempt.
struct Start {
    devices: Vec<Option<usize>>,
    name: String,
    folder: LaunchFolder,
}

/// A rank that runs.
struct Running {
    rank: usize,
    child: Child,
}

impl Start {
    fn new(launch: &Launch, attempt: u32, outdir: &Path) -> Result<Start> {
        let devices: Vec<Option<usize>> = match &launch.devices {
            Some(devices) => devices.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{}-{now}-{attempt}", std::process::id());
        let environment = variables(0, devices.len(), &name);
        let told = |wanted: &str| environment.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
        let text = our_launch(&told).ok_or_else(|| Error::Internal("a start that does not know itself".into()))?;
        Ok(Start { devices, name, folder: LaunchFolder::open(outdir, &text)? })
    }

    /// `rank 1 of 2 (cuda:3)`.
    fn rank_in_words(&self, rank: usize) -> String {
        let device = self.devices[rank].map_or_else(String::new, |device| format!(" (cuda:{device})"));
        match self.devices.len() {
            1 => format!("the process that trained{device}"),
            world => format!("rank {rank} of {world}{device}"),
        }
    }

    fn attempt(&self, words: &[OsString], signals: &mut Signals) -> Result<End> {
        let mut running = Vec::new();
        for rank in 0..self.devices.len() {
            match self.spawn(rank, words) {
                Ok(child) => running.push(Running { rank, child }),
                Err(error) => {
                    end_all(&mut running);
                    return Err(error);
                }
            }
        }
        let mut ended: Vec<(usize, ExitStatus)> = Vec::new();
        let mut first_end: Option<Instant> = None;
        let mut handed_on = None;
        while !running.is_empty() {
            for signal in signals.pending() {
                handed_on = Some(signal);
                running.iter().for_each(|one| send(&one.child, signal));
            }
            let before = ended.len();
            running.retain_mut(|one| match one.child.try_wait() {
                Ok(Some(status)) => {
                    ended.push((one.rank, status));
                    false
                }
                _ => true,
            });
            // One that dies leaves the others waiting for it.
            let has_died = ended[before..].iter().any(|(_, status)| status.signal().is_some());
            first_end = first_end.or_else(|| (!ended.is_empty()).then(Instant::now));
            // Where a rank has found another one lost, that one may not even be able to end.
            let patience = if self.folder.has_verdict() { VERDICT } else { GRACE };
            let is_late = first_end.is_some_and(|first| first.elapsed() > patience);
            if (has_died || is_late) && !running.is_empty() {
                // Taken before they end: none of them is to say so, too.
                let is_first = self.folder.take_verdict("said by the process that started the ranks");
                end_all(&mut running);
                return Ok(self.lost(&ended, !is_first, handed_on));
            }
            std::thread::sleep(LOOK);
        }
        Ok(self.end_of(&ended, handed_on))
    }

    fn spawn(&self, rank: usize, words: &[OsString]) -> Result<Child> {
        let program = std::env::current_exe().map_err(|e| Error::io("/proc/self/exe", "find the program", e))?;
        let mut command = Command::new(&program);
        command.args(words).envs(variables(rank, self.devices.len(), &self.name)).stdin(Stdio::null());
        // A signal from the terminal comes by this process, and once.
        command.process_group(0);
        if rank > 0 {
            command.stdout(Stdio::null());
        }
        command.spawn().map_err(|e| Error::io(program, "start a rank", e))
    }

    /// The end of ranks that have all ended by themselves.
    fn end_of(&self, ended: &[(usize, ExitStatus)], handed_on: Option<i32>) -> End {
        let code = |status: &ExitStatus| status.code();
        match ended.first().map(|(_, status)| code(status)) {
            Some(Some(first)) if ended.iter().all(|(_, status)| code(status) == Some(first)) && first != PANIC => {
                if first == 0 {
                    End::Done
                } else {
                    End::Agreed(first)
                }
            }
            _ => self.lost(ended, self.folder.has_verdict(), handed_on),
        }
    }

    /// The first rank that was lost, of those that have ended. A signal that was handed on may have met one before there was anything to
    /// save.
    fn lost(&self, ended: &[(usize, ExitStatus)], is_said: bool, handed_on: Option<i32>) -> End {
        let ended_by = |signal: i32| ended.iter().any(|(_, status)| status.signal() == Some(signal));
        if let Some(signal) = handed_on.filter(|&signal| ended_by(signal)) {
            return End::Agreed(128 + signal);
        }
        let by_signal = ended.iter().find(|(_, status)| status.signal().is_some());
        let by_code = ended.iter().find(|(_, status)| status.code() != Some(0));
        let Some((rank, status)) = by_signal.or(by_code).or(ended.first()) else {
            return End::Lost { what: "no rank has ended".into(), is_said, again: false };
        };
        let whom = self.rank_in_words(*rank);
        let (what, again) = match (status.signal(), status.code()) {
            (Some(signal), _) => (format!("{whom} was ended by signal {signal}{}", signal_name(signal)), true),
            (None, Some(0)) => {
                let time = units::duration(GRACE.as_secs_f64());
                (format!("{whom} was done, and others were not {time} later"), true)
            }
            (None, code) => {
                let code = code.unwrap_or(1);
                (format!("{whom} ended with exit code {code}{}", code_name(code)), matches!(code, 1 | 4 | PANIC))
            }
        };
        End::Lost { what, is_said, again }
    }
}

/// The exit code of a program of Rust that panics.
const PANIC: i32 = 101;

fn code_name(code: i32) -> &'static str {
    match code {
        PANIC => " (a panic: its message is above)",
        _ => ", for the reason above",
    }
}

/// ` (SIGKILL)`, for signals that end processes.
fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(String::new, |name| format!(" ({name})"))
}

/// The variables that a rank is started with.
fn variables(rank: usize, world: usize, name: &str) -> [(&'static str, String); 5] {
    [
        (OURS.rank, rank.to_string()),
        (OURS.world, world.to_string()),
        (OURS.local, rank.to_string()),
        (OUR_LAUNCH, name.to_string()),
        (OUR_PARENT, std::process::id().to_string()),
    ]
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Hands a signal on. A rank that has just ended needs none.
fn send(child: &Child, signal: i32) {
    if let (Some(pid), Some(signal)) = (pid_of(child), Signal::from_named_raw(signal)) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends what still runs, at once: each waits for one that is gone.
fn end_all(running: &mut Vec<Running>) {
    for one in running.iter_mut() {
        // What has ended by itself in between can't be killed.
        let _ = one.child.kill();
    }
    for mut one in running.drain(..) {
        let _ = one.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(outdir: &Path, devices: &[usize]) -> Start {
        let launch =
            Launch { devices: Some(devices.to_vec()), restart: 0, outdir: outdir.to_path_buf(), flags: Vec::new() };
        Start::new(&launch, 0, outdir).unwrap()
    }

    #[test]
    fn an_end_is_read_from_all_exit_codes() {
        let outdir = tempfile::tempdir().unwrap();
        let start = start(outdir.path(), &[0, 3]);
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        let by = |signal: i32| ExitStatus::from_raw(signal);
        let end = |first, second| start.end_of(&[(1, first), (0, second)], None);
        assert_eq!(end(code(0), code(0)), End::Done);
        assert_eq!(end(code(143), code(143)), End::Agreed(143));
        assert_eq!(end(code(5), code(5)), End::Agreed(5));
        let lost = |what: &str, again| End::Lost { what: what.into(), is_said: false, again };
        assert_eq!(end(by(9), code(1)), lost("rank 1 of 2 (cuda:3) was ended by signal 9 (SIGKILL)", true));
        assert_eq!(end(code(1), by(11)), lost("rank 0 of 2 (cuda:0) was ended by signal 11 (SIGSEGV)", true));
        let panic = "rank 1 of 2 (cuda:3) ended with exit code 101 (a panic: its message is above)";
        assert_eq!(end(code(101), code(101)), lost(panic, true));
        let code_3 = "rank 1 of 2 (cuda:3) ended with exit code 3, for the reason above";
        assert_eq!(end(code(3), code(0)), lost(code_3, false));
        assert_eq!(start.end_of(&[(0, by(15)), (1, code(143))], Some(15)), End::Agreed(143), "handed on");
        start.folder.take_verdict("x");
        assert!(matches!(end(code(1), code(101)), End::Lost { is_said: true, .. }));
    }

    #[test]
    fn a_run_lies_in_a_folder() {
        assert_eq!(parent_of(Path::new("runs/1")), Path::new("runs"));
        assert_eq!(parent_of(Path::new("1")), Path::new("."));
        assert_eq!(parent_of(Path::new("/runs/1/")), Path::new("/runs"));
    }
}
