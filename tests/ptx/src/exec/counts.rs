//! Counts the work of a block: how often each basic block ran, and what its accesses of memory cost.

use super::anywhere::{SHARED_WINDOW, addresses, any, space_of};
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::text::ast::Space;

/// Bytes of a sector of global memory.
pub(crate) const SECTOR: u64 = 32;
/// Bytes that all banks of shared memory give or take at once.
pub(crate) const PASS: u64 = 4 * BANKS as u64;
/// Banks of shared memory, of 4 bytes each.
const BANKS: usize = 32;

/// The cost of an instruction's accesses of one space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AccessCount {
    /// Warp instructions.
    pub(crate) requests: u64,
    /// Sectors of global memory, or passes of shared memory.
    pub(crate) parts: u64,
    /// Bytes that lanes asked for.
    pub(crate) bytes: u64,
    /// Passes of shared memory that there would be without conflicts.
    pub(crate) least: u64,
}

impl AccessCount {
    pub(crate) fn add(&mut self, other: AccessCount) {
        self.requests += other.requests;
        self.parts += other.parts;
        self.bytes += other.bytes;
        self.least += other.least;
    }
}

/// The counts of a thread of the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Blocks that were counted.
    pub(crate) sampled: u64,
    /// By basic block: warps and threads that ran it.
    pub(crate) blocks: Vec<[u64; 2]>,
    /// By instruction of the text: accesses of global, shared and local memory.
    pub(crate) accesses: Vec<[AccessCount; 3]>,
}

impl Counts {
    /// Adds an instruction's accesses of global and shared memory.
    pub(crate) fn add(&mut self, site: u32, accesses: [AccessCount; 2]) {
        let site = site as usize;
        if site >= self.accesses.len() {
            self.accesses.resize(site + 1, Default::default());
        }
        self.accesses[site].iter_mut().zip(accesses).for_each(|(here, count)| here.add(count));
    }

    pub(crate) fn merge(&mut self, other: Counts) {
        self.sampled += other.sampled;
        self.blocks.resize(self.blocks.len().max(other.blocks.len()), [0; 2]);
        for (here, there) in self.blocks.iter_mut().zip(other.blocks) {
            here[0] += there[0];
            here[1] += there[1];
        }
        self.accesses.resize(self.accesses.len().max(other.accesses.len()), Default::default());
        for (here, there) in self.accesses.iter_mut().zip(other.accesses) {
            here.iter_mut().zip(there).for_each(|(here, there)| here.add(there));
        }
    }
}

/// At the beginning of a basic block: `imm` is its number.
pub(crate) struct CountBlock;

impl Handler for CountBlock {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let number = i.imm as usize;
        if number >= b.counts.blocks.len() {
            b.counts.blocks.resize(b.program.blocks.len(), [0; 2]);
        }
        b.counts.blocks[number][0] += 1;
        b.counts.blocks[number][1] += u64::from(w.mask.count_ones());
        Flow::Go
    }
}

/// Before an access: the access's own [`Decoded`], with its element's size in the low byte of `bytes`.
pub(crate) struct CountAccess;

impl Handler for CountAccess {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { count(i, w, b) };
        Flow::Go
    }
}

/// # Safety
/// As of [`addresses`].
unsafe fn count(i: &Decoded, w: &Warp, b: &mut Block<'_>) {
    // SAFETY: the caller says so.
    let mut at = unsafe { addresses(i, w) };
    let rows = i.bytes & any::ROWS != 0;
    let bytes = if rows { 16 } else { (i.bytes & 0xFF) * i.n.max(1) };
    let lanes = if rows { w.mask & (1u64 << (8 * i.n)).wrapping_sub(1) as u32 } else { w.mask };
    let first = at[w.first()];
    let space = match any::space(i.bytes) {
        Space::Generic => space_of(first).0,
        space => space,
    };
    if any::space(i.bytes) == Space::Generic && space == Space::SharedCluster {
        at = at.map(|address| address.wrapping_sub(SHARED_WINDOW));
    }
    count_access(b, i.site, space, lanes, &at, bytes);
}

/// Counts an access of some lanes.
pub(crate) fn count_access(b: &mut Block<'_>, site: u32, space: Space, lanes: u32, at: &[u64; LANES], bytes: u32) {
    let (kind, parts) = match space {
        Space::Global | Space::Const => (0, sectors(lanes, at, bytes)),
        Space::Shared | Space::SharedCluster => (1, passes(lanes, at, bytes)),
        Space::Local => (2, 0),
        Space::Param | Space::Generic => return,
    };
    let site = site as usize;
    if site >= b.counts.accesses.len() {
        b.counts.accesses.resize(site + 1, Default::default());
    }
    let (size, bytes) = (bytes, u64::from(bytes) * u64::from(lanes.count_ones()));
    let least = if kind == 1 { least_passes(lanes, size) } else { 0 };
    b.counts.accesses[site][kind].add(AccessCount { requests: 1, parts, bytes, least });
}

/// The number of sectors of 32 bytes that the lanes touch.
pub(crate) fn sectors(lanes: u32, at: &[u64; LANES], bytes: u32) -> u64 {
    let mut touched = [0u64; LANES * 4];
    let mut count = 0;
    for lane in (0..LANES).filter(|lane| lanes >> lane & 1 != 0) {
        let last = (at[lane] + u64::from(bytes) - 1) / SECTOR;
        for sector in at[lane] / SECTOR..=last {
            // Neighbours are mostly in the sector of the lane before.
            if count == 0 || touched[count - 1] != sector {
                touched[count] = sector;
                count += 1;
            }
        }
    }
    let touched = &mut touched[..count];
    touched.sort_unstable();
    let changes = touched.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64;
    changes + u64::from(!touched.is_empty())
}

/// The number of reads of shared memory for all lanes if no two want different words of one bank.
pub(crate) fn least_passes(lanes: u32, bytes: u32) -> u64 {
    let together = LANES / (bytes / 4).clamp(1, 4) as usize;
    let group = u32::MAX >> (LANES - together);
    (0..LANES).step_by(together).filter(|start| lanes >> start & group != 0).count() as u64
}

/// The number of reads of shared memory for all lanes: 32 banks of 4 bytes give one word each at a time. Accesses of 8 bytes go
/// by half warps, those of 16 bytes by quarters.
pub(crate) fn passes(lanes: u32, at: &[u64; LANES], bytes: u32) -> u64 {
    let words = (bytes / 4).max(1) as usize;
    let together = LANES / words.min(4);
    let mut passes = 0;
    for start in (0..LANES).step_by(together) {
        let mut list = [u64::MAX; 4 * LANES];
        let mut count = 0;
        for lane in (start..start + together).filter(|lane| lanes >> lane & 1 != 0) {
            for word in 0..words as u64 {
                list[count] = at[lane] / 4 + word;
                count += 1;
            }
        }
        let list = &mut list[..count];
        list.sort_unstable();
        let mut in_bank = [0u64; BANKS];
        let mut last = None;
        for &word in list.iter() {
            if last != Some(word) {
                in_bank[word as usize % BANKS] += 1;
                last = Some(word);
            }
        }
        passes += in_bank.into_iter().max().unwrap_or(0);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_of_known_patterns() {
        let at = |f: fn(u64) -> u64| std::array::from_fn(|lane| f(lane as u64));
        assert_eq!(sectors(u32::MAX, &at(|lane| 1024 + 4 * lane), 4), 4);
        assert_eq!(sectors(u32::MAX, &at(|lane| 1028 + 4 * lane), 4), 5);
        assert_eq!(sectors(u32::MAX, &at(|lane| 1024 + 16 * lane), 16), 16);
        assert_eq!(sectors(u32::MAX, &at(|lane| 64 * lane), 4), 32);
        assert_eq!(sectors(u32::MAX, &at(|lane| 64 * (31 - lane % 8)), 4), 8);
        assert_eq!(sectors(1, &at(|_| 4096), 4), 1);
    }

    #[test]
    fn the_least_passes_go_by_halves_and_quarters() {
        for (lanes, bytes, expected) in [
            (u32::MAX, 1, 1),
            (u32::MAX, 4, 1),
            (u32::MAX, 8, 2),
            (u32::MAX, 16, 4),
            (0xFFFF, 8, 1),
            (0x8000_0001, 16, 2),
            (0, 4, 0),
        ] {
            assert_eq!(least_passes(lanes, bytes), expected, "{lanes:x} {bytes}");
        }
    }

    #[test]
    fn passes_of_known_patterns() {
        let at = |f: fn(u64) -> u64| std::array::from_fn(|lane| f(lane as u64));
        // One word each, in a row; all the same; every second bank; all in one bank.
        assert_eq!(passes(u32::MAX, &at(|lane| 4 * lane), 4), 1);
        assert_eq!(passes(u32::MAX, &at(|_| 4), 4), 1);
        assert_eq!(passes(u32::MAX, &at(|lane| 8 * lane), 4), 2);
        assert_eq!(passes(u32::MAX, &at(|lane| 128 * lane), 4), 32);
        // A column of rows of 33 words has no conflict.
        assert_eq!(passes(u32::MAX, &at(|lane| 132 * lane), 4), 1);
        // 8 and 16 bytes in a row: half warps and quarters.
        assert_eq!(passes(u32::MAX, &at(|lane| 8 * lane), 8), 2);
        assert_eq!(passes(u32::MAX, &at(|lane| 16 * lane), 16), 4);
        assert_eq!(passes(0xFF, &at(|lane| 16 * lane), 16), 1);
        // Eight rows of 16 bytes, 128 bytes apart: one bank after the other, eight times.
        assert_eq!(passes(0xFF, &at(|lane| 128 * lane), 16), 8);
    }
}
