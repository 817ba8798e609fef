//! `cp.async` (§9.7.9.25.3): copies that a thread asks for, closes into groups, and waits for.
//!
//! A copy is carried out when it is asked for or when it is waited for, as the options say; both are legal, and a kernel that
//! touches its target before the wait gives different results. What is read is read where the copy is carried out.

use super::anywhere::{Refused, lanes_where};
use super::checks::access::global;
use super::checks::shared::Access;
use super::counts::count_access;
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::machine::{AsyncCopies, FaultKind};
use crate::tensor::copies::{Cache, cp_async};
use crate::text::ast::Space;

/// `cp.async` as lowering found it. Of [`Decoded`]: `a` is the target's address, `b` the source's, `c` how many bytes are read,
/// `r[1]` the predicate of `ignore-src`, `imm` the index of this, `r[0]` and `bytes` are unused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CopyOp {
    pub(crate) bytes: u32,
    /// The target's address has 64 bits.
    pub(crate) wide: bool,
    /// Offsets of target and source.
    pub(crate) offsets: [u64; 2],
    /// There is a count of bytes to read.
    pub(crate) partial: bool,
    /// There is a predicate, perhaps negated.
    pub(crate) ignore: Option<bool>,
}

/// Copies of the lanes of a warp that were asked for by one instruction.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    /// Lanes that have not waited for theirs.
    pub(crate) lanes: u32,
    pub(crate) bytes: u32,
    /// Offsets in shared memory.
    pub(crate) targets: [u32; LANES],
    sources: [*const u8; LANES],
    addresses: [u64; LANES],
    /// Bytes that are read; the rest is zero.
    reads: [u8; LANES],
    /// The group of each lane, by the number of those that it closed before.
    groups: [u32; LANES],
    pub(crate) site: u32,
}

impl Copy {
    /// Copies for some lanes.
    fn carry_out(&self, lanes: u32, shared: *mut u8) {
        for lane in (0..LANES).filter(|lane| lanes >> lane & 1 != 0) {
            let reads = usize::from(self.reads[lane]);
            let mut raw = [0u8; 16];
            // SAFETY: both ends were found to hold that many bytes when the copy was asked for; allocations live longer than a
            // launch, and shared memory as long as its block.
            unsafe {
                self.sources[lane].copy_to_nonoverlapping(raw.as_mut_ptr(), reads);
                let target = shared.add(self.targets[lane] as usize);
                target.copy_from_nonoverlapping(raw.as_ptr(), self.bytes as usize);
            }
        }
    }
}

/// `cp.async`
pub(crate) struct CpAsync;

impl Handler for CpAsync {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { begin(i, w, b) }
    }
}

/// # Safety
/// The instruction is one that lowering made for [`CpAsync`].
unsafe fn begin(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let op = b.program.copies[i.imm as usize];
    // SAFETY: lowering put slots there as the operation says.
    let (targets, sources, counts, ignore) = unsafe {
        let targets = if op.wide { w.lanes::<u64>(i.a) } else { w.lanes::<u32>(i.a).map(u64::from) };
        let counts = if op.partial { w.lanes::<u32>(i.c) } else { [op.bytes; LANES] };
        let ignore = op.ignore.map_or(0, |negated| w.predicate(i.r[1]) ^ u32::from(negated).wrapping_neg());
        (targets, w.lanes::<u64>(i.b), counts, ignore)
    };
    let mut copy = Copy {
        lanes: w.mask,
        bytes: op.bytes,
        targets: [0; LANES],
        sources: [std::ptr::null(); LANES],
        addresses: sources.map(|source| source.wrapping_add(op.offsets[1])),
        reads: [0; LANES],
        groups: w.groups,
        site: i.site,
    };
    let cache = if op.bytes == 16 { Cache::Global } else { Cache::All };
    for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 != 0) {
        let (target, source) = (targets[lane].wrapping_add(op.offsets[0]), sources[lane].wrapping_add(op.offsets[1]));
        let one = 1 << lane;
        let reads = match cp_async(cache, target, source, op.bytes, Some(counts[lane]), ignore >> lane & 1 != 0) {
            Ok(reads) => reads,
            Err(error) => {
                let misaligned = target % u64::from(op.bytes) != 0 || source % u64::from(op.bytes) != 0;
                let kind = if misaligned { FaultKind::MisalignedAddress } else { FaultKind::IllegalInstruction };
                let address = if target % u64::from(op.bytes) != 0 { target } else { source };
                b.fail(w, i.site, one, kind, error.to_string(), Some(address));
                return Flow::Fault;
            }
        };
        copy.targets[lane] = target as u32;
        copy.reads[lane] = reads as u8;
        let bytes = u64::from(op.bytes);
        if let Err(Refused { kind, what }) = b.pointer(w, lane, Space::Shared, target, bytes, 1) {
            b.fail(w, i.site, one, kind, what, Some(target));
            return Flow::Fault;
        }
        if reads > 0 {
            match b.pointer(w, lane, Space::Global, source, u64::from(reads), 1) {
                Ok(pointer) => copy.sources[lane] = pointer,
                Err(Refused { kind, what }) => {
                    let refused = |other: usize| {
                        let at = sources[other].wrapping_add(op.offsets[1]);
                        let reads = u64::from(counts[other].max(1));
                        b.pointer(w, other, Space::Global, at, reads, 1).is_err()
                    };
                    let lanes = lanes_where(w.mask, refused);
                    b.fail(w, i.site, lanes, kind, what, Some(source));
                    return Flow::Fault;
                }
            }
        } else {
            copy.sources[lane] = b.shared_base;
        }
    }
    if b.context.options.async_copies == AsyncCopies::Earliest {
        copy.carry_out(copy.lanes, b.shared_base);
    }
    if b.program.counts {
        count_access(b, i.site, Space::Shared, copy.lanes, &copy.targets.map(u64::from), op.bytes);
        let reading = lanes_where(copy.lanes, |lane| copy.reads[lane] > 0);
        count_access(b, i.site, Space::Global, reading, &copy.addresses, op.bytes);
    }
    note(&copy, copy.lanes, w, b, true);
    w.copies.push(copy);
    Flow::Go
}

/// Tells the checks that copies begin or have been waited for.
fn note(copy: &Copy, lanes: u32, w: &Warp, b: &mut Block<'_>, begins: bool) {
    let Some(checker) = &mut b.checker else { return };
    if lanes == 0 {
        return;
    }
    let access = Access {
        block: b.id,
        warp: w.index,
        lanes,
        at: &copy.targets.map(u64::from),
        bytes: copy.bytes,
        site: copy.site,
        writes: true,
        reads: false,
        strong: false,
        same_values: &|_, _| false,
    };
    if begins {
        checker.shared_pending(&access);
        let reading = lanes_where(lanes, |lane| copy.reads[lane] > 0);
        let at = copy.addresses;
        let mut taken = b.checker.take();
        for bytes in [4, 8, 16] {
            let lanes = lanes_where(reading, |lane| u32::from(copy.reads[lane]) == bytes);
            if let (Some(checker), true) = (&mut taken, lanes != 0) {
                global(&Access { lanes, at: &at, bytes, writes: false, reads: true, ..access }, checker, b);
            }
        }
        b.checker = taken;
    } else {
        checker.shared_arrived(&access);
    }
}

/// `cp.async.commit_group`
pub(crate) struct Commit;

impl Handler for Commit {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        for lane in 0..LANES {
            w.groups[lane] += w.mask >> lane & 1;
        }
        Flow::Go
    }
}

/// `cp.async.wait_group` of `n` groups.
pub(crate) struct WaitGroup;
/// `cp.async.wait_all`
pub(crate) struct WaitAll;

impl Handler for WaitGroup {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        wait(w, b, i.n);
        Flow::Go
    }
}

impl Handler for WaitAll {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        for lane in 0..LANES {
            w.groups[lane] += w.mask >> lane & 1;
        }
        wait(w, b, 0);
        Flow::Go
    }
}

/// Carries out what must have been when at most `n` groups of each active lane are under way.
fn wait(w: &mut Warp, b: &mut Block<'_>, n: u32) {
    let late = b.context.options.async_copies == AsyncCopies::Latest;
    let mut copies = std::mem::take(&mut w.copies);
    for copy in &mut copies {
        let done = lanes_where(copy.lanes & w.mask, |lane| {
            u64::from(copy.groups[lane]) + u64::from(n) < u64::from(w.groups[lane])
        });
        if late {
            copy.carry_out(done, b.shared_base);
        }
        note(copy, done, w, b, false);
        copy.lanes &= !done;
    }
    copies.retain(|copy| copy.lanes != 0);
    w.copies = copies;
}

/// Makes all copies of a lane: they have to be complete.
pub(crate) fn finish(w: &mut Warp, b: &mut Block<'_>, lane: usize) {
    let late = b.context.options.async_copies == AsyncCopies::Latest;
    let mut copies = std::mem::take(&mut w.copies);
    for copy in &mut copies {
        let done = copy.lanes & 1 << lane;
        if late {
            copy.carry_out(done, b.shared_base);
        }
        note(copy, done, w, b, false);
        copy.lanes &= !done;
    }
    copies.retain(|copy| copy.lanes != 0);
    w.copies = copies;
}
