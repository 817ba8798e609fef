//! FCD within each class: the samples that were asked to be of a class, against the real images of that label. Only of samples that were
//! asked for. A class that is right in its share and wrong in its pictures shows here, and hides in the distance of the whole sets.

use super::{Figure, Metric, Needs, figure};
use crate::eval::set::Set;

/// Samples, and real images, that a class must have: the covariance of 128 features is estimated from them.
const LEAST: usize = 500;
/// The distances of more classes are not listed.
const LISTED: usize = 100;
/// The prefix of the name of a class's distance.
pub const OF_CLASS: &str = "fcd_of_";

pub(super) const METRIC: Metric = Metric {
    name: "class_fcd",
    meaning: "FCD within each class, of a generator that is told the class",
    needs: Needs::Features,
    panel: ("FCD within classes", &[("class_fcd", "")]),
    measure,
    has: |figure| figure == "class_fcd" || figure.starts_with(OF_CLASS),
    explain: |figure| match figure {
        "class_fcd" => "mean over the classes of the Fréchet distance within each, lower is better",
        _ => "Fréchet distance of this class's samples and real images, lower is better",
    },
};

/// Nothing where no class was asked for, or none has enough samples and real images.
fn measure(real: &Set, fake: &Set, _: u64) -> Vec<Figure> {
    if fake.asked.len() != fake.len() || real.asked.len() != real.len() {
        return Vec::new();
    }
    let (real_images, fakes) = (by_class(real), by_class(fake));
    let mut distances = Vec::new();
    for ((name, reals), fakes) in real.names.iter().zip(&real_images).zip(&fakes) {
        if reals.len().min(fakes.len()) >= LEAST {
            distances.push((name, fake.moments(fakes).distance(&real.moments(reals))));
        }
    }
    if distances.is_empty() {
        return Vec::new();
    }
    let mean = distances.iter().map(|(_, distance)| distance).sum::<f64>() / distances.len() as f64;
    let listed = distances.iter().filter(|_| real.names.len() <= LISTED);
    let each = listed.map(|(name, distance)| figure(&format!("{OF_CLASS}{name}"), *distance));
    [figure("class_fcd", mean)].into_iter().chain(each).collect()
}

/// The numbers of the images of each class.
fn by_class(set: &Set) -> Vec<Vec<u32>> {
    let mut images = vec![Vec::new(); set.names.len()];
    for (image, &class) in (0u32..).zip(&set.asked) {
        if let Some(own) = images.get_mut(usize::from(class)) {
            own.push(image);
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageShape;

    /// One feature, N(mean of the class, 1) roughly, the classes in turn.
    fn set(count: usize, means: &[f32]) -> Set {
        let classes = means.len();
        let spread = |i: usize| ((i / classes * 7 % 11) as f32 - 5.0) / 3.0;
        let features = (0..count).map(|i| means[i % classes] + spread(i)).collect();
        let asked = (0..count).map(|i| (i % classes) as u16).collect();
        let names = ["a", "b", "c"][..classes].iter().map(ToString::to_string).collect();
        Set { features, dims: 1, asked, names, ..Set::new(ImageShape { h: 1, w: 1, c: 1 }) }
    }

    #[test]
    fn a_distance_is_within_the_class() {
        // The same classes, and two of them swapped: as whole sets they are alike.
        let real = set(2200, &[0.0, 10.0]);
        let same = measure(&real, &set(1100, &[0.0, 10.0]), 0);
        assert_eq!(same.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>(), ["class_fcd", "fcd_of_a", "fcd_of_b"]);
        assert!(same.iter().all(|(_, distance)| *distance < 1e-3), "{same:?}");
        let swapped = measure(&real, &set(1100, &[10.0, 0.0]), 0);
        assert!(swapped.iter().all(|(_, distance)| (distance - 100.0).abs() < 1e-2), "{swapped:?}");
    }

    #[test]
    fn a_class_of_few_images_has_none() {
        let real = set(3000, &[0.0, 1.0, 2.0]);
        assert!(measure(&real, &set(3 * 499, &[0.0, 1.0, 2.0]), 0).is_empty());
        let mut few = set(3 * 500, &[0.0, 1.0, 2.0]);
        few.asked[0] = 1;
        let names: Vec<String> = measure(&real, &few, 0).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["class_fcd", "fcd_of_b", "fcd_of_c"]);
        few.asked.clear();
        assert!(measure(&real, &few, 0).is_empty(), "of a generator without classes");
    }
}
