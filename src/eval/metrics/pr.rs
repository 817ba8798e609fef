//! Improved precision and recall (Kynkäänniemi et al. 2019): a set's manifold is the union of balls around its points, each as large as
//! the distance to its third nearest neighbour in the set. Precision is the share of samples within the real images' manifold, recall
//! the share of real images within that of the samples.

use super::{Figure, Metric, Needs, figure};
use crate::eval::distances::Points;
use crate::eval::draws::{Purpose, choice};
use crate::eval::set::Set;

/// The neighbour whose distance is a ball's radius.
const K: usize = 3;

pub(super) const METRIC: Metric = Metric {
    name: "pr",
    meaning: "precision (are samples like real images?) and recall (are all real images like samples?)",
    needs: Needs::Features,
    panel: ("Precision and recall (k = 3)", &[("precision", "precision"), ("recall", "recall")]),
    measure,
    has: |figure| matches!(figure, "precision" | "recall"),
    explain: |figure| match figure {
        "recall" => "share of real images within the samples' manifold, higher is better",
        _ => "share of samples within the real images' manifold, higher is better",
    },
};

fn measure(real: &Set, fake: &Set, seed: u64) -> Vec<Figure> {
    let [real, fake] = points(real, fake, seed);
    vec![figure("precision", covered(&fake, &real)), figure("recall", covered(&real, &fake))]
}

/// As many real images, by chance, as there are samples, or all; and the samples.
pub(super) fn points(real: &Set, fake: &Set, seed: u64) -> [Points; 2] {
    let reals = choice(seed, Purpose::Reals, 0, real.len(), fake.len());
    [Points::new(real.chosen(&reals), real.dims), Points::new(fake.chosen(&super::all(fake)), fake.dims)]
}

/// The share of points that lie within the manifold of others.
fn covered(points: &Points, manifold: &Points) -> f64 {
    let radii = manifold.radii(K);
    let within = points.each(manifold, |_, distances| distances.iter().zip(&radii).any(|(d, radius)| d <= radius));
    within.iter().filter(|&&within| within).count() as f64 / points.len() as f64
}
