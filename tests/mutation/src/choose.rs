//! Chooses mutants: as many from each room, spread over its files and over kinds, the same for the same seed.

use std::collections::BTreeMap;

use crate::site::{Kind, Site};

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(u64);

impl Random {
    /// A stream of its own for each name: what is drawn for one file does not depend on the others.
    pub fn new(seed: u64, name: &str) -> Random {
        // FNV-1a.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Random(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0. The bias of a remainder is far below what a choice of mutants could show.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }
}

/// Sites of one file in the order in which they are taken: a kind at random, then a site of this kind at random; none overlaps one
/// before it.
fn order(seed: u64, sites: &[Site]) -> Vec<&Site> {
    let Some(first) = sites.first() else { return Vec::new() };
    let mut random = Random::new(seed, &first.file);
    let mut kinds: BTreeMap<Kind, Vec<&Site>> = BTreeMap::new();
    for site in sites {
        kinds.entry(site.kind).or_default().push(site);
    }
    let mut taken: Vec<&Site> = Vec::new();
    while !kinds.is_empty() {
        let kind = *kinds.keys().nth(random.below(kinds.len())).expect("a kind that is left");
        let left = kinds.get_mut(&kind).expect("a kind that is left");
        let site = left.swap_remove(random.below(left.len()));
        if left.is_empty() {
            kinds.remove(&kind);
        }
        if !taken.iter().any(|other| other.overlaps(site)) {
            taken.push(site);
        }
    }
    taken
}

/// Candidates of each room, first choice first: one of each file in turn, files in an order by chance, `most` of a room.
pub fn candidates(seed: u64, most: usize, files: &BTreeMap<String, Vec<Site>>) -> Vec<Site> {
    let mut rooms: BTreeMap<&str, Vec<Vec<&Site>>> = BTreeMap::new();
    for sites in files.values().filter(|sites| !sites.is_empty()) {
        rooms.entry(sites[0].room()).or_default().push(order(seed, sites));
    }
    let mut chosen = Vec::new();
    for (room, mut files) in rooms {
        files.sort_by_key(|sites| Random::new(seed, &format!("{room} {}", sites[0].file)).next());
        let longest = files.iter().map(Vec::len).max().unwrap_or_default();
        let in_turn = (0..longest).flat_map(|round| files.iter().filter_map(move |sites| sites.get(round)));
        chosen.extend(in_turn.take(most).map(|site| (*site).clone()));
    }
    chosen
}
