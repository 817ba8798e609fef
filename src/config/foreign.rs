//! Files that were given in the place of another: an experiment as the settings of a run, a run's settings as an experiment,
//! somebody else's TOML, JSON, YAML.

use std::path::Path;

use toml::Table;

use super::schema::sections;
use crate::error::{Error, Result};
use crate::shell;

/// Purpose of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    /// The settings of one run.
    Settings,
    /// An experiment.
    Experiment,
}

impl Wanted {
    fn described(self) -> &'static str {
        match self {
            Wanted::Settings => "the settings of a run",
            Wanted::Experiment => "an experiment",
        }
    }
}

/// Refuses TOML that is plainly something else, and says what takes it.
///
/// # Errors
/// [`Error::BadData`].
pub(super) fn require(wanted: Wanted, path: &Path, values: &Table) -> Result<()> {
    let has = |names: &[&str]| names.iter().any(|name| values.contains_key(*name));
    let is_section = |name: &str| sections().any(|section| section == name);
    let is_experiment = values.get("run").is_some_and(toml::Value::is_array)
        || values.get("settings").is_some_and(toml::Value::is_table);
    let is_settings = values.iter().any(|(name, value)| is_section(name) && value.is_table());
    let command = |command: &str| format!("pass it to: vgan-cuda {command} {}", shell::path(path));
    let (found, hint) = match wanted {
        Wanted::Settings if is_experiment => ("an experiment, with [[run]] or `settings`", command("experiment")),
        Wanted::Experiment if is_settings && !is_experiment => {
            ("the settings of one run, with sections such as [train]", command("train --config"))
        }
        // Both are refused at their first unknown word, where one is of these formats.
        _ if is_settings || is_experiment => return Ok(()),
        _ if has(&["package", "workspace", "dependencies"]) => ("a Cargo.toml, of a Rust package", what(wanted)),
        _ if has(&["project", "build-system", "tool"]) => ("a pyproject.toml, of a Python package", what(wanted)),
        _ => return Ok(()),
    };
    Err(Error::bad_data(path, wanted.described(), found).with_hint(hint))
}

/// Recognises the other format of a text that is no TOML. Returns the error, with the place where TOML ends; `None` where it is
/// none that is known.
pub(super) fn no_toml(path: &Path, text: &str, (line, column): (usize, usize)) -> Option<Error> {
    let found = match text.trim_start().chars().next()? {
        '{' => "JSON",
        '[' if serde_json::from_str::<serde_json::Value>(text).is_ok() => "JSON",
        _ if is_yaml(path, text) => "YAML",
        '<' => "XML or HTML",
        _ => return None,
    };
    let error = Error::bad_data(path, format!("TOML (line {line}, column {column})"), found);
    Some(error.with_hint(
        "sections are written as [train], settings as batch = 64; `vgan-cuda train --dry-run` prints such a file",
    ))
}

/// By its name, by a first line `---`, or since most lines that say something are `key:` or begin an entry of a list.
fn is_yaml(path: &Path, text: &str) -> bool {
    let named = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"));
    let is_entry = |line: &str| {
        let key =
            line.trim_start_matches("- ").split_once(':').filter(|(_, rest)| rest.is_empty() || rest.starts_with(' '));
        line.starts_with("- ") || key.is_some_and(|(key, _)| !key.is_empty() && !key.contains(['=', '[', '"', ' ']))
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (entries, others): (Vec<&str>, Vec<&str>) = lines.partition(|line| is_entry(line));
    named || text.starts_with("---") || entries.len() > others.len()
}

/// Advice on making the file that was wanted.
fn what(wanted: Wanted) -> String {
    match wanted {
        Wanted::Settings => "`vgan-cuda train --dry-run` prints a file of settings",
        Wanted::Experiment => "an experiment has a [[run]] for each run, with a line such as name = \"vgan\"",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(wanted: Wanted, text: &str) -> String {
        let values: Table = text.parse().unwrap();
        require(wanted, Path::new("my file.toml"), &values).map_or_else(|error| error.to_string(), |()| "taken".into())
    }

    #[test]
    fn one_file_in_the_place_of_another() {
        use Wanted::{Experiment, Settings};
        let experiment = "preset = \"quick\"\n[[run]]\nname = \"a\"";
        let settings = "preset = \"quick\"\n[train]\nbatch = 3";
        for (wanted, text, parts) in [
            (Settings, experiment, &["found an experiment", "vgan-cuda experiment 'my file.toml'"][..]),
            (Settings, "settings.train.batch = 3", &["vgan-cuda experiment"]),
            (Experiment, settings, &["found the settings of one run", "vgan-cuda train --config 'my file.toml'"]),
            (Settings, "[package]\nname = \"x\"", &["the settings of a run", "a Cargo.toml"]),
            (Experiment, "[workspace]", &["an experiment", "a Cargo.toml"]),
            (Settings, "[project]\n[tool.ruff]", &["a pyproject.toml"]),
            (Settings, settings, &["taken"]),
            (Experiment, experiment, &["taken"]),
            // What is misspelt is named where it stands.
            (Settings, "[trian]\nbatch = 3", &["taken"]),
            (Experiment, "run = 3", &["taken"]),
            (Experiment, "", &["taken"]),
        ] {
            let text = refusal(wanted, text);
            assert!(parts.iter().all(|part| text.contains(part)), "{text}: {parts:?}");
        }
    }

    #[test]
    fn other_formats_are_named() {
        let found = |name: &str, text: &str| no_toml(Path::new(name), text, (1, 1)).map(|error| error.to_string());
        for (name, text, format) in [
            ("a.json", "{\"train\": {\"batch\": 64}}", "found JSON"),
            ("a", " {\n", "found JSON"),
            ("a", "[1, 2]", "found JSON"),
            ("a.yaml", "x", "found YAML"),
            ("a", "train:\n  batch: 64\n  # note\n", "found YAML"),
            ("a", "---\ntrain: {}", "found YAML"),
            ("a", "- batch: 64\n- batch: 32", "found YAML"),
            ("a", "<!DOCTYPE html>", "HTML"),
        ] {
            let message = found(name, text).unwrap_or_default();
            assert!(message.contains(format) && message.contains("batch = 64"), "{text}: {message}");
        }
        for text in ["[train]\nbatch = = 3", "batch = 3\nx", "[train\nbatch = 64", "time = 12:30:00x", ""] {
            assert_eq!(found("a.toml", text), None, "{text}");
        }
    }
}
