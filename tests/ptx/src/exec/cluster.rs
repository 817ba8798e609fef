//! Blocks of a cluster: their shared memories, their barrier, and the copies that are under way among them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::bulk::Transfer;
use super::{Block, Decoded, Flow, Handler, LANES, Warp};

/// The state that the blocks of a cluster share; a block without a cluster is a cluster of its own. One thread of the host runs all of
/// them.
#[derive(Default)]
pub(crate) struct Cluster {
    /// The beginning of each block's shared memory, by rank.
    pub(crate) shared: Vec<*mut u8>,
    /// Threads of all blocks that have not exited.
    pub(crate) live: u32,
    /// Threads that arrived at the barrier.
    arrived: u32,
    /// The number of times that the barrier was complete.
    pub(crate) phase: u32,
    /// Bulk copies that are told to an mbarrier, and not yet made.
    pub(crate) under_way: VecDeque<Transfer>,
    /// Those that were made and that the checks of their block do not know of yet.
    pub(crate) made: Vec<Transfer>,
}

/// A cluster, as its blocks hold it.
pub(crate) type Shared = Rc<RefCell<Cluster>>;

impl Cluster {
    /// Blocks with so many threads begin.
    pub(crate) fn begin(&mut self, live: u32) {
        self.live = live;
        self.arrived = 0;
        self.phase = 0;
        self.under_way.clear();
        self.made.clear();
    }

    fn arrive(&mut self, threads: u32) {
        self.arrived += threads;
        self.complete();
    }

    fn complete(&mut self) {
        if self.arrived > 0 && self.arrived >= self.live {
            self.arrived = 0;
            self.phase += 1;
        }
    }

    /// Threads exited.
    pub(crate) fn exited(&mut self, threads: u32) {
        self.live -= threads;
        self.complete();
    }
}

/// `barrier.cluster.arrive`
pub(crate) struct ClusterArrive;
/// `barrier.cluster.wait`
pub(crate) struct ClusterWait;

impl Handler for ClusterArrive {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let cluster = b.cluster.clone();
        let mut cluster = cluster.borrow_mut();
        // The phase that these lanes wait for to end: only one may be arrived at, so that a warp needs one number.
        for lane in 0..LANES {
            if w.mask >> lane & 1 != 0 {
                w.cluster_phase[lane] = cluster.phase;
            }
        }
        if let Some(checker) = &mut b.checker {
            checker.tell_cluster(w.index as usize);
        }
        cluster.arrive(w.mask.count_ones());
        b.events += 1;
        Flow::Go
    }
}

impl Handler for ClusterWait {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let phase = b.cluster.borrow().phase;
        let waits = (0..LANES).any(|lane| w.mask >> lane & 1 != 0 && w.cluster_phase[lane] >= phase);
        if waits {
            return Flow::Again;
        }
        if let Some(checker) = &mut b.checker {
            checker.learn_all(w.index as usize);
        }
        Flow::Go
    }
}

/// `mapa` and `getctarank`: `imm` is the first bit of the rank in an address, `n` what is added to `a` before.
pub(crate) struct Mapa;
/// `mapa` of addresses of 64 bits.
pub(crate) struct MapaWide;
/// `getctarank`
pub(crate) struct GetRank;
/// `getctarank` of addresses of 64 bits.
pub(crate) struct GetRankWide;

/// Bits of an offset in a block's shared memory. Above them is the block's rank plus 1, or 0 for the own block.
pub(crate) const RANK_SHIFT: u32 = 24;
const OFFSET: u32 = (1 << RANK_SHIFT) - 1;

impl Handler for Mapa {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        // SAFETY: lowering put slots of 32 bits there.
        unsafe {
            super::lanes::map2::<u32, u32, u32, WHOLE>(w, i, |a, rank| a & OFFSET | (rank + 1) << RANK_SHIFT);
        }
        Flow::Go
    }
}

impl Handler for MapaWide {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        let clear = !(0xFFu64 << RANK_SHIFT);
        // SAFETY: lowering put slots of 64, 32 and 64 bits there.
        unsafe {
            super::lanes::map2::<u64, u32, u64, WHOLE>(w, i, |a, rank| a & clear | u64::from(rank + 1) << RANK_SHIFT);
        }
        Flow::Go
    }
}

impl Handler for GetRank {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let own = b.rank;
        let rank = |a: u32| if a >> RANK_SHIFT == 0 { own } else { (a >> RANK_SHIFT) - 1 };
        // SAFETY: lowering put slots of 32 bits there.
        unsafe { super::lanes::map1::<u32, u32, WHOLE>(w, i, rank) };
        Flow::Go
    }
}

impl Handler for GetRankWide {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let own = b.rank;
        let field = |a: u64| (a >> RANK_SHIFT & 0xFF) as u32;
        // SAFETY: lowering put slots of 64 and 32 bits there.
        unsafe { super::lanes::map1::<u64, u32, WHOLE>(w, i, |a| if field(a) == 0 { own } else { field(a) - 1 }) };
        Flow::Go
    }
}

impl Block<'_> {
    /// The rank of the block that an address of shared memory names, and the offset in it.
    pub(crate) fn rank_and_offset(&self, address: u64) -> (usize, u32) {
        let field = (address >> RANK_SHIFT & 0xFF) as u32;
        let rank = if field == 0 { self.rank } else { field - 1 };
        (rank as usize, address as u32 & OFFSET)
    }
}
