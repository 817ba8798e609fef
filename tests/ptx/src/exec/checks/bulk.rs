//! The information from bulk copies for the checks: the time in which they read and write, and the bytes.
//!
//! A copy reads and writes at any time from the instruction that asks for it to what waits for it. So what it touches is looked at
//! twice, as an access by its thread at either end; in between, bytes that it writes count as pending, and bytes of shared memory that
//! it reads must not be written.

use super::super::bulk::Transfer;
use super::super::{Block, LANES};
use super::access::global;
use super::shared::Access;
use super::{Checker, PENDING, Who};
use crate::memory::Memory;
use crate::text::ast::BulkDirection;

/// Most bytes of an access, and what its pieces' addresses are multiples of: pages are multiples of it.
const PIECE: u64 = 512;

/// Shared memory that a bulk copy reads until it was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    start: u32,
    end: u32,
    who: Who,
}

/// A range in pieces that each lie in one page.
fn pieces(start: u64, bytes: u64) -> impl Iterator<Item = (u64, u32)> {
    let end = start + bytes;
    let mut at = start;
    std::iter::from_fn(move || {
        let next = ((at / PIECE + 1) * PIECE).min(end);
        let piece = (at < end).then_some((at, (next.max(at) - at) as u32));
        at = next;
        piece
    })
}

/// Accesses by a copy's thread, one for each piece of the ranges.
fn each_access(
    transfer: &Transfer,
    block: [u32; 3],
    writes: bool,
    ranges: impl Iterator<Item = (u64, u64)>,
    run: &mut dyn FnMut(&Access<'_>),
) {
    for (start, bytes) in ranges {
        for (at, bytes) in pieces(start, bytes) {
            run(&Access {
                block,
                warp: transfer.warp,
                lanes: 1 << transfer.lane,
                at: &[at; LANES],
                bytes,
                site: transfer.site,
                writes,
                reads: !writes,
                strong: false,
                same_values: &|_, _| true,
            });
        }
    }
}

fn wide(ranges: &[(u32, u32)]) -> impl Iterator<Item = (u64, u64)> + '_ {
    ranges.iter().map(|&(start, bytes)| (u64::from(start), u64::from(bytes)))
}

/// The whole pieces of the shadow in a range: others may have the rest of a piece.
fn whole((start, bytes): (u64, u64), granule: u32) -> (u64, u64) {
    let (first, end) = (start.next_multiple_of(1 << granule), (start + bytes) >> granule << granule);
    (first, end.saturating_sub(first))
}

impl Transfer {
    fn stores(&self) -> bool {
        self.direction == BulkDirection::SharedToGlobal
    }

    fn readings(&self) -> impl Iterator<Item = Reading> + '_ {
        let who = Who::new(self.warp * 32 + self.lane, self.site, false);
        self.read.iter().map(move |&(start, bytes)| Reading { start, end: start + bytes, who })
    }

    /// The copy was asked for.
    pub(crate) fn asked(&self, b: &mut Block<'_>) {
        let Some(mut checker) = b.checker.take() else { return };
        each_access(self, b.id, false, wide(&self.read), &mut |access| {
            checker.shared_access(access);
            checker.by_async_proxy(access, 1, "a bulk copy");
        });
        if self.stores() {
            checker.reading.extend(self.readings());
        }
        each_access(self, b.id, true, wide(&self.written), &mut |access| checker.shared_pending(access));
        self.global_side(&mut checker, b, true);
        b.checker = Some(checker);
    }

    /// Notes that its reads of shared memory were waited for: these bytes may be written.
    pub(crate) fn sources_done(&self, b: &mut Block<'_>) {
        let Some(checker) = &mut b.checker else { return };
        for reading in self.readings() {
            if let Some(at) = checker.reading.iter().position(|found| *found == reading) {
                checker.reading.swap_remove(at);
            }
        }
        each_access(self, b.id, false, wide(&self.read), &mut |access| checker.shared_access(access));
    }

    /// The copy was waited for.
    pub(crate) fn done(&self, b: &mut Block<'_>) {
        if self.stores() {
            mark_written(&self.global, b.memory);
        }
        let Some(mut checker) = b.checker.take() else { return };
        each_access(self, b.id, true, wide(&self.written), &mut |access| checker.shared_arrived(access));
        self.global_side(&mut checker, b, false);
        if let Some(mbarrier) = self.mbarrier {
            checker.tell_mbarrier(self.warp as usize, mbarrier);
        }
        b.checker = Some(checker);
    }

    fn global_side(&self, checker: &mut Checker, b: &Block<'_>, begins: bool) {
        if !self.stores() {
            let ranges = self.global.iter().copied();
            return each_access(self, b.id, false, ranges, &mut |access| global(access, checker, b));
        }
        if !checker.checks.global_races {
            return;
        }
        let shadow = b.context.shadow;
        checker.acquire();
        let ranges = self.global.iter().map(|&range| whole(range, checker.global_granule));
        let ranges: Vec<(u64, u64)> = ranges.collect();
        each_access(self, b.id, true, ranges.into_iter(), &mut |access| match begins {
            true => checker.global_pending(access, shadow),
            false => checker.global_arrived(access, shadow),
        });
    }
}

fn mark_written(ranges: &[(u64, u64)], memory: &Memory) {
    ranges.iter().for_each(|&(start, bytes)| memory.mark_written(start, bytes));
}

impl Checker {
    /// A write of shared memory while bulk copies read.
    #[cold]
    #[inline(never)]
    pub(super) fn overwrites(&mut self, access: &Access<'_>) {
        if !self.checks.protocols {
            return;
        }
        for reading in &self.reading {
            let hits = |lane: usize| {
                access.at[lane] < u64::from(reading.end)
                    && u64::from(reading.start) < access.at[lane] + u64::from(access.bytes)
            };
            let lanes = super::super::anywhere::lanes_where(access.lanes, hits);
            if lanes != 0 {
                let address = access.at[lanes.trailing_zeros() as usize].max(u64::from(reading.start));
                let sites = vec![access.here(lanes), access.there(reading.who)];
                self.findings.add("source of a bulk copy", sites, Some(address), || {
                    "a write to shared memory that a bulk copy may still be reading: it was not waited for".into()
                });
            }
        }
    }

    /// Whether an access of global memory meets a bulk copy that its own block has not waited for; reports it.
    pub(super) fn meets_pending(&mut self, access: &Access<'_>, lanes: u32, writer: Who, epoch: u32, at: u64) -> bool {
        if epoch != PENDING {
            return false;
        }
        if self.checks.protocols {
            let sites = vec![access.here(lanes), access.there(writer)];
            let does = if access.writes { "a write to" } else { "a read of" };
            self.findings.add("bulk store not waited for", sites, Some(at), || {
                format!("{does} global memory that an asynchronous copy may still be writing: it was not waited for")
            });
        }
        true
    }
}
