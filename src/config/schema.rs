//! The list of settings with their types, derived from the serialised defaults: a new setting needs no second
//! registration.

use std::sync::OnceLock;

use serde::Deserialize;
use toml::{Table, Value};

use super::nearest::{closest, key_distance, nearest_hint};
use super::settings::Settings;
use crate::error::{Error, Result};

/// One setting: `section.name`, and its default, which says what kind of value it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) default: &'static Value,
}

/// A value that a setting can't hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) found: String,
}

/// Every setting as `section.key`, in alphabetical order: what `--set` accepts.
pub fn known_keys() -> Vec<String> {
    keys().map(|key| key.dotted()).collect()
}

pub(super) fn keys() -> impl Iterator<Item = Key> {
    defaults().iter().flat_map(|(section, value)| {
        value.as_table().into_iter().flatten().map(move |(name, default)| Key { section, name, default })
    })
}

pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    defaults().keys().map(String::as_str)
}

/// The settings as TOML: a table of sections.
pub(super) fn to_table(settings: &Settings) -> Result<Table> {
    Table::try_from(settings).map_err(unwritable)
}

/// TOML's integers end at 2⁶³ − 1; nothing else in the settings can fail to be written.
pub(super) fn unwritable(error: toml::ser::Error) -> Error {
    Error::Usage(format!("these settings can't be written as TOML (is a number above {}?): {error}", i64::MAX))
}

/// Reads settings from a table whose keys and kinds of values were checked before.
pub(super) fn from_table(table: Table) -> Result<Settings> {
    Settings::deserialize(table).map_err(|error| Error::Internal(format!("checked settings don't parse: {error}")))
}

fn defaults() -> &'static Table {
    static DEFAULTS: OnceLock<Table> = OnceLock::new();
    DEFAULTS.get_or_init(|| Table::try_from(Settings::default()).unwrap_or_default())
}

impl Key {
    pub(super) fn dotted(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Finds `section.key`, or a bare `key` that only one section has. The error says what would be right.
    pub(super) fn find(text: &str) -> std::result::Result<Key, String> {
        if let Some((section, name)) = text.split_once('.') {
            let exact = keys().find(|key| key.section == section && key.name == name);
            return exact.ok_or_else(|| suggestion(text));
        }
        let matches: Vec<Key> = keys().filter(|key| key.name == text).collect();
        // A bare `seed` has always been the run's; that of the data came later.
        let of_the_run = matches.iter().find(|key| key.section == "train").copied();
        match matches[..] {
            [key] => Ok(key),
            [_, ..] if of_the_run.is_some() => of_the_run.ok_or_else(|| suggestion(text)),
            [] => Err(suggestion(text)),
            _ => {
                let names: Vec<String> = matches.iter().map(|key| format!("`{}`", key.dotted())).collect();
                Err(format!("several sections have a setting `{text}`: write one of {}", names.join(", ")))
            }
        }
    }

    /// Says what is wrong with `value` for this setting, or nothing.
    pub(super) fn check(&self, value: &Value) -> std::result::Result<(), Mismatch> {
        let mismatch = |expected: &str, found: &Value| Err(Mismatch { expected: expected.into(), found: show(found) });
        match (self.default, value) {
            (Value::Boolean(_), Value::Boolean(_)) => Ok(()),
            (Value::Boolean(_), _) => mismatch("true or false", value),
            (Value::Float(_), Value::Float(_) | Value::Integer(_)) => Ok(()),
            (Value::Float(_), _) => mismatch("a number", value),
            (Value::Integer(_), Value::Integer(0..)) => Ok(()),
            (Value::Integer(_), _) => mismatch("a whole number, 0 or more", value),
            (Value::Array(_), Value::Array(items)) => {
                match items.iter().find(|item| !matches!(item, Value::Integer(0..))) {
                    Some(item) => mismatch("a list of whole numbers such as [64, 128]", item),
                    None => Ok(()),
                }
            }
            (Value::Array(_), _) => mismatch("a list of whole numbers such as [64, 128]", value),
            (Value::String(_), Value::String(_)) => self.check_choice(value),
            (_, _) => mismatch("text", value),
        }
    }

    /// Text may be one of a few words; serde, which knows them, is asked.
    fn check_choice(&self, value: &Value) -> std::result::Result<(), Mismatch> {
        let section = Table::from_iter([(self.name.to_string(), value.clone())]);
        let table = Table::from_iter([(self.section.to_string(), Value::Table(section))]);
        let Err(error) = Settings::deserialize(table) else { return Ok(()) };
        // "unknown variant `x`, expected one of `a`, `b`"
        let expected = error.message().split_once(", expected ").map_or("another word", |(_, expected)| expected);
        Err(Mismatch { expected: expected.trim_end().to_string(), found: show(value) })
    }
}

/// The settings that `text`, with or without a section, most likely means; as [`nearest`](super::nearest::nearest).
pub(super) fn nearest_keys(text: &str) -> Vec<Key> {
    closest(keys(), |key| key_distance(text, key.section, key.name))
}

fn suggestion(text: &str) -> String {
    let near: Vec<String> = nearest_keys(text).iter().map(Key::dotted).collect();
    let hint = nearest_hint(near.iter().map(String::as_str));
    let text = shorten(text);
    match sections().find(|section| *section == text) {
        Some(_) => {
            format!("there is no setting `{text}`, it is a section (`vgan-cuda settings {text}` lists its settings)")
        }
        None => format!("there is no setting `{text}`{hint} (`vgan-cuda settings` lists them all)"),
    }
}

/// A value as it reads in an error.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text `{}`", shorten(text)),
        Value::Integer(number) => format!("the whole number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(date) => format!("the date {date}"),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}

/// At most 60 characters of what a user wrote, on one line.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_the_settings() {
        let keys = known_keys();
        for key in ["data.source", "generator.channels", "bottleneck.beta_step", "optimizer.beta1", "train.snap"] {
            assert!(keys.iter().any(|known| known == key), "{key} is not in {keys:?}");
        }
        assert!(keys.iter().all(|key| key.matches('.').count() == 1));
    }

    #[test]
    fn a_choice_lists_what_it_can_be() {
        let key = Key::find("kl_reduction").unwrap();
        let mismatch = key.check(&Value::String("avg".into())).unwrap_err();
        for word in ["`mean`", "`sum`", "`channels`"] {
            assert!(mismatch.expected.contains(word), "{mismatch:?}");
        }
        assert!(Key::find("source").unwrap().check(&Value::String("anything".into())).is_ok());
    }
}
