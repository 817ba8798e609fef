//! SIGINT and SIGTERM: the first asks the loop to save and stop, a second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::{Error, Result};

/// Which signal has arrived, if any.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn listen() -> Result<Self> {
        let interrupt = Interrupt::default();
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Registered first, it sees the flag only if an earlier signal has set it.
            let quit = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&seen));
            let note = flag::register(signal, Arc::clone(&seen));
            let number = usize::try_from(signal).unwrap_or_default();
            let which = flag::register_usize(signal, Arc::clone(&interrupt.signal), number);
            quit.and(note).and(which).map_err(|error| Error::Device(format!("can't listen for signals: {error}")))?;
        }
        Ok(interrupt)
    }

    /// The signal that has arrived: its number and its name.
    pub fn arrived(&self) -> Option<(i32, &'static str)> {
        match i32::try_from(self.signal.load(Ordering::Relaxed)) {
            Ok(SIGINT) => Some((SIGINT, "SIGINT")),
            Ok(SIGTERM) => Some((SIGTERM, "SIGTERM")),
            _ => None,
        }
    }
}
