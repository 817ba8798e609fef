//! Density and coverage (Naeem et al. 2020): density counts in how many balls of the real images a sample lies, coverage the real images
//! whose ball has a sample in it. Balls reach to the fifth nearest neighbour. Unlike precision and recall, neither trusts the
//! manifold of the samples, which a few outliers make large.

use super::{Figure, Metric, Needs, figure, pr};
use crate::eval::set::Set;

/// The neighbour whose distance is a ball's radius.
const K: usize = 5;

pub(super) const METRIC: Metric = Metric {
    name: "dc",
    meaning: "density (how near are samples to real images?) and coverage (how many real images have samples near?)",
    needs: Needs::Features,
    panel: ("Density and coverage (k = 5)", &[("density", "density"), ("coverage", "coverage")]),
    measure,
    has: |figure| matches!(figure, "density" | "coverage"),
    explain: |figure| match figure {
        "coverage" => "share of real images with a sample among their nearest neighbours, higher is better",
        _ => "real neighbourhoods that a sample lies in, relative to k; about 1 for samples like real images",
    },
};

fn measure(real: &Set, fake: &Set, seed: u64) -> Vec<Figure> {
    let [real, fake] = pr::points(real, fake, seed);
    let radii = real.radii(K);
    let balls = fake.each(&real, |_, distances| distances.iter().zip(&radii).filter(|(d, radius)| d < radius).count());
    let nearest = real.each(&fake, |_, distances| distances.iter().copied().fold(f64::INFINITY, f64::min));
    let density = balls.iter().sum::<usize>() as f64 / (K * fake.len()) as f64;
    let covered = nearest.iter().zip(&radii).filter(|(nearest, radius)| nearest < radius).count();
    vec![figure("density", density), figure("coverage", covered as f64 / real.len() as f64)]
}
