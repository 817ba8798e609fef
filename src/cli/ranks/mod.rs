//! Training on several devices: which rank this process is, how it joins the others, and how `--devices` starts them.
//!
//! | file | what it holds |
//! |---|---|
//! | [`environment`] | which rank this process is, from the variables of whatever started it |
//! | [`flags`] | `--devices`, `--restart`, `--rank-timeout` |
//! | [`join`] | a rank's way from its start to a device that computes with the others |
//! | [`launcher`] | the process that starts the ranks of `--devices`, and watches over them |
//! | [`loss`] | what is said and written down when a rank is lost |

pub(super) mod environment;
pub(super) mod flags;
pub(super) mod join;
pub(super) mod launcher;
mod loss;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;

/// Whether another process says what ends all of them.
static SAID_ELSEWHERE: AtomicBool = AtomicBool::new(false);

/// From now on, another process says what ends all of them.
fn leave_word_to_another() {
    SAID_ELSEWHERE.store(true, Ordering::Relaxed);
}

/// Time for another process to say it.
const WORD: Duration = Duration::from_secs(1);

/// Returns true for an error that another process tells the user; once it has had the time to, where what started the ranks ends all of
/// them as soon as one has ended (mpirun, torchrun, srun).
pub(super) fn is_said_elsewhere(error: &Error) -> bool {
    let is_said = matches!(error, Error::Elsewhere { .. }) && SAID_ELSEWHERE.load(Ordering::Relaxed);
    if is_said && environment::our_launch(&environment::variable).is_none() {
        std::thread::sleep(WORD);
    }
    is_said
}
