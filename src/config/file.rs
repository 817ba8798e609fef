//! Configuration files: `--config FILE`, and the `config.toml` that a run leaves behind.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;
use toml::{Spanned, Table, Value};

use super::nearest::{nearest, nearest_hint, nearest_keys};
use super::overrides::merge;
use super::schema::{Key, sections, shorten, to_table, unwritable};
use super::settings::Settings;
use super::validate::violations;
use crate::error::{Error, Result};
use crate::shell;

/// Far more than any configuration needs; guards against a data file given by mistake.
const LARGEST_FILE: usize = 1 << 20;

/// Reads the file at `path` and puts what it holds over `base`.
///
/// # Errors
/// [`Error::BadData`] with line and column if it is not TOML, names an unknown setting, or gives one a value of the
/// wrong kind or out of range; [`Error::Io`] if it can't be read.
pub fn read(path: impl AsRef<Path>, base: &Settings) -> Result<Settings> {
    let path = path.as_ref();
    parse(path, &bytes_of(path)?, base)
}

/// The bytes of a configuration file.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() {
        return Err(Error::bad_data(path, "a TOML file", "a folder")
            .with_hint("a run's settings are in the file config.toml of its folder"));
    }
    std::fs::read(path).map_err(|source| Error::io(path, "read the configuration", source))
}

/// `settings` as a TOML document that [`read`] turns back into equal settings over any base.
///
/// # Errors
/// [`Error::Usage`] for a whole number above 2⁶³ − 1, which TOML can't hold; [`validate`](super::validate) refuses
/// those too.
pub fn to_toml(settings: &Settings, preset: &str) -> Result<String> {
    // A table holds only what TOML can be read back from; written straight, the settings keep their order.
    to_table(settings)?;
    let body = toml::to_string(settings).map_err(unwritable)?;
    Ok(format!(
        "# The settings of a run of vgan-cuda {}. To train with exactly these once more:\n\
         #     vgan-cuda train {} --config config.toml\n\n{body}",
        env!("CARGO_PKG_VERSION"),
        shell::word(preset)
    ))
}

/// [`read`] on the bytes of a file; `path` is for errors.
fn parse(path: &Path, bytes: &[u8], base: &Settings) -> Result<Settings> {
    let file = File::new(path, bytes)?;
    let (places, values) = file.document()?;
    file.over(base, &[file.layer(places.get_ref(), &values)?])
}

/// One checked setting of a file, and where its value stands.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    key: Key,
    value: Value,
    offset: usize,
}

/// The text of a file, and the path for errors.
pub(super) struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> File<'a> {
    /// Refuses what is no text, or far too long for a configuration.
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > LARGEST_FILE {
            return Err(Error::bad_data(path, "a TOML file of at most 1 MiB", format!("{} bytes", bytes.len())));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let offset = error.valid_up_to();
            Error::bad_data(path, "UTF-8 text", format!("the byte {:#04x} at offset {offset}", bytes[offset]))
        })?;
        Ok(File { path, text })
    }

    /// The file as TOML: once with the places of everything, once with the values.
    pub(super) fn document(&self) -> Result<(Spanned<DeTable<'a>>, Table)> {
        let (places, errors) = DeTable::parse_recoverable(self.text);
        // The first mistake in the file is the one that leads to the others.
        if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
            return Err(self.malformed(error));
        }
        let values = toml::from_str(self.text).map_err(|error| self.malformed(&error))?;
        Ok((places, values))
    }

    /// All settings of a table of sections, each of a known name and the right kind.
    pub(super) fn layer(&self, places: &DeTable<'_>, values: &Table) -> Result<Vec<Entry>> {
        let mut layer = Vec::new();
        for (section, content) in places {
            let name: &str = section.get_ref();
            self.check_section(name, section.span(), values.get(name))?;
            let (Some(keys), Some(Value::Table(values))) = (content.get_ref().as_table(), values.get(name)) else {
                continue;
            };
            for (key, place) in keys {
                let Some(value) = values.get(key.get_ref().as_ref()) else { continue };
                layer.push(self.entry(name, key, place.span(), value)?);
            }
        }
        Ok(layer)
    }

    /// Puts layers over `base`, each over the one before, and checks the ranges of what they set.
    pub(super) fn over(&self, base: &Settings, layers: &[Vec<Entry>]) -> Result<Settings> {
        let mut settings = base.clone();
        let mut spans = HashMap::new();
        for layer in layers {
            spans.extend(layer.iter().map(|entry| (entry.key.dotted(), entry.offset)));
            settings = merge(&settings, layer.iter().map(|entry| (entry.key, entry.value.clone())).collect())?;
        }
        // What only the base gets wrong is not the file's fault: the final validation finds it.
        for violation in violations(&settings) {
            if let Some(&offset) = spans.get(violation.key) {
                let expected = format!("`{}` to be {}", violation.key, violation.expected);
                return Err(self.error(offset, &expected, violation.found));
            }
        }
        Ok(settings)
    }

    fn check_section(&self, name: &str, span: Range<usize>, value: Option<&Value>) -> Result<()> {
        let known = sections().any(|section| section == name);
        if known && matches!(value, Some(Value::Table(_))) {
            return Ok(());
        }
        if known {
            return Err(self.error(span.start, &format!("`{name}` to be a section"), format!("`{name} = …`")))
                .map_err(|error| error.with_hint(format!("write [{name}] on a line of its own")));
        }
        let found = format!("`{}`", shorten(name));
        let all: Vec<String> = sections().map(|section| format!("[{section}]")).collect();
        let error = self.error(span.start, &format!("one of the sections {}", all.join(", ")), found);
        Err(error.with_hint(match value {
            Some(Value::Table(_)) => {
                let near: Vec<String> =
                    nearest(name, sections()).iter().map(|section| format!("[{section}]")).collect();
                if near.is_empty() { String::new() } else { format!("the nearest is {}", near.join(" or ")) }
            }
            _ => {
                let near = nearest_keys(name);
                let near = near.iter().map(|key| format!("put `{}` under [{}]", key.name, key.section));
                near.collect::<Vec<_>>().join(", or ")
            }
        }))
    }

    fn entry(
        &self,
        section: &str,
        key: &Spanned<toml::de::DeString<'_>>,
        place: Range<usize>,
        value: &Value,
    ) -> Result<Entry> {
        let dotted = format!("{section}.{}", key.get_ref());
        let Ok(known) = Key::find(&dotted) else {
            let near: Vec<String> = nearest_keys(&dotted).iter().map(Key::dotted).collect();
            let hint = nearest_hint(near.iter().map(String::as_str));
            let error = self.error(key.span().start, "a known setting", format!("`{}`", shorten(&dotted)));
            return Err(error.with_hint(hint.trim_start_matches("; ")));
        };
        known.check(value).map_err(|mismatch| {
            self.error(place.start, &format!("`{dotted}` to be {}", mismatch.expected), mismatch.found)
        })?;
        Ok(Entry { key: known, value: value.clone(), offset: place.start })
    }

    fn malformed(&self, error: &toml::de::Error) -> Error {
        let offset = error.span().map_or(0, |span| span.start.min(self.text.len()));
        let (line, _) = self.place(offset);
        let content = self.text.split('\n').nth(line - 1).unwrap_or_default();
        self.error(offset, "TOML", format!("`{}` ({})", shorten(content.trim()), shorten(error.message())))
    }

    /// A [`Error::BadData`] that says where in the file.
    pub(super) fn error(&self, offset: usize, expected: &str, found: String) -> Error {
        let (line, column) = self.place(offset);
        Error::bad_data(self.path, format!("{expected} (line {line}, column {column})"), found)
    }

    /// Line and column, both from 1, of a byte of the file.
    fn place(&self, offset: usize) -> (usize, usize) {
        let boundary = (0..=offset).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0);
        let before = &self.text[..boundary];
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;

    fn parse_text(text: &str) -> Result<Settings> {
        parse(Path::new("some.toml"), text.as_bytes(), &preset("vgan-mnist")?)
    }

    #[test]
    fn a_part_goes_over_the_base() {
        let settings = parse_text("[train]\nbatch = 32\n\n[bottleneck]\nkl_mix = \"mean\"\nbeta = 1\n").unwrap();
        let mut expected = preset("vgan-mnist").unwrap();
        expected.train.batch = 32;
        expected.bottleneck.kl_mix = crate::config::KlMix::Mean;
        expected.bottleneck.beta = 1.0;
        assert_eq!(settings, expected);
    }

    #[test]
    fn dotted_keys_and_inline_tables_are_toml_too() {
        let settings = parse_text("train.batch = 32\noptimizer = { beta1 = 0.9 }").unwrap();
        assert_eq!((settings.train.batch, settings.optimizer.beta1), (32, 0.9));
        assert_eq!(parse_text("").unwrap(), preset("vgan-mnist").unwrap());
    }

    #[test]
    fn epochs_in_a_file_take_away_the_presets_steps() {
        let settings = parse(Path::new("x"), b"[train]\nepochs = 2", &preset("quick").unwrap()).unwrap();
        assert_eq!((settings.train.epochs, settings.train.steps), (2, 0));
    }

    #[test]
    fn the_place_of_a_mistake_counts_characters() {
        let error = parse_text("# é\n[train]\nbatch = 'β'\n").unwrap_err().to_string();
        assert!(error.contains("(line 3, column 9)"), "{error}");
        let error = parse_text("[train]\nbatch = 64\nbatch = 65\n").unwrap_err().to_string();
        assert!(error.contains("(line 3, column 1)") && error.contains("`batch = 65`"), "{error}");
    }

    #[test]
    fn every_preset_survives_the_round_trip_over_any_other() {
        for (name, _) in crate::config::PRESETS {
            let settings = preset(name).unwrap();
            let text = to_toml(&settings, name).unwrap();
            assert!(text.contains(&format!("vgan-cuda train {name} --config")), "{text}");
            assert_eq!(parse_text(&text).unwrap(), settings);
        }
    }
}
