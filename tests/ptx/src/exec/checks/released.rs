//! The order between blocks through global memory: a release is a fence and then a strong write, an acquire a strong read of the same
//! address.
//!
//! The last of many blocks acquires from all others, and it alone needs what they released. So a block notes only which releases it
//! has acquired, and looks at them when it meets another block's access, or releases something itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::pages::{Known, NumberBuildHasher, lock};
use super::shared::Access;
use super::{Checker, WARPS};

/// By address, what was released there in this launch.
pub(super) type Releases = HashMap<u64, Released, NumberBuildHasher>;

/// The releases at an address.
#[derive(Default)]
pub(super) struct Released {
    /// The most that was released of each block.
    known: HashMap<u32, Known, NumberBuildHasher>,
    /// Releases that told more than those before them.
    log: Vec<(u32, Known)>,
}

impl Released {
    fn release(&mut self, block: u32, known: &Known) {
        let most = self.known.entry(block).or_insert([0; WARPS]);
        if join(most, known) {
            self.log.push((block, *known));
        }
    }
}

/// The releases at an address that were acquired: their number in the log, and the number of these that were looked at.
#[derive(Default)]
struct Seen {
    acquired: usize,
    looked_at: usize,
}

/// The knowledge of a block about others.
pub(super) struct Acquired {
    releases: Arc<Mutex<Releases>>,
    /// Of each block: accesses of lower epochs come before.
    pub(super) known: HashMap<u32, Known, NumberBuildHasher>,
    seen: HashMap<u64, Seen, NumberBuildHasher>,
    /// Whether there are releases to look at.
    behind: bool,
    /// Addresses of the last strong access: what was released there is still to be acquired.
    pending: Vec<u64>,
}

impl Acquired {
    pub(super) fn new(releases: &Arc<Mutex<Releases>>) -> Acquired {
        Acquired {
            releases: releases.clone(),
            known: HashMap::default(),
            seen: HashMap::default(),
            behind: false,
            pending: Vec::new(),
        }
    }

    /// A block begins.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.seen.clear();
        self.behind = false;
        self.pending.clear();
    }

    #[cold]
    fn acquire(&mut self) {
        let releases = lock(&self.releases);
        for address in self.pending.drain(..) {
            if let Some(released) = releases.get(&address) {
                self.seen.entry(address).or_default().acquired = released.log.len();
                self.behind = true;
            }
        }
    }

    /// Looks at what was acquired.
    pub(super) fn catch_up(&mut self, own: u32) {
        if !self.behind {
            return;
        }
        self.behind = false;
        let releases = lock(&self.releases);
        for (address, seen) in &mut self.seen {
            let log = releases.get(address).map_or(&[][..], |released| &released.log);
            for (block, known) in log[seen.looked_at..seen.acquired].iter().filter(|(block, _)| *block != own) {
                join(self.known.entry(*block).or_insert([0; WARPS]), known);
            }
            seen.looked_at = seen.acquired;
        }
    }
}

impl Checker {
    /// A strong access of global memory, which is about to be made: it releases what came before this warp's last fence, and will
    /// have acquired what was released there.
    ///
    /// Another block may come between this check and the access. What it releases there is seen by the access, so what is acquired
    /// is looked up afterwards, by [`Checker::acquire`].
    pub(crate) fn synchronise(&mut self, access: &Access<'_>) {
        let acquired = &mut self.acquired;
        let lanes = (0..32).filter(|lane| access.lanes >> lane & 1 != 0);
        acquired.pending.extend(lanes.map(|lane| access.at[lane]));
        let Some(fenced) = self.fenced[access.warp as usize].filter(|_| access.writes) else { return };
        acquired.catch_up(self.tag);
        let mut releases = lock(&acquired.releases);
        for address in &acquired.pending {
            let released = releases.entry(*address).or_default();
            for (&block, known) in &acquired.known {
                released.release(block, known);
            }
            released.release(self.tag, &fenced);
        }
    }

    /// Acquires what was released where this block's last strong access was. Comes before all that is in order through it: the next
    /// access, and the next fence.
    #[inline(always)]
    pub(crate) fn acquire(&mut self) {
        if !self.acquired.pending.is_empty() {
            self.acquired.acquire();
        }
    }

    /// A warp passes a fence: what it did, and what it knows of its block, may be released.
    pub(crate) fn fence(&mut self, warp: usize) {
        let clock = &mut self.clocks[warp];
        clock.epoch += 1;
        let mut known = clock.known;
        known[warp] = clock.epoch;
        self.fenced[warp] = Some(known);
    }
}

/// Takes over what is known of the warps of a block; whether it is more than before.
fn join(known: &mut Known, other: &Known) -> bool {
    let more = known.iter().zip(other).any(|(known, other)| other > known);
    for (known, other) in known.iter_mut().zip(other) {
        *known = (*known).max(*other);
    }
    more
}
