//! IS, the Inception score (Salimans et al. 2016): how sure Inception-v3 is of what each sample shows, and how many classes come. Real images
//! have no part in it.

use super::{Figure, Metric, Needs, figure};
use crate::eval::set::Set;

pub(super) const METRIC: Metric = Metric {
    name: "is",
    meaning: "Inception score, mean over ten parts of the samples; needs the weights of Inception-v3",
    needs: Needs::Logits,
    panel: ("IS (Inception score)", &[("is", "")]),
    measure,
    has: |figure| matches!(figure, "is" | "is_sd"),
    explain: |figure| match figure {
        "is_sd" => "standard deviation of is over ten parts of the samples",
        _ => "Inception score, higher is better",
    },
};

fn measure(_: &Set, fake: &Set, _: u64) -> Vec<Figure> {
    let Some(scores) = fake.inception.as_ref().map(|observed| &observed.scores) else { return Vec::new() };
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    // Over n, as NumPy's `std` has it and the figures of papers with it.
    let variance = scores.iter().map(|score| (score - mean) * (score - mean)).sum::<f64>() / n;
    vec![figure("is", mean), figure("is_sd", variance.sqrt())]
}
