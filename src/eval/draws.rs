//! Random choices of an evaluation, drawn from Philox: the same for the same seed, on every machine.

use crate::device::normal::fill_normals;
use crate::device::philox::{Stream, draw};

/// The purpose of a draw; each has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The order of the real images, of which a metric takes the first ones.
    Reals = 1,
    /// The subsets of KID, of the real images.
    KidReal,
    /// The same, of the samples.
    KidFake,
    /// The places of SWD's patches, of the real images.
    PatchesReal,
    /// The same, of the samples.
    PatchesFake,
    /// SWD's directions.
    Directions,
    /// The order in which the classifier sees its images.
    Batches,
    /// Shifts and mirrored images of the classifier's training.
    Augmentation,
}

/// Four draws: `index` numbers what is drawn for one purpose, `part` its parts.
pub(super) fn words(seed: u64, purpose: Purpose, index: u64, part: u32) -> [u32; 4] {
    draw(seed, Stream::Evaluation, index, purpose as u32, part)
}

/// A whole number below `bound`, from one draw; `bound` is small beside 2³².
pub(super) fn below(word: u32, bound: usize) -> usize {
    ((u64::from(word) * bound as u64) >> 32) as usize
}

/// Normal draws.
pub(super) fn normals(seed: u64, purpose: Purpose, index: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    fill_normals(seed, Stream::Evaluation, index, purpose as u32, 0, &mut values);
    values
}

/// `chosen` different numbers below `count` in random order, or all of them where there are fewer (Fisher & Yates, from the front).
pub(super) fn choice(seed: u64, purpose: Purpose, index: u64, count: usize, chosen: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    let chosen = chosen.min(order.len());
    let mut drawn = [0; 4];
    for at in 0..chosen {
        if at % 4 == 0 {
            drawn = words(seed, purpose, index, u32::try_from(at / 4).unwrap_or(u32::MAX));
        }
        let other = at + below(drawn[at % 4], order.len() - at);
        order.swap(at, other);
    }
    order.truncate(chosen);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_of_different_numbers_and_all_come_alike() {
        let mut counts = [0; 10];
        for index in 0..3000 {
            let chosen = choice(5, Purpose::Reals, index, 10, 3);
            assert_eq!(chosen.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
            chosen.iter().for_each(|&number| counts[number as usize] += 1);
        }
        // 900 each, with a standard deviation of 25.
        assert!(counts.iter().all(|count| (800..1000).contains(count)), "{counts:?}");
        let mut all = choice(5, Purpose::Reals, 0, 7, 100);
        assert_ne!(all, choice(6, Purpose::Reals, 0, 7, 100));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
    }
}
