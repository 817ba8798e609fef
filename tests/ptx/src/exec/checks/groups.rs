//! Accesses, and the pieces of memory that they touch, in groups of eight.

use super::super::block::RawSite;
use super::super::lanes::lanes_that;
use super::Who;

/// Pieces that are looked at together.
pub(super) const GROUP: usize = 8;

/// The lanes that touch each piece of a group.
pub(super) type Lanes = [u32; GROUP];

/// An access of memory by lanes of a warp.
#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    pub(crate) block: [u32; 3],
    pub(crate) warp: u32,
    pub(crate) lanes: u32,
    pub(crate) at: &'a [u64; 32],
    pub(crate) bytes: u32,
    pub(crate) site: u32,
    pub(crate) writes: bool,
    /// True if the old content counts: not so for plain stores.
    pub(crate) reads: bool,
    /// Atomic, or strong as volatile accesses are: these do not race with each other.
    pub(crate) strong: bool,
    /// Whether two lanes write the same value.
    pub(crate) same_values: &'a dyn Fn(usize, usize) -> bool,
}

impl Access<'_> {
    pub(super) fn here(&self, lanes: u32) -> RawSite {
        RawSite { site: self.site, block: self.block, warp: self.warp, lanes }
    }

    pub(super) fn there(&self, who: Who) -> RawSite {
        RawSite { site: who.site(), block: self.block, warp: who.warp() as u32, lanes: 1 << who.lane() }
    }
}

/// The groups that an access touches, each once: a buffer that is used again.
pub(super) struct Groups {
    count: usize,
    numbers: [u32; 96],
    lanes: [Lanes; 96],
}

impl Groups {
    /// An empty buffer.
    pub(super) fn new() -> Groups {
        Groups { count: 0, numbers: [0; 96], lanes: [[0; GROUP]; 96] }
    }

    /// Finds them. Pieces are numbered from the address `start` on.
    pub(super) fn find(&mut self, access: &Access<'_>, start: u64, granule: u32) {
        let groups = self;
        groups.count = 0;
        if access.lanes == 0 {
            return;
        }
        let first_lane = access.lanes.trailing_zeros() as usize & 31;
        let first = access.at[first_lane];
        let bytes = u64::from(access.bytes);
        // Do active lanes lie side by side, or all at one place?
        let origin = first.wrapping_sub(first_lane as u64 * bytes);
        let (mut apart, mut differ) = (0, 0);
        for lane in 0..32 {
            let on = u64::from(access.lanes >> lane & 1).wrapping_neg();
            apart |= (access.at[lane] ^ origin.wrapping_add(lane as u64 * bytes)) & on;
            differ |= (access.at[lane] ^ first) & on;
        }
        let pieces = (access.bytes >> granule).max(1) as usize;
        if differ == 0 {
            groups.add_range(((first - start) >> granule) as usize, pieces, access.lanes);
        } else if apart == 0 && pieces <= GROUP {
            let origin = (origin.wrapping_sub(start) as i64) >> granule;
            groups.side_by_side(origin, access.lanes, pieces.trailing_zeros());
        } else if pieces > 1 {
            // The upper half of the warp mostly repeats the lower one, or quarters each other.
            let origin = (first.wrapping_sub(start) as i64) >> granule;
            if pieces <= GROUP && repeats(access, first, 16) {
                groups.side_by_side(origin, 0xFFFF, pieces.trailing_zeros());
                groups.repeat(0x0001_0001);
            } else if pieces <= GROUP && repeats(access, first, 8) {
                groups.side_by_side(origin, 0xFF, pieces.trailing_zeros());
                groups.repeat(0x0101_0101);
            } else {
                groups.wide(access, start, granule, pieces);
            }
        } else {
            groups.scattered(access, start, granule);
        }
    }

    /// Lanes come again, as the factor says.
    #[inline(always)]
    fn repeat(&mut self, factor: u32) {
        for lanes in &mut self.lanes[..self.count] {
            for lanes in lanes {
                *lanes = lanes.wrapping_mul(factor);
            }
        }
    }

    /// Accesses of several pieces: mostly many lanes have one address. A group may come twice, with other pieces.
    #[inline(always)]
    fn wide(&mut self, access: &Access<'_>, start: u64, granule: u32, pieces: usize) {
        let mut rest = access.lanes;
        while rest != 0 {
            let address = access.at[rest.trailing_zeros() as usize & 31];
            let same = lanes_that(|lane| access.at[lane] == address) & rest;
            rest &= !same;
            self.add_range(((address - start) >> granule) as usize, pieces, same);
        }
    }

    #[inline(always)]
    fn push(&mut self, number: u32, lanes: Lanes) {
        self.numbers[self.count] = number;
        self.lanes[self.count] = lanes;
        self.count += 1;
    }

    /// One after the other: number and lanes.
    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Lanes)> {
        self.numbers[..self.count].iter().map(|&number| number as usize).zip(&self.lanes)
    }

    #[inline(always)]
    fn add_range(&mut self, mut piece: usize, pieces: usize, lanes: u32) {
        let end = piece + pieces;
        while piece < end {
            let (group, first) = (piece / GROUP, piece % GROUP);
            let taken = (GROUP - first).min(end - piece);
            // A comparison for each piece: a loop of a length that is not known would not become one vector.
            let mut touched = [0; GROUP];
            for k in 0..GROUP {
                touched[k] = if k.wrapping_sub(first) < taken { lanes } else { 0 };
            }
            match self.count.checked_sub(1) {
                // Often the lanes before touch the rest of the same group.
                Some(last) if self.numbers[last] == group as u32 => {
                    for k in 0..GROUP {
                        self.lanes[last][k] |= touched[k];
                    }
                }
                _ => self.push(group as u32, touched),
            }
            piece += taken;
        }
    }

    /// Lane 0 touches the pieces from `origin` on, which may lie before the first one where the lane is not active; each lane touches
    /// two to the power of `shift`.
    #[inline(always)]
    fn side_by_side(&mut self, origin: i64, active: u32, shift: u32) {
        let group = GROUP as i64;
        let (from, to) = (origin.div_euclid(group), (origin + (32 << shift) - 1).div_euclid(group));
        for number in from..=to {
            let before = (number * group - origin) as i32;
            let mut lanes = [0; GROUP];
            let mut any = 0;
            for k in 0..GROUP {
                let lane = (before + k as i32) >> shift;
                let bit = if (lane as u32) < 32 { 1u32 << (lane as u32 & 31) } else { 0 };
                lanes[k] = bit & active;
                any |= lanes[k];
            }
            if any != 0 {
                self.push(number as u32, lanes);
            }
        }
    }

    /// Accesses of one piece each.
    fn scattered(&mut self, access: &Access<'_>, start: u64, granule: u32) {
        let mut rest = access.lanes;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            rest &= rest - 1;
            let piece = ((access.at[lane as usize] - start) >> granule) as usize;
            let number = (piece / GROUP) as u32;
            let place = match self.numbers[..self.count].iter().rposition(|&other| other == number) {
                Some(place) => place,
                None => {
                    self.push(number, [0; GROUP]);
                    self.count - 1
                }
            };
            self.lanes[place][piece % GROUP] |= 1 << lane;
        }
    }
}

/// Whether all lanes are active, so many lie side by side from an address on, and the others repeat their addresses.
#[inline(always)]
fn repeats(access: &Access<'_>, first: u64, lanes: usize) -> bool {
    let mut wrong = u64::from(!access.lanes);
    for lane in 0..32 {
        wrong |= access.at[lane] ^ first.wrapping_add((lane % lanes) as u64 * u64::from(access.bytes));
    }
    wrong == 0
}

/// The lane of each piece, where no piece has two; `None` where one has.
#[inline(always)]
pub(super) fn single(lanes: &Lanes) -> Option<[u32; GROUP]> {
    let mut twice = 0;
    let mut single = [0; GROUP];
    for k in 0..GROUP {
        twice |= lanes[k] & lanes[k].wrapping_sub(1);
        single[k] = lanes[k].trailing_zeros() & 31;
    }
    (twice == 0).then_some(single)
}

/// A bit for each piece that is touched.
#[inline(always)]
pub(super) fn pieces_of(lanes: &Lanes) -> u8 {
    let mut pieces = 0;
    for k in 0..GROUP {
        pieces |= u8::from(lanes[k] != 0) << k;
    }
    pieces
}
