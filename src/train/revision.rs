//! The changes of a resume: the settings that it is given, held against those that the checkpoint was trained with.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{AtResume, SettingChange, SettingValue, Settings, changes, with_recorded, with_start_of};
use crate::error::readable_path;
use crate::run::state::MOST_CHANGES;
use crate::run::{Change, State};
use crate::{Error, Result};

/// The settings to go on with, and what is to be said of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Those that were asked for, those that only say where a run begins as they were then.
    pub settings: Settings,
    /// The changes that take effect on the weights, for the checkpoint's state.
    pub changes: Vec<Change>,
    /// A line for each difference, for the user and for `log.txt`.
    pub lines: Vec<String>,
}

/// The source of the settings of a resume.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The run's config.toml, for messages.
    pub config: &'a Path,
    /// The settings in it.
    pub on_file: &'a Settings,
    /// The same with the command line over it: what is asked for.
    pub settings: &'a Settings,
}

/// The settings that the weights of a checkpoint came from; `None` where its state does not say, as in format 1. What it
/// says nothing of (length, rhythm, the place of the images) is as by default. `path` is the checkpoint's folder.
///
/// # Errors
/// [`Error::BadData`] where a value is none of its setting.
pub fn trained_with(state: &State, path: &Path) -> Result<Option<Settings>> {
    if state.settings.is_empty() {
        return Ok(None);
    }
    let wrong = |found: String| Error::bad_data(path.join("state.json"), "the settings of a checkpoint", found);
    let value = |(key, value): (&String, &serde_json::Value)| {
        let read = serde_json::from_value::<SettingValue>(value.clone());
        read.map(|value| (key.clone(), value)).map_err(|error| wrong(format!("`{key}` {value}: {error}")))
    };
    let recorded = state.settings.iter().map(value).collect::<Result<BTreeMap<_, _>>>()?;
    with_recorded(&Settings::default(), &recorded).map(Some).map_err(wrong)
}

/// Holds what is asked for against the checkpoint in the folder `path`.
///
/// # Errors
/// For a setting that must stay as it was, [`Error::Usage`] where the command line asks for another value, and
/// [`Error::BadData`] where config.toml does; it names both values of each.
pub fn revise(state: &State, path: &Path, asked: Asked<'_>) -> Result<Revision> {
    let step = state.step;
    let mut lines: Vec<String> = changes(asked.on_file, asked.settings)?
        .iter()
        .filter(|change| matches!(change.class, AtResume::Pace | AtResume::Place))
        .map(|change| format!("step {step}: {change}"))
        .collect();
    let Some(then) = trained_with(state, path)? else {
        let note = "the checkpoint is one of an earlier version and does not say which settings it was trained with: they are \
                    taken as config.toml has them";
        lines.push(format!("note: {note}"));
        return Ok(Revision { settings: asked.settings.clone(), changes: Vec::new(), lines });
    };
    let mut found = changes(&then, asked.settings)?;
    found.retain(|change| !matches!(change.class, AtResume::Pace | AtResume::Place));
    let refused: Vec<&SettingChange> = found.iter().filter(|change| change.is_refused()).collect();
    if !refused.is_empty() {
        return Err(refusal(&refused, &then, asked, path)?);
    }
    let mut effective = Vec::new();
    for change in &found {
        if change.class == AtResume::Start {
            let beta =
                if change.key == "bottleneck.beta" { format!(": it is {} now", state.beta) } else { String::new() };
            lines.push(format!("step {step}: {change} has no effect, for that is {}{beta}", change.reason));
            continue;
        }
        lines.push(format!("step {step}: {change}, from here on"));
        let json = |value: &SettingValue| {
            serde_json::to_value(value).map_err(|error| Error::Internal(format!("a setting as JSON: {error}")))
        };
        effective.push(Change { step, key: change.key.clone(), from: json(&change.from)?, to: json(&change.to)? });
    }
    Ok(Revision { settings: with_start_of(&then, asked.settings)?, changes: effective, lines })
}

impl Revision {
    /// Notes the changes in the state of the checkpoint that the run goes on from.
    pub fn note_in(&self, state: &mut State) {
        state.changes.extend(self.changes.iter().cloned());
        let surplus = state.changes.len().saturating_sub(MOST_CHANGES);
        state.changes.drain(..surplus);
    }
}

/// The message about settings that must stay: those that the command line changes come first.
fn refusal(refused: &[&SettingChange], then: &Settings, asked: Asked<'_>, path: &Path) -> Result<Error> {
    let by_file = changes(then, asked.on_file)?;
    let is_typed =
        |change: &&&SettingChange| !by_file.iter().any(|other| other.key == change.key && other.to == change.to);
    let typed: Vec<&&SettingChange> = refused.iter().filter(is_typed).collect();
    if !typed.is_empty() {
        let each = typed.iter().map(|change| {
            let SettingChange { key, from, to, reason, .. } = **change;
            format!("`{key}` is {from} in this run and can't become {to} ({reason})")
        });
        let each = each.collect::<Vec<_>>().join("; ");
        return Ok(Error::Usage(format!("{each}: leave it as it is, or start a new run with `train`")));
    }
    let listed = |value: fn(&SettingChange) -> &SettingValue| {
        let each = refused.iter().map(|change| format!("{} = {}", change.key, value(change)));
        each.collect::<Vec<_>>().join(", ")
    };
    let expected = format!("{}, as the run was trained with", listed(|change| &change.from));
    let reasons =
        refused.iter().map(|change| format!("{}: {}", change.key, change.reason)).collect::<Vec<_>>().join("; ");
    let checkpoint = readable_path(path);
    let hint = format!("write it back, or start a new run with `train` ({reasons}; the checkpoint is {checkpoint})");
    Ok(Error::bad_data(asked.config, expected, listed(|change| &change.to)).with_hint(hint))
}
