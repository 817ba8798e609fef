//! The shadow of global memory as it is kept: pages, guarded by locks, of groups of pieces.
//!
//! Most accesses touch all pieces of a group in one way, for which a head of one line of the processor's cache is enough; the rest
//! is kept piece by piece.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::WARPS;
use super::groups::GROUP;
use super::pattern::Pattern;
use super::released::Releases;
use super::spare::Spare;

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;
/// Groups of a page whose pieces are bytes.
const GROUPS: usize = PAGE as usize / GROUP;
/// Locks of the tables of pages.
const SHARDS: usize = 64;
/// Pages that a thread of the host keeps at hand.
const NEAR: usize = 8192;

/// Eight pieces. Blocks are given by tags, which go on from launch to launch: lower ones are of earlier launches.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Cells {
    pub(super) write_block: [u32; GROUP],
    pub(super) write_epoch: [u32; GROUP],
    pub(super) writer: [u32; GROUP],
    pub(super) write_stamp: [u32; GROUP],
    pub(super) read_block: [u32; GROUP],
    pub(super) read_epoch: [u32; GROUP],
    pub(super) read_warps: [u32; GROUP],
    pub(super) reader: [u32; GROUP],
    pub(super) read_stamp: [u32; GROUP],
    pub(super) read_lanes: [u32; GROUP],
    /// Another block that read.
    pub(super) other_block: [u32; GROUP],
    pub(super) other_reader: [u32; GROUP],
}

/// The last access of a group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Last {
    pub(super) pattern: Pattern,
    pub(super) block: u32,
    pub(super) epoch: u32,
    pub(super) stamp: u32,
    pub(super) who: u32,
}

/// A group whose pieces were accessed alike: one line of the processor's cache, as these come from far away.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Head {
    pub(super) read: Last,
    /// The warps that read in the epoch of `read`.
    pub(super) warps: u32,
    /// Another block that read, and which pieces.
    pub(super) other_block: u32,
    pub(super) other_reader: u32,
    pub(super) other_pieces: u8,
    pub(super) write: Last,
}

const _: () = assert!(size_of::<Head>() == 64);

impl Head {
    /// The same piece by piece.
    #[cold]
    #[inline(never)]
    fn take_apart(&self, cells: &mut Cells, launch: u32) {
        *cells = Cells::default();
        for k in 0..GROUP {
            if self.read.block >= launch && self.read.pattern.pieces() >> k & 1 != 0 {
                let read = &self.read;
                (cells.read_block[k], cells.read_epoch[k], cells.read_stamp[k]) = (read.block, read.epoch, read.stamp);
                (cells.reader[k], cells.read_warps[k], cells.read_lanes[k]) =
                    (read.who, self.warps, read.pattern.lanes(k));
            }
            if self.other_block >= launch && self.other_pieces >> k & 1 != 0 {
                (cells.other_block[k], cells.other_reader[k]) = (self.other_block, self.other_reader);
            }
            if self.write.block >= launch && self.write.pattern.pieces() >> k & 1 != 0 {
                let write = &self.write;
                (cells.write_block[k], cells.write_epoch[k], cells.write_stamp[k]) =
                    (write.block, write.epoch, write.stamp);
                cells.writer[k] = write.who & !31 | write.pattern.lanes(k).trailing_zeros() & 31;
            }
        }
    }
}

/// Of each warp of a block: accesses of lower epochs are done.
pub(crate) type Known = [u32; WARPS];

/// A page, behind its lock, and what can be asked without it.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) page: Mutex<Page>,
    pub(super) settled: Settled,
}

/// Pages by their number.
pub(super) type Pages = HashMap<u64, Arc<Slot>, NumberBuildHasher>;
/// For numbers that nobody chose in order to hit one bucket.
pub(super) type NumberBuildHasher = BuildHasherDefault<NumberHasher>;

/// See [`NumberBuildHasher`].
#[derive(Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        // Of a product the upper bits are mixed well, and tables use the lower ones too.
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 << 8 | u64::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A page of the shadow.
#[derive(Default)]
pub(super) struct Page {
    pub(super) granule: u32,
    /// Groups, as long as one access of all of a group's pieces is like the other.
    pub(super) heads: Vec<Head>,
    /// Groups piece by piece; made when the first one is needed.
    pub(super) cells: Vec<Cells>,
    /// The first tag of the launch that `apart` is about.
    launch: u32,
    /// A bit for each group that is kept piece by piece.
    apart: [u64; GROUPS / 64],
}

impl Page {
    /// Readies it for a launch's accesses in pieces of this size; how many groups it has.
    #[inline(always)]
    pub(super) fn begin(&mut self, granule: u32, launch: u32) -> usize {
        let count = GROUPS >> granule;
        if self.heads.is_empty() || self.granule != granule {
            *self = Page { granule, heads: vec![Head::default(); count], ..Page::default() };
        }
        if self.launch != launch {
            (self.launch, self.apart) = (launch, [0; GROUPS / 64]);
        }
        count
    }

    /// Whether a group is kept piece by piece.
    #[inline(always)]
    pub(super) fn is_apart(&self, group: usize) -> bool {
        self.apart[group / 64 % self.apart.len()] >> (group % 64) & 1 != 0
    }

    /// A group, piece by piece from now on.
    pub(super) fn apart(&mut self, group: usize) -> &mut Cells {
        if self.cells.is_empty() {
            self.cells = vec![Cells::default(); self.heads.len()];
        }
        if !self.is_apart(group) {
            self.heads[group].take_apart(&mut self.cells[group], self.launch);
            self.apart[group / 64] |= 1 << (group % 64);
        }
        &mut self.cells[group]
    }
}

/// The pieces of a page that two blocks have read by plain reads and nothing has written in this launch: more reads of them need not be
/// noted, as a write by any block races with one of the two. Asked without the page's lock, so that blocks that share their inputs do not
/// wait for each other.
pub(super) struct Settled {
    /// The first tag of the launch that this is about.
    launch: AtomicU32,
    /// A bit for each piece of a group.
    groups: [AtomicU8; GROUPS],
}

impl Default for Settled {
    fn default() -> Settled {
        Settled { launch: AtomicU32::new(0), groups: [const { AtomicU8::new(0) }; GROUPS] }
    }
}

impl Settled {
    /// Forgets what was so in another launch; `count` groups are used.
    pub(super) fn begin(&self, launch: u32, count: usize) {
        if self.launch.load(Ordering::Relaxed) != launch {
            self.groups[..count].iter().for_each(|group| group.store(0, Ordering::Relaxed));
            self.launch.store(launch, Ordering::Release);
        }
    }

    /// Whether this is about a launch.
    #[inline(always)]
    pub(super) fn is_of(&self, launch: u32) -> bool {
        self.launch.load(Ordering::Acquire) == launch
    }

    /// The pieces of a group that are not settled.
    #[inline(always)]
    pub(super) fn missing(&self, group: usize, pieces: u8) -> u8 {
        pieces & !self.groups[group].load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, group: usize, pieces: u8) {
        if self.missing(group, pieces) != 0 {
            self.groups[group].fetch_or(pieces, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, group: usize) {
        if self.groups[group].load(Ordering::Relaxed) != 0 {
            self.groups[group].store(0, Ordering::Relaxed);
        }
    }
}

/// The shadow of global memory, and what blocks told each other.
pub(crate) struct GlobalShadow {
    pub(super) pages: Vec<Mutex<Pages>>,
    /// The releases of the launch's blocks.
    pub(super) released: Arc<Mutex<Releases>>,
    /// Buffers for the checks of the next launch.
    pub(super) spare: Mutex<Vec<Spare>>,
    /// The first tag of the launch that runs, and the one behind its last.
    tags: Mutex<(u32, u32)>,
}

impl Default for GlobalShadow {
    fn default() -> GlobalShadow {
        GlobalShadow {
            pages: (0..SHARDS).map(|_| Mutex::default()).collect(),
            released: Arc::default(),
            spare: Mutex::default(),
            tags: Mutex::new((1, 1)),
        }
    }
}

/// Pages that were accessed lately, so that they need not be looked up; each has one place.
pub(super) struct Near(Box<[Option<Entry>]>);

/// A page with its number.
type Entry = (u64, Arc<Slot>);

impl Near {
    pub(super) fn new() -> Near {
        Near(vec![None; NEAR].into_boxed_slice())
    }

    /// A page of the shadow.
    #[inline(always)]
    pub(super) fn slot(&mut self, number: u64, shadow: &GlobalShadow) -> &Slot {
        let place = &mut self.0[number as usize % NEAR];
        if place.as_ref().is_none_or(|(found, _)| *found != number) {
            *place = Some((number, look_up(number, shadow)));
        }
        // It was put there just now, if it was not there.
        &place.get_or_insert_with(|| (number, look_up(number, shadow))).1
    }
}

#[cold]
#[inline(never)]
fn look_up(number: u64, shadow: &GlobalShadow) -> Arc<Slot> {
    lock(&shadow.pages[number as usize % SHARDS]).entry(number).or_default().clone()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            // They have pages at hand, too.
            lock(&self.spare).clear();
            *tags = (1, 1);
        }
        *tags = (tags.1, tags.1 + blocks);
        tags.0
    }
}
