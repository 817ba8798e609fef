//! Shadow memory of a block's shared memory: who wrote and read each piece last.
//!
//! A piece is as many bytes as the kernel's smallest access has, so that each access is whole pieces.

use super::super::anywhere::lanes_where;
use super::super::block::RawSite;
pub(crate) use super::groups::Access;
use super::groups::{GROUP, Lanes};
use super::shapes::Touched;
use super::{Checker, PENDING, Who};

/// The epoch of a piece that belongs to no variable: all bytes of it lie between two.
pub(super) const GAP: u32 = u32::MAX - 1;

/// The last reads of a piece, or of some that were read alike.
#[derive(Debug, Clone, Copy, Default)]
struct Reads {
    /// Their epoch, and the warps that read in it.
    epoch: u32,
    warps: u32,
    /// The last reading warp: site, stamp and lanes.
    reader: u32,
    stamp: u32,
    lanes: u32,
}

/// Pieces of a half of a group: as many words as a thread can read at once.
const HALF: usize = GROUP / 2;

/// Eight pieces.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Cells {
    /// The last write: its epoch (0: none), by whom, and its warp's stamp.
    write_epoch: [u32; GROUP],
    /// Reads of a half by the same lanes everywhere; all others are noted piece by piece.
    halves: [Reads; 2],
    writer: [u32; GROUP],
    write_stamp: [u32; GROUP],
    /// As of [`Reads`].
    read_epoch: [u32; GROUP],
    read_warps: [u32; GROUP],
    reader: [u32; GROUP],
    read_stamp: [u32; GROUP],
    read_lanes: [u32; GROUP],
}

impl Reads {
    /// Lanes of a warp read.
    #[inline(always)]
    fn add(&mut self, warp: u32, lanes: u32, (epoch, stamp): (u32, u32), who: u32) {
        let same = self.epoch == epoch;
        let again = same && (self.reader ^ who) & 0x3E0 == 0 && self.stamp == stamp;
        let warps = if same { self.warps } else { 0 };
        let before = if again { self.lanes } else { 0 };
        *self = Reads { epoch, warps: warps | 1 << warp, reader: who, stamp, lanes: before | lanes };
    }
}

impl Cells {
    fn reads(&self, k: usize) -> Reads {
        Reads {
            epoch: self.read_epoch[k],
            warps: self.read_warps[k],
            reader: self.reader[k],
            stamp: self.read_stamp[k],
            lanes: self.read_lanes[k],
        }
    }

    /// Lanes of a warp read, not all pieces of a half alike.
    #[inline(always)]
    fn read_by_pieces(&mut self, warp: u32, touched: &Touched, (epoch, stamp): (u32, u32), who: u32) {
        let (lanes, on) = (&touched.lanes, touched.on());
        // Short loops with results of their own: each becomes one vector.
        let (mut same, mut again) = ([0; GROUP], [0; GROUP]);
        for k in 0..GROUP {
            same[k] = u32::from(self.read_epoch[k] == epoch).wrapping_neg();
        }
        for k in 0..GROUP {
            let other = (self.reader[k] ^ who) & 0x3E0 | (self.read_stamp[k] ^ stamp);
            again[k] = same[k] & u32::from(other == 0).wrapping_neg();
        }
        for k in 0..GROUP {
            self.read_warps[k] = self.read_warps[k] & (same[k] | !on[k]) | 1 << warp & on[k];
        }
        for k in 0..GROUP {
            self.read_lanes[k] = self.read_lanes[k] & (again[k] | !on[k]) | lanes[k];
        }
        put(&mut self.read_epoch, epoch, &on);
        put(&mut self.reader, who, &on);
        put(&mut self.read_stamp, stamp, &on);
    }

    /// Whether a piece was written or read in this epoch or a later one.
    #[inline(always)]
    fn late(&self, k: usize, floor: u32) -> bool {
        self.write_epoch[k] >= floor || self.read_epoch[k] >= floor || self.halves[k / HALF].epoch >= floor
    }
}

/// The shadow of shared memory.
#[derive(Default)]
pub(crate) struct SharedShadow {
    cells: Vec<Cells>,
    /// log2 of a piece's bytes.
    granule: u32,
    /// Whether a piece's write may be pending.
    pending: bool,
    /// Pieces of no variable, from one to behind another.
    gaps: Vec<(usize, usize)>,
}

impl SharedShadow {
    /// Readies it for a launch, whose epochs are higher than those before.
    pub(super) fn ready(&mut self, bytes: u32, granule: u32, gaps: &[(u32, u32)]) {
        for piece in self.gaps.drain(..).flat_map(|(start, end)| start..end) {
            self.cells[piece / GROUP].write_epoch[piece % GROUP] = 0;
        }
        self.forget_pending();
        let groups = ((bytes >> granule) as usize).div_ceil(GROUP) + GROUP;
        if groups > self.cells.len() {
            self.cells.resize(groups, Cells::default());
        }
        let whole = |&(start, end): &(u32, u32)| (start.div_ceil(1 << granule) as usize, (end >> granule) as usize);
        self.gaps.extend(gaps.iter().map(whole));
        self.granule = granule;
        self.mark_gaps();
    }

    /// Copies that were not waited for are of no block but their own.
    pub(super) fn forget_pending(&mut self) {
        if std::mem::take(&mut self.pending) {
            let epochs = self.cells.iter_mut().flat_map(|cells| &mut cells.write_epoch);
            epochs.filter(|epoch| **epoch == PENDING).for_each(|epoch| *epoch = 0);
        }
    }

    /// Nothing was accessed.
    pub(crate) fn forget(&mut self) {
        self.cells.fill(Cells::default());
        self.mark_gaps();
    }

    fn mark_gaps(&mut self) {
        for piece in self.gaps.iter().flat_map(|&(start, end)| start..end) {
            self.cells[piece / GROUP].write_epoch[piece % GROUP] = GAP;
        }
    }

    /// log2 of a piece's bytes.
    pub(super) fn granule(&self) -> u32 {
        self.granule
    }

    /// The last write of a piece: its epoch, by whom, and its warp's stamp.
    pub(super) fn write_of(&self, piece: usize) -> (u32, Who, u32) {
        let (cells, k) = (&self.cells[piece / GROUP], piece % GROUP);
        (cells.write_epoch[k], Who(cells.writer[k]), cells.write_stamp[k])
    }
}

impl Checker {
    /// Lanes whose first byte lies in a piece.
    fn touching(access: &Access<'_>, granule: u32, piece: usize) -> u32 {
        lanes_where(access.lanes, |lane| {
            let first = (access.at[lane] >> granule) as usize;
            let count = (access.bytes >> granule) as usize;
            (first..first + count).contains(&piece)
        })
    }

    /// An access of shared memory whose addresses are inside and aligned.
    #[inline(always)]
    pub(crate) fn shared_access(&mut self, access: &Access<'_>) {
        if access.writes {
            if access.reads && self.shared_unwritten {
                self.unwritten_before(access);
            }
            if !self.reading.is_empty() {
                self.overwrites(access);
            }
            return self.shared_write(access);
        }
        let Some(mut shapes) = self.shapes.take() else { return };
        for (group, touched) in shapes.find(access, 0, self.shared.granule).iter() {
            self.shared_read(access, group, touched);
        }
        self.shapes = Some(shapes);
    }

    /// Lanes read pieces of a group.
    #[inline(always)]
    fn shared_read(&mut self, access: &Access<'_>, group: usize, touched: &Touched) {
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp, base) = (clock.epoch, clock.floor, clock.stamp, self.base);
        let on = touched.on();
        let cells = &self.shared.cells[group];
        let mut special = 0;
        for k in 0..GROUP {
            let written = cells.write_epoch[k];
            special |= (u32::from(written >= floor) | u32::from(written < base)) & on[k];
        }
        if special != 0 {
            self.special_read(access, group, &touched.lanes);
        }
        let cells = &mut self.shared.cells[group];
        let who = Who::new(access.warp * 32, access.site, access.strong).0;
        for (half, lanes) in touched.halves.into_iter().enumerate().filter(|(_, lanes)| *lanes != 0) {
            cells.halves[half].add(access.warp, lanes, (epoch, stamp), who);
        }
        if touched.mixed {
            cells.read_by_pieces(access.warp, touched, (epoch, stamp), who);
        }
    }

    /// A read of pieces that were written since all warps synchronised, or never.
    #[cold]
    #[inline(never)]
    fn special_read(&mut self, access: &Access<'_>, group: usize, lanes: &Lanes) {
        let floor = self.clocks[access.warp as usize].floor;
        for k in (0..GROUP).filter(|&k| lanes[k] != 0) {
            let written = self.shared.cells[group].write_epoch[k];
            let writer = Who(self.shared.cells[group].writer[k]);
            if written == GAP {
                self.between(access, group, k);
            } else if written >= floor {
                // Mostly it is the thread itself.
                let own = writer.warp() == access.warp as usize && lanes[k] & !(1 << writer.lane()) == 0;
                if !own || written == PENDING {
                    self.after_write(access, group, k);
                }
            } else if written < self.base && self.shared_unwritten {
                self.unwritten(access, group, k);
            }
        }
    }

    #[inline(always)]
    fn shared_write(&mut self, access: &Access<'_>) {
        let Some(mut shapes) = self.shapes.take() else { return };
        let found = shapes.find(access, 0, self.shared.granule);
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp) = (clock.epoch, clock.floor, clock.stamp);
        let mut free = true;
        for (group, touched) in found.iter() {
            let (cells, on) = (&self.shared.cells[group], touched.on());
            let mut taken = 0;
            let halves = cells.halves.map(|half| u32::from(half.epoch >= floor));
            for k in 0..GROUP {
                let late = u32::from(cells.write_epoch[k] >= floor) | u32::from(cells.read_epoch[k] >= floor);
                taken |= (late | halves[k / HALF]) & on[k];
            }
            free &= taken == 0 && touched.single;
        }
        if !free {
            self.shapes = Some(shapes);
            return self.shared_write_by_lanes(access);
        }
        let who = Who::new(access.warp * 32, access.site, access.strong).0;
        for (group, touched) in found.iter() {
            let on = touched.on();
            let cells = &mut self.shared.cells[group];
            put(&mut cells.write_epoch, epoch, &on);
            put(&mut cells.write_stamp, stamp, &on);
            for k in 0..GROUP {
                cells.writer[k] = cells.writer[k] & !on[k] | (who | u32::from(touched.lane[k])) & on[k];
            }
        }
        self.shapes = Some(shapes);
    }

    /// A write, lane by lane, as some piece was accessed since all warps synchronised.
    #[inline(never)]
    fn shared_write_by_lanes(&mut self, access: &Access<'_>) {
        let granule = self.shared.granule;
        let pieces = (access.bytes >> granule).max(1) as usize;
        let clock = &self.clocks[access.warp as usize];
        let (epoch, floor, stamp) = (clock.epoch, clock.floor, clock.stamp);
        for lane in (0..32).filter(|lane| access.lanes >> lane & 1 != 0) {
            let first = (access.at[lane] >> granule) as usize;
            let writer = Who::new(access.warp * 32 + lane as u32, access.site, access.strong).0;
            for piece in first..first + pieces {
                let (group, k) = (piece / GROUP, piece % GROUP);
                let cells = &self.shared.cells[group];
                if cells.write_epoch[k] == GAP {
                    self.between(access, group, k);
                    continue;
                }
                if cells.late(k, floor) {
                    self.contended_write(access, lane, group, k, floor);
                }
                let cells = &mut self.shared.cells[group];
                cells.write_epoch[k] = epoch;
                cells.writer[k] = writer;
                cells.write_stamp[k] = stamp;
            }
        }
    }

    /// A write to what was accessed since the last time that all warps synchronised.
    fn contended_write(&mut self, access: &Access<'_>, lane: usize, group: usize, k: usize, floor: u32) {
        let one = Access { lanes: 1 << lane, ..*access };
        let cells = &self.shared.cells[group];
        let (written, reads) = (cells.write_epoch[k], [cells.reads(k), cells.halves[k / HALF]]);
        if written >= floor && !self.within_instruction(access, lane, group, k) {
            self.after_write(&one, group, k);
        }
        for reads in reads.iter().filter(|reads| reads.epoch >= floor) {
            if self.checks.shared_races {
                self.after_reads(&one, group, k, reads);
            }
        }
    }

    /// Whether it was an earlier lane of this very instruction that wrote; reports it where the values differ.
    fn within_instruction(&mut self, access: &Access<'_>, lane: usize, group: usize, k: usize) -> bool {
        let writer = Who(self.shared.cells[group].writer[k]);
        let earlier = writer.lane() as usize;
        let overlaps = || access.at[earlier].abs_diff(access.at[lane]) < u64::from(access.bytes);
        let this = writer.warp() == access.warp as usize
            && writer.site() == access.site & (u32::MAX >> 11)
            && earlier < lane
            && access.lanes >> earlier & 1 != 0
            && overlaps();
        if !this || access.strong || access.at[earlier] == access.at[lane] && (access.same_values)(earlier, lane) {
            return this;
        }
        if self.checks.shared_races {
            let address = ((group * GROUP + k) as u64) << self.shared.granule;
            let sites = vec![access.here(1 << lane), access.here(1 << earlier)];
            self.findings.add("lanes of one write", sites, Some(address), || {
                "a race in shared memory: two lanes write different values to one address by one instruction".into()
            });
        }
        true
    }

    /// A read of what nothing wrote.
    #[cold]
    fn unwritten(&mut self, access: &Access<'_>, group: usize, k: usize) {
        let granule = self.shared.granule;
        let piece = group * GROUP + k;
        let lanes = Self::touching(access, granule, piece);
        let address = (piece as u64) << granule;
        self.findings.add("unwritten shared", vec![access.here(lanes)], Some(address), || {
            "a read of shared memory that no thread of the block has written".into()
        });
    }

    /// An atomic operation, before it is made: what it changes must have been written.
    #[inline(never)]
    fn unwritten_before(&mut self, access: &Access<'_>) {
        let Some(mut shapes) = self.shapes.take() else { return };
        for (group, touched) in shapes.find(access, 0, self.shared.granule).iter() {
            for k in (0..GROUP).filter(|&k| touched.lanes[k] != 0) {
                if self.shared.cells[group].write_epoch[k] < self.base {
                    self.unwritten(access, group, k);
                }
            }
        }
        self.shapes = Some(shapes);
    }

    /// An access of what belongs to no variable.
    #[cold]
    fn between(&mut self, access: &Access<'_>, group: usize, k: usize) {
        let (granule, piece) = (self.shared.granule, group * GROUP + k);
        let lanes = Self::touching(access, granule, piece);
        let address = (piece as u64) << granule;
        self.findings.add("between variables", vec![access.here(lanes)], Some(address), || {
            "an access of shared memory outside of every variable: behind the end of one and before the next".into()
        });
    }

    /// An access of what a write may not be ordered before.
    #[cold]
    fn after_write(&mut self, access: &Access<'_>, group: usize, k: usize) {
        let cells = &self.shared.cells[group];
        let (written, writer, stamp) = (cells.write_epoch[k], Who(cells.writer[k]), cells.write_stamp[k]);
        let granule = self.shared.granule;
        let lanes = Self::touching(access, granule, group * GROUP + k);
        let address = ((group * GROUP + k) as u64) << granule;
        if written == PENDING {
            if self.checks.protocols {
                let sites = vec![access.here(lanes), access.there(writer)];
                let does = if access.writes { "a write to" } else { "a read of" };
                self.findings.add("cp.async not waited for", sites, Some(address), || {
                    format!(
                        "{does} shared memory that an asynchronous copy may still be writing: it was not waited for"
                    )
                });
            }
            return;
        }
        if !self.checks.shared_races || access.strong && writer.strong() {
            return;
        }
        let clock = &self.clocks[access.warp as usize];
        let racing = if writer.warp() == access.warp as usize {
            lanes_where(lanes, |lane| !clock.lanes_ordered(stamp, writer.lane(), lane as u32))
        } else if written >= clock.known[writer.warp()] {
            lanes
        } else {
            0
        };
        if racing != 0 {
            let sites = vec![access.here(racing), access.there(writer)];
            let (sort, does) = if access.writes { ("write-write", "writes") } else { ("write-read", "reads") };
            self.findings.add(sort, sites, Some(address), || {
                format!("a race in shared memory: one thread {does} what another wrote, with nothing between that orders them")
            });
        }
    }

    /// A write to what was read, perhaps without an order.
    #[cold]
    fn after_reads(&mut self, access: &Access<'_>, group: usize, k: usize, reads: &Reads) {
        let reader = Who(reads.reader);
        if access.strong && reader.strong() {
            return;
        }
        let granule = self.shared.granule;
        let lanes = Self::touching(access, granule, group * GROUP + k);
        let clock = &self.clocks[access.warp as usize];
        let mut racing = None;
        for warp in (0..self.clocks.len()).filter(|warp| reads.warps >> warp & 1 != 0) {
            if warp != access.warp as usize && reads.epoch >= clock.known[warp] {
                let known = reader.warp() == warp;
                let site = if known { reader.site() } else { u32::MAX >> 11 };
                let reader_lanes = if known { reads.lanes } else { 0 };
                racing = Some((lanes, RawSite { site, block: access.block, warp: warp as u32, lanes: reader_lanes }));
                if known {
                    break;
                }
            }
        }
        if racing.is_none() && reader.warp() == access.warp as usize {
            let unordered = |earlier: usize, now: usize| !clock.lanes_ordered(reads.stamp, earlier as u32, now as u32);
            let others = lanes_where(reads.lanes, |earlier| lanes_where(lanes, |now| unordered(earlier, now)) != 0);
            if others != 0 {
                let site = RawSite { site: reader.site(), block: access.block, warp: access.warp, lanes: others };
                racing = Some((lanes, site));
            }
        }
        if let Some((lanes, site)) = racing {
            let address = ((group * GROUP + k) as u64) << granule;
            self.findings.add("read-write", vec![access.here(lanes), site], Some(address), || {
                "a race in shared memory: one thread writes what another read, with nothing between that orders them".into()
            });
        }
    }

    /// An asynchronous copy writes from now on, until it is waited for.
    pub(crate) fn shared_pending(&mut self, access: &Access<'_>) {
        self.shared_access(access);
        self.set_written(access, Some(PENDING));
    }

    /// An asynchronous copy has been waited for.
    pub(crate) fn shared_arrived(&mut self, access: &Access<'_>) {
        self.set_written(access, None);
    }

    fn set_written(&mut self, access: &Access<'_>, as_epoch: Option<u32>) {
        let granule = self.shared.granule;
        self.shared.pending |= as_epoch == Some(PENDING);
        let clock = &self.clocks[access.warp as usize];
        let (epoch, stamp) = (as_epoch.unwrap_or(clock.epoch), clock.stamp);
        for lane in (0..32).filter(|lane| access.lanes >> lane & 1 != 0) {
            let first = (access.at[lane] >> granule) as usize;
            for piece in first..first + (access.bytes >> granule).max(1) as usize {
                let cells = &mut self.shared.cells[piece / GROUP];
                if cells.write_epoch[piece % GROUP] == GAP {
                    continue;
                }
                cells.write_epoch[piece % GROUP] = epoch;
                cells.writer[piece % GROUP] = Who::new(access.warp * 32 + lane as u32, access.site, access.strong).0;
                cells.write_stamp[piece % GROUP] = stamp;
            }
        }
    }
}

/// A value for the pieces that are touched.
#[inline(always)]
fn put(field: &mut [u32; GROUP], value: u32, on: &[u32; GROUP]) {
    for k in 0..GROUP {
        field[k] = field[k] & !on[k] | value & on[k];
    }
}
