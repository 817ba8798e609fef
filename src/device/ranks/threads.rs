//! Ranks that are threads of one process: what tests and examples train with, without another program.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Communicator;
use crate::{Error, Result};

/// The time that a rank waits for the others.
const PATIENCE: Duration = Duration::from_secs(60);

/// One of several ranks in this process. It belongs to one thread, which has a thread pool of its own: a rank that waits keeps a
/// thread of its pool. Where it is dropped, the others end with an error as soon as they wait for it.
#[derive(Debug)]
pub struct ThreadRanks {
    rank: usize,
    meeting: Arc<Meeting>,
}

#[derive(Debug)]
struct Meeting {
    world: usize,
    patience: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The contribution of each rank.
    brought: Vec<Brought>,
    /// Ranks that have come to the meeting under way.
    here: usize,
    /// Meetings that are over.
    over: u64,
    /// The reason that there will be no other meeting.
    failed: Option<String>,
}

#[derive(Debug, Default, Clone)]
struct Brought {
    call: &'static str,
    bytes: Vec<u8>,
}

impl ThreadRanks {
    /// All ranks of a world of this size, in order.
    ///
    /// # Panics
    /// If it has none.
    pub fn world(size: usize) -> Vec<ThreadRanks> {
        Self::patient(size, PATIENCE)
    }

    /// The same, each of which waits for the others so long at most.
    ///
    /// # Panics
    /// If it has none.
    pub fn patient(size: usize, patience: Duration) -> Vec<ThreadRanks> {
        assert!(size > 0, "a world without ranks");
        let state = State { brought: vec![Brought::default(); size], here: 0, over: 0, failed: None };
        let meeting = Meeting { world: size, patience, state: Mutex::new(state), changed: Condvar::new() };
        let meeting = Arc::new(meeting);
        (0..size).map(|rank| ThreadRanks { rank, meeting: meeting.clone() }).collect()
    }

    /// Brings `bytes` to a meeting, and calls `take` with what each rank has brought once all are there. Nobody's bytes change before
    /// all have taken theirs.
    fn meet(&self, call: &'static str, bytes: &[u8], mut take: impl FnMut(usize, &[u8])) -> Result<()> {
        {
            let mut state = self.meeting.lock();
            let own = &mut state.brought[self.rank];
            own.call = call;
            own.bytes.clear();
            own.bytes.extend_from_slice(bytes);
        }
        self.wait()?;
        {
            let state = self.meeting.lock();
            self.require_same(&state.brought)?;
            state.brought.iter().enumerate().for_each(|(rank, brought)| take(rank, &brought.bytes));
        }
        self.wait()
    }

    /// Waits until all ranks are here.
    fn wait(&self) -> Result<()> {
        let Meeting { world, patience, changed, .. } = &*self.meeting;
        let mut state = self.meeting.lock();
        if let Some(why) = &state.failed {
            return Err(Error::Ranks(why.clone()));
        }
        state.here += 1;
        if state.here == *world {
            state.here = 0;
            state.over += 1;
            changed.notify_all();
            return Ok(());
        }
        let (meeting, deadline) = (state.over, Instant::now() + *patience);
        while state.over == meeting {
            if let Some(why) = &state.failed {
                return Err(Error::Ranks(why.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = patience.as_secs_f64();
                let why =
                    format!("rank {} has waited {seconds} s for the others: {} of {world} came", self.rank, state.here);
                self.fail(&mut state, why.clone());
                return Err(Error::Ranks(why));
            }
            state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Refuses a meeting to which ranks have come for different things.
    fn require_same(&self, brought: &[Brought]) -> Result<()> {
        let told = |brought: &Brought| format!("{} of {} bytes", brought.call, brought.bytes.len());
        let (mine, own) = (&brought[self.rank], |other: &Brought| {
            (other.call, other.bytes.len()) == (brought[self.rank].call, brought[self.rank].bytes.len())
        });
        match brought.iter().position(|other| !own(other)) {
            None => Ok(()),
            Some(other) => Err(Error::Ranks(format!(
                "rank {} asks for {}, rank {other} for {}",
                self.rank,
                told(mine),
                told(&brought[other])
            ))),
        }
    }

    fn fail(&self, state: &mut State, why: String) {
        state.failed.get_or_insert(why);
        self.meeting.changed.notify_all();
    }
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ThreadRanks {
    fn drop(&mut self) {
        let why = format!("rank {} has ended, and the others can't go on without it", self.rank);
        self.fail(&mut self.meeting.lock(), why);
    }
}

impl Communicator for ThreadRanks {
    fn rank(&self) -> usize {
        self.rank
    }
    fn world(&self) -> usize {
        self.meeting.world
    }

    fn all_gather(&self, part: &[u8], whole: &mut [u8]) -> Result<()> {
        assert_eq!(part.len() * self.world(), whole.len(), "lengths");
        let n = part.len();
        self.meet("an all-gather", part, |rank, bytes| whole[rank * n..][..n].copy_from_slice(bytes))
    }

    fn all_to_all(&self, send: &[u8], receive: &mut [u8]) -> Result<()> {
        assert_eq!(send.len(), receive.len(), "lengths");
        assert!(send.len().is_multiple_of(self.world()), "{} bytes in {} blocks", send.len(), self.world());
        let n = send.len() / self.world();
        self.meet("an exchange", send, |rank, bytes| {
            receive[rank * n..][..n].copy_from_slice(&bytes[self.rank * n..][..n]);
        })
    }
}
