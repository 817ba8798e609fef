//! The code that runs before an access that is checked.

use super::super::anywhere::{SHARED_WINDOW, any, lanes_where, space_of};
use super::super::block::RawSite;
use super::super::lanes::{Cell, lanes_that};
use super::super::{Block, Decoded, Flow, Handler, LANES, Warp};
use super::Checker;
use super::shared::Access;
use crate::text::ast::Space;

/// Checks the access that follows. It is the access's own [`Decoded`] with this handler; what is outside or misaligned is left to the
/// access itself.
pub(crate) struct CheckAccess;

impl Handler for CheckAccess {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { check(i, w, b) };
        Flow::Go
    }
}

/// # Safety
/// The instruction is an access's, with its element's size in the low byte of `bytes`.
#[inline(always)]
unsafe fn check(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) {
    let Some(mut checker) = b.checker.take() else { return };
    let rows = i.bytes & any::ROWS != 0;
    let bytes = if rows { 16 } else { (i.bytes & 0xFF) * i.n.max(1) };
    let mut lanes = w.mask;
    if rows {
        lanes &= (1u64 << (8 * i.n)).wrapping_sub(1) as u32;
    }
    // SAFETY: the caller says so.
    let (at, highest, bits) = unsafe {
        if i.bytes & any::ADDRESS64 != 0 {
            let source = w.slot::<u64>(i.a);
            gather(|lane| source.add(lane).read().wrapping_add(i.imm), w.first(), lanes)
        } else {
            let source = w.slot::<u32>(i.a);
            gather(|lane| u64::from(source.add(lane).read().wrapping_add(i.imm as u32)), w.first(), lanes)
        }
    };
    // From here on they are read from memory, as vectors: without this the compiler takes them apart lane by lane.
    let at = &std::hint::black_box(&at).0;
    let aligned = match bits & (u64::from(bytes) - 1) {
        0 => lanes,
        _ => lanes_where(lanes, |lane| at[lane] % u64::from(bytes) == 0),
    };
    let wide = i.bytes & any::WIDE != 0;
    let same_values = |one: usize, other: usize| {
        i.r.iter().take(i.n.max(1) as usize).all(|&word| {
            // SAFETY: the registers of a store are slots of this width.
            unsafe {
                if wide {
                    w.slot::<u64>(word).add(one).read() == w.slot::<u64>(word).add(other).read()
                } else {
                    w.slot::<u32>(word).add(one).read() == w.slot::<u32>(word).add(other).read()
                }
            }
        })
    };
    let access = Access {
        block: b.id,
        warp: w.index,
        lanes: aligned,
        at,
        bytes,
        site: i.site,
        writes: i.bytes & any::WRITES != 0,
        reads: i.bytes & (any::WRITES | any::READS) != any::WRITES,
        strong: i.bytes & any::STRONG != 0,
        same_values: &same_values,
    };
    let size = u64::from(b.shared_bytes);
    match any::space(i.bytes) {
        Space::Shared => {
            let inside = match highest.saturating_add(u64::from(bytes)) <= size {
                true => access.lanes,
                false => lanes_where(access.lanes, |lane| at[lane].saturating_add(u64::from(bytes)) <= size),
            };
            checker.shared_access(&Access { lanes: inside, ..access });
        }
        Space::Generic => {
            let inside = |lane: usize| {
                let (space, base) = space_of(at[lane]);
                let offset = at[lane] - base;
                space == Space::SharedCluster && base == SHARED_WINDOW && offset + u64::from(bytes) <= size
            };
            let shared = lanes_where(access.lanes, inside);
            if shared != 0 {
                let offsets: [u64; LANES] = at.map(|address| address.wrapping_sub(SHARED_WINDOW));
                checker.shared_access(&Access { lanes: shared, at: &offsets, ..access });
            }
            let lanes = lanes_where(access.lanes, |lane| space_of(at[lane]).0 == Space::Global);
            if lanes != 0 {
                global(&Access { lanes, ..access }, &mut checker, b);
            }
        }
        Space::SharedCluster => {
            // Those of other blocks are not checked.
            let own = |lane: usize| {
                let (rank, offset) = b.rank_and_offset(at[lane]);
                rank == b.rank as usize && u64::from(offset) + u64::from(bytes) <= size
            };
            let offsets: [u64; LANES] = std::array::from_fn(|lane| u64::from(b.rank_and_offset(at[lane]).1));
            let own = lanes_where(access.lanes, own);
            checker.shared_access(&Access { lanes: own, at: &offsets, ..access });
        }
        Space::Global => global(&access, &mut checker, b),
        Space::Local if checker.checks.unwritten => local(&access, &mut checker, b),
        _ => {}
    }
    b.checker = Some(checker);
}

/// The addresses of all lanes, as whole lines of the processor's cache.
#[repr(align(64))]
struct At([u64; LANES]);

/// The addresses of all lanes; of the active ones the highest, and all bits that are set in any.
#[inline(always)]
fn gather(address: impl Fn(usize) -> u64, first: usize, lanes: u32) -> (At, u64, u64) {
    let mut at = At([0; LANES]);
    let first = address(first);
    let (mut highest, mut bits) = (0, 0);
    for lane in 0..LANES {
        let own = address(lane);
        at.0[lane] = own;
        // Inactive lanes have an active one's address here.
        let active = own.blend(first, lanes >> lane);
        highest = highest.max(active);
        bits |= active;
    }
    (at, highest, bits)
}

/// Checks an access of global memory.
#[inline(always)]
pub(crate) fn global(access: &Access<'_>, checker: &mut Checker, b: &Block<'_>) {
    let (mut low, mut high) = (u64::MAX, 0);
    if access.lanes == 0 {
        return;
    }
    let first = access.at[access.lanes.trailing_zeros() as usize & 31];
    for lane in 0..LANES {
        let address = access.at[lane].blend(first, access.lanes >> lane);
        low = low.min(address);
        high = high.max(address);
    }
    let bytes = u64::from(access.bytes);
    let span = (high - low).saturating_add(bytes);
    let lanes = match b.memory.resolve(low, span) {
        Ok(_) => access.lanes,
        Err(_) => lanes_where(access.lanes, |lane| b.memory.resolve(access.at[lane], bytes).is_ok()),
    };
    if lanes == 0 {
        return;
    }
    let access = Access { lanes, ..*access };
    if checker.checks.global_races {
        checker.acquire();
        if access.strong {
            checker.synchronise(&access);
        }
        checker.global_access(&access, b.context.shadow);
    }
    if checker.checks.unwritten {
        written(&access, (low, span), checker, b);
    }
}

/// Notes what is written, and reports reads of what nothing wrote.
fn written(access: &Access<'_>, (low, span): (u64, u64), checker: &mut Checker, b: &Block<'_>) {
    let bytes = u64::from(access.bytes);
    // Mostly all of it was written long ago.
    if span <= 2048 && b.memory.all_written(low, span) {
        return;
    }
    // Lanes that lie side by side are one range.
    let dense = span == bytes * u64::from(access.lanes.count_ones());
    if !access.reads {
        if dense && (0..LANES - 1).all(|lane| access.at[lane + 1] == access.at[lane] + bytes) {
            b.memory.mark_written(low, span);
        } else {
            let lanes = (0..LANES).filter(|lane| access.lanes >> lane & 1 != 0);
            lanes.for_each(|lane| b.memory.mark_written(access.at[lane], bytes));
        }
        return;
    }
    let lanes = lanes_where(access.lanes, |lane| !b.memory.all_written(access.at[lane], bytes));
    if lanes != 0 {
        let lane = lanes.trailing_zeros() as usize;
        let address = b.memory.first_unwritten(access.at[lane], bytes);
        let site = RawSite { site: access.site, block: access.block, warp: access.warp, lanes };
        checker.findings.add("unwritten global", vec![site], address, || {
            "a read of global memory that nothing has written since it was allocated".into()
        });
    }
    if access.writes {
        (0..LANES)
            .filter(|lane| access.lanes >> lane & 1 != 0)
            .for_each(|lane| b.memory.mark_written(access.at[lane], bytes));
    }
}

/// Notes what is written of local memory, and reports reads of what the thread has not written.
#[inline(never)]
fn local(access: &Access<'_>, checker: &mut Checker, b: &Block<'_>) {
    let written = &mut checker.local[access.warp as usize];
    written.resize(b.program.local as usize, 0);
    let mut missing = 0u32;
    let mut rest = access.lanes;
    while rest != 0 {
        // Mostly all lanes have one address.
        let start = access.at[rest.trailing_zeros() as usize & 31];
        let same = lanes_that(|lane| access.at[lane] == start) & rest;
        rest &= !same;
        let range = start as usize..(start as usize).saturating_add(access.bytes as usize);
        for lanes in written.get_mut(range).unwrap_or_default() {
            missing |= if access.writes { 0 } else { same & !*lanes };
            *lanes |= if access.writes { same } else { 0 };
        }
    }
    if missing != 0 {
        let lane = missing.trailing_zeros() as usize;
        let site = RawSite { site: access.site, block: access.block, warp: access.warp, lanes: missing };
        checker.findings.add("unwritten local", vec![site], Some(access.at[lane]), || {
            "a read of local memory that the thread has not written".into()
        });
    }
}
