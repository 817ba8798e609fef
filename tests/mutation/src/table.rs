//! What the trials came to, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::site::{Kind, Site};
use crate::tests::{End, Lines, Reach, Trial};
use crate::tree::Places;

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Failed,
    Late,
    Survived,
    Unreached,
    /// Tests that reach it are still to be run.
    Open,
}

fn fate(key: &str, trials: &BTreeMap<&str, Vec<&Trial>>, reached: &BTreeMap<&str, BTreeSet<(&str, &str)>>) -> Fate {
    let own = trials.get(key).map(Vec::as_slice).unwrap_or_default();
    let tests = reached.get(key);
    if own.iter().any(|trial| trial.end == End::Failed) {
        Fate::Failed
    } else if own.iter().any(|trial| trial.end == End::Late) {
        Fate::Late
    } else if tests.is_none_or(BTreeSet::is_empty) {
        Fate::Unreached
    } else {
        let run: BTreeSet<(&str, &str)> = own.iter().map(|trial| (&*trial.binary, &*trial.test)).collect();
        if tests.is_some_and(|tests| tests.is_subset(&run)) { Fate::Survived } else { Fate::Open }
    }
}

/// A row: how many, and what became of them.
fn row(name: &str, fates: &[Fate]) -> String {
    let of = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count();
    let caught = of(Fate::Failed) + of(Fate::Late);
    #[expect(clippy::cast_precision_loss)]
    let share = 100.0 * caught as f64 / fates.len().max(1) as f64;
    let (late, survived, unreached, open) = (of(Fate::Late), of(Fate::Survived), of(Fate::Unreached), of(Fate::Open));
    format!("| {name} | {} | {caught} | {late} | {survived} | {unreached} | {open} | {share:.1} % |\n", fates.len())
}

/// The tables by room and by kind, and all mutants that are not caught.
pub fn table(places: &Places, mutants: &[Site]) -> String {
    let (all_trials, all_reached): (Vec<Trial>, Vec<Reach>) =
        (Lines::new(places, "trials.jsonl").read(), Lines::new(places, "reach.jsonl").read());
    let mut trials: BTreeMap<&str, Vec<&Trial>> = BTreeMap::new();
    for trial in &all_trials {
        trials.entry(&trial.mutant).or_default().push(trial);
    }
    let mut reached: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for reach in all_reached.iter().filter(|reach| reach.end == End::Passed) {
        for key in &reach.mutants {
            reached.entry(key).or_default().insert((&reach.binary, &reach.test));
        }
    }
    let fates: Vec<(usize, &Site, Fate)> =
        (1..).zip(mutants).map(|(id, site)| (id, site, fate(&site.key(), &trials, &reached))).collect();
    let select = |wanted: &dyn Fn(&Site) -> bool| -> Vec<Fate> {
        fates.iter().filter(|(_, site, _)| wanted(site)).map(|(_, _, fate)| *fate).collect()
    };
    let head = "| mutants | caught | of these by time | survived | unreached | open | share |\n|---|---|---|---|---|---|---|---|\n";
    let mut text = format!("| room {head}");
    for room in crate::tree::ROOMS {
        text += &row(&format!("`src/{room}`"), &select(&|site| site.room() == room));
    }
    text += &row("all", &select(&|_| true));
    let _ = write!(text, "\n| kind {head}");
    for kind in Kind::ALL {
        text += &row(kind.meaning(), &select(&|site| site.kind == kind));
    }
    text += "\n| | place | function | mutant | |\n|---|---|---|---|---|\n";
    for (id, site, fate) in fates.iter().filter(|(_, _, fate)| *fate > Fate::Late) {
        let cell = |text: &str| text.replace('|', "\\|");
        let change = if site.after.is_empty() {
            format!("`{}` left out", site.before)
        } else {
            format!("`{}` → `{}`", site.before, site.after)
        };
        let _ = writeln!(
            text,
            "| {id} | `{}:{}` | `{}` | {} | {fate:?} |",
            site.file,
            site.line,
            site.function,
            cell(&change)
        );
    }
    text
}
