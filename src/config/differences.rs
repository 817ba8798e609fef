//! In which settings several runs differ.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::declare::Setting;
use super::schema::{Key, keys, to_table};
use super::settings::Settings;
use crate::error::{Error, Result};

/// A setting, and what it is in each of several runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `section.key`.
    pub key: String,
    /// One for each run, in their order.
    pub values: Vec<SettingValue>,
}

/// The value of a setting. It is shown as `--set` takes it, and serialised as what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SettingValue(pub(super) Value);

impl SettingValue {
    /// Returns true for the number 0.
    pub(super) fn is_zero(&self) -> bool {
        matches!(self.0, Value::Integer(0)) || matches!(self.0, Value::Float(number) if number == 0.0)
    }
}

impl fmt::Display for SettingValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) if text.is_empty() => formatter.write_str("\"\""),
            Value::String(text) => formatter.write_str(text),
            other => write!(formatter, "{other}"),
        }
    }
}

impl Setting {
    /// Its value in `settings`.
    ///
    /// # Errors
    /// As [`differences`].
    pub fn value_in(&self, settings: &Settings) -> Result<SettingValue> {
        let table = to_table(settings)?;
        let section = self.key.split('.').next().and_then(|section| table.get(section));
        let value = section.and_then(|section| section.get(self.name())).cloned();
        value.map(SettingValue).ok_or_else(|| Error::Internal(format!("a setting `{}` that is not written", self.key)))
    }

    /// The kind of its values, in words.
    pub fn kind(&self) -> &'static str {
        match Key::find(self.key).map(|key| key.default) {
            Ok(Value::Boolean(_)) => "true or false",
            Ok(Value::Integer(_)) => "whole number",
            Ok(Value::Float(_)) => "number",
            Ok(Value::Array(_)) => "list of whole numbers",
            _ if self.choices.is_empty() => "text",
            _ => "word",
        }
    }
}

/// The settings that are not the same in all of these, in the order of their names.
///
/// # Errors
/// [`Usage`](crate::Error::Usage) for a whole number above 2⁶³ − 1, which [`validate`](super::validate) refuses too.
pub fn differences(settings: &[&Settings]) -> Result<Vec<Difference>> {
    let tables = settings.iter().map(|settings| to_table(settings)).collect::<Result<Vec<_>>>()?;
    let values = |section: &str, name: &str| -> Option<Vec<SettingValue>> {
        tables.iter().map(|table| Some(SettingValue(table.get(section)?.get(name)?.clone()))).collect()
    };
    let all = keys().filter_map(|key| Some(Difference { key: key.dotted(), values: values(key.section, key.name)? }));
    Ok(all.filter(|one| one.values.windows(2).any(|pair| pair[0] != pair[1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;

    #[test]
    fn exactly_what_differs_is_told() {
        let (vgan, gan) = (preset("vgan-mnist").unwrap(), preset("gan-mnist").unwrap());
        let found = differences(&[&vgan, &gan, &vgan]).unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|one| {
                format!("{} {}", one.key, one.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(shown, ["bottleneck.enabled true false true", "discriminator.norm_first true false true"]);
        assert_eq!(serde_json::to_string(&found[0].values).unwrap(), "[true,false,true]");
        assert!(differences(&[&vgan, &vgan]).unwrap().is_empty());
        assert!(differences(&[&vgan]).unwrap().is_empty() && differences(&[]).unwrap().is_empty());
        let quick = preset("quick").unwrap();
        let found = differences(&[&vgan, &quick]).unwrap();
        let channels = found.iter().find(|one| one.key == "generator.channels").unwrap();
        assert_eq!(channels.values.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[128, 64]", "[32, 16]"]);
        let source = found.iter().find(|one| one.key == "data.source").unwrap();
        assert_eq!(source.values[1].to_string(), "glyphs");
    }
}
