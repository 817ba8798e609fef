//! Shadow memory of global memory: who wrote and read each piece last, within one launch.
//!
//! Blocks run at the same time, so the shadow is shared: pages of it are guarded by locks. Accesses of different blocks are never
//! ordered, but where one block released (a fence, then an atomic or another strong write) and the other acquired (an atomic or a
//! strong read of the same address).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::anywhere::lanes_where;
use super::super::block::RawSite;
use super::super::lanes::lanes_that;
use super::groups::{GROUP, Groups, Lanes, single};
use super::shared::Access;
use super::{Checker, WARPS, Who};

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Locks among which pages are shared.
const SHARDS: usize = 1024;

/// Eight pieces. Blocks are given by tags, which go on from launch to launch: lower ones are of earlier launches.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Cells {
    write_block: [u32; GROUP],
    write_epoch: [u32; GROUP],
    writer: [u32; GROUP],
    write_stamp: [u32; GROUP],
    read_block: [u32; GROUP],
    read_epoch: [u32; GROUP],
    read_warps: [u32; GROUP],
    reader: [u32; GROUP],
    read_stamp: [u32; GROUP],
    read_lanes: [u32; GROUP],
    /// Another block that read.
    other_block: [u32; GROUP],
    other_reader: [u32; GROUP],
}

/// Of each warp of a block: accesses of lower epochs are done.
pub(crate) type Known = [u32; WARPS];

/// Pages by their number, which needs no better hash than itself.
type Pages = HashMap<u64, Page, PageBuildHasher>;
pub(super) type PageBuildHasher = BuildHasherDefault<PageHasher>;

/// See [`Pages`].
#[derive(Default)]
pub(super) struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 << 8 | u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A page of the shadow.
#[derive(Default)]
struct Page {
    granule: u32,
    cells: Vec<Cells>,
    settled: Arc<Settled>,
}

/// The groups of a page that two blocks have read and nothing has written in this launch: more reads of them need not be noted, as a
/// write by any block races with one of the two. Asked without the page's lock, so that blocks that share their inputs do not
/// wait for each other.
#[derive(Default)]
pub(super) struct Settled {
    /// The first tag of the launch that this is about.
    launch: AtomicU32,
    groups: [AtomicU64; 8],
}

impl Settled {
    fn begin(&self, launch: u32) {
        if self.launch.load(Ordering::Relaxed) != launch {
            self.groups.iter().for_each(|groups| groups.store(0, Ordering::Relaxed));
            self.launch.store(launch, Ordering::Release);
        }
    }

    fn has(&self, launch: u32, group: usize) -> bool {
        self.launch.load(Ordering::Acquire) == launch
            && self.groups[group / 64].load(Ordering::Relaxed) >> (group % 64) & 1 != 0
    }

    fn add(&self, group: usize) {
        self.groups[group / 64].fetch_or(1 << (group % 64), Ordering::Relaxed);
    }

    fn remove(&self, group: usize) {
        let groups = &self.groups[group / 64];
        if groups.load(Ordering::Relaxed) >> (group % 64) & 1 != 0 {
            groups.fetch_and(!(1 << (group % 64)), Ordering::Relaxed);
        }
    }
}

/// The shadow of global memory, and what blocks told each other.
pub(crate) struct GlobalShadow {
    pages: Vec<Mutex<Pages>>,
    /// By address: which blocks released there, and up to which epochs.
    released: Mutex<HashMap<u64, HashMap<u32, Known>>>,
    /// The first tag of the launch that runs, and the one behind its last.
    tags: Mutex<(u32, u32)>,
}

impl Default for GlobalShadow {
    fn default() -> GlobalShadow {
        GlobalShadow {
            pages: (0..SHARDS).map(|_| Mutex::default()).collect(),
            released: Mutex::default(),
            tags: Mutex::new((1, 1)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GlobalShadow {
    /// A launch of so many blocks begins; its first tag.
    pub(crate) fn begin(&self, blocks: u64) -> u32 {
        let mut tags = lock(&self.tags);
        lock(&self.released).clear();
        // Tags of blocks beyond four billion would be told apart no longer: they are folded.
        let blocks = blocks.min(1 << 30) as u32;
        if tags.1.checked_add(blocks).is_none() {
            self.pages.iter().for_each(|pages| lock(pages).clear());
            *tags = (1, 1);
        }
        *tags = (tags.1, tags.1 + blocks);
        tags.0
    }
}

impl Checker {
    /// An access of global memory that is inside of allocations and aligned.
    #[inline(always)]
    pub(crate) fn global_access(&mut self, access: &Access<'_>, shadow: &GlobalShadow) {
        let mut rest = access.lanes;
        while rest != 0 {
            let page = access.at[rest.trailing_zeros() as usize] / PAGE;
            let here = lanes_that(|lane| access.at[lane] / PAGE == page) & rest;
            rest &= !here;
            let part = Access { lanes: here, ..*access };
            let Some(mut groups) = self.groups.take() else { return };
            groups.find(&part, page * PAGE, self.global_granule, &mut self.listed);
            let settled = !access.writes
                && self.settled.get(&page).is_some_and(|settled| {
                    groups.iter().fold(true, |all, (group, _)| all & settled.has(self.first_tag, group))
                });
            if !settled {
                self.global_page(&part, &groups, page, shadow);
            }
            self.groups = Some(groups);
        }
    }

    /// An access of one page.
    #[inline(always)]
    fn global_page(&mut self, access: &Access<'_>, groups: &Groups, page: u64, shadow: &GlobalShadow) {
        let mut pages = lock(&shadow.pages[(page % SHARDS as u64) as usize]);
        let entry = pages.entry(page).or_default();
        if entry.cells.is_empty() || entry.granule != self.global_granule {
            let groups = (PAGE >> self.global_granule) as usize / GROUP;
            *entry =
                Page { granule: self.global_granule, cells: vec![Cells::default(); groups], settled: Arc::default() };
        }
        entry.settled.begin(self.first_tag);
        if access.writes {
            groups.iter().for_each(|(group, _)| entry.settled.remove(group));
            self.global_write(access, groups, &mut entry.cells, page * PAGE);
        } else if self.global_read(access, groups, entry, page * PAGE) {
            self.settled.insert(page, entry.settled.clone());
        }
    }

    /// Whether a group of the page is settled now.
    #[inline(always)]
    fn global_read(&mut self, access: &Access<'_>, groups: &Groups, page: &mut Page, start: u64) -> bool {
        let mut any = false;
        for (group, lanes) in groups.iter() {
            let at = start + ((group * GROUP) as u64) * (1 << self.global_granule);
            if self.global_read_group(access, &mut page.cells[group], at, lanes) {
                page.settled.add(group);
                any = true;
            }
        }
        any
    }

    #[inline(always)]
    fn global_read_group(&mut self, access: &Access<'_>, cells: &mut Cells, at: u64, lanes: &Lanes) -> bool {
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp) = (clock.epoch, clock.floor, clock.stamp);
        let (tag, first_tag) = (self.tag, self.first_tag);
        let on: [u32; GROUP] = std::array::from_fn(|k| u32::from(lanes[k] != 0).wrapping_neg());
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
        let mut settled = 1;
        for k in 0..GROUP {
            settled &= u32::from(cells.other_block[k] >= first_tag) & u32::from(cells.write_block[k] < first_tag);
        }
        settled != 0
    }

    #[inline(always)]
    fn global_write(&mut self, access: &Access<'_>, groups: &Groups, cells: &mut [Cells], start: u64) {
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp) = (clock.epoch, clock.floor, clock.stamp);
        let (tag, first_tag) = (self.tag, self.first_tag);
        let mut free = true;
        for (group, lanes) in groups.iter() {
            let cells = &cells[group];
            let mut taken = 0;
            for k in 0..GROUP {
                let late = |block: u32, epoch: u32| {
                    u32::from(block >= first_tag) & (u32::from(block != tag) | u32::from(epoch >= floor))
                };
                let found = late(cells.write_block[k], cells.write_epoch[k])
                    | late(cells.read_block[k], cells.read_epoch[k])
                    | u32::from(cells.other_block[k] >= first_tag);
                taken |= found & u32::from(lanes[k] != 0);
            }
            free &= taken == 0 && single(lanes).is_some();
        }
        if !free {
            return self.global_write_by_lanes(access, cells, start);
        }
        let who = Who::new(access.warp * 32, access.site, access.strong).0;
        for (group, lanes) in groups.iter() {
            let Some(lane) = single(lanes) else { continue };
            let cells = &mut cells[group];
            for k in 0..GROUP {
                let on = u32::from(lanes[k] != 0).wrapping_neg();
                cells.write_block[k] = cells.write_block[k] & !on | tag & on;
                cells.write_epoch[k] = cells.write_epoch[k] & !on | epoch & on;
                cells.writer[k] = cells.writer[k] & !on | (who | lane[k]) & on;
                cells.write_stamp[k] = cells.write_stamp[k] & !on | stamp & on;
            }
        }
    }

    /// A write, lane by lane, as some piece was accessed by another block or since all warps synchronised.
    #[inline(never)]
    fn global_write_by_lanes(&mut self, access: &Access<'_>, cells: &mut [Cells], start: u64) {
        let granule = self.global_granule;
        let pieces = (access.bytes >> granule).max(1) as usize;
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp) = (clock.epoch, clock.floor, clock.stamp);
        let (tag, first_tag) = (self.tag, self.first_tag);
        for lane in (0..32).filter(|lane| access.lanes >> lane & 1 != 0) {
            let first = ((access.at[lane] - start) >> granule) as usize;
            let writer = Who::new(access.warp * 32 + lane as u32, access.site, access.strong).0;
            for piece in first..first + pieces {
                let k = piece % GROUP;
                let group = &mut cells[piece / GROUP];
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
        let clock = &self.clocks[access.warp as usize];
        let address = at + ((k as u64) << self.global_granule);
        let bytes = u64::from(access.bytes);
        let touching =
            lanes_where(access.lanes & lanes, |lane| access.at[lane] <= address && address < access.at[lane] + bytes);
        let racing = if block != self.tag {
            if self.acquired.get(&block).is_some_and(|known| epoch < known[writer.warp()]) { 0 } else { touching }
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
        let other = (cells.other_block[k], Who(cells.other_reader[k]), None, 0);
        for (block, reader, epoch, lanes) in [other, (block, reader, Some(read), cells.read_lanes[k])] {
            let strong = access.strong && reader.strong();
            // The epoch of the other block's read is not kept: what it released later is taken to include it.
            let known =
                self.acquired.get(&block).is_some_and(|known| epoch.is_none_or(|epoch| epoch < known[reader.warp()]));
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

    fn there(&self, who: Who, block: u32, lanes: u32) -> RawSite {
        let number = u64::from(block.wrapping_sub(self.first_tag));
        let [x, y, _] = self.grid.map(u64::from);
        let block = [(number % x) as u32, (number / x % y) as u32, (number / x / y) as u32];
        RawSite { site: who.site(), block, warp: who.warp() as u32, lanes }
    }

    /// A strong access of global memory: it acquires what was released there, and releases what came before this warp's last fence.
    pub(crate) fn synchronise(&mut self, access: &Access<'_>, shadow: &GlobalShadow) {
        let mut released = lock(&shadow.released);
        for lane in (0..32).filter(|lane| access.lanes >> lane & 1 != 0) {
            if let Some(found) = released.get(&access.at[lane]) {
                for (&block, known) in found.iter().filter(|(block, _)| **block != self.tag) {
                    join(self.acquired.entry(block).or_insert([0; WARPS]), known);
                }
            }
            let Some(fenced) = self.fenced[access.warp as usize].filter(|_| access.writes) else { continue };
            let entry = released.entry(access.at[lane]).or_default();
            for (&block, known) in &self.acquired {
                join(entry.entry(block).or_insert([0; WARPS]), known);
            }
            join(entry.entry(self.tag).or_insert([0; WARPS]), &fenced);
        }
    }

    /// A warp passes a fence: what it did, and what it knows of its block, may be released.
    pub(crate) fn fence(&mut self, warp: usize) {
        let clock = &mut self.clocks[warp];
        clock.epoch += 1;
        let mut known = clock.known;
        known[warp] = clock.epoch;
        self.fenced[warp] = Some(known);
    }
}

/// Takes over what is known of the warps of a block.
fn join(known: &mut Known, other: &Known) {
    for (known, other) in known.iter_mut().zip(other) {
        *known = (*known).max(*other);
    }
}

fn here(access: &Access<'_>, lanes: u32) -> RawSite {
    RawSite { site: access.site, block: access.block, warp: access.warp, lanes }
}
