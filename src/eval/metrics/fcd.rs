//! FCD, the Fréchet classifier distance: the distance of FID (Heusel et al. 2017) in the features of a classifier of this very data set,
//! and so no FID. Beside it the floor, the distance of real images from other real images.

use super::{Figure, Metric, Needs, all, figure};
use crate::eval::draws::{Purpose, choice};
use crate::eval::set::Set;

pub(super) const METRIC: Metric = Metric {
    name: "fcd",
    meaning: "Fréchet distance of samples and real images, as Gaussians in the classifier's features",
    needs: Needs::Features,
    panel: ("FCD (Fréchet distance in the classifier's features)", &[("fcd", "samples"), ("fcd_floor", "real images")]),
    measure,
    has: |figure| matches!(figure, "fcd" | "fcd_floor"),
    explain: |figure| match figure {
        "fcd_floor" => "the same of as many real images, against the others: what perfect samples would get",
        _ => "Fréchet distance in the classifier's features, lower is better (no FID)",
    },
};

fn measure(real: &Set, fake: &Set, seed: u64) -> Vec<Figure> {
    let distance = fake.moments(&all(fake)).distance(&real.moments(&all(real)));
    // As many as there are samples stand for samples, half of the real images at the most.
    let order = choice(seed, Purpose::Reals, 0, real.len(), real.len());
    let (part, others) = order.split_at(fake.len().min(real.len() / 2));
    let floor = real.moments(part).distance(&real.moments(others));
    vec![figure("fcd", distance), figure("fcd_floor", floor)]
}
