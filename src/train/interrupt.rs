//! Signals that end a run: each asks the loop to save and stop. A second SIGINT or SIGTERM ends the process at once.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;

use crate::{Error, Result};

/// A signal that saves and stops a run.
struct Stop {
    number: i32,
    name: &'static str,
    /// True if a person sends it by hand, and means it where it is sent twice. The others come in pairs by themselves: a
    /// closed terminal sends SIGHUP from the kernel and from the shell, a cluster its warning and then SIGTERM.
    insists: bool,
    /// True if it stays ignored where the parent process ignores it: `nohup` asks for that.
    may_be_ignored: bool,
}

/// All of them.
const STOPS: [Stop; 6] = [
    Stop { number: SIGINT, name: "SIGINT", insists: true, may_be_ignored: false },
    Stop { number: SIGTERM, name: "SIGTERM", insists: true, may_be_ignored: false },
    Stop { number: SIGHUP, name: "SIGHUP", insists: false, may_be_ignored: true },
    Stop { number: SIGUSR1, name: "SIGUSR1", insists: false, may_be_ignored: true },
    Stop { number: SIGUSR2, name: "SIGUSR2", insists: false, may_be_ignored: true },
    Stop { number: SIGXFSZ, name: "SIGXFSZ", insists: false, may_be_ignored: true },
];

/// Returns the signal that has arrived, if any.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens from now on for SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXFSZ (the limit of `ulimit -f`).
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn listen() -> Result<Self> {
        let interrupt = Interrupt::default();
        let insisted = Arc::new(AtomicBool::new(false));
        for stop in not_ignored() {
            let refused = |error| Error::Device(format!("can't listen for {}: {error}", stop.name));
            if stop.insists {
                // Registered first, it sees the flag only if an earlier signal has set it.
                flag::register_conditional_shutdown(stop.number, 128 + stop.number, Arc::clone(&insisted))
                    .map_err(refused)?;
                flag::register(stop.number, Arc::clone(&insisted)).map_err(refused)?;
            }
            let number = usize::try_from(stop.number).unwrap_or_default();
            flag::register_usize(stop.number, Arc::clone(&interrupt.signal), number).map_err(refused)?;
        }
        Ok(interrupt)
    }

    /// Asks for an end as this signal does: for a program that stops a run by itself. Numbers of other signals do nothing.
    pub fn ask(&self, signal: i32) {
        self.signal.store(usize::try_from(signal).unwrap_or_default(), Ordering::Relaxed);
    }

    /// The signal that has arrived last: its number and its name.
    pub fn arrived(&self) -> Option<(i32, &'static str)> {
        let arrived = i32::try_from(self.signal.load(Ordering::Relaxed)).ok()?;
        STOPS.iter().find(|stop| stop.number == arrived).map(|stop| (stop.number, stop.name))
    }
}

/// Those that the parent process does not ignore, or that are never ignored.
fn not_ignored() -> impl Iterator<Item = &'static Stop> {
    let ignored = ignored_signals(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    STOPS.iter().filter(move |stop| !(stop.may_be_ignored && is_in(ignored, stop.number)))
}

/// The numbers of the signals that save and stop a run, for a process that hands them on to ranks.
pub fn heeded() -> Vec<i32> {
    not_ignored().map(|stop| stop.number).filter(|&number| number != SIGXFSZ).collect()
}

/// The name of a signal that saves and stops a run.
pub(super) fn name_of(number: i32) -> &'static str {
    STOPS.iter().find(|stop| stop.number == number).map_or("a signal", |stop| stop.name)
}

/// Lets a write beyond the limit of `ulimit -f` fail with an error that names the file, instead of ending the process.
/// Where the system refuses, the signal ends the process as before.
pub fn survive_file_limit() {
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// The mask of the signals that this process ignores, bit n − 1 for signal n, from the text of `/proc/self/status`; 0 where
/// it has no such line.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals() {
        // As a process under `nohup` has it: SIGHUP (1), and SIGPIPE (13) as in every Rust program.
        let mask = ignored_signals("Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0\n");
        assert!(is_in(mask, SIGHUP) && is_in(mask, 13));
        assert!(!is_in(mask, SIGINT) && !is_in(mask, SIGUSR1));
        for broken in ["", "SigIgn:", "SigIgn:\tx", "SigIgn:\t10000000000001001"] {
            assert_eq!(ignored_signals(broken), 0, "{broken}");
        }
    }
}
