//! The metrics, one a file. A new one is a file with a [`Metric`], a line in [`METRICS`], and a section of docs/metrics.md.

mod class_fcd;
mod classes;
mod dc;
mod fcd;
mod fid;
mod inception_score;
mod kid;
mod pr;
mod swd;

use super::set::Set;
use crate::error::{Error, Result};
pub use class_fcd::OF_CLASS;
pub use classes::SHARE;

/// The input of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Features and classes, and so a classifier.
    Features,
    /// Inception-v3's features and logits of samples and of real images, and so its weights.
    Inception,
    /// Its logits of samples only.
    Logits,
    /// Pixels alone.
    Pixels,
}

impl Needs {
    /// Whether the weights of Inception-v3 are needed.
    pub fn weights(self) -> bool {
        matches!(self, Needs::Inception | Needs::Logits)
    }
}

/// One of the numbers that a metric gives, by its name in `metrics.jsonl`: `fcd`, `precision`, `swd_32`, ….
pub type Figure = (String, f64);

/// A way to measure samples against a data set.
pub struct Metric {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its meaning, in a line.
    pub meaning: &'static str,
    /// Its input.
    pub needs: Needs,
    /// The title of its panel in `curves.svg`, and the figures that are drawn there, each with the name of its line.
    pub panel: (&'static str, &'static [(&'static str, &'static str)]),
    /// Its figures for these real images and these samples, with draws from the seed.
    pub measure: fn(real: &Set, fake: &Set, seed: u64) -> Vec<Figure>,
    /// Whether a figure of this name is one of it.
    pub has: fn(figure: &str) -> bool,
    /// The meaning of one of its figures, for people.
    pub explain: fn(figure: &str) -> &'static str,
}

/// Every metric, in the order in which they are shown.
pub const METRICS: &[&Metric] = &[
    &fcd::METRIC,
    &kid::METRIC,
    &pr::METRIC,
    &dc::METRIC,
    &classes::METRIC,
    &class_fcd::METRIC,
    &swd::METRIC,
    &fid::METRIC,
    &inception_score::METRIC,
];

/// The metrics of a list such as `fcd,kid`, each once, in the order of [`METRICS`].
///
/// # Errors
/// [`Error::Usage`] for a name that there is not, and for an empty list.
pub fn parse(list: &str) -> Result<Vec<&'static Metric>> {
    let names: Vec<&str> = list.split(',').map(str::trim).collect();
    let known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    if let Some(wrong) = names.iter().find(|name| !known.contains(name)) {
        let found = if wrong.is_empty() { "an empty name".into() } else { format!("`{wrong}`") };
        let list = known.join(",");
        return Err(Error::Usage(format!(
            "metrics: expected names out of {list}, with commas between them, found {found}"
        )));
    }
    Ok(METRICS.iter().copied().filter(|metric| names.contains(&metric.name)).collect())
}

/// Images whose pixels a metric looks at, at most.
pub(super) const PICTURES: usize = swd::MOST_IMAGES;

fn figure(name: &str, value: f64) -> Figure {
    (name.to_string(), value)
}

/// The numbers of all images of a set.
fn all(set: &Set) -> Vec<u32> {
    (0..u32::try_from(set.len()).unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_order_and_wrong_ones_are_told() {
        let names = |list: &str| parse(list).map(|found| found.iter().map(|metric| metric.name).collect::<Vec<_>>());
        assert_eq!(names("kid, fcd,kid").unwrap(), ["fcd", "kid"]);
        for (list, part) in [("", "an empty name"), ("fcd,", "an empty name"), ("fidd", "`fidd`")] {
            let error = names(list).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(part), "{error}");
        }
        assert!(METRICS.iter().all(|metric| !metric.panel.1.is_empty()));
    }
}
