//! The division of an arena among the ranks, where each keeps a share alone.

use std::ops::Range;

use super::RankOf;

/// A block of an arena for each rank, all of one length, and a rest behind them that every rank has: so neither the arena nor its
/// content depends on how many ranks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    place: RankOf,
    block: usize,
    len: usize,
}

impl Shards {
    /// Elements of which blocks are whole multiples, so that each begins where memory is read fastest.
    const UNIT: usize = 64;

    /// The division of an arena of `len` elements.
    pub fn of(place: RankOf, len: usize) -> Self {
        Shards { place, block: len / place.world / Self::UNIT * Self::UNIT, len }
    }

    /// All blocks.
    pub fn blocks(&self) -> Range<usize> {
        0..self.block * self.place.world
    }

    /// The block of this rank.
    pub fn own(&self) -> Range<usize> {
        self.place.rank * self.block..(self.place.rank + 1) * self.block
    }

    /// The rest behind the blocks.
    pub fn rest(&self) -> Range<usize> {
        self.blocks().end..self.len
    }

    /// The elements that this rank keeps: its block, and the rest behind it.
    pub fn kept(&self) -> usize {
        self.block + self.rest().len()
    }

    /// The parts of the arena that this rank updates, each with its place in the elements that the rank keeps.
    pub fn pieces(&self) -> [(Range<usize>, Range<usize>); 2] {
        [(self.own(), 0..self.block), (self.rest(), self.block..self.kept())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_updated_by_one_rank_or_by_all() {
        for world in 1..6 {
            for len in [0, 1, 63, 64, 129, 640, 1_000_003] {
                let shards: Vec<Shards> = (0..world).map(|rank| Shards::of(RankOf { rank, world }, len)).collect();
                let mut at = 0;
                for shard in &shards {
                    assert_eq!(shard.own().start, at, "{world} {len}");
                    assert!(at.is_multiple_of(64));
                    at = shard.own().end;
                    let [(own, kept), (rest, behind)] = shard.pieces();
                    assert_eq!((own.len(), rest.len()), (kept.len(), behind.len()));
                    assert_eq!((kept.start, kept.end, behind.end), (0, behind.start, shard.kept()));
                    assert_eq!((rest, shard.blocks()), (shards[0].rest(), shards[0].blocks()));
                }
                let Shards { .. } = shards[0];
                assert_eq!((at, shards[0].rest().start, shards[0].rest().end), (shards[0].blocks().end, at, len));
                assert!(shards[0].rest().len() < 64 * world + world, "{world} {len}: {:?}", shards[0]);
            }
        }
    }
}
