//! A warp: its registers, and what its lanes are at.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::path::{Path, State};

/// Bytes that begin at a multiple of 1024, as the swizzles of shared memory want it.
#[derive(Clone, Copy)]
#[repr(C, align(1024))]
struct Line([u8; 1024]);

/// Buffers that are not used at the moment, by their number of lines: launches are many, and fresh pages cost more than a kernel.
static UNUSED: Mutex<BTreeMap<usize, Vec<Vec<Line>>>> = Mutex::new(BTreeMap::new());

/// Bytes with a wide alignment; what they hold is not specified.
pub(crate) struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    pub(crate) fn new(bytes: usize) -> Aligned {
        // Sizes in steps of an eighth, so that buffers fit again.
        let lines = bytes.div_ceil(1024).max(1);
        let lines = lines.next_multiple_of((lines.next_power_of_two() / 8).max(1));
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = unused.get_mut(&lines).and_then(Vec::pop);
        drop(unused);
        Aligned { lines: found.unwrap_or_else(|| vec![Line([0; 1024]); lines]) }
    }

    pub(crate) fn start(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        UNUSED.lock().unwrap_or_else(PoisonError::into_inner).entry(lines.len()).or_default().push(lines);
    }
}

/// A warp of a block.
pub(crate) struct Warp {
    _registers: Aligned,
    base: *mut u32,
    words: usize,
    _local: Aligned,
    /// The beginning of the lanes' local memory: one behind the other.
    pub(crate) local_base: *mut u8,
    /// Its number in the block.
    pub(crate) index: u32,
    /// Active lanes of the path that runs.
    pub(crate) mask: u32,
    /// Lanes that have not exited.
    pub(crate) live: u32,
    /// The basic block of the path that runs, and the instruction.
    pub(crate) block: u32,
    pub(crate) at: u32,
    /// The basic block where the path that runs joins its parent.
    pub(crate) rejoin: u32,
    /// The index of the path in `paths` that runs.
    pub(crate) current: usize,
    pub(crate) paths: Vec<Path>,
    /// The state that an instruction that gives [`super::Flow::Park`] waits for.
    pub(crate) parking: State,
    /// Basic blocks until the turn ends.
    pub(crate) fuel: u32,
    /// Basic blocks of turns that ended because time was up.
    pub(crate) spent: u32,
    /// Basic blocks since it last asked in vain whether it may go on.
    pub(crate) since_asked: u32,
    /// Not 0: picks among paths by chance.
    pub(crate) chance: u64,
    /// Asynchronous copies that were not waited for, and the groups that each lane has closed.
    pub(crate) copies: Vec<super::copies::Copy>,
    pub(crate) groups: [u32; 32],
    /// Bulk copies of groups that were not waited for, and the groups that each lane has closed.
    pub(crate) bulk: Vec<super::bulk::Transfer>,
    pub(crate) bulk_groups: [u32; 32],
    /// The cluster's barrier's phase that each lane arrived in.
    pub(crate) cluster_phase: [u32; 32],
    /// Products of four warps that were asked for, and how many there were at each commit.
    pub(crate) wgmma_asked: u64,
    pub(crate) wgmma_groups: Vec<u64>,
    /// Instructions that gave way, for `%clock`.
    pub(crate) ticks: u64,
}

impl Warp {
    /// A warp; what its registers and local memory hold is not specified.
    pub(crate) fn new(index: u32, words: usize, local: usize) -> Warp {
        // One slot of 128 bits more, so that a wide read of the last one stays inside.
        let mut registers = Aligned::new((words + 128) * 4);
        let mut local = Aligned::new(local * 32);
        let (base, local_base) = (registers.start().cast(), local.start());
        Warp {
            _registers: registers,
            base,
            words,
            _local: local,
            local_base,
            index,
            mask: 0,
            live: 0,
            block: 0,
            at: 0,
            rejoin: Path::NOWHERE,
            current: 0,
            paths: Vec::new(),
            parking: State::Ready,
            fuel: 0,
            spent: 0,
            since_asked: u32::MAX,
            chance: 0,
            copies: Vec::new(),
            groups: [0; 32],
            bulk: Vec::new(),
            bulk_groups: [0; 32],
            cluster_phase: [0; 32],
            wgmma_asked: 0,
            wgmma_groups: Vec::new(),
            ticks: 0,
        }
    }

    /// Word 0 of the registers.
    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u32 {
        self.base
    }

    /// Words of the registers.
    #[inline(always)]
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Sets all lanes of a slot of 32 bits.
    pub(crate) fn fill32(&mut self, word: u32, value: impl Fn(u32) -> u32) {
        assert!(word as usize + 32 <= self.words);
        for lane in 0..32 {
            // SAFETY: the slot lies inside of the registers.
            unsafe { *self.base.add((word + lane) as usize) = value(lane) };
        }
    }

    /// Sets all lanes of a slot of 64 bits.
    pub(crate) fn fill64(&mut self, word: u32, value: u64) {
        assert!(word as usize + 64 <= self.words);
        for lane in 0..32 {
            // SAFETY: the slot lies inside of the registers, and slots are aligned.
            unsafe { *self.base.add(word as usize).cast::<u64>().add(lane) = value };
        }
    }

    /// Sets a predicate.
    pub(crate) fn fill_predicate(&mut self, word: u32, value: u32) {
        assert!((word as usize) < self.words);
        // SAFETY: the word lies inside of the registers.
        unsafe { *self.base.add(word as usize) = value };
    }

    /// The first active lane.
    #[inline(always)]
    pub(crate) fn first(&self) -> usize {
        self.mask.trailing_zeros() as usize & 31
    }
}
