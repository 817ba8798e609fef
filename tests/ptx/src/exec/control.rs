//! Turns of a warp, branches, barriers.

use super::block::{BarrierResult, Block, RawSite};
use super::path::State;
use super::program::End;
use super::{Decoded, FULL, Flow, Handler, Warp};
use crate::machine::{FaultKind, Order};

/// Why a warp's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Its paths wait or ended, or its time was up.
    Waits,
    /// It asked whether it may go on, and may not.
    Yields,
    /// The launch ends.
    Fault,
}

/// Basic blocks of a turn: enough that it does not matter, few enough that a warp that spins lets the others run.
const FUEL: u32 = 1 << 14;
/// Basic blocks of turns whose time was up, until lanes that wait for the others to leave a loop go on without them.
const PATIENCE: u32 = 1 << 17;

/// Runs the path that was selected, and others of the warp, until none can go on.
pub(crate) fn turn(w: &mut Warp, b: &mut Block<'_>) -> Turn {
    let full = match b.context.options.warps {
        Order::Shuffled(_) => 1 + w.random() as u32 % 6,
        Order::Forward | Order::Backward => FUEL,
    };
    w.fuel = full;
    loop {
        let program = b.program;
        let block = &program.blocks[w.block as usize];
        let code = &program.code[w.at as usize..block.stop as usize];
        let mut stopped = (Flow::Go, 0);
        if w.mask == FULL {
            for (k, i) in code.iter().enumerate() {
                // SAFETY: lowering laid out the operands for the handler.
                let flow = unsafe { (i.run.whole)(i, w, b) };
                if flow != Flow::Go {
                    stopped = (flow, k as u32);
                    break;
                }
            }
        } else {
            for (k, i) in code.iter().enumerate() {
                // SAFETY: as above.
                let flow = unsafe { (i.run.partial)(i, w, b) };
                if flow != Flow::Go {
                    stopped = (flow, k as u32);
                    break;
                }
            }
        }
        match stopped {
            (Flow::Go, _) => {}
            (Flow::Fault, _) => return Turn::Fault,
            (flow @ (Flow::Yield | Flow::Again), k) => {
                w.store(State::Ready, w.at + k + u32::from(flow == Flow::Yield));
                w.ticks += 1;
                w.since_asked = 0;
                if w.paths.len() > 1 {
                    w.rotate();
                }
                return Turn::Yields;
            }
            (flow, k) => {
                let again = u32::from(flow == Flow::Park);
                w.store(w.parking, w.at + k + again);
                if !w.select_or_part() {
                    return Turn::Waits;
                }
                continue;
            }
        }
        match step(w, b) {
            Step::Goes => {}
            Step::Selects if !w.select_or_part() => return Turn::Waits,
            Step::Selects => {}
            Step::Fault => return Turn::Fault,
        }
        w.fuel -= 1;
        if w.fuel == 0 {
            w.store(State::Ready, w.at);
            w.spent += full;
            w.since_asked = w.since_asked.saturating_add(full);
            if w.spent >= PATIENCE {
                w.spent = 0;
                w.part();
            }
            if w.paths.len() > 1 {
                w.rotate();
            }
            // Who asks in a loop does so every few blocks.
            return if w.since_asked < ASKS_EVERY { Turn::Yields } else { Turn::Waits };
        }
    }
}

/// Basic blocks after which a warp that asked whether it may go on counts as working.
const ASKS_EVERY: u32 = 64;

enum Step {
    /// The path goes on.
    Goes,
    /// Another path may have to be taken up.
    Selects,
    Fault,
}

/// The end of a basic block.
#[inline(always)]
fn step(w: &mut Warp, b: &mut Block<'_>) -> Step {
    let program = b.program;
    let block = &program.blocks[w.block as usize];
    match block.end {
        End::Go(to) => go(w, program, to),
        End::Branch { predicate, negated, to, other, rejoin } => {
            // SAFETY: lowering put a predicate there.
            let holds = unsafe { w.predicate(predicate) } ^ u32::from(negated).wrapping_neg();
            let taken = holds & w.mask;
            if taken == w.mask {
                go(w, program, to)
            } else if taken == 0 {
                go(w, program, other)
            } else {
                let start = |block: u32| match program.blocks.get(block as usize) {
                    Some(entry) => (block, entry.start),
                    None => (block, 0),
                };
                w.diverge(taken, start(to), start(other), start(rejoin));
                Step::Selects
            }
        }
        End::Exit => exit(w, b, w.mask),
        End::ExitIf { predicate, negated, other } => {
            // SAFETY: lowering put a predicate there.
            let holds = unsafe { w.predicate(predicate) } ^ u32::from(negated).wrapping_neg();
            let gone = holds & w.mask;
            if gone == w.mask {
                return exit(w, b, gone);
            }
            if gone != 0 {
                exit(w, b, gone);
            }
            go(w, program, other)
        }
        End::Table { .. } => table(w, b),
        End::Trap => {
            b.fail(w, block.site, w.mask, FaultKind::Trap, "the kernel ended itself by trap".into(), None);
            Step::Fault
        }
    }
}

#[inline(always)]
fn go(w: &mut Warp, program: &super::Program, to: u32) -> Step {
    if to == w.rejoin {
        w.arrive();
        return Step::Selects;
    }
    w.block = to;
    w.at = program.blocks[to as usize].start;
    Step::Goes
}

fn exit(w: &mut Warp, b: &mut Block<'_>, lanes: u32) -> Step {
    let all = lanes == w.mask;
    w.exit(lanes);
    b.exited(lanes.count_ones());
    if w.live == 0 && !w.bulk.is_empty() {
        super::bulk::finish_all(w, b);
    }
    if all { Step::Selects } else { Step::Goes }
}

/// `brx.idx`: lanes with the first lane's target go there; the others stay at the table for another round.
fn table(w: &mut Warp, b: &mut Block<'_>) -> Step {
    let program = b.program;
    let block = &program.blocks[w.block as usize];
    let End::Table { index, targets, rejoin } = &block.end else { return Step::Fault };
    // SAFETY: lowering put a slot of 32 bits there.
    let indexes = unsafe { w.lanes::<u32>(*index) };
    let first = indexes[w.first()];
    let Some(&target) = targets.get(first as usize) else {
        let what = format!("brx.idx: index {first} in a list of {} targets", targets.len());
        b.fail(w, block.site, 1 << w.first(), FaultKind::IllegalInstruction, what, None);
        return Step::Fault;
    };
    let same = (0..32).filter(|&lane| indexes[lane] == first).fold(0, |mask, lane| mask | 1 << lane) & w.mask;
    if same == w.mask {
        return go(w, program, target);
    }
    let start = |block: u32| (block, program.blocks.get(block as usize).map_or(0, |entry| entry.start));
    // The others run the end of this block anew: it has no instructions left.
    w.diverge(same, start(target), (w.block, block.stop), start(*rejoin));
    Step::Selects
}

/// An instruction under a predicate: `imm` is its index in the program's list, `a` the predicate, bit 0 of `bytes` negates it.
pub(crate) struct Guarded;

impl Handler for Guarded {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let inner = &b.program.guarded[i.imm as usize];
        // SAFETY: lowering put a predicate there, and laid out the instruction's operands.
        unsafe {
            let holds = w.predicate(i.a) ^ (i.bytes & 1).wrapping_neg();
            let mask = w.mask;
            w.mask = mask & holds;
            let flow = match w.mask {
                0 => Flow::Go,
                FULL => (inner.run.whole)(inner, w, b),
                _ => (inner.run.partial)(inner, w, b),
            };
            w.mask = mask;
            flow
        }
    }
}

/// The operation of `bar` and `barrier.cta`, in `bytes`.
pub(crate) mod bar {
    pub(crate) const SYNC: u32 = 0;
    pub(crate) const ARRIVE: u32 = 1;
    pub(crate) const POPC: u32 = 2;
    pub(crate) const AND: u32 = 3;
    pub(crate) const OR: u32 = 4;
    /// There is a count of threads.
    pub(crate) const COUNTED: u32 = 8;
    /// The predicate is negated.
    pub(crate) const NEGATED: u32 = 16;
    /// `.aligned`
    pub(crate) const ALIGNED: u32 = 32;
}

/// `bar`: `a` the barrier's number, `b` how many threads, `c` the predicate.
pub(crate) struct Bar;

impl Handler for Bar {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { barrier(i, w, b) }
    }
}

/// # Safety
/// The instruction is one that lowering made for [`Bar`].
unsafe fn barrier(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let kind = i.bytes & 7;
    // SAFETY: slots of 32 bits and a predicate lie there.
    let (number, threads, holds) = unsafe {
        let number = w.lanes::<u32>(i.a)[w.first()];
        let threads = if i.bytes & bar::COUNTED != 0 { w.lanes::<u32>(i.b)[w.first()] } else { 0 };
        let holds = match kind {
            bar::POPC | bar::AND | bar::OR => w.predicate(i.c) ^ u32::from(i.bytes & bar::NEGATED != 0).wrapping_neg(),
            _ => 0,
        };
        (number, threads, holds)
    };
    let illegal = |what: String, w: &Warp, b: &mut Block<'_>| {
        b.fail(w, i.site, w.mask, FaultKind::IllegalInstruction, what, None);
        Flow::Fault
    };
    if number >= 16 {
        return illegal(format!("barrier {number}: a block has barriers 0 to 15"), w, b);
    }
    if i.bytes & bar::COUNTED != 0 && (threads == 0 || threads % 32 != 0) {
        return illegal(format!("a barrier of {threads} threads: the count must be a multiple of 32"), w, b);
    }
    let at = super::collective::instruction_index(i, b);
    let mut paths = vec![w.current];
    if i.bytes & bar::ALIGNED != 0 && w.mask != w.live {
        // All lanes of the warp come together first.
        let there = w.waiting_at(State::Aligned, w.block, at);
        if w.live & !w.mask & !there != 0 {
            w.parking = State::Aligned;
            return Flow::Retry;
        }
        paths.extend((0..w.paths.len()).filter(|&path| {
            let entry = &w.paths[path];
            entry.state == State::Aligned && entry.block == w.block && entry.at == at
        }));
        w.release(State::Aligned, w.block, at);
    }
    let own = w.mask;
    w.mask = paths[1..].iter().fold(own, |mask, &path| mask | w.paths[path].mask);
    let flow = arrive(i, w, b, number, (threads, kind, holds), &paths);
    w.mask = own;
    flow
}

/// Lanes of these paths arrive at a barrier; the first of the paths runs.
fn arrive(
    i: &Decoded,
    w: &mut Warp,
    b: &mut Block<'_>,
    number: u32,
    (threads, kind, holds): (u32, u32, u32),
    paths: &[usize],
) -> Flow {
    let live = b.live;
    let barrier = &mut b.barriers[number as usize];
    if barrier.arrived > 0 && barrier.expected != threads {
        let name = |threads| if threads == 0 { "all".into() } else { format!("{threads}") };
        let what = format!(
            "barrier {number} waits for {} threads, and is used here for {}",
            name(barrier.expected),
            name(threads)
        );
        b.fail(w, i.site, w.mask, FaultKind::IllegalInstruction, what, None);
        return Flow::Fault;
    }
    // A count of threads counts whole warps: lanes that the block does not have are among them.
    let arriving = if threads != 0 && w.mask == w.live { 32 } else { w.mask.count_ones() };
    barrier.expected = threads;
    barrier.arrived += arriving;
    barrier.site = Some(RawSite { site: i.site, block: b.id, warp: w.index, lanes: w.mask });
    barrier.holds += (holds & w.mask).count_ones();
    barrier.voters += w.mask.count_ones();
    let full = barrier.arrived >= if threads == 0 { live } else { threads };
    let result = match kind {
        bar::POPC => BarrierResult::Count(i.r[0]),
        bar::AND => BarrierResult::All(i.r[0]),
        bar::OR => BarrierResult::Any(i.r[0]),
        _ => BarrierResult::None,
    };
    if let Some(checker) = &mut b.checker {
        checker.tell(w.index as usize, number as usize);
    }
    if full && threads == 0 {
        b.check_all_there(number as usize);
    }
    let barrier = &mut b.barriers[number as usize];
    if full {
        if kind != bar::ARRIVE {
            barrier.last = 1 << w.index;
        }
        let (holds, voters) = (barrier.holds, barrier.voters);
        b.complete(number as usize);
        barrier_result(w, result, holds, voters);
        return Flow::Go;
    }
    if kind == bar::ARRIVE {
        return Flow::Go;
    }
    for &path in paths {
        barrier.waiting.push((w.index, path, result));
        if path != w.current {
            w.paths[path].state = State::Barrier(number as u8);
        }
    }
    w.parking = State::Barrier(number as u8);
    Flow::Park
}

/// Gives the active lanes what a barrier with a reduction found.
pub(crate) fn barrier_result(w: &mut Warp, result: BarrierResult, holds: u32, voters: u32) {
    // SAFETY: lowering put a register or a predicate there, as the result's kind says.
    unsafe {
        match result {
            BarrierResult::None => {}
            BarrierResult::Count(d) => w.set_lanes::<u32, false>(d, &[holds; 32]),
            BarrierResult::All(d) => w.set_predicate(d, u32::from(holds == voters).wrapping_neg()),
            BarrierResult::Any(d) => w.set_predicate(d, u32::from(holds > 0).wrapping_neg()),
        }
    }
}

/// `nanosleep`, and where a warp gives way.
pub(crate) struct Nanosleep;

impl Handler for Nanosleep {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, _: &mut Warp, _: &mut Block<'_>) -> Flow {
        Flow::Yield
    }
}

/// An instruction without effect here.
pub(crate) struct Nothing;

impl Handler for Nothing {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, _: &mut Warp, _: &mut Block<'_>) -> Flow {
        Flow::Go
    }
}

/// A fence: other threads of the host see what was written before.
pub(crate) struct Fence;

impl Handler for Fence {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        if let Some(checker) = &mut b.checker {
            checker.acquire();
            checker.fence(w.index as usize);
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        Flow::Go
    }
}

/// `fence.proxy.async` of shared memory. Here all proxies see the same memory: only the checks are told.
pub(crate) struct ProxyFence;

impl Handler for ProxyFence {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        if let Some(checker) = &mut b.checker {
            checker.proxy_fence(w.index as usize, w.mask, w.live);
        }
        Flow::Go
    }
}

/// `%clock64` and `%globaltimer`: how often this warp gave way or asked. No time: nothing here takes the time that a GPU takes.
pub(crate) struct Ticks64;
/// `%clock`
pub(crate) struct Ticks32;

impl Handler for Ticks64 {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        w.ticks += 1;
        // SAFETY: lowering put a slot of 64 bits there.
        unsafe { w.set_lanes::<u64, WHOLE>(i.r[0], &[w.ticks; 32]) };
        Flow::Go
    }
}

impl Handler for Ticks32 {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        w.ticks += 1;
        // SAFETY: lowering put a slot of 32 bits there.
        unsafe { w.set_lanes::<u32, WHOLE>(i.r[0], &[w.ticks as u32; 32]) };
        Flow::Go
    }
}
