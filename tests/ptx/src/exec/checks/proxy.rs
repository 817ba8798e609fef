//! Fences between the generic proxy and the async proxy (§8.3, §9.7.13.4): what ordinary stores wrote to shared memory is seen by bulk
//! copies and by `wgmma` where a `fence.proxy.async` lies on the way from the store to them.
//!
//! The fence may stand in the thread that wrote, in the one that asks for the copy or product, or in a third one in between. So beside
//! its clock a warp has a second one: of each warp, which accesses have such a fence behind them on a way that ends here. It is told
//! and learned where the first one is. Lanes of the own warp are told apart; those of others as well, but where lanes of that warp did
//! something together within the epoch.

use std::collections::HashMap;

use super::shared::{Access, GAP};
use super::{Checker, PENDING, WARPS};
use crate::text::ast::{Kernel, Op};

/// Of each warp: accesses of lower epochs have a fence behind them.
type Fenced = [u32; WARPS];

/// A warp's lanes and their fences.
#[derive(Debug, Clone, Default)]
struct LaneFences {
    /// The epoch and the stamp below which a lane's accesses have a fence behind them.
    epochs: [u32; 32],
    stamps: [u32; 32],
    /// The epoch in which lanes last did something together.
    together: u32,
}

/// The knowledge about fences.
#[derive(Debug)]
pub(crate) struct Proxies {
    /// Instructions of the kernel's text that write by the generic proxy.
    writers: Vec<bool>,
    fenced: Vec<Fenced>,
    lanes: Vec<LaneFences>,
    /// The knowledge that barriers and mbarriers have got.
    told: [Fenced; 16],
    mbarriers: HashMap<u64, Fenced>,
    /// The knowledge of a warp when it last arrived at the cluster's barrier.
    arrived: Vec<Fenced>,
}

/// For each instruction, whether it writes memory by the generic proxy. Empty: nothing in the kernel reads shared memory by another.
pub(crate) fn writers(kernel: &Kernel) -> Vec<bool> {
    let reads = |op: &Op| matches!(op, Op::Wgmma { .. } | Op::CpAsyncBulk { .. } | Op::CpAsyncBulkTensor { .. });
    if !kernel.body.iter().any(|instruction| reads(&instruction.op)) {
        return Vec::new();
    }
    // `cp.async` writes too; whether a fence is needed behind it the ISA leaves open.
    let writes = |op: &Op| matches!(op, Op::St { .. } | Op::Atom { .. } | Op::Stmatrix { .. });
    kernel.body.iter().map(|instruction| writes(&instruction.op)).collect()
}

fn join(known: &mut Fenced, other: &Fenced) {
    for (known, other) in known.iter_mut().zip(other) {
        *known = (*known).max(*other);
    }
}

impl Proxies {
    /// `None`: the kernel has nothing that needs fences.
    pub(super) fn new(writers: &[bool], warps: usize) -> Option<Box<Proxies>> {
        let none = [0; WARPS];
        (!writers.is_empty()).then(|| {
            Box::new(Proxies {
                writers: writers.to_vec(),
                fenced: vec![none; warps],
                lanes: vec![LaneFences::default(); warps],
                told: [none; 16],
                mbarriers: HashMap::new(),
                arrived: vec![none; warps],
            })
        })
    }

    /// A block begins.
    pub(super) fn begin(&mut self) {
        self.fenced.fill([0; WARPS]);
        self.lanes.fill(LaneFences::default());
        self.told = [[0; WARPS]; 16];
        self.mbarriers.clear();
        self.arrived.fill([0; WARPS]);
    }

    /// Lanes of a warp did something together in this epoch.
    pub(super) fn together(&mut self, warp: usize, epoch: u32) {
        self.lanes[warp].together = epoch;
    }

    pub(super) fn tell(&mut self, warp: usize, barrier: usize, first: bool) {
        if first {
            self.told[barrier] = [0; WARPS];
        }
        join(&mut self.told[barrier], &self.fenced[warp]);
    }

    pub(super) fn learn(&mut self, warp: usize, barrier: usize) {
        join(&mut self.fenced[warp], &self.told[barrier]);
    }

    pub(super) fn tell_mbarrier(&mut self, warp: usize, address: u64) {
        join(self.mbarriers.entry(address).or_insert([0; WARPS]), &self.fenced[warp]);
    }

    pub(super) fn learn_mbarrier(&mut self, warp: usize, address: u64) {
        if let Some(told) = self.mbarriers.get(&address) {
            join(&mut self.fenced[warp], told);
        }
    }

    pub(super) fn tell_cluster(&mut self, warp: usize) {
        self.arrived[warp] = self.fenced[warp];
    }

    pub(super) fn learn_cluster(&mut self, warp: usize) {
        for arrived in &self.arrived {
            join(&mut self.fenced[warp], arrived);
        }
    }
}

impl Checker {
    /// Lanes of a warp pass a `fence.proxy.async` that is about shared memory.
    pub(crate) fn proxy_fence(&mut self, warp: usize, mask: u32, live: u32) {
        let Some(proxies) = &mut self.proxies else { return };
        let clock = &mut self.clocks[warp];
        let before = clock.epoch;
        clock.epoch += 1;
        clock.stamp += 1;
        let lanes = &mut proxies.lanes[warp];
        for lane in 0..32 {
            if mask >> lane & 1 != 0 {
                (lanes.epochs[lane], lanes.stamps[lane]) = (clock.epoch, clock.stamp);
                continue;
            }
            // What another lane did before they last did something together is before this fence.
            let met = |&&(_, members): &&(u32, u32)| members >> lane & 1 != 0 && members & mask != 0;
            let met = clock.some_together.iter().filter(met).map(|&(stamp, _)| stamp).max();
            lanes.stamps[lane] = lanes.stamps[lane].max(clock.all_together).max(met.unwrap_or(0));
            let covered = if lanes.together == before { clock.epoch } else { before };
            lanes.epochs[lane] = lanes.epochs[lane].max(covered);
        }
        let lowest = (0..32).filter(|lane| live >> lane & 1 != 0).map(|lane| lanes.epochs[lane]).min();
        let fenced = &mut proxies.fenced[warp];
        for other in (0..self.clocks.len()).filter(|&other| other != warp) {
            fenced[other] = fenced[other].max(self.clocks[warp].known[other]);
        }
        fenced[warp] = fenced[warp].max(lowest.unwrap_or(0));
    }

    /// The first of so many warps reads shared memory by the async proxy; `what` does so.
    pub(crate) fn by_async_proxy(&mut self, access: &Access<'_>, warps: usize, what: &str) {
        let Some(proxies) = &self.proxies else { return };
        if !self.checks.protocols || access.lanes == 0 {
            return;
        }
        let readers = access.warp as usize..(access.warp as usize + warps).min(self.clocks.len());
        let first = access.at[access.lanes.trailing_zeros() as usize & 31];
        let granule = self.shared.granule();
        let pieces = (first >> granule) as usize..((first + u64::from(access.bytes)) >> granule) as usize;
        let mut missing = None;
        for piece in pieces {
            let (epoch, writer, stamp) = self.shared.write_of(piece);
            let generic = proxies.writers.get(writer.site() as usize).copied().unwrap_or(false);
            if epoch < self.base || epoch == PENDING || epoch == GAP || !generic {
                continue;
            }
            let by = writer.warp();
            let fenced = |reader: usize| {
                epoch < proxies.fenced[reader][by]
                    || reader == by && stamp < proxies.lanes[by].stamps[writer.lane() as usize]
            };
            // Where nothing orders the two, that is what is reported.
            let ordered = |reader: usize| reader == by || epoch < self.clocks[reader].known[by];
            if readers.clone().any(ordered) && !readers.clone().any(fenced) {
                missing = Some((writer, (piece as u64) << granule));
                break;
            }
        }
        if let Some((writer, address)) = missing {
            let sites = vec![access.here(access.lanes), access.there(writer)];
            self.findings.add("proxy fence", sites, Some(address), || {
                format!("{what} reads shared memory that ordinary stores wrote, with no fence.proxy.async in between")
            });
        }
    }
}
