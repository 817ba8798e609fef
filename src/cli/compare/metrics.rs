//! The metrics of runs beside each other, as they were measured last.

use super::super::text_table::{aligned, number};
use super::member::Member;
use crate::eval::METRICS;
use crate::run::Setup;

/// A row for each run that was measured; nothing where none was. Runs that were measured in another way than the first are said to be.
pub(super) fn table(members: &[Member], columns: Option<usize>) -> String {
    let measured = || members.iter().enumerate().filter_map(|(index, one)| Some((index + 1, one.measured.as_ref()?)));
    let Some((first, reference)) = measured().next() else { return String::new() };
    let names = METRICS.iter().flat_map(|metric| metric.panel.1.iter().map(|(name, _)| *name));
    let names: Vec<&str> = names.filter(|name| measured().any(|(_, one)| one.figures.contains_key(*name))).collect();
    let heading = ["metrics", "step", "samples"].into_iter().chain(names.iter().copied()).map(String::from);
    let mut rows: Vec<Vec<String>> = vec![heading.collect()];
    for (index, one) in measured() {
        let figure = |name: &&str| one.figures.get(*name).map_or_else(|| "-".into(), |&value| number(value));
        let first = [format!("#{index}"), one.step.to_string(), one.setup.samples.to_string()];
        rows.push(first.into_iter().chain(names.iter().map(figure)).collect());
    }
    let mut text = aligned(&rows, 1, columns);
    let others: Vec<String> = measured()
        .filter_map(|(index, one)| {
            let what = difference(&reference.setup, &one.setup)?;
            Some(format!("#{index} ({what})"))
        })
        .collect();
    if !others.is_empty() {
        text += &format!("not comparable with #{first}: {}\n", others.join(", "));
    }
    text + "\n"
}

/// The reason that the figures of two setups are not comparable.
fn difference(a: &Setup, b: &Setup) -> Option<&'static str> {
    let both = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
    if (&a.data, a.reals) != (&b.data, b.reals) {
        return Some("other images");
    }
    if both(&a.classifier, &b.classifier) {
        return Some("another classifier");
    }
    if both(&a.inception, &b.inception) {
        return Some("other weights or statistics of Inception, or another resizing");
    }
    (a.samples != b.samples).then_some("another number of samples")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_measured_alike_is_told() {
        let (classifier, inception) = (Some("c".into()), Some("i clean data".into()));
        let setup = Setup { samples: 9, seed: 0, reals: 5, data: "a".into(), classifier, inception };
        assert_eq!(difference(&setup, &setup), None);
        assert_eq!(difference(&setup, &Setup { seed: 1, classifier: None, inception: None, ..setup.clone() }), None);
        for (other, expected) in [
            (Setup { data: "b".into(), ..setup.clone() }, "other images"),
            (Setup { classifier: Some("d".into()), ..setup.clone() }, "another classifier"),
            (
                Setup { inception: Some("i legacy-pytorch data".into()), ..setup.clone() },
                "other weights or statistics of Inception, or another resizing",
            ),
            (Setup { samples: 8, ..setup.clone() }, "another number of samples"),
        ] {
            assert_eq!(difference(&setup, &other), Some(expected));
        }
    }
}
