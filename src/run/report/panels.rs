//! The panels of a report, and the figures in each.

use std::collections::BTreeSet;

use serde::Serialize;

use super::records::{Records, is_of_the_last};
use crate::run::figures::{Figures, Output, SINGLES};

/// One panel of the curves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Panel {
    /// Its figures, with the unit.
    pub title: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// A level to compare with.
    pub level: Option<Level>,
}

/// A line of a panel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The name of its series.
    pub key: String,
    /// Its name in the legend; empty where it is alone.
    pub label: String,
}

/// A level that a figure is held against.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// The value of the level.
    pub value: f64,
    /// Its name in the legend.
    pub label: String,
}

impl Panel {
    fn new(title: &str, lines: &[(&str, &str)]) -> Panel {
        let line = |&(key, label): &(&str, &str)| Line { key: key.into(), label: label.into() };
        Panel { title: title.into(), lines: lines.iter().map(line).collect(), level: None }
    }
}

/// A panel as it is declared: its title, and the keys of its lines with what the legend calls each.
pub type Declared<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// The panels of a run with these records: those of the figures that it has, `more` of what its samples were measured to be, then the
/// figures that this version does not know, then the speed. `figures` are `None` where the settings can't be read; then every figure
/// that stands in the records is shown.
pub fn panels(records: &Records, figures: Option<&Figures>, more: &[Declared<'_>]) -> Vec<Panel> {
    let mut panels = known(figures);
    panels.extend(more.iter().map(|(title, lines)| Panel::new(title, lines)));
    let shown: BTreeSet<String> =
        panels.iter().flat_map(|panel| panel.lines.iter().map(|line| line.key.clone())).collect();
    // A figure of this version that stands in no panel is one that the run has not: β without a bottleneck.
    let hidden =
        |key: &str| shown.contains(key) || is_of_the_last(key) || key == SPEED || (figures.is_some() && is_known(key));
    panels.extend(records.series.keys().filter(|key| !hidden(key)).map(|key| Panel::new(key, &[(key, "")])));
    panels.push(Panel::new("Speed (images/s)", &[(SPEED, "")]));
    for panel in &mut panels {
        panel.lines.retain(|line| records.series.contains_key(&line.key));
    }
    panels.retain(|panel| !panel.lines.is_empty());
    panels
}

const SPEED: &str = "images_per_s";

/// Figures in panels of several lines, and β.
const COMPOSED: [&str; 7] = ["loss_d", "loss_g", "beta", "kl_real", "kl_fake", "d_real", "d_fake"];

fn is_known(key: &str) -> bool {
    COMPOSED.contains(&key) || SINGLES.iter().any(|single| single.name == key)
}

fn known(figures: Option<&Figures>) -> Vec<Panel> {
    let mut panels = vec![Panel::new("Loss", &[("loss_d", "discriminator"), ("loss_g", "generator")])];
    if figures.is_none_or(|figures| figures.target_kl.is_some()) {
        let kl = Panel::new("KL of the bottleneck (nats)", &[("kl_real", "real images"), ("kl_fake", "fake images")]);
        let level = figures.and_then(|figures| figures.target_kl).filter(|target| target.is_finite());
        panels.push(Panel { level: level.map(|value| Level { value, label: "target I_c".into() }), ..kl });
        panels.push(Panel::new("β (weight of the bottleneck's constraint)", &[("beta", "")]));
    }
    let images = [("d_real", "real images"), ("d_fake", "fake images")];
    panels.push(match figures.map(|figures| figures.output) {
        Some(Output::LogOdds) => Panel {
            level: Some(Level { value: 0.5, label: "undecided".into() }),
            ..Panel::new("Output of D (mean probability of real)", &images)
        },
        Some(Output::Energy) => Panel::new("Energy of images (mean, lower for real)", &images),
        Some(Output::Score) => Panel::new("Output of D (mean, higher for real)", &images),
        None => Panel::new("Output of D (mean)", &images),
    });
    let single = |single: &&crate::run::figures::Single| figures.is_none_or(|figures| single.is_shown(figures));
    panels.extend(
        SINGLES.iter().filter(single).filter_map(|single| Some(Panel::new(single.curve?, &[(single.name, "")]))),
    );
    panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::report::Series;

    fn titles(keys: &[&str], figures: Option<&Figures>) -> Vec<String> {
        let series = |key: &&str| (key.to_string(), Series { x: vec![1], y: vec![Some(1.0)] });
        let records = Records { series: keys.iter().map(series).collect(), ..Records::default() };
        let more: [Declared<'_>; 1] = [("Precision and recall", &[("precision", "precision"), ("recall", "recall")])];
        panels(&records, figures, &more).into_iter().map(|panel| panel.title).collect()
    }

    #[test]
    fn a_run_has_the_panels_of_its_figures_and_of_unknown_ones() {
        let keys = [
            "loss_d",
            "loss_g",
            "beta",
            "kl_real",
            "kl_fake",
            "d_real",
            "d_fake",
            "penalty",
            "images_per_s",
            "epoch",
            "fid",
        ];
        let plain = Figures { target_kl: None, has_penalty: false, output: Output::LogOdds };
        let of_d = "Output of D (mean probability of real)";
        assert_eq!(titles(&keys, Some(&plain)), ["Loss", of_d, "fid", "Speed (images/s)"]);
        let narrow = Figures { target_kl: Some(0.1), has_penalty: true, output: Output::LogOdds };
        let expected = [
            "Loss",
            "KL of the bottleneck (nats)",
            "β (weight of the bottleneck's constraint)",
            of_d,
            "Gradient penalty (part of D's loss)",
            "fid",
            "Speed (images/s)",
        ];
        assert_eq!(titles(&keys, Some(&narrow)), expected);
        // Another version's run, of which only the records can be read.
        assert_eq!(titles(&["loss_d", "loss_q"], None), ["Loss", "loss_q"]);
        assert_eq!(titles(&[], None), [""; 0]);
        assert_eq!(titles(&["fid"], Some(&plain)), ["fid"]);
        assert_eq!(titles(&["fid", "recall", "loss_d"], Some(&plain)), ["Loss", "Precision and recall", "fid"]);
    }
}
