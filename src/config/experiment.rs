//! Experiment files: several runs, each a name, a preset and settings, with what they share written once.
//!
//! ```toml
//! preset = "vgan-mnist"                  # of every run that names none of its own
//! settings.train.minutes = 10            # over the preset, in every run
//!
//! [[run]]
//! name = "vgan"
//!
//! [[run]]
//! name = "gan"
//! settings.bottleneck.enabled = false    # over what is shared
//! ```

use std::path::Path;

use toml::de::{DeString, DeTable};
use toml::{Spanned, Table, Value};

use super::file::{Entry, File, bytes_of};
use super::foreign::Wanted;
use super::overrides::{Override, apply};
use super::presets::preset;
use super::schema::shorten;
use super::settings::Settings;
use super::validate::validate;
use crate::error::{Error, Result};

/// One run of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentRun {
    /// Unlike that of any other run; also the name of the run's folder.
    pub name: String,
    /// The preset that it starts from.
    pub preset: String,
    /// All its settings, validated.
    pub settings: Settings,
}

/// The most letters of a run's name.
const LONGEST_NAME: usize = 64;

/// Names that the folder of an experiment needs for itself.
const RESERVED: [&str; 1] = ["compare"];

/// Reads the experiment at `path`; `overrides` go over the settings of every run.
///
/// # Errors
/// [`Error::BadData`] with line and column for what is wrong in the file, and [`Error::Io`] where it can't be read;
/// [`Error::Usage`] for an override.
pub fn read_experiment(path: &Path, overrides: &[Override]) -> Result<Vec<ExperimentRun>> {
    let runs = parse(path, &bytes_of(path)?)?;
    let with_overrides = |run: ExperimentRun| {
        let settings = apply(&run.settings, overrides)?;
        validate(&settings).map_err(|error| Error::Usage(format!("run `{}`: {error}", run.name)))?;
        Ok(ExperimentRun { settings, ..run })
    };
    runs.into_iter().map(with_overrides).collect()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<ExperimentRun>> {
    let file = File::new(path, bytes)?;
    let (places, values) = file.document(Wanted::Experiment)?;
    let shared = Part::read(&file, places.get_ref(), &values, Level::File)?;
    let mut runs: Vec<ExperimentRun> = Vec::new();
    for (place, table, value) in run_tables(&file, places.get_ref(), &values)? {
        let part = Part::read(&file, table, value, Level::Run)?;
        let Some((name, name_place)) = part.name else {
            return Err(file.error(place, "a run to have a `name`", "none".into()));
        };
        if runs.iter().any(|run| run.name == name) {
            return Err(file.error(name_place, "a name that no other run has", format!("`{name}` once more")));
        }
        let Some((preset_name, preset_place)) = part.preset.or_else(|| shared.preset.clone()) else {
            let error = file.error(place, "a `preset`, of this run or of the whole file", "none".into());
            return Err(error.with_hint("write, for example, preset = \"vgan-mnist\" at the beginning of the file"));
        };
        let base = preset(&preset_name).map_err(|error| {
            file.error(preset_place, "the name of a preset", format!("`{}`", shorten(&preset_name)))
                .with_hint(error.to_string())
        })?;
        let settings = file.over(&base, &[shared.settings.clone(), part.settings])?;
        runs.push(ExperimentRun { name, preset: preset_name, settings });
    }
    if runs.is_empty() {
        let error = Error::bad_data(path, "an experiment with at least one [[run]]", "none");
        return Err(error.with_hint("each begins with a line [[run]] and a line such as name = \"vgan\""));
    }
    Ok(runs)
}

/// Each `[[run]]`: where it stands, and its table with places and with values.
fn run_tables<'p, 'v>(
    file: &File<'_>,
    places: &'p DeTable<'p>,
    values: &'v Table,
) -> Result<Vec<(usize, &'p DeTable<'p>, &'v Table)>> {
    let (Some(places), Some(values)) = (places.get("run"), values.get("run")) else { return Ok(Vec::new()) };
    let wrong =
        |place| file.error(place, "`run` to be a list of tables, each begun by [[run]]", "something else".into());
    let (Some(list), Value::Array(values)) = (places.get_ref().as_array(), values) else {
        return Err(wrong(places.span().start));
    };
    let table = |(place, value): (&'p Spanned<toml::de::DeValue<'p>>, &'v Value)| {
        let start = place.span().start;
        let tables = place.get_ref().as_table().zip(value.as_table());
        tables.map(|(places, values)| (start, places, values)).ok_or_else(|| wrong(start))
    };
    list.iter().zip(values).map(table).collect()
}

/// Keys at the top of the file, or in a `[[run]]`.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    File,
    Run,
}

/// The top of the file, or one run, with the places of its words.
#[derive(Default)]
struct Part {
    name: Option<(String, usize)>,
    preset: Option<(String, usize)>,
    settings: Vec<Entry>,
}

impl Part {
    fn read(file: &File<'_>, places: &DeTable<'_>, values: &Table, level: Level) -> Result<Part> {
        let mut part = Part::default();
        for (key, place) in places {
            let (name, start): (&str, usize) = (key.get_ref(), place.span().start);
            let Some(value) = values.get(name) else { continue };
            match (name, level) {
                ("run", Level::File) => {}
                ("name", Level::Run) => part.name = Some((run_name(file, value, start)?, start)),
                ("preset", _) => part.preset = Some((text(file, name, value, start)?, start)),
                ("settings", _) => match (place.get_ref().as_table(), value) {
                    (Some(places), Value::Table(values)) => part.settings = file.layer(places, values)?,
                    _ => return Err(file.error(start, "`settings` to be a table", "something else".into())),
                },
                _ => return Err(unknown(file, key, level)),
            }
        }
        Ok(part)
    }
}

fn unknown(file: &File<'_>, key: &Spanned<DeString<'_>>, level: Level) -> Error {
    let expected = match level {
        Level::File => "`preset`, `settings` or [[run]]",
        Level::Run => "`name`, `preset` or `settings` in a [[run]]",
    };
    let error = file.error(key.span().start, expected, format!("`{}`", shorten(key.get_ref())));
    error.with_hint("settings are written as settings.section.key = value")
}

fn text(file: &File<'_>, name: &str, value: &Value, place: usize) -> Result<String> {
    let wrong = || file.error(place, &format!("`{name}` to be text in quotes"), shorten(&value.to_string()));
    value.as_str().map(str::to_string).ok_or_else(wrong)
}

/// A run's name becomes that of a folder.
fn run_name(file: &File<'_>, value: &Value, place: usize) -> Result<String> {
    let name = text(file, "name", value, place)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_good = !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(plain) && !name.starts_with('.');
    if is_good && !RESERVED.contains(&name.as_str()) {
        return Ok(name);
    }
    let expected = "a name of at most 64 letters, digits, `-`, `_` or `.`, not beginning with a dot, and not `compare`";
    Err(file.error(place, expected, format!("`{}`", shorten(&name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Vec<ExperimentRun>> {
        parse(Path::new("some.toml"), text.as_bytes())
    }

    const TWO: &str = "\
preset = \"vgan-mnist\"
settings.train.steps = 9

[settings.data]
source = \"glyphs\"

[[run]]
name = \"z-first\"

[[run]]
name = \"plain\"
preset = \"gan-mnist\"
settings.train.epochs = 2
settings.bottleneck.beta = 0.5
";

    #[test]
    fn runs_come_in_order_with_what_they_share() {
        let runs = parse_text(TWO).unwrap();
        let [first, plain] = &runs[..] else { panic!("{runs:?}") };
        assert_eq!((first.name.as_str(), first.preset.as_str()), ("z-first", "vgan-mnist"));
        let mut expected = preset("vgan-mnist").unwrap();
        (expected.train.steps, expected.data.source) = (9, "glyphs".into());
        assert_eq!(first.settings, expected);
        // Epochs of its own take away the shared steps, as in any layer over another.
        let mut expected = preset("gan-mnist").unwrap();
        (expected.train.steps, expected.train.epochs, expected.data.source) = (0, 2, "glyphs".into());
        expected.bottleneck.beta = 0.5;
        assert_eq!((plain.preset.as_str(), &plain.settings), ("gan-mnist", &expected));
    }

    #[test]
    fn overrides_go_over_every_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("experiment.toml");
        std::fs::write(&path, TWO).unwrap();
        let runs = read_experiment(&path, &[Override::parse("bottleneck.beta=0.25").unwrap()]).unwrap();
        assert!(runs.iter().all(|run| run.settings.bottleneck.beta == 0.25));
        let error = read_experiment(&path, &[Override::parse("train.batch=1").unwrap()]).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("run `z-first`: `train.batch`"), "{error}");
        assert_eq!(read_experiment(folder.path(), &[]).unwrap_err().exit_code(), 3);
        assert_eq!(read_experiment(&folder.path().join("none"), &[]).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn mistakes_are_placed() {
        let run = "[[run]]\nname = \"a\"\n";
        for (text, parts) in [
            ("", &["at least one [[run]]"][..]),
            ("preset = \"quick\"", &["at least one [[run]]"]),
            ("run = 3", &["a list of tables", "(line 1, column 7)"]),
            ("run = [3]", &["a list of tables"]),
            ("[run]\nname = \"a\"", &["begun by [[run]]"]),
            ("[[run]]\n", &["to have a `name`"]),
            (run, &["a `preset`"]),
            ("[[run]]\nname = 3", &["`name` to be text", "(line 2, column 8)", "found 3"]),
            ("[[run]]\nname = \"a/b\"", &["letters, digits", "`a/b`"]),
            ("[[run]]\nname = \"..\"", &["not beginning with a dot"]),
            ("[[run]]\nname = \"compare\"", &["not `compare`"]),
            ("[[run]]\nname = \"\"", &["letters, digits"]),
            ("preset = \"vgan-mnst\"\n[[run]]\nname = \"a\"", &["(line 1, column 10)", "nearest is `vgan-mnist`"]),
            ("preset = 1\n[[run]]\nname = \"a\"", &["`preset` to be text"]),
            ("minutes = 3", &["`preset`, `settings` or [[run]]", "`minutes`", "settings.section.key"]),
            ("[[run]]\nnmae = \"a\"", &["in a [[run]]", "`nmae`", "(line 2, column 1)"]),
            ("[[run]]\nsettings = 3", &["`settings` to be a table"]),
            ("[settings.trian]\nsteps = 3", &["one of the sections", "the nearest is [train]"]),
            ("[[run]]\nsettings.train.stesp = 3", &["(line 2, column 16)", "`train.steps`"]),
            ("settings.train.steps = \"x\"", &["`train.steps` to be a whole number"]),
            ("preset = \"quick\"\nsettings.train.batch = 1\n[[run]]\nname = \"a\"", &["(line 2, column 24)", "from 2"]),
            ("a = = 3", &["expected TOML (line 1"]),
        ] {
            let error = parse_text(text).unwrap_err();
            assert_eq!(error.exit_code(), 3, "{text}: {error}");
            for part in parts {
                assert!(error.to_string().contains(part), "{text}\n{error}\nlacks {part}");
            }
        }
        let twice = format!("preset = \"quick\"\n{run}{run}");
        assert!(parse_text(&twice).unwrap_err().to_string().contains("`a` once more"));
        // A range that only the run's own setting mends is no mistake of what is shared.
        let mended = "preset = \"quick\"\nsettings.train.batch = 1\n[[run]]\nname = \"a\"\nsettings.train.batch = 4";
        assert_eq!(parse_text(mended).unwrap()[0].settings.train.batch, 4);
        assert!(parse(Path::new("x"), b"\xff").is_err());
    }
}
