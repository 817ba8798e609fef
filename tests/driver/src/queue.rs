//! Work that was asked for and not yet done.
//!
//! Every piece of work has a number, and knows the numbers that it waits for: the one before it in its stream, what the legacy
//! default stream orders, and what an event orders. All of these are smaller, so that any set of work that holds what it waits
//! for can be done in the order of the numbers. Late, nothing is done but what is waited for, so that work in another stream,
//! which a program forgot to wait for, has not happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::beside::{self, Beside};
use crate::code::{Code, Result};
use crate::copy::{Copy, Fill};
use crate::graph::Plan;
use crate::handle::{ContextKind, EventKind, Handle, StreamKind};
use crate::launch::Prepared;
use crate::settings::When;
use crate::state::Driver;
use crate::{copy, event, launch, state};

/// Work that nobody waits for piles up; beyond so much the oldest is done, as a real queue's end is reached.
const MOST: usize = 4096;

/// A function of the program's with its pointer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Callback {
    pub(crate) function: unsafe extern "C" fn(*mut std::ffi::c_void),
    pub(crate) data: u64,
}

/// A piece of work.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Kernel(Arc<Prepared>),
    Copy(Copy),
    Fill(Fill),
    Host(Callback),
    Free(u64),
    /// A graph, and how many of its pieces of work are done.
    Graph(Arc<Plan>, usize),
    Beside(Arc<Beside>),
    Record(Handle<EventKind>),
    /// Nothing; it only waits.
    Wait,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    after: Vec<u64>,
    work: Work,
}

/// The last work of a stream, done or not.
#[derive(Debug)]
struct Tail {
    place: Place,
    number: u64,
}

/// The order between a stream and the legacy default stream (CUDA Driver API, "Stream synchronization behavior").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ordered {
    /// The legacy default stream: each piece of work waits for all blocking streams of its context, and they for it.
    Legacy,
    /// A stream that was made without `CU_STREAM_NON_BLOCKING`.
    Blocking,
    /// One that was made with it.
    Free,
}

/// A stream's place in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) stream: Handle<StreamKind>,
    pub(crate) context: Handle<ContextKind>,
    pub(crate) device: usize,
    pub(crate) ordered: Ordered,
}

/// The queue of all streams of all devices.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<u64, Entry>,
    tails: Vec<Tail>,
    last: u64,
}

impl Queue {
    fn push(&mut self, place: Place, also_after: &[u64], work: Work) -> u64 {
        if self.tails.len() > 64 {
            self.tails.retain(|tail| self.entries.contains_key(&tail.number));
        }
        let ordering = |tail: &&Tail| {
            let by_legacy = matches!(
                (place.ordered, tail.place.ordered),
                (Ordered::Legacy, Ordered::Blocking) | (Ordered::Blocking, Ordered::Legacy)
            );
            tail.place.stream == place.stream || by_legacy && tail.place.context == place.context
        };
        let after = self.tails.iter().filter(ordering).map(|tail| tail.number);
        let after = also_after.iter().copied().chain(after).collect();
        self.last += 1;
        self.tails.retain(|tail| tail.place.stream != place.stream);
        self.tails.push(Tail { place, number: self.last });
        self.entries.insert(self.last, Entry { place, after, work });
        self.last
    }

    /// The number of the work that is pushed next.
    pub(crate) fn next(&self) -> u64 {
        self.last + 1
    }

    pub(crate) fn is_done(&self, number: u64) -> bool {
        !self.entries.contains_key(&number)
    }

    /// The work of a stream that is not yet done; of the legacy default stream, that of all blocking ones as well.
    pub(crate) fn of_stream(&self, place: Place) -> Vec<u64> {
        let meant = |entry: &Entry| {
            entry.place.stream == place.stream
                || place.ordered == Ordered::Legacy
                    && entry.place.context == place.context
                    && entry.place.ordered == Ordered::Blocking
        };
        self.entries.iter().filter(|(_, entry)| meant(entry)).map(|(number, _)| *number).collect()
    }

    pub(crate) fn of_context(&self, context: Handle<ContextKind>) -> Vec<u64> {
        self.entries.iter().filter(|(_, entry)| entry.place.context == context).map(|(number, _)| *number).collect()
    }

    pub(crate) fn of_device(&self, device: usize) -> Vec<u64> {
        self.entries.iter().filter(|(_, entry)| entry.place.device == device).map(|(number, _)| *number).collect()
    }

    /// Forgets the work of a device whose work has ended.
    pub(crate) fn drop_device(&mut self, device: usize) {
        self.entries.retain(|_, entry| entry.place.device != device);
    }

    /// Forgets the work of a context that has ended.
    pub(crate) fn drop_context(&mut self, context: Handle<ContextKind>) {
        self.entries.retain(|_, entry| entry.place.context != context);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// These and all that they wait for, in order.
    fn closure(&self, targets: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        let mut open: Vec<u64> = targets.into_iter().collect();
        let mut wanted = BTreeSet::new();
        while let Some(number) = open.pop() {
            if let Some(entry) = self.entries.get(&number)
                && wanted.insert(number)
            {
                open.extend(&entry.after);
            }
        }
        wanted
    }
}

impl Driver {
    /// Puts work into a stream that is not recording; returns its number.
    pub(crate) fn push(&mut self, place: Place, also_after: &[u64], work: Work) -> u64 {
        let number = self.queue.push(place, also_after, work);
        // What has to wait is done by a later call: this one asks for nothing to be done.
        if self.settings.when == When::Eager {
            let _ = self.run([number]);
        } else if self.queue.len() > MOST {
            let oldest = self.queue.entries.keys().next().copied();
            let _ = self.run(oldest);
        }
        number
    }

    /// Does work and all that it waits for. What fails ends the work of its device; the next call on it says so. [`Code::LATER`] where
    /// some of it has to wait for others: that is left in the queue, with all that comes after it.
    pub(crate) fn run(&mut self, targets: impl IntoIterator<Item = u64>) -> Result {
        let mut waiting = BTreeSet::new();
        for number in self.queue.closure(targets) {
            // Gone where its device has failed since.
            let Some(mut entry) = self.queue.entries.remove(&number) else { continue };
            let done = match entry.after.iter().any(|before| waiting.contains(before)) {
                true => Err(Code::LATER),
                false => self.carry_out(entry.place.device, number, &mut entry.work),
            };
            match done {
                Ok(()) => {}
                Err(Code::LATER) => {
                    waiting.insert(number);
                    self.queue.entries.insert(number, entry);
                }
                Err(code) => self.break_device(entry.place.device, code),
            }
        }
        if waiting.is_empty() { Ok(()) } else { Err(Code::LATER) }
    }

    pub(crate) fn carry_out(&mut self, device: usize, number: u64, work: &mut Work) -> Result {
        match work {
            Work::Kernel(prepared) => launch::run(self, device, prepared),
            Work::Copy(copy) => copy::carry_out(self, device, copy),
            Work::Fill(fill) => copy::fill(self, device, fill),
            Work::Host(callback) => {
                let Callback { function, data } = *callback;
                // SAFETY: the program gave the function with this pointer, to be called once the work before it is done.
                state::host_function(|| unsafe { function(data as *mut std::ffi::c_void) });
                Ok(())
            }
            Work::Free(address) => self.free_now(*address).map(drop).map_err(|_| Code::ILLEGAL_ADDRESS),
            Work::Graph(plan, done) => {
                while let Some(work) = plan.work().get(*done) {
                    self.carry_out(device, number, &mut work.clone())?;
                    *done += 1;
                }
                Ok(())
            }
            Work::Beside(work) => beside::carry_out(self, device, work),
            Work::Record(event) => {
                event::reached(self, *event, number);
                Ok(())
            }
            Work::Wait => Ok(()),
        }
    }
}
