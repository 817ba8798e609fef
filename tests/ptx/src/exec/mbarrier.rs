//! mbarriers (§9.7.14.15): each active lane carries out its own operation.

use super::anywhere::{Refused, any};
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::machine::{AsyncCopies, FaultKind};
use crate::tensor::mbarrier::{self, Mbarrier, MbarrierError};

/// An operation. Of [`Decoded`]: `a` is the address, `imm` its offset, `b` and `c` are operands, `r[0]` the result, `bytes` as
/// [`any`] says, `n` the index into [`super::Program::mbarriers`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum MbarrierOp {
    /// `b`: the count.
    Init,
    Inval,
    /// `b`: bytes.
    ExpectTx,
    CompleteTx,
    /// `b`: the count, `c`: bytes.
    Arrive {
        result: bool,
        expect: bool,
        drop: bool,
        no_complete: bool,
    },
    /// `b`: a state of 64 bits, or a parity. `r[0]` is a predicate.
    Wait {
        parity: bool,
    },
    /// `cp.async.mbarrier.arrive`.
    CopiesArrive {
        no_increment: bool,
    },
}

/// Runs a [`MbarrierOp`].
pub(crate) struct RunMbarrier;

impl Handler for RunMbarrier {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { run(i, w, b) }
    }
}

/// Reads an mbarrier, changes it, and writes it back.
///
/// # Safety
/// Eight bytes of shared memory lie there; one thread of the host runs all blocks that reach them.
pub(crate) unsafe fn update<T>(
    at: *mut u8,
    change: impl FnOnce(&mut Mbarrier) -> Result<T, MbarrierError>,
) -> Result<T, MbarrierError> {
    // SAFETY: the caller says so.
    unsafe {
        let mut object = Mbarrier::from_bits(at.cast::<u64>().read())?;
        let result = change(&mut object)?;
        at.cast::<u64>().write(object.to_bits());
        Ok(result)
    }
}

/// # Safety
/// The instruction is one that lowering made for [`RunMbarrier`].
unsafe fn run(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let operation = b.program.mbarriers[i.n as usize];
    // SAFETY: lowering put slots there.
    let at = unsafe { super::anywhere::addresses(i, w) };
    if let MbarrierOp::Wait { parity } = operation {
        // SAFETY: as above.
        return unsafe { wait(i, w, b, &at, parity) };
    }
    let mut results = [0u64; LANES];
    let mask = w.mask;
    for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
        let pointer = match object(i, w, b, lane, at[lane]) {
            Some(pointer) => pointer,
            None => return Flow::Fault,
        };
        // SAFETY: lowering put slots of 32 bits there; the pointer is an mbarrier's.
        let result = unsafe {
            let (x, y) = (w.slot::<u32>(i.b).add(lane).read(), w.slot::<u32>(i.c).add(lane).read());
            match operation {
                MbarrierOp::Init => Mbarrier::init(x).map(|object| {
                    pointer.cast::<u64>().write(object.to_bits());
                    0
                }),
                MbarrierOp::Inval => {
                    pointer.cast::<u64>().write(mbarrier::INVALID);
                    Ok(0)
                }
                MbarrierOp::ExpectTx => update(pointer, |object| object.expect_tx(x).map(|()| 0)),
                MbarrierOp::CompleteTx => update(pointer, |object| object.complete_tx(x).map(|()| 0)),
                MbarrierOp::Arrive { expect: true, drop, .. } => {
                    update(pointer, |object| object.arrive_expect_tx(y, x, drop))
                }
                MbarrierOp::Arrive { drop: true, no_complete, .. } => {
                    update(pointer, |object| object.arrive_drop(x, no_complete))
                }
                MbarrierOp::Arrive { no_complete, .. } => update(pointer, |object| object.arrive(x, no_complete)),
                MbarrierOp::CopiesArrive { no_increment } => copies_arrive(w, b, lane, pointer, no_increment),
                MbarrierOp::Wait { .. } => Ok(0),
            }
        };
        match result {
            Ok(value) => results[lane] = value,
            Err(error) => {
                b.fail(w, i.site, 1 << lane, FaultKind::IllegalInstruction, error.to_string(), Some(at[lane]));
                return Flow::Fault;
            }
        }
        if let (MbarrierOp::Arrive { .. } | MbarrierOp::CopiesArrive { .. }, Some(checker)) =
            (operation, &mut b.checker)
        {
            checker.tell_mbarrier(w.index as usize, at[lane]);
        }
    }
    b.events += 1;
    if let MbarrierOp::Arrive { result: true, .. } = operation {
        // SAFETY: lowering put a slot of 64 bits there.
        unsafe { w.set_lanes::<u64, false>(i.r[0], &results) };
    }
    Flow::Go
}

/// The place of a lane's mbarrier. `None`: the fault is written down.
fn object(i: &Decoded, w: &Warp, b: &mut Block<'_>, lane: usize, address: u64) -> Option<*mut u8> {
    match b.pointer(w, lane, any::space(i.bytes), address, 8, 8) {
        Ok(pointer) => Some(pointer),
        Err(Refused { kind, what }) => {
            b.fail(w, i.site, 1 << lane, kind, what, Some(address));
            None
        }
    }
}

/// The copies that a lane has asked for arrive at an mbarrier when they are complete. Here that is at once, but for copies that come
/// late: those are made first.
///
/// # Safety
/// The pointer is an mbarrier's.
unsafe fn copies_arrive(
    w: &mut Warp,
    b: &mut Block<'_>,
    lane: usize,
    at: *mut u8,
    no_increment: bool,
) -> Result<u64, MbarrierError> {
    super::copies::finish(w, b, lane);
    // SAFETY: the caller says so.
    unsafe {
        update(at, |object| {
            if !no_increment {
                object.increment_pending()?;
            }
            object.arrive(1, false)
        })
    }
}

/// # Safety
/// The instruction is one that lowering made for [`RunMbarrier`].
unsafe fn wait(i: &Decoded, w: &mut Warp, b: &mut Block<'_>, at: &[u64; LANES], parity: bool) -> Flow {
    super::bulk::note_made(b);
    // SAFETY: lowering put slots there.
    let mut done = match unsafe { test(i, w, b, at, parity) } {
        Some(done) => done,
        None => return Flow::Fault,
    };
    let late = b.context.options.async_copies == AsyncCopies::Latest;
    if done != w.mask && late && !b.cluster.borrow().under_way.is_empty() {
        // Somebody waits: now what is under way has to come.
        if let Err(what) = super::bulk::make_all(b) {
            b.fail(w, i.site, w.mask, FaultKind::IllegalInstruction, what, None);
            return Flow::Fault;
        }
        // SAFETY: as above.
        done = match unsafe { test(i, w, b, at, parity) } {
            Some(done) => done,
            None => return Flow::Fault,
        };
    }
    // SAFETY: lowering put a predicate there.
    unsafe { w.set_predicate(i.r[0], done) };
    if let Some(checker) = &mut b.checker {
        for lane in (0..LANES).filter(|lane| done >> lane & 1 != 0) {
            checker.learn_mbarrier(w.index as usize, at[lane]);
        }
        if done != 0 {
            checker.together(w.index as usize, done, w.live);
        }
    }
    if done == w.mask { Flow::Go } else { Flow::Yield }
}

/// The active lanes whose phase is complete.
///
/// # Safety
/// As of [`wait`].
unsafe fn test(i: &Decoded, w: &Warp, b: &mut Block<'_>, at: &[u64; LANES], parity: bool) -> Option<u32> {
    let mut done = 0;
    for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 != 0) {
        let pointer = object(i, w, b, lane, at[lane])?;
        // SAFETY: the pointer is an mbarrier's; lowering put slots of the right width there.
        let complete = unsafe {
            let object = Mbarrier::from_bits(pointer.cast::<u64>().read());
            object.and_then(|object| match parity {
                true => object.test_parity(w.slot::<u32>(i.b).add(lane).read()),
                false => object.test(w.slot::<u64>(i.b).add(lane).read()),
            })
        };
        match complete {
            Ok(complete) => done |= u32::from(complete) << lane,
            Err(error) => {
                b.fail(w, i.site, 1 << lane, FaultKind::IllegalInstruction, error.to_string(), Some(at[lane]));
                return None;
            }
        }
    }
    Some(done)
}

/// `mbarrier.pending_count`
pub(crate) struct PendingCount;

impl Handler for PendingCount {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        // SAFETY: lowering put slots of 64 and 32 bits there.
        unsafe { super::lanes::map1::<u64, u32, WHOLE>(w, i, mbarrier::pending_count) };
        Flow::Go
    }
}
