//! Ranks that are processes, which MPI starts and connects: `mpirun -np 4 vgan-cuda train …`.
//!
//! The collectives are those that do not block, and are asked again and again whether they are done: a rank that waits in vain says
//! so and ends the job, which a blocking call would never do.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::collective::CommunicatorCollectives;
use ::mpi::environment::Universe;
use ::mpi::request::{LocalScope, Request, scope};
use ::mpi::topology::{Communicator as _, SimpleCommunicator};

use super::Communicator;
use crate::{Error, Result};

/// The time that a rank that ends waits for the others to end too.
const FAREWELL: Duration = Duration::from_secs(10);
/// The number of polls before a rank lets other processes have the core.
const EAGER: u32 = 200;
/// The time in which it polls without a pause: longer than a step, shorter than the leader's work between steps.
const AWAKE: Duration = Duration::from_secs(1);

/// This process among those of an MPI job.
///
/// Where it is dropped, it waits for the others to come to their end too. If they don't, because this one has failed alone, it ends
/// the whole job with exit code 1.
pub struct MpiRanks {
    rank: usize,
    world: usize,
    patience: Duration,
    // One call at a time, which is what MPI is asked for.
    everybody: Mutex<SimpleCommunicator>,
    // For the end alone, so that a rank that ends meets no other collective.
    at_the_end: SimpleCommunicator,
    // Ends MPI where it is dropped, last of all.
    _universe: Universe,
}

// SAFETY: MPI is initialised for calls of any thread, one at a time: those on `everybody` come under its lock, and those on
// `at_the_end` and the universe when the value is dropped, to which there is no other reference then.
#[expect(unsafe_code)]
unsafe impl Send for MpiRanks {}
// SAFETY: as above.
#[expect(unsafe_code)]
unsafe impl Sync for MpiRanks {}

impl MpiRanks {
    /// Joins the job that this process was started in. A rank waits for the others so long at most, in each call.
    ///
    /// # Errors
    /// [`Error::Ranks`] where this process is in MPI already, or MPI is one that allows no threads.
    pub fn join(patience: Duration) -> Result<Self> {
        let (universe, threading) = ::mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| Error::Ranks("MPI was initialised already in this process".into()))?;
        if !matches!(threading, Threading::Serialized | Threading::Multiple) {
            let expected = "expected an MPI that can be called from several threads (MPI_THREAD_SERIALIZED)";
            return Err(Error::Ranks(format!("{expected}, found one that gives {threading:?}")));
        }
        let everybody = universe.world();
        let at_the_end = everybody.duplicate();
        let [rank, world] = [everybody.rank(), everybody.size()].map(|number| usize::try_from(number).unwrap_or(0));
        let everybody = Mutex::new(everybody);
        Ok(MpiRanks { rank, world, patience, everybody, at_the_end, _universe: universe })
    }

    /// Waits for a collective that has begun. MPI may write to its memory until it is done, so there is no way back from one that is
    /// not: the job ends.
    fn finish<'a, D: ?Sized>(&self, what: &str, mut request: Request<'a, D, &LocalScope<'a>>) {
        let start = Instant::now();
        let mut asked = 0;
        while let Err(pending) = request.test() {
            request = pending;
            self.wait(what, self.patience, start, &mut asked);
        }
    }

    /// Waits a little: at first not at all, then as long as other processes want the core, and in the end without using it.
    fn wait(&self, what: &str, patience: Duration, start: Instant, asked: &mut u32) {
        *asked = asked.saturating_add(1);
        if *asked < EAGER {
            return;
        }
        let waited = start.elapsed();
        if waited > patience {
            let seconds = waited.as_secs();
            self.abort(&format!("rank {} has waited {seconds} s for the others, in {what}", self.rank));
        }
        if waited > AWAKE {
            std::thread::sleep(Duration::from_millis(1));
        } else {
            std::thread::yield_now();
        }
    }

    /// Says why, and ends all processes of the job.
    fn abort(&self, why: &str) -> ! {
        let _ = writeln!(std::io::stderr(), "error: {why}; all ranks end");
        self.at_the_end.abort(1)
    }

    fn call<R>(&self, work: impl FnOnce(&SimpleCommunicator) -> R) -> R {
        work(&self.everybody.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Communicator for MpiRanks {
    fn rank(&self) -> usize {
        self.rank
    }
    fn world(&self) -> usize {
        self.world
    }

    fn all_gather(&self, part: &[u8], whole: &mut [u8]) -> Result<()> {
        assert_eq!(part.len() * self.world, whole.len(), "lengths");
        self.call(|all| scope(|scope| self.finish("an all-gather", all.immediate_all_gather_into(scope, part, whole))));
        Ok(())
    }

    fn all_to_all(&self, send: &[u8], receive: &mut [u8]) -> Result<()> {
        assert_eq!(send.len(), receive.len(), "lengths");
        assert!(send.len().is_multiple_of(self.world), "{} bytes in {} blocks", send.len(), self.world);
        self.call(|all| scope(|scope| self.finish("an exchange", all.immediate_all_to_all_into(scope, send, receive))));
        Ok(())
    }
}

impl Drop for MpiRanks {
    /// Waits until all ranks have come here.
    fn drop(&mut self) {
        let (mut request, start, mut asked) = (self.at_the_end.immediate_barrier(), Instant::now(), 0);
        while let Err(pending) = request.test() {
            request = pending;
            self.wait("the end of the training", FAREWELL, start, &mut asked);
        }
    }
}
