//! FID, the Fréchet Inception distance (Heusel et al. 2017): samples and real images as Gaussians in the 2,048 features of Inception-v3,
//! whose weights the user brings.

use super::{Figure, Metric, Needs, figure};
use crate::eval::set::Set;

pub(super) const METRIC: Metric = Metric {
    name: "fid",
    meaning: "Fréchet Inception distance, as papers report it; needs the weights of Inception-v3",
    needs: Needs::Inception,
    panel: ("FID (Fréchet distance in Inception's features)", &[("fid", "")]),
    measure,
    has: |figure| figure == "fid",
    explain: |_| "Fréchet distance in the features of Inception-v3, lower is better",
};

fn measure(real: &Set, fake: &Set, _: u64) -> Vec<Figure> {
    let both = fake.inception.as_ref().zip(real.inception.as_ref());
    both.map(|(fake, real)| figure("fid", fake.moments.distance(&real.moments))).into_iter().collect()
}
