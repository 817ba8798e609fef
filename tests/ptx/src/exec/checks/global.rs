//! Shadow memory of global memory: who wrote and read each piece last, within one launch.
//!
//! Blocks run at the same time, so the shadow is shared: pages of it are guarded by locks. Accesses of different blocks are never
//! ordered, but where one block released (a fence, then an atomic or another strong write) and the other acquired (an atomic or a
//! strong read of the same address).

use super::super::anywhere::lanes_where;
use super::super::block::RawSite;
use super::super::lanes::lanes_that;
use super::groups::GROUP;
pub(crate) use super::pages::GlobalShadow;
use super::pages::{Cells, Head, Last, PAGE, Slot, lock};
use super::pattern::Pattern;
use super::shapes::{Found, Touched};
use super::shared::Access;
use super::{Checker, PENDING, Who};

impl Checker {
    /// An access of global memory that is inside of allocations and aligned.
    #[inline(always)]
    pub(crate) fn global_access(&mut self, access: &Access<'_>, shadow: &GlobalShadow) {
        let (Some(mut shapes), Some(mut near)) = (self.shapes.take(), self.near.take()) else { return };
        let mut rest = access.lanes;
        while rest != 0 {
            let page = access.at[rest.trailing_zeros() as usize & 31] / PAGE;
            let here = in_page(access, page, rest);
            rest &= !here;
            let part = Access { lanes: here, ..*access };
            let found = shapes.find(&part, page * PAGE, self.global_granule);
            let slot = near.slot(page, shadow);
            let settled = || {
                let missing =
                    |all, (group, touched): (usize, &Touched)| all | slot.settled.missing(group, touched.pieces());
                slot.settled.is_of(self.first_tag) && found.iter().fold(0, missing) == 0
            };
            if access.writes || !settled() {
                self.global_page(&part, found, page, slot);
            }
        }
        (self.shapes, self.near) = (Some(shapes), Some(near));
    }

    /// An access of one page.
    #[inline(always)]
    fn global_page(&mut self, access: &Access<'_>, found: Found<'_>, page: u64, slot: &Slot) {
        let mut entry = lock(&slot.page);
        let count = entry.begin(self.global_granule, self.first_tag);
        slot.settled.begin(self.first_tag, count);
        found.iter().for_each(|(group, _)| ask_for(&entry.heads[group]));
        for (group, touched) in found.iter() {
            let pattern = touched.pattern().filter(|_| !entry.is_apart(group));
            let head = &mut entry.heads[group];
            if access.writes {
                slot.settled.remove(group);
                if !pattern.is_some_and(|pattern| self.write_alike(access, head, pattern)) {
                    let there = Access { lanes: touched.lanes.iter().fold(0, |all, lanes| all | lanes), ..*access };
                    self.global_write_by_lanes(&there, entry.apart(group), group, page * PAGE);
                }
                continue;
            }
            let settled = match pattern.and_then(|pattern| self.read_alike(access, head, pattern)) {
                Some(settled) => settled,
                None => {
                    let at = page * PAGE + ((group * GROUP) as u64) * (1 << self.global_granule);
                    self.global_read_group(access, entry.apart(group), at, touched)
                }
            };
            if settled != 0 {
                slot.settled.add(group, settled);
            }
        }
    }

    /// A read of a group whose pieces were accessed alike, if it is like the one before and in order; the pieces that are settled.
    #[inline(always)]
    fn read_alike(&mut self, access: &Access<'_>, head: &mut Head, pattern: Pattern) -> Option<u8> {
        let clock = &self.clocks[access.warp as usize];
        let (tag, launch, pieces) = (self.tag, self.first_tag, pattern.pieces());
        let write = &head.write;
        let same_lanes = |last: &Last| {
            last.block == tag
                && Who(last.who).warp() == access.warp as usize
                && last.pattern == pattern
                && pattern.is_single()
        };
        let ordered = write.block < launch || write.block == tag && write.epoch < clock.floor || same_lanes(write);
        if !ordered && write.pattern.pieces() & pieces != 0 {
            return None;
        }
        let who = Who::new(access.warp * 32, access.site, access.strong).0;
        let read = head.read;
        let mut warps = 1 << access.warp;
        if read.block == tag {
            if read.pattern.pieces() & !pieces != 0 {
                return None;
            }
            if read.epoch == clock.epoch {
                let again = (read.who ^ who) & 0x3E0 == 0 && read.stamp == clock.stamp;
                if again && read.pattern != pattern || read.pattern.pieces() != pieces {
                    return None;
                }
                warps |= head.warps;
            }
        } else if read.block >= launch {
            if read.pattern.pieces() != pieces {
                return None;
            }
            (head.other_block, head.other_reader, head.other_pieces) = (read.block, read.who, pieces);
        }
        head.read = Last { block: tag, epoch: clock.epoch, stamp: clock.stamp, who, pattern };
        head.warps = warps;
        let plain = !access.strong && !Who(head.other_reader).strong();
        let settled = plain && head.other_block >= launch && write.block < launch;
        Some(if settled { head.other_pieces & pieces } else { 0 })
    }

    /// A write of a group whose pieces were accessed alike, if all before it are in order; whether it was.
    #[inline(always)]
    fn write_alike(&mut self, access: &Access<'_>, head: &mut Head, pattern: Pattern) -> bool {
        let clock = &self.clocks[access.warp as usize];
        let (tag, launch, pieces) = (self.tag, self.first_tag, pattern.pieces());
        let late = |last: &Last| {
            last.block >= launch
                && (last.block != tag || last.epoch >= clock.floor)
                && last.pattern.pieces() & pieces != 0
        };
        let same_lanes =
            |last: &Last| last.block == tag && Who(last.who).warp() == access.warp as usize && last.pattern == pattern;
        let own_read = same_lanes(&head.read) && head.warps == 1 << access.warp;
        let other = head.other_block >= launch && head.other_pieces & pieces != 0;
        let loses = head.write.block >= launch && head.write.pattern.pieces() & !pieces != 0;
        let late_read = late(&head.read) && !own_read;
        let late_write = late(&head.write) && !same_lanes(&head.write);
        if late_read || late_write || other || loses || !pattern.is_single() {
            return false;
        }
        let who = Who::new(access.warp * 32, access.site, access.strong).0;
        head.write = Last { block: tag, epoch: clock.epoch, stamp: clock.stamp, who, pattern };
        true
    }

    #[inline(always)]
    fn global_read_group(&mut self, access: &Access<'_>, cells: &mut Cells, at: u64, touched: &Touched) -> u8 {
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp) = (clock.epoch, clock.floor, clock.stamp);
        let (tag, first_tag) = (self.tag, self.first_tag);
        let (lanes, on) = (&touched.lanes, touched.on());
        let mut special = 0;
        for k in 0..GROUP {
            let now = u32::from(cells.write_block[k] >= first_tag);
            let mine = u32::from(cells.write_block[k] == tag) & u32::from(cells.write_epoch[k] < floor);
            special |= now & (mine ^ 1) & on[k];
        }
        if special != 0 {
            for k in (0..GROUP).filter(|&k| lanes[k] != 0) {
                self.global_after_write(access, cells, k, at, lanes[k]);
            }
        }
        let warp = access.warp;
        let who = Who::new(warp * 32, access.site, access.strong).0;
        for k in 0..GROUP {
            let keep = !on[k];
            let mine = u32::from(cells.read_block[k] == tag).wrapping_neg();
            let same = mine & u32::from(cells.read_epoch[k] == epoch).wrapping_neg();
            let again = same
                & u32::from((cells.reader[k] ^ who) & 0x3E0 == 0).wrapping_neg()
                & u32::from(cells.read_stamp[k] == stamp).wrapping_neg();
            let moves = !mine & on[k] & u32::from(cells.read_block[k] >= first_tag).wrapping_neg();
            cells.other_block[k] = cells.other_block[k] & !moves | cells.read_block[k] & moves;
            cells.other_reader[k] = cells.other_reader[k] & !moves | cells.reader[k] & moves;
            cells.read_warps[k] = cells.read_warps[k] & (same | keep) | 1 << warp & on[k];
            cells.read_lanes[k] = cells.read_lanes[k] & (again | keep) | lanes[k];
            cells.read_block[k] = cells.read_block[k] & keep | tag & on[k];
            cells.read_epoch[k] = cells.read_epoch[k] & keep | epoch & on[k];
            cells.reader[k] = cells.reader[k] & keep | who & on[k];
            cells.read_stamp[k] = cells.read_stamp[k] & keep | stamp & on[k];
        }
        let mut settled = 0;
        for k in 0..GROUP {
            let two = cells.other_block[k] >= first_tag && cells.read_block[k] >= first_tag;
            let plain = !Who(cells.reader[k] | cells.other_reader[k]).strong();
            settled |= u8::from(two && plain && cells.write_block[k] < first_tag) << k;
        }
        settled
    }

    /// A write of one group, lane by lane.
    #[inline(never)]
    fn global_write_by_lanes(&mut self, access: &Access<'_>, cells: &mut Cells, number: usize, start: u64) {
        let granule = self.global_granule;
        let pieces = (access.bytes >> granule).max(1) as usize;
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp) = (clock.epoch, clock.floor, clock.stamp);
        let (tag, first_tag) = (self.tag, self.first_tag);
        for lane in (0..32).filter(|lane| access.lanes >> lane & 1 != 0) {
            let first = ((access.at[lane] - start) >> granule) as usize;
            let writer = Who::new(access.warp * 32 + lane as u32, access.site, access.strong).0;
            for piece in first..first + pieces {
                if piece / GROUP != number {
                    continue;
                }
                let k = piece % GROUP;
                let group = &mut *cells;
                let clear = |block: u32, epoch: u32| block < first_tag || block == tag && epoch < floor;
                let free = clear(group.write_block[k], group.write_epoch[k])
                    && clear(group.read_block[k], group.read_epoch[k])
                    && group.other_block[k] < first_tag;
                if !free {
                    let at = start + ((piece / GROUP * GROUP) as u64) * (1 << granule);
                    self.global_contended(access, group, lane, k, at);
                }
                group.write_block[k] = tag;
                group.write_epoch[k] = epoch;
                group.writer[k] = writer;
                group.write_stamp[k] = stamp;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn global_contended(&mut self, access: &Access<'_>, cells: &mut Cells, lane: usize, k: usize, at: u64) {
        let writer = Who(cells.writer[k]);
        let earlier = writer.lane() as usize;
        let this = cells.write_block[k] == self.tag
            && writer.warp() == access.warp as usize
            && writer.site() == access.site & (u32::MAX >> 11)
            && earlier < lane
            && access.lanes >> earlier & 1 != 0
            && access.at[earlier].abs_diff(access.at[lane]) < u64::from(access.bytes);
        let address = at + ((k as u64) << self.global_granule);
        if !this {
            self.global_after_write(access, cells, k, at, 1 << lane);
        } else if self.checks.global_races && !access.strong && !self.same_value(access, earlier, lane) {
            let sites = vec![here(access, 1 << lane), here(access, 1 << earlier)];
            self.findings.add("lanes of one global write", sites, Some(address), || {
                "a race in global memory: two lanes write different values to one address by one instruction".into()
            });
        }
        if self.checks.global_races {
            self.global_after_reads(access, cells, k, address, 1 << lane);
        }
    }

    /// Whether two lanes write the same value to the same place.
    fn same_value(&self, access: &Access<'_>, one: usize, other: usize) -> bool {
        access.at[one] == access.at[other] && (access.same_values)(one, other)
    }

    /// An access of what a write may not be ordered before.
    #[cold]
    #[inline(never)]
    fn global_after_write(&mut self, access: &Access<'_>, cells: &Cells, k: usize, at: u64, lanes: u32) {
        let (block, epoch, writer) = (cells.write_block[k], cells.write_epoch[k], Who(cells.writer[k]));
        if block < self.first_tag || !self.checks.global_races || access.strong && writer.strong() {
            return;
        }
        // Mostly it is the thread itself.
        let own = block == self.tag && writer.warp() == access.warp as usize;
        if own && epoch != PENDING && lanes & !(1 << writer.lane()) == 0 {
            return;
        }
        let address = at + ((k as u64) << self.global_granule);
        let bytes = u64::from(access.bytes);
        let touching =
            lanes_where(access.lanes & lanes, |lane| access.at[lane] <= address && address < access.at[lane] + bytes);
        if block == self.tag && self.meets_pending(access, touching, writer, epoch, address) {
            return;
        }
        let clock = &self.clocks[access.warp as usize];
        let racing = if block != self.tag {
            self.acquired.catch_up(self.tag);
            if self.acquired.known.get(&block).is_some_and(|known| epoch < known[writer.warp()]) { 0 } else { touching }
        } else if writer.warp() == access.warp as usize {
            lanes_where(touching, |lane| !clock.lanes_ordered(cells.write_stamp[k], writer.lane(), lane as u32))
        } else if epoch >= clock.known[writer.warp()] {
            touching
        } else {
            0
        };
        if racing != 0 {
            let sites = vec![here(access, racing), self.there(writer, block, 1 << writer.lane())];
            let across = block != self.tag;
            let (sort, does) = match (access.writes, across) {
                (true, true) => ("global write-write of blocks", "writes"),
                (true, false) => ("global write-write", "writes"),
                (false, true) => ("global write-read of blocks", "reads"),
                (false, false) => ("global write-read", "reads"),
            };
            let who = if across { "a thread of one block" } else { "one thread" };
            let other = if across { "a thread of another block" } else { "another" };
            self.findings.add(sort, sites, Some(address), || {
                format!(
                    "a race in global memory: {who} {does} what {other} wrote, with nothing between that orders them"
                )
            });
        }
    }

    /// A write to what was read, perhaps without an order.
    fn global_after_reads(&mut self, access: &Access<'_>, cells: &Cells, k: usize, address: u64, lanes: u32) {
        let (block, read, reader) = (cells.read_block[k], cells.read_epoch[k], Who(cells.reader[k]));
        let mut racing = None;
        self.acquired.catch_up(self.tag);
        let other = (cells.other_block[k], Who(cells.other_reader[k]), None, 0);
        for (block, reader, epoch, lanes) in [other, (block, reader, Some(read), cells.read_lanes[k])] {
            let strong = access.strong && reader.strong();
            // The epoch of the other block's read is not kept: what it released later is taken to include it.
            let known = self.acquired.known.get(&block);
            let known = known.is_some_and(|known| epoch.is_none_or(|epoch| epoch < known[reader.warp()]));
            if block >= self.first_tag && block != self.tag && !strong && !known {
                racing = Some(self.there(reader, block, lanes));
            }
        }
        if racing.is_none() && block == self.tag && !(access.strong && reader.strong()) {
            let clock = &self.clocks[access.warp as usize];
            let others = (0..self.clocks.len()).filter(|warp| cells.read_warps[k] >> warp & 1 != 0);
            let unordered: Vec<usize> =
                others.filter(|&warp| warp != access.warp as usize && read >= clock.known[warp]).collect();
            if let Some(&warp) = unordered.iter().find(|&&warp| warp == reader.warp()).or(unordered.first()) {
                let known = warp == reader.warp();
                let (site, lanes) = if known { (reader.site(), cells.read_lanes[k]) } else { (u32::MAX >> 11, 0) };
                racing = Some(RawSite { site, block: access.block, warp: warp as u32, lanes });
            } else if reader.warp() == access.warp as usize {
                let stamp = cells.read_stamp[k];
                let now = lanes.trailing_zeros();
                let others =
                    lanes_where(cells.read_lanes[k], |earlier| !clock.lanes_ordered(stamp, earlier as u32, now));
                if others != 0 {
                    racing =
                        Some(RawSite { site: reader.site(), block: access.block, warp: access.warp, lanes: others });
                }
            }
        }
        if let Some(site) = racing {
            let across = site.block != access.block;
            let (sort, words) = match across {
                true => {
                    ("global read-write of blocks", "a thread of one block writes what a thread of another block read")
                }
                false => ("global read-write", "one thread writes what another read"),
            };
            self.findings.add(sort, vec![here(access, lanes), site], Some(address), || {
                format!("a race in global memory: {words}, with nothing between that orders them")
            });
        }
    }

    /// An asynchronous copy writes from now on, until it is waited for.
    pub(super) fn global_pending(&mut self, access: &Access<'_>, shadow: &GlobalShadow) {
        self.global_access(access, shadow);
        self.set_global(access, shadow, true);
    }

    /// An asynchronous copy has been waited for.
    pub(super) fn global_arrived(&mut self, access: &Access<'_>, shadow: &GlobalShadow) {
        self.set_global(access, shadow, false);
    }

    /// Sets the last write of an access that lies in one page and has one address.
    fn set_global(&mut self, access: &Access<'_>, shadow: &GlobalShadow, begins: bool) {
        let lane = access.lanes.trailing_zeros() & 31;
        let at = access.at[lane as usize];
        let clock = &self.clocks[access.warp as usize];
        let (epoch, stamp) = (if begins { PENDING } else { clock.epoch }, clock.stamp);
        let writer = Who::new(access.warp * 32 + lane, access.site, access.strong).0;
        let Some(near) = &mut self.near else { return };
        let mut entry = lock(&near.slot(at / PAGE, shadow).page);
        let first = ((at % PAGE) >> self.global_granule) as usize;
        for piece in first..first + (access.bytes >> self.global_granule) as usize {
            let (cells, k) = (entry.apart(piece / GROUP), piece % GROUP);
            // Another block's write that came in between stays, and was reported.
            if cells.write_block[k] == self.tag && cells.writer[k] == writer {
                cells.write_epoch[k] = epoch;
                cells.write_stamp[k] = stamp;
            }
        }
    }

    fn there(&self, who: Who, block: u32, lanes: u32) -> RawSite {
        let number = u64::from(block.wrapping_sub(self.first_tag));
        let [x, y, _] = self.grid.map(u64::from);
        let block = [(number % x) as u32, (number / x % y) as u32, (number / x / y) as u32];
        RawSite { site: who.site(), block, warp: who.warp() as u32, lanes }
    }
}

/// Heads come from far away: all of an access are asked for before the first is needed.
#[inline(always)]
fn ask_for(head: &Head) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has this instruction, which changes nothing that a program sees.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(head).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = head;
}

/// Those of some lanes that access a page: mostly it is all.
#[inline(always)]
fn in_page(access: &Access<'_>, page: u64, lanes: u32) -> u32 {
    let mut elsewhere = 0;
    for lane in 0..32 {
        elsewhere |= (access.at[lane] ^ (page * PAGE)) & u64::from(lanes >> lane & 1).wrapping_neg();
    }
    if elsewhere < PAGE { lanes } else { lanes_that(|lane| access.at[lane] / PAGE == page) & lanes }
}

fn here(access: &Access<'_>, lanes: u32) -> RawSite {
    RawSite { site: access.site, block: access.block, warp: access.warp, lanes }
}
