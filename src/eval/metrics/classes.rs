//! Classes of the samples, as the classifier sees them: how many classes of the data set there are among the samples, and how far their
//! shares are from those of the real images.

use super::{Figure, Metric, Needs, figure};
use crate::eval::set::Set;

/// A class is covered where its share of the samples is this part of its share of the real images, or more.
const COVERED: f64 = 0.1;
/// The prefix of the name of a class's share.
pub const SHARE: &str = "share_";
/// The shares of more classes are not listed.
const LISTED: usize = 100;

pub(super) const METRIC: Metric = Metric {
    name: "classes",
    meaning: "how many of the data set's classes the samples cover, and the share of each",
    needs: Needs::Features,
    panel: ("Classes that the samples cover", &[("modes", "")]),
    measure,
    has: |figure| matches!(figure, "modes" | "class_distance" | "class_accuracy") || figure.starts_with(SHARE),
    explain: |figure| match figure {
        "modes" => "classes with at least a tenth of their share among real images",
        "class_distance" => {
            "share of samples that would have to be of another class for the real images' shares, lower is better"
        }
        "class_accuracy" => {
            "share of the samples that the classifier puts into the class that was asked for, higher is better"
        }
        _ => "share of the samples that the classifier puts into this class",
    },
};

fn measure(real: &Set, fake: &Set, _: u64) -> Vec<Figure> {
    let (names, count) = (&real.names, real.names.len());
    let accuracy = accuracy(fake).map(|share| figure("class_accuracy", share));
    let (real, fake) = (shares(&real.classes, count), shares(&fake.classes, count));
    let is_covered = |&(real, fake): &(f64, f64)| real > 0.0 && fake >= COVERED * real;
    let pairs = || real.iter().copied().zip(fake.iter().copied());
    let modes = pairs().filter(is_covered).count() as f64;
    let distance = pairs().map(|(real, fake)| (real - fake).abs()).sum::<f64>() / 2.0;
    let listed = names.iter().zip(&fake).filter(|_| count <= LISTED);
    let shares = listed.map(|(name, &share)| figure(&format!("{SHARE}{name}"), share));
    [figure("modes", modes), figure("class_distance", distance)].into_iter().chain(accuracy).chain(shares).collect()
}

/// The share of samples that the classifier puts into the class that was asked for; `None` where none was.
fn accuracy(fake: &Set) -> Option<f64> {
    let right = fake.asked.iter().zip(&fake.classes).filter(|(asked, found)| asked == found).count();
    (!fake.asked.is_empty()).then(|| right as f64 / fake.asked.len() as f64)
}

/// The share of each class.
fn shares(classes: &[u16], count: usize) -> Vec<f64> {
    let mut counts = vec![0usize; count];
    classes.iter().for_each(|&class| counts[usize::from(class)] += 1);
    counts.into_iter().map(|number| number as f64 / classes.len() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageShape;

    #[test]
    fn dropped_and_rare_classes() {
        let set = |counts: &[usize]| {
            let classes = counts.iter().zip(0u16..).flat_map(|(&count, class)| vec![class; count]).collect();
            let names = ["a", "b", "c"].map(String::from).into();
            Set { classes, names, ..Set::new(ImageShape { h: 1, w: 1, c: 1 }) }
        };
        // Shares 0.5, 0.25, 0.25 against 0.97, 0.03, 0: the second is covered, just so, the third is not.
        let found = measure(&set(&[50, 25, 25]), &set(&[97, 3]), 0);
        let expected =
            [("modes", 2.0), ("class_distance", 0.47), ("share_a", 0.97), ("share_b", 0.03), ("share_c", 0.0)];
        assert_eq!(found.len(), expected.len());
        for ((name, value), (expected_name, expected)) in found.iter().zip(expected) {
            assert!(name == expected_name && (value - expected).abs() < 1e-12, "{name} {value}");
        }
        let asked = Set { asked: vec![0, 1, 1, 2, 2], ..set(&[2, 2, 1]) };
        assert_eq!(measure(&set(&[50, 25, 25]), &asked, 0)[2], ("class_accuracy".to_string(), 3.0 / 5.0));
        assert_eq!(measure(&set(&[50, 25, 25]), &set(&[98, 2]), 0)[0].1, 1.0);
        assert_eq!(measure(&set(&[500; 3]), &set(&[1; 3]), 0)[1].1, 0.0);
    }
}
