//! Shapes of accesses: where the pieces of all lanes lie, seen from the first lane.
//!
//! A kernel's loops make accesses of the same few shapes again and again, at other places. Which groups an access touches, and by which
//! lanes, follows from its shape alone, so it is worked out once ([`Groups::find`]) and kept. What an access is compared with is the
//! whole shape: what is found is always what would be worked out anew.

use super::groups::{Access, GROUP, Groups, Lanes, single};
use super::pattern::Pattern;

/// Shapes that are kept; each has one place.
const PLACES: usize = 2048;
/// Guesses which shape an instruction's next access has.
const GUESSES: usize = 4096;

/// A group of pieces that an access touches, and what is asked about its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Touched {
    /// The lanes of each piece.
    pub(super) lanes: Lanes,
    /// The lanes of each half of the group, if they touch all pieces of it; 0 otherwise.
    pub(super) halves: [u32; 2],
    /// The lanes' simple form.
    pattern: Pattern,
    /// The lane of each piece that is touched by one.
    pub(super) lane: [u8; GROUP],
    /// The number of the group, seen from the first lane's.
    offset: i32,
    /// Whether there is a simple form.
    formed: bool,
    /// Whether no piece is touched by two lanes.
    pub(super) single: bool,
    /// Whether `halves` leaves out something.
    pub(super) mixed: bool,
}

impl Touched {
    fn new(offset: i32, lanes: &Lanes) -> Touched {
        let pattern = Pattern::of(lanes);
        let one = single(lanes);
        let mut mixed = false;
        let halves = std::array::from_fn(|half| {
            let lanes = &lanes[half * GROUP / 2..][..GROUP / 2];
            let alike = lanes.iter().all(|other| *other == lanes[0]);
            mixed |= !alike;
            if alike { lanes[0] } else { 0 }
        });
        Touched {
            lanes: *lanes,
            halves,
            pattern: pattern.unwrap_or_default(),
            lane: one.unwrap_or_default().map(|lane| lane as u8),
            offset,
            formed: pattern.is_some(),
            single: one.is_some(),
            mixed,
        }
    }

    /// The lanes' simple form, if they have one.
    #[inline(always)]
    pub(super) fn pattern(&self) -> Option<Pattern> {
        self.formed.then_some(self.pattern)
    }

    /// All bits where a piece is touched.
    #[inline(always)]
    pub(super) fn on(&self) -> Lanes {
        let mut on = [0; GROUP];
        for k in 0..GROUP {
            on[k] = u32::from(self.lanes[k] != 0).wrapping_neg();
        }
        on
    }

    /// A bit for each piece that is touched.
    #[inline(always)]
    pub(super) fn pieces(&self) -> u8 {
        // Patterns that were not formed have none.
        if self.formed { self.pattern.pieces() } else { super::groups::pieces_of(&self.lanes) }
    }
}

/// The key that distinguishes shapes. Lanes that are not active count as well: an access has some address there too.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Key {
    /// The distance of each lane's address from that of the first active lane.
    distances: [u64; 32],
    /// The active lanes, none in a place that is not used.
    lanes: u32,
    bytes: u32,
    /// log2 of a piece's bytes, and the first active lane's first piece in its group.
    granule: u32,
    phase: u32,
}

impl Key {
    /// Whether it is this access's. All are compared at once: these loops become vectors.
    #[inline(always)]
    fn is_of(&self, access: &Access<'_>, first: u64, granule: u32, phase: u32) -> bool {
        let mut differ = u64::from((self.lanes ^ access.lanes) | (self.bytes ^ access.bytes));
        differ |= u64::from((self.granule ^ granule) | (self.phase ^ phase));
        for lane in 0..32 {
            differ |= access.at[lane].wrapping_sub(first) ^ self.distances[lane];
        }
        differ == 0
    }
}

struct Shape {
    key: Key,
    touched: Vec<Touched>,
}

/// The shapes of accesses that were made lately.
pub(super) struct Shapes {
    places: Vec<Shape>,
    /// By instruction, warp and phase, the place of the last access's shape. Mostly it is the next one's, and the processor can go on
    /// with it before it knows the addresses.
    guesses: Vec<u16>,
    groups: Groups,
}

/// The groups that an access touches.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// The number of the first lane's.
    base: u32,
    touched: &'a [Touched],
}

impl<'a> Found<'a> {
    /// One after the other, with their numbers.
    #[inline(always)]
    pub(super) fn iter(self) -> impl Iterator<Item = (usize, &'a Touched)> {
        self.touched.iter().map(move |touched| (self.base.wrapping_add_signed(touched.offset) as usize, touched))
    }
}

impl Shapes {
    pub(super) fn new() -> Box<Shapes> {
        let key = Key { distances: [0; 32], lanes: 0, bytes: 0, granule: 0, phase: 0 };
        let places = (0..PLACES).map(|_| Shape { key, touched: Vec::new() }).collect();
        Box::new(Shapes { places, guesses: vec![0; GUESSES], groups: Groups::new() })
    }

    /// The groups that an access touches: as of [`Groups::find`].
    #[inline(always)]
    pub(super) fn find(&mut self, access: &Access<'_>, start: u64, granule: u32) -> Found<'_> {
        if access.lanes == 0 {
            return Found { base: 0, touched: &[] };
        }
        let first = access.at[access.lanes.trailing_zeros() as usize & 31];
        let piece = (first.wrapping_sub(start) >> granule) as u32;
        let (base, phase) = (piece / GROUP as u32, piece % GROUP as u32);
        let guess = guess(access, phase);
        let mut place = usize::from(self.guesses[guess]);
        if !self.places[place].key.is_of(access, first, granule, phase) {
            place = self.look_up(access, (start, first), (granule, phase), base);
            self.guesses[guess] = place as u16;
        }
        Found { base, touched: &self.places[place].touched }
    }

    /// The place of a shape, which is worked out if it is not known.
    #[inline(never)]
    fn look_up(
        &mut self,
        access: &Access<'_>,
        (start, first): (u64, u64),
        (granule, phase): (u32, u32),
        base: u32,
    ) -> usize {
        let place = place(access, first, granule, phase);
        if !self.places[place].key.is_of(access, first, granule, phase) {
            self.learn(place, access, (start, first), (granule, phase), base);
        }
        place
    }

    /// Works out a shape.
    fn learn(
        &mut self,
        place: usize,
        access: &Access<'_>,
        (start, first): (u64, u64),
        (granule, phase): (u32, u32),
        base: u32,
    ) {
        self.groups.find(access, start, granule);
        let shape = &mut self.places[place];
        let distances = access.at.map(|address| address.wrapping_sub(first));
        shape.key = Key { distances, lanes: access.lanes, bytes: access.bytes, granule, phase };
        shape.touched.clear();
        let touched = self.groups.iter().map(|(group, lanes)| Touched::new(group as i32 - base as i32, lanes));
        shape.touched.extend(touched);
    }
}

/// The place of an access's guess.
#[inline(always)]
fn guess(access: &Access<'_>, phase: u32) -> usize {
    let mixed = ((access.site << 3 | phase) ^ access.warp << 26).wrapping_mul(0x9E37_79B1);
    (mixed >> (32 - GUESSES.trailing_zeros())) as usize
}

/// The place of a shape.
fn place(access: &Access<'_>, first: u64, granule: u32, phase: u32) -> usize {
    let mut all = 0u64;
    for lane in 0..32 {
        all = all.wrapping_add(access.at[lane].wrapping_sub(first).rotate_left(2 * lane as u32));
    }
    let rest = u64::from(access.lanes) ^ u64::from(access.bytes << 8 | granule << 4 | phase) << 32;
    let mixed = (all ^ rest.rotate_left(7)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (64 - PLACES.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::super::super::path::next_random;
    use super::*;

    fn access(at: &[u64; 32], lanes: u32, bytes: u32) -> Access<'_> {
        let same_values = &|_, _| false;
        let (block, warp, site) = ([0; 3], 0, 0);
        Access { block, warp, lanes, at, bytes, site, writes: false, reads: true, strong: false, same_values }
    }

    /// The lanes that touch each piece, from the addresses alone.
    fn expected(access: &Access<'_>, start: u64, granule: u32) -> Vec<u32> {
        let mut lanes = vec![0; 4096 * GROUP];
        for lane in (0..32).filter(|lane| access.lanes >> lane & 1 != 0) {
            let first = (access.at[lane] - start) >> granule;
            for piece in first..first + u64::from((access.bytes >> granule).max(1)) {
                lanes[piece as usize] |= 1 << lane;
            }
        }
        lanes
    }

    /// Addresses as kernels have them, and some that none has: lines, steps, repeats, one place, chance.
    fn addresses(random: &mut dyn FnMut(u64) -> u64, bytes: u64) -> [u64; 32] {
        let origin = 4096 + random(512) * bytes;
        let (kind, step, few) = (random(6), random(9), 1 << random(5));
        std::array::from_fn(|lane| {
            let lane = lane as u64;
            origin
                + bytes
                    * match kind {
                        0 => lane,
                        1 => lane * step,
                        2 => lane % few,
                        3 => lane / few * step,
                        4 => (31 - lane) * step,
                        _ => random(300),
                    }
        })
    }

    #[test]
    fn what_is_kept_is_what_the_addresses_say() {
        let mut state = 7;
        let mut random = |below: u64| {
            state = next_random(state);
            (state >> 24) % below
        };
        let mut shapes = Shapes::new();
        for round in 0..20_000 {
            let granule = random(3) as u32;
            let bytes = 1 << (u64::from(granule) + random(4)).min(4);
            let mut at = addresses(&mut random, bytes);
            let lanes = match random(3) {
                0 => u32::MAX,
                1 => random(1 << 32) as u32,
                _ => 1 << random(32),
            };
            // The same shape twice, elsewhere: the second time it is known.
            for _ in 0..2 {
                let access = access(&at, lanes, bytes as u32);
                let mut rest = expected(&access, 1024, granule);
                for (group, touched) in shapes.find(&access, 1024, granule).iter() {
                    check(touched);
                    for (piece, lanes) in rest[group * GROUP..][..GROUP].iter_mut().zip(touched.lanes) {
                        assert_eq!(*piece & lanes, lanes, "round {round}: {lanes:b} in group {group}");
                        *piece &= !lanes;
                    }
                }
                assert!(rest.iter().all(|lanes| *lanes == 0), "round {round}: lanes are missing");
                let shift = bytes * random(40);
                at = at.map(|address| address + shift);
            }
        }
    }

    /// Checks that the facts about a group's lanes follow from the lanes.
    fn check(touched: &Touched) {
        let lanes = touched.lanes;
        assert_eq!(touched.single, lanes.iter().all(|lanes| lanes.count_ones() <= 1));
        for k in 0..GROUP {
            assert_eq!(touched.pieces() >> k & 1 != 0, lanes[k] != 0);
            assert_eq!(touched.on()[k], if lanes[k] != 0 { u32::MAX } else { 0 });
            if touched.single && lanes[k] != 0 {
                assert_eq!(1 << touched.lane[k], lanes[k]);
            }
            if let Some(pattern) = touched.pattern() {
                assert_eq!(pattern.lanes(k), lanes[k]);
            }
            let half = touched.halves[k / 4];
            assert!(half == lanes[k] || half == 0 && touched.mixed);
        }
        let alike = |half: &[u32]| half.iter().all(|lanes| *lanes == half[0]);
        assert_eq!(touched.mixed, !(alike(&lanes[..4]) && alike(&lanes[4..])));
    }
}
