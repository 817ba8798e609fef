//! The checks while a block runs: which accesses are ordered, and which are not.
//!
//! Every warp has an epoch. Where warps synchronise (barriers of the block, mbarriers) the one that waited knows of each other warp up to
//! which epoch its accesses are done: a vector clock. Accesses of different warps are ordered where the later one's warp knows of
//! the earlier one's epoch. Lanes of one warp are ordered by the instructions that they carry out together (`bar.warp.sync`,
//! shuffles, votes, `mma` and the like), which are counted by a stamp; nothing else orders them: lanes do not march in step.
//!
//! Epochs go on from block to block, so that what an earlier block left in the shadow memory counts as nothing.

pub(crate) mod access;
pub(crate) mod bulk;
pub(crate) mod findings;
pub(crate) mod global;
mod groups;
mod pages;
mod pattern;
pub(crate) mod protocol;
pub(crate) mod proxy;
mod released;
mod shapes;
pub(crate) mod shared;
mod spare;

use std::collections::HashMap;

use self::findings::Findings;
use self::pages::Known;
use self::released::Acquired;
use self::shapes::Shapes;
use self::shared::SharedShadow;
use self::spare::Spare;
use super::block::Context;
use crate::machine::Checks;

/// Most warps of a block.
const WARPS: usize = 32;
/// The epoch of a piece that an asynchronous copy writes at a time that nobody knows.
const PENDING: u32 = u32::MAX;

/// An accessor: thread of the block, instruction, and whether the access is atomic or strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Who(pub(crate) u32);

impl Who {
    /// A kernel may have 2^21 instructions; sites beyond are not told apart.
    pub(crate) fn new(thread: u32, site: u32, strong: bool) -> Who {
        Who(thread & 0x3FF | u32::from(strong) << 10 | site << 11)
    }

    pub(crate) fn thread(self) -> u32 {
        self.0 & 0x3FF
    }

    pub(crate) fn warp(self) -> usize {
        self.thread() as usize / 32
    }

    pub(crate) fn lane(self) -> u32 {
        self.0 & 31
    }

    pub(crate) fn strong(self) -> bool {
        self.0 >> 10 & 1 != 0
    }

    pub(crate) fn site(self) -> u32 {
        self.0 >> 11
    }
}

/// The knowledge about a warp.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Its epoch, which its accesses carry.
    pub(crate) epoch: u32,
    /// Of each warp: accesses of lower epochs are done.
    pub(crate) known: [u32; WARPS],
    /// The lowest of them, and of its own epoch.
    pub(crate) floor: u32,
    /// Its epoch when it last arrived at the cluster's barrier.
    pub(crate) arrived: u32,
    /// Counts what its lanes did together.
    pub(crate) stamp: u32,
    /// The last stamp at which all of its lanes did something together.
    pub(crate) all_together: u32,
    /// Later stamps, with the lanes that took part.
    pub(crate) some_together: Vec<(u32, u32)>,
}

impl Clock {
    fn new(epoch: u32) -> Clock {
        Clock {
            epoch,
            known: [epoch; WARPS],
            floor: epoch,
            arrived: 0,
            stamp: 1,
            all_together: 1,
            some_together: Vec::new(),
        }
    }

    /// Whether an access with this stamp by one lane comes before what another one does now.
    pub(crate) fn lanes_ordered(&self, stamp: u32, earlier: u32, now: u32) -> bool {
        earlier == now
            || stamp < self.all_together
            || self
                .some_together
                .iter()
                .any(|&(at, lanes)| at > stamp && lanes >> earlier & 1 != 0 && lanes >> now & 1 != 0)
    }
}

/// The checks of a thread of the host, which runs one block at a time.
pub(crate) struct Checker {
    pub(crate) checks: Checks,
    /// Whether reads of unwritten shared memory are reported. Not in a cluster, whose other blocks may have written it.
    pub(crate) shared_unwritten: bool,
    pub(crate) clocks: Vec<Clock>,
    /// Epochs below are of earlier blocks.
    pub(crate) base: u32,
    pub(crate) shared: SharedShadow,
    pub(crate) findings: Findings,
    /// log2 of the bytes of a piece of global memory.
    pub(crate) global_granule: u32,
    /// The tag of the block, and of the launch's first.
    pub(crate) tag: u32,
    pub(crate) first_tag: u32,
    pub(crate) grid: [u32; 3],
    /// The knowledge that was acquired from other blocks.
    acquired: Acquired,
    /// The knowledge of each warp at its last fence.
    fenced: Vec<Option<Known>>,
    /// By warp and byte of local memory: the lanes that have written it.
    pub(crate) local: Vec<Vec<u32>>,
    /// Pages of the shadow of global memory that are at hand.
    near: Option<pages::Near>,
    /// The pieces that accesses touch.
    shapes: Option<Box<Shapes>>,
    /// By the address of an mbarrier: what it has been told.
    mbarriers: HashMap<u64, [u32; WARPS]>,
    /// The knowledge that each of the 16 barriers has got since it was last complete.
    told: [[u32; WARPS]; 16],
    /// The warps that have told something.
    tellers: [u32; 16],
    /// Shared memory that bulk copies read at a time that nobody knows.
    pub(crate) reading: Vec<bulk::Reading>,
    /// Fences between proxies, where the kernel needs some.
    proxies: Option<Box<proxy::Proxies>>,
}

impl Checker {
    pub(crate) fn new(context: &Context<'_>, warps: usize) -> Checker {
        let mut spare = Spare::take(context.shadow);
        let clock = Clock::new(spare.epoch);
        let bytes = context.program.shared + context.launch.dynamic_shared;
        spare.shared.ready(bytes, context.program.shared_granule, &context.program.shared_gaps);
        Checker {
            checks: context.options.checks,
            shared_unwritten: context.options.checks.unwritten && context.launch.cluster == [1; 3],
            clocks: vec![clock; warps],
            base: spare.epoch,
            shared: spare.shared,
            findings: Findings::default(),
            global_granule: context.program.global_granule,
            tag: context.first_tag,
            first_tag: context.first_tag,
            grid: context.launch.grid,
            acquired: Acquired::new(&context.shadow.released),
            fenced: vec![None; warps],
            local: vec![Vec::new(); warps],
            near: Some(spare.near),
            shapes: Some(spare.shapes),
            mbarriers: HashMap::new(),
            told: [[0; WARPS]; 16],
            tellers: [0; 16],
            reading: Vec::new(),
            proxies: proxy::Proxies::new(&context.program.proxy_writers, warps),
        }
    }

    /// A block begins: nothing that was is left.
    pub(crate) fn begin(&mut self, number: u64) {
        self.tag = self.first_tag + (number % (1 << 30)) as u32;
        self.shared.forget_pending();
        self.acquired.clear();
        self.fenced.fill(None);
        self.mbarriers.clear();
        self.reading.clear();
        if let Some(proxies) = &mut self.proxies {
            proxies.begin();
        }
        self.local.iter_mut().for_each(|written| written.fill(0));
        let next = self.clocks.iter().map(|clock| clock.epoch).max().unwrap_or(0) + 1;
        self.base = next;
        for clock in &mut self.clocks {
            clock.epoch = next;
            clock.known = [next; WARPS];
            clock.floor = next;
            clock.stamp += 1;
            clock.all_together = clock.stamp;
            clock.some_together.clear();
        }
        self.tellers = [0; 16];
        if next > u32::MAX / 2 {
            self.shared.forget();
            self.restart();
        }
    }

    /// Begins to count anew.
    fn restart(&mut self) {
        self.base = 1;
        for clock in &mut self.clocks {
            *clock = Clock::new(1);
        }
    }

    /// Lanes of a warp did something together.
    pub(crate) fn together(&mut self, warp: usize, lanes: u32, live: u32) {
        let clock = &mut self.clocks[warp];
        clock.stamp += 1;
        if lanes & live == live {
            clock.all_together = clock.stamp;
            clock.some_together.clear();
        } else {
            clock.some_together.push((clock.stamp, lanes));
            if clock.some_together.len() > 64 {
                clock.some_together.remove(0);
            }
        }
        if let Some(proxies) = &mut self.proxies {
            proxies.together(warp, clock.epoch);
        }
    }

    /// A warp arrives at a barrier: what it did and knows is told to those who wait there.
    pub(crate) fn tell(&mut self, warp: usize, barrier: usize) {
        if let Some(proxies) = &mut self.proxies {
            proxies.tell(warp, barrier, self.tellers[barrier] == 0);
        }
        if self.tellers[barrier] == 0 {
            self.told[barrier] = [0; WARPS];
        }
        self.tellers[barrier] |= 1 << warp;
        let clock = &mut self.clocks[warp];
        for (told, known) in self.told[barrier].iter_mut().zip(clock.known) {
            *told = known.max(*told);
        }
        clock.epoch += 1;
        self.told[barrier][warp] = self.told[barrier][warp].max(clock.epoch);
    }

    /// A barrier is complete: these warps waited and learn what it was told.
    pub(crate) fn learn(&mut self, warps: u32, barrier: usize) {
        let told = self.told[barrier];
        let everyone = (1u64 << self.clocks.len()) - 1;
        if u64::from(warps) == everyone {
            // All know all: epochs are made equal, so that one comparison says so.
            let next = self.clocks.iter().map(|clock| clock.epoch).max().unwrap_or(0);
            for clock in &mut self.clocks {
                clock.epoch = next;
                clock.known = [next; WARPS];
                clock.floor = next;
            }
        } else {
            for warp in (0..self.clocks.len()).filter(|warp| warps >> warp & 1 != 0) {
                self.learn_from(warp, &told);
            }
        }
        for warp in (0..self.clocks.len()).filter(|warp| warps >> warp & 1 != 0) {
            let clock = &mut self.clocks[warp];
            clock.stamp += 1;
            clock.all_together = clock.stamp;
            clock.some_together.clear();
            if let Some(proxies) = &mut self.proxies {
                proxies.learn(warp, barrier);
            }
        }
        self.tellers[barrier] = 0;
    }

    /// A warp arrives at an mbarrier.
    pub(crate) fn tell_mbarrier(&mut self, warp: usize, address: u64) {
        let clock = &mut self.clocks[warp];
        clock.epoch += 1;
        let told = self.mbarriers.entry(address & 0xFF_FFFF).or_insert([0; WARPS]);
        for (told, known) in told.iter_mut().zip(clock.known) {
            *told = known.max(*told);
        }
        told[warp] = told[warp].max(clock.epoch);
        if let Some(proxies) = &mut self.proxies {
            proxies.tell_mbarrier(warp, address & 0xFF_FFFF);
        }
    }

    /// A warp has waited for a phase of an mbarrier.
    pub(crate) fn learn_mbarrier(&mut self, warp: usize, address: u64) {
        if let Some(told) = self.mbarriers.get(&(address & 0xFF_FFFF)).copied() {
            self.learn_from(warp, &told);
        }
        if let Some(proxies) = &mut self.proxies {
            proxies.learn_mbarrier(warp, address & 0xFF_FFFF);
        }
    }

    /// A warp has waited at the cluster's barrier, where all warps of the block were.
    pub(crate) fn learn_all(&mut self, warp: usize) {
        let told = std::array::from_fn(|other| self.clocks.get(other).map_or(0, |clock| clock.arrived));
        self.learn_from(warp, &told);
        if let Some(proxies) = &mut self.proxies {
            proxies.learn_cluster(warp);
        }
        let clock = &mut self.clocks[warp];
        clock.stamp += 1;
        clock.all_together = clock.stamp;
        clock.some_together.clear();
    }

    /// A warp arrives at the cluster's barrier.
    pub(crate) fn tell_cluster(&mut self, warp: usize) {
        let clock = &mut self.clocks[warp];
        clock.epoch += 1;
        clock.arrived = clock.epoch;
        if let Some(proxies) = &mut self.proxies {
            proxies.tell_cluster(warp);
        }
    }

    /// A warp learns of others.
    pub(crate) fn learn_from(&mut self, warp: usize, told: &[u32; WARPS]) {
        let count = self.clocks.len();
        let clock = &mut self.clocks[warp];
        for (known, told) in clock.known.iter_mut().zip(told) {
            *known = (*known).max(*told);
        }
        let others = (0..count).filter(|&other| other != warp);
        clock.floor = others.map(|other| clock.known[other]).fold(clock.epoch, u32::min);
    }
}
