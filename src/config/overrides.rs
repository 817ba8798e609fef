//! Single settings from the command line: `--set section.key=value`, and the short flags, which name the same keys.

use std::fmt::Display;

use toml::{Table, Value};

use super::schema::{Key, from_table, shorten, to_table};
use super::settings::Settings;
use crate::error::{Error, Result};

/// One setting from the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    key: String,
    value: String,
    /// The user's text, for errors.
    typed: String,
}

impl Override {
    /// Reads `section.key=value`, or `key=value` where only one section has that key.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no `=`.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::Usage(format!(
                "--set {}: expected section.key=value, such as --set bottleneck.beta_step=1e-4",
                shorten(text)
            )));
        };
        Ok(Override {
            key: key.trim().to_string(),
            value: value.trim().to_string(),
            typed: format!("--set {}", shorten(text)),
        })
    }

    /// The override by the short flag `flag` (such as `--batch`) of the setting `key` (such as `train.batch`).
    pub fn flag(flag: &str, key: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let typed = format!("{flag} {}", shorten(&value));
        Override { key: key.to_string(), value, typed }
    }
}

/// Puts `overrides` over `base`, the last one winning. The outcome is not validated.
///
/// # Errors
/// [`Error::Usage`] for an unknown key (with the nearest known one) or a value of the wrong kind.
pub fn apply(base: &Settings, overrides: &[Override]) -> Result<Settings> {
    let mut layer = Vec::new();
    for one in overrides {
        let key = Key::find(&one.key).map_err(|reason| Error::Usage(format!("{}: {reason}", one.typed)))?;
        let value = parse_value(&one.value, key.default);
        key.check(&value).map_err(|mismatch| {
            let (expected, found) = (mismatch.expected, mismatch.found);
            Error::Usage(format!("{}: `{}` expected {expected}, found {found}", one.typed, key.dotted()))
        })?;
        // The last one wins, and epochs are another way to say how many steps.
        if (key.section, key.name) == ("train", "epochs") {
            layer.retain(|(other, _): &(Key, Value)| (other.section, other.name) != ("train", "steps"));
        }
        layer.push((key, value));
    }
    merge(base, layer)
}

/// Puts one layer of checked values over `base`.
///
/// A layer that gives the length in epochs but not in steps means epochs, so it takes away the steps of `base`.
pub(super) fn merge(base: &Settings, layer: Vec<(Key, Value)>) -> Result<Settings> {
    let mut table = to_table(base)?;
    let names = |name: &str| layer.iter().any(|(key, _)| key.section == "train" && key.name == name);
    if names("epochs") && !names("steps") {
        insert(&mut table, "train", "steps", Value::Integer(0));
    }
    for (key, value) in layer {
        insert(&mut table, key.section, key.name, value);
    }
    from_table(table)
}

fn insert(table: &mut Table, section: &str, name: &str, value: Value) {
    if let Some(Value::Table(section)) = table.get_mut(section) {
        section.insert(name.to_string(), value);
    }
}

/// Reads a value as TOML, with the freedom that a command line needs: bare words are text, a list may go without
/// brackets, and a number may start with its point.
fn parse_value(text: &str, default: &Value) -> Value {
    let parsed = parse_toml(text);
    match (default, parsed) {
        (Value::String(_), Some(Value::String(inner))) => Value::String(inner),
        (Value::String(_), _) => Value::String(text.to_string()),
        (Value::Array(_), Some(list @ Value::Array(_))) => list,
        (Value::Array(_), other) => {
            parse_toml(&format!("[{text}]")).or(other).unwrap_or_else(|| Value::String(text.to_string()))
        }
        (Value::Float(_), None) => text.parse().map_or_else(|_| Value::String(text.to_string()), Value::Float),
        (_, other) => other.unwrap_or_else(|| Value::String(text.to_string())),
    }
}

/// `text` as one TOML value, or nothing if it is not exactly one.
fn parse_toml(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {text}").parse().ok()?;
    let value = table.remove("value")?;
    table.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KlReduction, PixelRange, known_keys, preset};

    fn set(base: &str, words: &[&str]) -> Result<Settings> {
        let overrides = words.iter().map(|word| Override::parse(word)).collect::<Result<Vec<_>>>()?;
        apply(&preset(base)?, &overrides)
    }

    #[test]
    fn values_of_every_kind() {
        let settings = set(
            "quick",
            &[
                "bottleneck.beta_step=1e-4",
                "target_kl = 1",
                "generator.channels=[64, 32]",
                "discriminator.channels=8,16",
                "generator.hidden=",
                "discriminator.hidden=7",
                "data.flip=true",
                "data.range=-1..1",
                "kl_reduction=sum",
                "leak=.25",
                "background=#Ff8000",
                "augment=cutout,color",
                "data.source=\"a b\"",
                "seed=1_000",
            ],
        )
        .unwrap();
        assert_eq!((settings.bottleneck.beta_step, settings.bottleneck.target_kl), (1e-4, 1.0));
        assert_eq!((settings.generator.channels, settings.discriminator.channels), (vec![64, 32], vec![8, 16]));
        assert_eq!((settings.generator.hidden, settings.discriminator.hidden), (vec![], vec![7]));
        assert_eq!((settings.data.flip, settings.data.range), (true, PixelRange::MinusOneToOne));
        assert_eq!((settings.bottleneck.kl_reduction, settings.discriminator.leak), (KlReduction::Sum, 0.25));
        assert_eq!(settings.data.background.rgb, [255, 128, 0]);
        assert_eq!(settings.objective.augment.to_string(), "color,cutout");
        assert_eq!((settings.data.source.as_str(), settings.train.seed), ("a b", 1000));
    }

    #[test]
    fn a_source_that_looks_like_another_kind_stays_text() {
        for source in ["123", "1.5", "true", "2020-01-01", "[x]", "a=b", "a # b"] {
            assert_eq!(set("quick", &[&format!("data.source={source}")]).unwrap().data.source, source);
        }
    }

    #[test]
    fn the_last_one_wins() {
        assert_eq!(set("quick", &["train.batch=5", "train.batch=6"]).unwrap().train.batch, 6);
    }

    #[test]
    fn epochs_take_away_the_presets_steps() {
        let epochs = set("quick", &["train.epochs=3"]).unwrap();
        assert_eq!((epochs.train.epochs, epochs.train.steps), (3, 0));
        let both = set("quick", &["train.epochs=3", "train.steps=10"]).unwrap();
        assert_eq!((both.train.epochs, both.train.steps), (3, 10));
        let last = set("quick", &["train.steps=10", "train.epochs=3"]).unwrap();
        assert_eq!((last.train.epochs, last.train.steps), (3, 0));
    }

    #[test]
    fn every_key_is_reached_with_its_own_default() {
        let base = preset("vgan-cifar10").unwrap();
        for key in known_keys() {
            let default = Key::find(&key).unwrap().default;
            let changed = apply(&base, &[Override::flag("--set", &key, default)]).unwrap();
            let table = to_table(&changed).unwrap();
            let (section, name) = key.split_once('.').unwrap();
            assert_eq!(&table[section][name], default, "{key}");
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (word, parts) in [
            ("train.bacth=3", &["--set train.bacth=3", "no setting `train.bacth`", "nearest is `train.batch`"][..]),
            ("channels=3", &["`data.channels`", "`generator.channels`", "`bottleneck.channels`"]),
            ("train.batch=abc", &["`train.batch`", "expected a whole number", "found the text `abc`"]),
            ("train.batch=-1", &["0 or more", "the whole number -1"]),
            ("train.batch=1.5", &["a whole number", "the number 1.5"]),
            ("train.batch=99999999999999999999", &["a whole number", "99999999999999999999"]),
            ("beta_step=fast", &["a number", "the text `fast`"]),
            ("beta_step=true", &["a number", "found true"]),
            ("data.flip=1", &["true or false", "the whole number 1"]),
            ("generator.hidden=[1,a]", &["a list of whole numbers such as [64, 128]", "[1,a]"]),
            ("generator.hidden=[1, -2]", &["a list of whole numbers", "the whole number -2"]),
            ("data.range=0..2", &["`0..1`", "`-1..1`", "the text `0..2`"]),
            ("data.background=12", &["`black`, `white`, `grey` or a colour such as `#ff8000`", "the text `12`"]),
            ("augment=color,flip", &["names from `color`, `translation` and `cutout`", "the text `color,flip`"]),
            ("kl_mix=both", &["`sum` or `mean`", "the text `both`"]),
            ("train.batch=1\nseed=2", &["a whole number"]),
            ("train.batch", &["expected section.key=value"]),
            ("=3", &["no setting ``"]),
            ("a.b.c=3", &["no setting `a.b.c`"]),
            ("train=3", &["no setting `train`"]),
        ] {
            let error = set("quick", &[word]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{word}: {error}");
            for part in parts {
                assert!(error.to_string().contains(part), "{word}: {error}: lacks {part}");
            }
        }
    }
}
