//! Communicators: their making, their state, and their end.
//!
//! What is documented for those that do not block (`config.blocking = 0`) is done as late as it may be: the call says that it is in
//! progress, the first question for the state says so again, and with the next one it has happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::code::{Code, Failure, Result, note};
use crate::collective::{Job, Operation};
use crate::driver::driver;
use crate::meeting::{ID_BYTES, Meeting, Who};
use crate::settings::{Point, settings};

/// The time that a thread that waits for others sleeps before it looks again.
const PAUSE: Duration = Duration::from_micros(200);

/// One rank of a group of ranks.
pub(crate) struct Communicator {
    pub(crate) rank: usize,
    pub(crate) ranks: usize,
    /// The device that was current when it was made.
    pub(crate) device: i32,
    bus: String,
    blocking: bool,
    /// The device memory that it takes.
    memory: u64,
    meeting: Mutex<Option<Meeting>>,
    state: Mutex<State>,
    aborted: AtomicBool,
    next: AtomicU64,
    /// Operations that are parts of graphs.
    pub(crate) graphs: AtomicUsize,
}

/// The state of a communicator.
#[derive(Default)]
struct State {
    /// Its ranks are not all there yet.
    joining: bool,
    failure: Option<(Failure, Instant)>,
    /// Operations that were asked for and are not in their streams yet.
    pending: Vec<(usize, Operation)>,
    /// The state was asked for since.
    asked: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All communicators of the process. Their handles are looked up here and never followed.
static KNOWN: Mutex<BTreeMap<usize, Arc<Communicator>>> = Mutex::new(BTreeMap::new());

/// The communicator of a handle: ncclInvalidArgument for what is none.
pub(crate) fn find(handle: usize) -> Result<Arc<Communicator>> {
    let found = locked(&KNOWN).get(&handle).cloned();
    found.ok_or_else(|| Failure::new(Code::INVALID_ARGUMENT, "the communicator is null, corrupted or destroyed"))
}

fn insert(communicator: &Arc<Communicator>) -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Where no address can be, so that following it ends the program at once.
    let handle = 0x8CC1_0000_0000_0000 | NEXT.fetch_add(16, Ordering::Relaxed) as usize;
    locked(&KNOWN).insert(handle, communicator.clone());
    handle
}

/// Makes a communicator and gives its handle to `out` before it waits for the others: ncclInProgress where it does not block.
pub(crate) fn make(id: [u8; ID_BYTES], rank: i32, ranks: i32, blocking: bool, out: impl FnOnce(usize)) -> Result<Code> {
    let settings = settings()?;
    let number = |value: i32| usize::try_from(value).ok();
    let (Some(rank), Some(ranks)) = (number(rank), number(ranks).filter(|ranks| *ranks > 0)) else {
        return Err(Failure::new(Code::INVALID_ARGUMENT, format!("Invalid rank requested : {rank}/{ranks}")));
    };
    if rank >= ranks {
        return Err(Failure::new(Code::INVALID_ARGUMENT, format!("Invalid rank requested : {rank}/{ranks}")));
    }
    settings.pass(Point::Join, Some(rank))?;
    let (device, bus) = driver()?.device()?;
    let memory = driver()?.allocate(settings.memory.max(1))?;
    let state = Mutex::new(State { joining: true, ..State::default() });
    let communicator = Arc::new(Communicator {
        rank,
        ranks,
        device,
        bus,
        blocking,
        memory,
        meeting: Mutex::default(),
        state,
        aborted: AtomicBool::new(false),
        next: AtomicU64::new(0),
        graphs: AtomicUsize::new(0),
    });
    let handle = insert(&communicator);
    out(handle);
    if blocking {
        return match communicator.join(&id) {
            Ok(()) => Ok(Code::SUCCESS),
            Err(failure) => {
                locked(&KNOWN).remove(&handle);
                Err(failure)
            }
        };
    }
    std::thread::spawn(move || {
        let _ = communicator.join(&id).map_err(|failure| communicator.fail(failure));
    });
    Ok(Code::IN_PROGRESS)
}

impl Communicator {
    /// Comes to the others and waits for them.
    fn join(&self, id: &[u8; ID_BYTES]) -> Result {
        let settings = settings()?;
        let who = Who { ranks: self.ranks, bus: self.bus.clone(), version: settings.version };
        *locked(&self.meeting) = Some(Meeting::come(id, self.rank, &who)?);
        let since = Instant::now();
        let all = loop {
            if self.is_aborted() {
                return Ok(());
            }
            let missing = match self.meeting(Meeting::all)? {
                Ok(all) => break all,
                Err(missing) => missing,
            };
            // NCCL waits for ever.
            if since.elapsed() > settings.patience {
                return Err(Failure::new(
                    Code::SYSTEM_ERROR,
                    format!("rank {missing} has not come in {:?}", settings.patience),
                ));
            }
            std::thread::sleep(PAUSE);
        };
        self.agree(&who, &all)?;
        locked(&self.state).joining = false;
        Ok(())
    }

    /// All ranks say the same of their number and version, and each has a GPU of its own.
    fn agree(&self, who: &Who, all: &[Who]) -> Result {
        for (rank, other) in all.iter().enumerate().filter(|(rank, _)| *rank != self.rank) {
            if other.ranks != who.ranks {
                let text =
                    format!("Bootstrap Root : mismatch in rank count from procs {} : {}", who.ranks, other.ranks);
                return Err(Failure::new(Code::INTERNAL_ERROR, text));
            }
            if other.version != who.version {
                let text = format!(
                    "Mismatched NCCL version detected : rank {} version {} rank {rank} version {}",
                    self.rank, who.version, other.version
                );
                return Err(Failure::new(Code::INVALID_USAGE, text));
            }
            if other.bus == who.bus {
                let text = format!(
                    "Duplicate GPU detected : rank {} and rank {rank} both on CUDA device {}",
                    self.rank, who.bus
                );
                return Err(Failure::new(Code::INVALID_USAGE, text));
            }
        }
        Ok(())
    }

    /// Does something at the meeting. Nothing can be done there before it and after it.
    pub(crate) fn meeting<T>(&self, work: impl FnOnce(&Meeting) -> Result<T>) -> Result<T> {
        let meeting = locked(&self.meeting);
        let gone = || Failure::new(Code::INTERNAL_ERROR, format!("rank {} is not with the others", self.rank));
        work(meeting.as_ref().ok_or_else(gone)?)
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// The number of the collective that begins.
    pub(crate) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes an error that `ncclCommGetAsyncError` will tell; the first one stays.
    pub(crate) fn fail(&self, failure: Failure) {
        note(&failure);
        locked(&self.state).failure.get_or_insert((failure, Instant::now()));
    }

    /// Since when it has failed, if it has.
    pub(crate) fn failed(&self) -> Option<Instant> {
        locked(&self.state).failure.as_ref().map(|(_, since)| *since)
    }

    /// Its state as `ncclCommGetAsyncError` tells it. What is pending goes into its stream when it is asked for the second time.
    pub(crate) fn state(self: &Arc<Self>) -> Code {
        let mut state = locked(&self.state);
        if let Some((failure, _)) = &state.failure {
            return failure.code;
        }
        if state.joining || !state.pending.is_empty() && !std::mem::replace(&mut state.asked, true) {
            return Code::IN_PROGRESS;
        }
        let pending = std::mem::take(&mut state.pending);
        state.asked = false;
        // The driver may be carrying out work that asks for the state.
        drop(state);
        match self.enqueue(pending) {
            Ok(()) => Code::SUCCESS,
            Err(failure) => {
                let code = failure.code;
                self.fail(failure);
                code
            }
        }
    }

    fn enqueue(self: &Arc<Self>, operations: Vec<(usize, Operation)>) -> Result {
        operations.into_iter().try_for_each(|(stream, operation)| Job::enqueue(self, stream, operation))
    }

    /// ncclInvalidArgument while something is in progress; its error where it has failed.
    pub(crate) fn ready(&self) -> Result {
        let state = locked(&self.state);
        if self.is_aborted() {
            return Err(Failure::new(Code::INVALID_USAGE, "the communicator was aborted"));
        }
        if let Some((failure, _)) = &state.failure {
            return Err(failure.clone());
        }
        if state.joining || !state.pending.is_empty() {
            let text = "Attempt to use communicator before the previous operation returned ncclSuccess";
            return Err(Failure::new(Code::INVALID_ARGUMENT, text));
        }
        Ok(())
    }

    /// Puts operations into their streams, now or once the state is asked for.
    pub(crate) fn issue(self: &Arc<Self>, operations: Vec<(usize, Operation)>) -> Result<Code> {
        if self.blocking {
            return self.enqueue(operations).map(|()| Code::SUCCESS);
        }
        let mut state = locked(&self.state);
        state.pending.extend(operations);
        state.asked = false;
        Ok(Code::IN_PROGRESS)
    }

    /// Waits until no graph has any of its operations, as NCCL does before it frees a communicator, and in `ncclCommAbort` likewise.
    fn leave_graphs(&self) -> Result {
        let (since, patience) = (Instant::now(), settings()?.patience);
        while self.graphs.load(Ordering::Acquire) > 0 {
            if since.elapsed() > patience {
                let text =
                    format!("a graph still has operations of rank {}'s communicator after {patience:?}", self.rank);
                eprintln!("nccl-standin: {text}; NCCL waits for ever");
                return Err(Failure::new(Code::INTERNAL_ERROR, text));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn go(&self) -> Result {
        self.leave_graphs()?;
        if let Some(meeting) = locked(&self.meeting).take() {
            meeting.leave();
        }
        if let Ok(driver) = driver() {
            driver.free(self.memory);
        }
        Ok(())
    }
}

/// Takes a handle away. Freeing device memory waits for the device's work, as `ncclCommDestroy` waits for what was issued.
pub(crate) fn destroy(handle: usize) -> Result {
    let communicator = find(handle)?;
    communicator.ready()?;
    locked(&KNOWN).remove(&handle);
    communicator.go()
}

/// Ends what is under way, and takes the handle away.
pub(crate) fn abort(handle: usize) -> Result {
    let communicator = find(handle)?;
    locked(&KNOWN).remove(&handle);
    communicator.aborted.store(true, Ordering::Release);
    communicator.go()
}
