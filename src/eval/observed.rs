//! Inception's output for a set of images, gathered a few images at a time: the memory for it does not grow with their number.

use super::inception::Perceived;
use super::moments::{Moments, Running};
use crate::nn::inception::{CLASSES, FEATURES};

/// Parts of the samples whose Inception scores are averaged (Salimans et al. 2016).
const SPLITS: usize = 10;

/// A set in Inception's eyes.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Mean and covariance of its features.
    pub moments: Moments,
    /// The Inception score of each part of it; none where nobody asks for them.
    pub scores: Vec<f64>,
}

/// An [`Observed`] that is being made.
pub struct Gathered {
    running: Running,
    splits: Splits,
}

impl Gathered {
    /// Of `count` images, of which none has come.
    pub fn new(count: usize) -> Gathered {
        Gathered { running: Running::new(FEATURES), splits: Splits::new(count, CLASSES) }
    }

    /// The next images.
    pub fn add(&mut self, perceived: &Perceived) {
        self.running.add(&perceived.features.iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
        self.splits.add(&perceived.logits);
    }

    /// The gathered result.
    pub fn finish(self) -> Observed {
        Observed { moments: self.running.moments(), scores: self.splits.scores() }
    }
}

/// The Inception score of each tenth of the samples, in their order: exp of the mean KL divergence of the classes p(y | x) of a sample from
/// those of the part, p(y). With H the entropy that is the entropy of the mean minus the mean of the entropies, so that sums are enough:
/// exp(H(p(y)) − mean H(p(y | x))).
pub struct Splits {
    count: usize,
    seen: usize,
    classes: usize,
    /// Of each part the number of samples, Σ Σ p ln p, and Σ p of each class.
    parts: Vec<(usize, f64, Vec<f64>)>,
}

impl Splits {
    /// Of `count` samples with logits of so many classes.
    pub fn new(count: usize, classes: usize) -> Splits {
        Splits { count, seen: 0, classes, parts: vec![(0, 0.0, vec![0.0; classes]); SPLITS] }
    }

    /// The logits `[n, classes]` of the next samples. Part i has samples ⌊i · N / 10⌋ to ⌊(i + 1) · N / 10⌋.
    pub fn add(&mut self, logits: &[f32]) {
        for row in logits.chunks_exact(self.classes) {
            let part = (0..SPLITS).rev().find(|part| part * self.count / SPLITS <= self.seen).unwrap_or(0);
            let (samples, entropy, sums) = &mut self.parts[part];
            let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let whole: f64 = row.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>().ln();
            for (sum, &logit) in sums.iter_mut().zip(row) {
                let log = f64::from(logit) - largest - whole;
                let p = log.exp();
                *sum += p;
                *entropy += p * log;
            }
            *samples += 1;
            self.seen += 1;
        }
    }

    /// The score of each part that has samples.
    pub fn scores(&self) -> Vec<f64> {
        let score = |(samples, entropy, sums): &(usize, f64, Vec<f64>)| {
            let n = *samples as f64;
            // A class that nothing can be of adds nothing.
            let of_mean: f64 = sums.iter().map(|sum| sum / n).map(|p| if p == 0.0 { 0.0 } else { p * p.ln() }).sum();
            (entropy / n - of_mean).exp()
        };
        self.parts.iter().filter(|(samples, ..)| *samples > 0).map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples that are sure of one of `classes` classes, each in turn.
    fn sure(count: usize, classes: usize) -> Vec<f32> {
        (0..count * 4).map(|at| if at % 4 == at / 4 % classes { 200.0 } else { 0.0 }).collect()
    }

    #[test]
    fn scores_by_hand() {
        let scores = |count: usize, logits: &[f32]| {
            let mut splits = Splits::new(count, 4);
            // In pieces that are no parts.
            logits.chunks(4 * 7).for_each(|piece| splits.add(piece));
            splits.scores()
        };
        // Sure samples of k classes, as many of each in every part, have a score of k; unsure ones of 1.
        for classes in [1, 2, 4] {
            let found = scores(80, &sure(80, classes));
            assert_eq!(found.len(), 10);
            assert!(found.iter().all(|score| (score - classes as f64).abs() < 1e-12), "{found:?}");
        }
        assert!(scores(20, &[5.0; 80]).iter().all(|score| (score - 1.0).abs() < 1e-12));
        // Parts are in order: 23 samples are 2, 2, 2, 3, 2, 2, 3, 2, 2, 3, and one class a part gives 1 while all together would give 2.
        let halves: Vec<f32> =
            (0..23).flat_map(|i| if i < 11 { [90.0, 0.0, 0.0, 0.0] } else { [0.0, 90.0, 0.0, 0.0] }).collect();
        let found = scores(23, &halves);
        // ⌊4 · 23 / 10⌋ = 9 and ⌊5 · 23 / 10⌋ = 11: no part has both.
        assert!(found.len() == 10 && found.iter().all(|score| (score - 1.0).abs() < 1e-12), "{found:?}");
        // p = (3/4, 1/4) and (1/4, 3/4), mean (1/2, 1/2): ln 2 − H(1/4) = 0.130812…
        let mut one = Splits::new(2, 2);
        one.add(&[3f32.ln(), 0.0, 0.0, 3f32.ln()]);
        let both: f64 = 2f64.ln() + 0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln();
        assert_eq!(one.parts.iter().filter(|part| part.0 == 1).count(), 2, "each has a part of its own");
        let mut whole = Splits { count: 20, ..Splits::new(2, 2) };
        whole.add(&[3f32.ln(), 0.0, 0.0, 3f32.ln()]);
        assert!((whole.scores()[0] - both.exp()).abs() < 1e-7, "{:?}", whole.scores());
    }
}
