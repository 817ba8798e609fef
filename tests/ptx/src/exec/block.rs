//! A block: its shared memory, its barriers, and the turns of its warps.

use super::checks::Checker;
use super::checks::global::GlobalShadow;
use super::control;
use super::counts::Counts;
use super::path::State;
use super::warp::Aligned;
use super::wgmma::WarpGroup;
use super::{Program, Warp, cluster};
use crate::machine::{Checks, FaultKind, Launch, Options, Order};
use crate::memory::Memory;

/// The values that are the same for all blocks of a launch.
pub(crate) struct Context<'a> {
    pub(crate) program: &'a Program,
    /// The same with counting, where blocks are counted.
    pub(crate) counted: Option<&'a Program>,
    pub(crate) memory: &'a Memory,
    pub(crate) launch: &'a Launch,
    pub(crate) options: &'a Options,
    /// Who accessed global memory, and the tag of the launch's first block there.
    pub(crate) shadow: &'a GlobalShadow,
    pub(crate) first_tag: u32,
}

/// An instruction, and threads of one warp that carried it out.
#[derive(Debug, Clone)]
pub(crate) struct RawSite {
    /// Index in the kernel's text.
    pub(crate) site: u32,
    pub(crate) block: [u32; 3],
    pub(crate) warp: u32,
    pub(crate) lanes: u32,
}

/// The fault that ended a launch, before it is put into words.
#[derive(Debug, Clone)]
pub(crate) struct RawFault {
    pub(crate) kind: FaultKind,
    pub(crate) what: String,
    pub(crate) address: Option<u64>,
    pub(crate) sites: Vec<RawSite>,
}

/// One of the 16 barriers of a block.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// Threads that arrived.
    pub(crate) arrived: u32,
    /// Threads that it waits for; 0: all that have not exited.
    pub(crate) expected: u32,
    /// Threads whose predicate held, of `bar.red`.
    pub(crate) holds: u32,
    /// Who arrived last.
    pub(crate) site: Option<RawSite>,
    /// The warp that arrived last, if it would have waited, as a bit.
    pub(crate) last: u32,
    /// Threads that gave a predicate.
    pub(crate) voters: u32,
    /// Paths that wait: warp, path, and what becomes of the result.
    pub(crate) waiting: Vec<(u32, usize, BarrierResult)>,
}

/// The destination of a barrier's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierResult {
    None,
    /// A register.
    Count(u32),
    /// A predicate.
    All(u32),
    Any(u32),
}

/// A path that a barrier lets go on.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) warp: u32,
    pub(crate) path: usize,
    pub(crate) result: BarrierResult,
    pub(crate) holds: u32,
    pub(crate) voters: u32,
}

/// A block that runs.
pub(crate) struct Block<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) program: &'a Program,
    pub(crate) memory: &'a Memory,
    pub(crate) id: [u32; 3],
    _shared: Aligned,
    pub(crate) shared_base: *mut u8,
    pub(crate) shared_bytes: u32,
    pub(crate) barriers: [Barrier; 16],
    pub(crate) released: Vec<Release>,
    /// Threads that have not exited.
    pub(crate) live: u32,
    /// Goes up whenever something happens that a warp may wait for.
    pub(crate) events: u64,
    pub(crate) fault: Option<Box<RawFault>>,
    /// The cluster, and the block's rank in it.
    pub(crate) cluster: cluster::Shared,
    pub(crate) rank: u32,
    /// The beginning of each warp's registers.
    pub(crate) registers: Vec<*mut u32>,
    /// The requests of groups of four warps.
    pub(crate) warp_groups: Vec<WarpGroup>,
    /// The counts.
    pub(crate) counts: Counts,
    /// The checker, if accesses are checked.
    pub(crate) checker: Option<Box<Checker>>,
}

/// The result of the turns of a block's warps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// Threads are left.
    pub(crate) alive: bool,
    /// A warp could go on.
    pub(crate) ran: bool,
    /// All warps that could asked in vain whether they may go on.
    pub(crate) idle: bool,
    /// The launch ends.
    pub(crate) fault: bool,
}

/// Rounds in which warps did nothing but ask whether they may go on, until that is called a deadlock.
pub(crate) const QUIET_ROUNDS: u32 = 4096;

impl<'a> Block<'a> {
    pub(crate) fn new(context: &'a Context<'a>, cluster: &cluster::Shared, rank: u32) -> Block<'a> {
        let shared_bytes = context.program.shared + context.launch.dynamic_shared;
        let mut shared = Aligned::new(shared_bytes as usize);
        let shared_base = shared.start();
        cluster.borrow_mut().shared.push(shared_base);
        let threads: u32 = context.launch.block.iter().product();
        let checker = (context.options.checks != Checks::NONE)
            .then(|| Box::new(Checker::new(context, threads.div_ceil(32) as usize)));
        Block {
            context,
            program: context.program,
            memory: context.memory,
            id: [0; 3],
            _shared: shared,
            shared_base,
            shared_bytes,
            barriers: Default::default(),
            released: Vec::new(),
            live: 0,
            events: 0,
            fault: None,
            cluster: cluster.clone(),
            rank,
            registers: Vec::new(),
            warp_groups: Vec::new(),
            counts: Counts::default(),
            checker,
        }
    }

    /// A block with so many threads begins.
    pub(crate) fn begin(&mut self, threads: u32, number: u64) {
        self.live = threads;
        let every = self.context.options.count_every;
        self.program = match self.context.counted {
            Some(counted) if number.is_multiple_of(every.max(1)) => {
                self.counts.sampled += 1;
                counted
            }
            _ => self.context.program,
        };
        self.barriers = Default::default();
        self.released.clear();
        self.warp_groups.clear();
        if let Some(checker) = &mut self.checker {
            checker.begin(number);
        }
    }

    /// Writes down why the launch ends.
    #[cold]
    pub(crate) fn fail(
        &mut self,
        w: &Warp,
        site: u32,
        lanes: u32,
        kind: FaultKind,
        what: String,
        address: Option<u64>,
    ) {
        let site = RawSite { site, block: self.id, warp: w.index, lanes };
        self.fault = Some(Box::new(RawFault { kind, what, address, sites: vec![site] }));
    }

    /// Lets the paths go on that a full barrier holds.
    pub(crate) fn complete(&mut self, number: usize) {
        let barrier = std::mem::take(&mut self.barriers[number]);
        if let Some(checker) = &mut self.checker {
            let waited = barrier.waiting.iter().fold(barrier.last, |warps, (warp, ..)| warps | 1 << warp);
            checker.learn(waited, number);
        }
        let (holds, voters) = (barrier.holds, barrier.voters);
        let releases = barrier.waiting.into_iter();
        self.released.extend(releases.map(|(warp, path, result)| Release { warp, path, result, holds, voters }));
        self.events += 1;
    }

    /// Reports threads that a barrier of all will never see.
    pub(crate) fn check_all_there(&mut self, number: usize) {
        let total: u32 = self.context.launch.block.iter().product();
        let gone = total - self.live;
        let Some(checker) = self.checker.as_mut().filter(|checker| checker.checks.protocols && gone > 0) else {
            return;
        };
        if let Some(site) = &self.barriers[number].site {
            checker.findings.add("barrier after exit", vec![site.clone()], None, || {
                format!("a barrier of all threads, of which {gone} have exited")
            });
        }
    }

    /// Threads exited: barriers of all threads no longer wait for them.
    pub(crate) fn exited(&mut self, threads: u32) {
        self.live -= threads;
        self.events += 1;
        self.cluster.borrow_mut().exited(threads);
        for number in 0..self.barriers.len() {
            let barrier = &self.barriers[number];
            if barrier.arrived > 0 && barrier.expected == 0 && barrier.arrived >= self.live {
                self.check_all_there(number);
                self.complete(number);
            }
        }
    }

    fn deliver(&mut self, warps: &mut [Warp]) {
        for release in self.released.drain(..) {
            let warp = &mut warps[release.warp as usize];
            let path = &mut warp.paths[release.path];
            path.state = State::Ready;
            let mask = std::mem::replace(&mut warp.mask, path.mask);
            control::barrier_result(warp, release.result, release.holds, release.voters);
            warp.mask = mask;
        }
    }

    /// Gives each warp a turn.
    pub(crate) fn round(&mut self, warps: &mut [Warp], order: &mut Vec<u32>, chance: &mut u64) -> Round {
        arrange(order, warps.len(), self.context.options.warps, chance);
        let mut round = Round { alive: false, ran: false, idle: true, fault: false };
        for &at in order.iter() {
            let warp = &mut warps[at as usize];
            if warp.live == 0 {
                continue;
            }
            round.alive = true;
            if !warp.select() {
                continue;
            }
            round.ran = true;
            match control::turn(warp, self) {
                control::Turn::Waits => round.idle = false,
                control::Turn::Yields => {}
                control::Turn::Fault => return Round { fault: true, ..round },
            }
            self.deliver(warps);
        }
        round
    }

    /// No warp can go on: who waits where.
    pub(crate) fn deadlock(&mut self, warps: &[Warp]) {
        let mut sites = Vec::new();
        let mut names = Vec::new();
        for warp in warps {
            for path in warp.paths.iter().filter(|path| !matches!(path.state, State::Free | State::Split)) {
                let block = &self.program.blocks[path.block as usize];
                let behind = matches!(path.state, State::Barrier(_));
                let at = path.at.saturating_sub(u32::from(behind)).max(block.start);
                let site = self.program.code.get(at as usize).map_or(block.site, |code| code.site);
                sites.push(RawSite { site, block: self.id, warp: warp.index, lanes: path.mask });
                let name = match path.state {
                    State::Barrier(number) => format!("barrier {number}"),
                    State::Lanes(_) | State::Sync(_) | State::Aligned => "lanes of their own warp".into(),
                    _ => "an mbarrier, the cluster's barrier or other warps of a wgmma".into(),
                };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let what = format!(
            "no warp of the block can go on: {} threads have not exited, and their warps wait for {}",
            self.live,
            names.join(", ")
        );
        self.fault = Some(Box::new(RawFault { kind: FaultKind::Deadlock, what, address: None, sites }));
    }
}

/// The order of a round.
fn arrange(order: &mut Vec<u32>, warps: usize, by: Order, chance: &mut u64) {
    if order.len() != warps {
        *order = (0..warps as u32).collect();
        if by == Order::Backward {
            order.reverse();
        }
    }
    if let Order::Shuffled(_) = by {
        for last in (1..warps).rev() {
            *chance = super::path::next_random(*chance);
            order.swap(last, (*chance >> 33) as usize % (last + 1));
        }
    }
}
