//! A launch: blocks are handed out from one queue to threads of the host.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::block::{Block, Context, QUIET_ROUNDS, RawFault};
use super::checks::findings::Findings;
use super::counts::Counts;
use super::program::{Constant, ConstantValue, SlotKind};
use super::{FULL, LANES, Warp, cluster};
use crate::machine::{Launch, Order};
use crate::text::ast::Special;

/// The result of a launch.
#[derive(Default)]
pub(crate) struct Result {
    /// The fault that ended it early.
    pub(crate) fault: Option<RawFault>,
    pub(crate) findings: Findings,
    pub(crate) counts: Counts,
}

/// Runs all blocks.
pub(crate) fn run(context: &Context<'_>) -> Result {
    // Clusters are handed out; without them each block is one.
    let total: u64 = (0..3).map(|axis| u64::from(context.launch.grid[axis] / context.launch.cluster[axis])).product();
    let queue = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let result = Mutex::new(Result::default());
    let lock = || result.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        let mut worker = Worker::new(context);
        while !stop.load(Ordering::Relaxed) {
            let ticket = queue.fetch_add(1, Ordering::Relaxed);
            if ticket >= total {
                break;
            }
            let number = nth_block(ticket, total, context.options.blocks);
            let every = context.options.count_every;
            if context.options.counted_only && every != 0 && !number.is_multiple_of(every) {
                continue;
            }
            if let Some(found) = worker.run(number) {
                stop.store(true, Ordering::Relaxed);
                lock().fault.get_or_insert(found);
            }
        }
        for block in &mut worker.blocks {
            let mut result = lock();
            result.counts.merge(std::mem::take(&mut block.counts));
            if let Some(checker) = block.checker.take() {
                result.findings.merge(checker.finish(context.shadow));
            }
        }
    };
    let helpers = (context.options.threads.max(1) as u64).min(total).saturating_sub(1);
    if helpers == 0 {
        work();
    } else {
        rayon::in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| work());
            }
            work();
        });
    }
    result.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The number of the block that is begun as the n-th.
fn nth_block(n: u64, total: u64, order: Order) -> u64 {
    match order {
        Order::Forward => n,
        Order::Backward => total - 1 - n,
        Order::Shuffled(seed) => {
            // n -> n * factor + seed is one to one modulo `total` where the factor has no divisor in common with it.
            let mut factor = (super::path::next_random(seed) >> 20) % total;
            while gcd(factor, total) != 1 {
                factor = (factor + 1) % total.max(2);
            }
            let product = u128::from(n) * u128::from(factor) + u128::from(seed);
            (product % u128::from(total)) as u64
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The state that a thread of the host needs to run clusters of blocks, one after the other; mostly a cluster is one block.
struct Worker<'a> {
    context: &'a Context<'a>,
    cluster: cluster::Shared,
    blocks: Vec<Block<'a>>,
    /// Warps of each block.
    warps: Vec<Vec<Warp>>,
    order: Vec<u32>,
    threads: u32,
    /// Slots that differ between blocks.
    changing: Vec<Constant>,
}

impl<'a> Worker<'a> {
    fn new(context: &'a Context<'a>) -> Worker<'a> {
        let program = context.program;
        let threads: u32 = context.launch.block.iter().product();
        let size: u32 = context.launch.cluster.iter().product();
        let cluster = cluster::Shared::default();
        let mut blocks: Vec<Block<'a>> = (0..size).map(|rank| Block::new(context, &cluster, rank)).collect();
        let new = |index| Warp::new(index, program.words as usize, program.local as usize);
        let warps: Vec<Vec<Warp>> = (0..size).map(|_| (0..threads.div_ceil(LANES as u32)).map(new).collect()).collect();
        for (block, warps) in blocks.iter_mut().zip(&warps) {
            block.registers = warps.iter().map(Warp::base).collect();
        }
        let changes = |constant: &&Constant| {
            use Special::{ClusterCtaRank, ClusterCtaid, ClusterId, Ctaid, SmId};
            let ConstantValue::Special(special) = constant.value else { return false };
            matches!(special, Ctaid(_) | ClusterId(_) | ClusterCtaid(_) | ClusterCtaRank | SmId)
        };
        let changing = program.constants.iter().filter(changes).copied().collect();
        let mut worker = Worker { context, cluster, blocks, warps, order: Vec::new(), threads, changing };
        for at in 0..worker.blocks.len() {
            for constant in &program.constants {
                worker.fill(at, constant);
            }
        }
        worker
    }

    /// Fills a slot of all warps of a block.
    fn fill(&mut self, at: usize, constant: &Constant) {
        let (launch, id) = (self.context.launch, self.blocks[at].id);
        let shared = self.context.program.declared_shared;
        for warp in &mut self.warps[at] {
            let index = warp.index;
            let value = |lane| value_of(constant.value, launch, shared, id, index, lane);
            let first = value(0);
            match constant.kind {
                SlotKind::Predicate => warp.fill_predicate(constant.word, (first as u32 & 1).wrapping_neg()),
                SlotKind::Word if differs(constant.value) => warp.fill32(constant.word, |lane| value(lane) as u32),
                SlotKind::Word => warp.fill32(constant.word, |_| first as u32),
                SlotKind::Double => warp.fill64(constant.word, first),
                SlotKind::Quad => {
                    warp.fill64(constant.word, first);
                    warp.fill64(constant.word + 64, 0);
                }
            }
        }
    }

    /// Readies a block of the cluster.
    fn begin(&mut self, at: usize, id: [u32; 3]) {
        let [x, y, _] = self.context.launch.grid.map(u64::from);
        let number = u64::from(id[0]) + x * (u64::from(id[1]) + y * u64::from(id[2]));
        self.blocks[at].id = id;
        for index in 0..self.changing.len() {
            let constant = self.changing[index];
            self.fill(at, &constant);
        }
        for warp in &mut self.warps[at] {
            self.context.program.cleared.iter().for_each(|&word| warp.fill_predicate(word, 0));
        }
        let seed = match self.context.options.warps {
            Order::Shuffled(seed) => super::path::next_random(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            Order::Forward | Order::Backward => 0,
        };
        for warp in &mut self.warps[at] {
            let threads = self.threads - warp.index * LANES as u32;
            warp.begin(if threads >= 32 { FULL } else { (1 << threads) - 1 });
            warp.chance = if seed == 0 { 0 } else { super::path::next_random(seed ^ u64::from(warp.index) << 32) };
        }
        self.blocks[at].begin(self.threads, number);
    }

    /// Runs a cluster to its end.
    fn run(&mut self, number: u64) -> Option<RawFault> {
        let size = self.context.launch.cluster;
        let clusters: [u64; 3] = std::array::from_fn(|axis| u64::from(self.context.launch.grid[axis] / size[axis]));
        let first = [number % clusters[0], number / clusters[0] % clusters[1], number / clusters[0] / clusters[1]];
        for at in 0..self.blocks.len() {
            let rank = at as u32;
            let inside = [rank % size[0], rank / size[0] % size[1], rank / size[0] / size[1]];
            self.begin(at, std::array::from_fn(|axis| first[axis] as u32 * size[axis] + inside[axis]));
        }
        self.cluster.borrow_mut().begin(self.threads * self.blocks.len() as u32);
        let mut chance = self.warps[0][0].chance;
        let mut quiet = 0;
        let events = |blocks: &[Block<'_>]| blocks.iter().map(|block| block.events).sum::<u64>();
        loop {
            let before = events(&self.blocks);
            let (mut alive, mut ran, mut idle) = (false, false, true);
            for (block, warps) in self.blocks.iter_mut().zip(&mut self.warps) {
                let round = block.round(warps, &mut self.order, &mut chance);
                if round.fault {
                    return block.fault.take().map(|fault| *fault);
                }
                alive |= round.alive;
                ran |= round.ran;
                idle &= round.idle;
            }
            if !alive {
                return None;
            }
            quiet = if idle && before == events(&self.blocks) { quiet + 1 } else { 0 };
            if !ran || quiet > QUIET_ROUNDS {
                let stuck = self.blocks.iter().position(|block| block.live > 0).unwrap_or(0);
                self.blocks[stuck].deadlock(&self.warps[stuck]);
                return self.blocks[stuck].fault.take().map(|fault| *fault);
            }
        }
    }
}

/// Whether lanes of a warp have different values.
fn differs(value: ConstantValue) -> bool {
    use Special::{LaneId, LaneMaskEq, LaneMaskGe, LaneMaskGt, LaneMaskLe, LaneMaskLt, Tid};
    let ConstantValue::Special(special) = value else { return false };
    matches!(special, Tid(_) | LaneId | LaneMaskEq | LaneMaskGe | LaneMaskGt | LaneMaskLe | LaneMaskLt)
}

/// The value of a constant in one lane.
fn value_of(value: ConstantValue, launch: &Launch, shared: u32, id: [u32; 3], warp: u32, lane: u32) -> u64 {
    match value {
        ConstantValue::Bits(bits) => bits,
        ConstantValue::Parameter { offset, bytes, signed } => {
            let mut raw = [0; 8];
            let (offset, bytes) = (offset as usize, bytes as usize);
            raw[..bytes].copy_from_slice(&launch.parameters[offset..offset + bytes]);
            let spare = 64 - 8 * bytes as u32;
            let value = u64::from_le_bytes(raw);
            if signed { ((value << spare) as i64 >> spare) as u64 } else { value }
        }
        ConstantValue::Special(special) => special_of(special, launch, shared, id, warp, lane),
    }
}

/// Special registers (§10).
fn special_of(special: Special, launch: &Launch, shared: u32, id: [u32; 3], warp: u32, lane: u32) -> u64 {
    use Special::*;
    let [x, y, z] = launch.block;
    let thread = warp * LANES as u32 + lane;
    let tid = [thread % x, thread / x % y, thread / x / y];
    let cluster = launch.cluster;
    let rank_in = |at: [u32; 3]| at[0] + cluster[0] * (at[1] + cluster[1] * at[2]);
    let in_cluster: [u32; 3] = std::array::from_fn(|axis| id[axis] % cluster[axis]);
    let bit = 1u32 << lane;
    u64::from(match special {
        Tid(axis) => tid[axis as usize],
        Ntid(axis) => launch.block[axis as usize],
        Ctaid(axis) => id[axis as usize],
        Nctaid(axis) => launch.grid[axis as usize],
        LaneId => lane,
        WarpId => warp,
        NWarpId => (x * y * z).div_ceil(LANES as u32),
        SmId => 0,
        NSmId => 1,
        GridId => 1,
        ClusterId(axis) => id[axis as usize] / cluster[axis as usize],
        NClusterId(axis) => launch.grid[axis as usize] / cluster[axis as usize],
        ClusterCtaid(axis) => in_cluster[axis as usize],
        ClusterNctaid(axis) => cluster[axis as usize],
        ClusterCtaRank => rank_in(in_cluster),
        ClusterNctaRank => cluster.iter().product(),
        IsExplicitCluster => u32::from(cluster != [1; 3]),
        LaneMaskEq => bit,
        LaneMaskLe => bit | (bit - 1),
        LaneMaskLt => bit - 1,
        LaneMaskGe => !(bit - 1),
        LaneMaskGt => !(bit | (bit - 1)),
        DynamicSharedBytes => launch.dynamic_shared,
        TotalSharedBytes => shared + launch.dynamic_shared,
        // Lowering makes instructions of these.
        Clock | Clock64 | GlobalTimer => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_takes_every_block_once() {
        for total in [1, 2, 7, 64, 97, 1000] {
            for order in [Order::Forward, Order::Backward, Order::Shuffled(0), Order::Shuffled(12345)] {
                let mut seen: Vec<u64> = (0..total).map(|n| nth_block(n, total, order)).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..total).collect::<Vec<_>>(), "{total} {order:?}");
            }
        }
    }
}
