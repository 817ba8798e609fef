//! Configuration files: `--config FILE`, and the `config.toml` that a run leaves behind.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;
use toml::{Spanned, Table, Value};

use super::foreign::{self, Wanted};
use super::nearest::{nearest, nearest_hint};
use super::overrides::merge;
use super::presets::preset;
use super::schema::{Key, keys, nearest_keys, sections, shorten, to_table, unwritable};
use super::settings::Settings;
use super::validate::violations;
use crate::error::{Error, Result, readable_path};
use crate::units;

/// Far more than any configuration needs; guards against a data file given by mistake.
const LARGEST_FILE: usize = 1 << 20;

/// Reads the file at `path` and puts what it holds over `base`.
///
/// # Errors
/// [`Error::BadData`] with line and column if it is not TOML, names an unknown setting, or gives one a value of the
/// wrong kind or out of range; [`Error::Io`] if it can't be read.
pub fn read(path: impl AsRef<Path>, base: &Settings) -> Result<Settings> {
    read_named(path, base).map(|(settings, _)| settings)
}

/// [`read`], with the name of the preset, where the file has one. The name is data: nobody is asked whether there is such
/// a preset in this version.
///
/// # Errors
/// Those of [`read`].
pub fn read_named(path: impl AsRef<Path>, base: &Settings) -> Result<(Settings, Option<String>)> {
    let path = path.as_ref();
    parse(path, &bytes_of(path)?, base)
}

/// Puts the settings of the file at `path` over those of the preset that the file itself names, or else over those of
/// `default`; `chosen` is the preset that the user asked for, if any. Returns the settings and the preset's name.
///
/// A file that names a preset that this version does not have is taken if it holds every setting, as a run's own does.
///
/// # Errors
/// Those of [`read`]; [`Error::Usage`] where the file names another preset than the user, or `chosen` is not known.
pub(super) fn over_preset(path: &Path, chosen: Option<&str>, default: &str) -> Result<(Settings, String)> {
    let bytes = bytes_of(path)?;
    let file = File::new(path, &bytes)?;
    let (places, values) = file.document(Wanted::Settings)?;
    let named = file.preset(places.get_ref(), &values)?;
    if let (Some(chosen), Some((named, _))) = (chosen, &named)
        && chosen != named
    {
        return Err(Error::Usage(format!(
            "the preset is {chosen} on the command line and `{}` in {}: omit it there, or remove the line `preset` from the file",
            shorten(named),
            readable_path(path)
        )));
    }
    let layer = file.whole_layer(places.get_ref(), &values)?;
    let (name, base) = match named {
        None => (chosen.unwrap_or(default).to_string(), preset(chosen.unwrap_or(default))?),
        Some((name, place)) => match preset(&name) {
            Ok(base) => (name, base),
            Err(_) if layer.len() == keys().count() => (name, Settings::default()),
            Err(error) => {
                let wrong = file.error(place, "the name of a preset", format!("`{}`", shorten(&name)));
                return Err(wrong.with_hint(error.to_string()));
            }
        },
    };
    Ok((file.over(&base, &[layer])?, name))
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
         #     vgan-cuda train --config config.toml\n\n{PRESET} = {}\n\n{body}",
        env!("CARGO_PKG_VERSION"),
        Value::from(preset)
    ))
}

/// [`read`] on the bytes of a file; `path` is for errors.
fn parse(path: &Path, bytes: &[u8], base: &Settings) -> Result<(Settings, Option<String>)> {
    let file = File::new(path, bytes)?;
    let (places, values) = file.document(Wanted::Settings)?;
    let preset = file.preset(places.get_ref(), &values)?.map(|(name, _)| name);
    Ok((file.over(base, &[file.whole_layer(places.get_ref(), &values)?])?, preset))
}

/// The seed of the embedded digits in a whole configuration of a version that had no setting for it: it was that of the run. A
/// file that a person wrote from scratch does not name every setting of its section, and gets the default.
fn older_data_seed(layer: &[Entry]) -> Option<Entry> {
    let find = |dotted: &str| layer.iter().find(|entry| entry.key.dotted() == dotted);
    let whole = ["data.resize", "data.channels", "data.flip", "data.range"].iter().all(|key| find(key).is_some());
    let drawn = find("data.source")?.value.as_str() == Some("glyphs");
    if !whole || !drawn || find("data.seed").is_some() {
        return None;
    }
    let seed = find("train.seed")?;
    Some(Entry { key: Key::find("data.seed").ok()?, ..seed.clone() })
}

/// The one key outside all sections: which preset the settings began with.
const PRESET: &str = "preset";

/// As long as the name of a preset may be: more would not go into a checkpoint's state.
const LONGEST_PRESET: usize = 64;

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
            return Err(Error::bad_data(
                path,
                "a TOML file of at most 1 MiB",
                format!("{} bytes", units::grouped(bytes.len() as u64)),
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let offset = error.valid_up_to();
            Error::bad_data(path, "UTF-8 text", format!("the byte {:#04x} at offset {offset}", bytes[offset]))
        })?;
        Ok(File { path, text })
    }

    /// The file as TOML: once with the places of everything, once with the values. One that is plainly not what is wanted is
    /// refused by its kind.
    pub(super) fn document(&self, wanted: Wanted) -> Result<(Spanned<DeTable<'a>>, Table)> {
        let (places, errors) = DeTable::parse_recoverable(self.text);
        // The first mistake in the file is the one that leads to the others.
        if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
            let place = self.place(error.span().map_or(0, |span| span.start.min(self.text.len())));
            return Err(foreign::no_toml(self.path, self.text, place).unwrap_or_else(|| self.malformed(error)));
        }
        let values = toml::from_str(self.text).map_err(|error| self.malformed(&error))?;
        foreign::require(wanted, self.path, &values)?;
        Ok((places, values))
    }

    /// The name of the preset and where it stands, if the file has one.
    fn preset(&self, places: &DeTable<'_>, values: &Table) -> Result<Option<(String, usize)>> {
        let (Some(place), Some(value)) = (places.get(PRESET), values.get(PRESET)) else { return Ok(None) };
        let start = place.span().start;
        let fits = |name: &&str| (1..=LONGEST_PRESET).contains(&name.len()) && !name.chars().any(char::is_control);
        match value.as_str().filter(fits) {
            Some(name) => Ok(Some((name.to_string(), start))),
            None => {
                let expected = format!("`{PRESET}` to be the name of a preset, in quotes");
                Err(self.error(start, &expected, shorten(&value.to_string())))
            }
        }
    }

    /// [`File::layer`] of a whole file, completed where an earlier version wrote it.
    fn whole_layer(&self, places: &DeTable<'_>, values: &Table) -> Result<Vec<Entry>> {
        let mut layer = self.layer(places, values)?;
        layer.extend(older_data_seed(&layer));
        Ok(layer)
    }

    /// All settings of a table of sections, each of a known name and the right kind; the preset's name is passed over.
    pub(super) fn layer(&self, places: &DeTable<'_>, values: &Table) -> Result<Vec<Entry>> {
        let mut layer = Vec::new();
        for (section, content) in places {
            let name: &str = section.get_ref();
            if name == PRESET {
                continue;
            }
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

    fn parse_text(text: &str) -> Result<Settings> {
        parse(Path::new("some.toml"), text.as_bytes(), &preset("vgan-mnist")?).map(|(settings, _)| settings)
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
        let (settings, _) = parse(Path::new("x"), b"[train]\nepochs = 2", &preset("quick").unwrap()).unwrap();
        assert_eq!((settings.train.epochs, settings.train.steps), (2, 0));
    }

    #[test]
    fn a_run_of_a_version_without_data_seed_keeps_its_images() {
        let mut settings = preset("quick").unwrap();
        (settings.train.seed, settings.data.seed) = (7, 7);
        let text = to_toml(&settings, "quick").unwrap();
        let older = text.replacen("seed = 7\n", "", 1);
        assert!(!older[..older.find("[nets]").unwrap()].contains("seed"), "{older}");
        assert_eq!(parse_text(&older).unwrap(), settings);
        // Images that are read have no seed, and a few lines by hand are no older version's.
        let read = older.replace("source = \"glyphs\"", "source = \"/photos\"");
        assert_eq!(parse_text(&read).unwrap().data.seed, 0);
        let by_hand = parse_text("[data]\nsource = \"glyphs\"\n[train]\nseed = 7\n").unwrap();
        assert_eq!((by_hand.data.seed, by_hand.train.seed), (0, 7));
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
            assert!(text.contains("vgan-cuda train --config"), "{text}");
            let read = parse(Path::new("x"), text.as_bytes(), &preset("wide-8").unwrap()).unwrap();
            assert_eq!(read, (settings, Some(name.to_string())));
        }
    }

    #[test]
    fn the_preset_of_a_file_is_its_base() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let over = |text: &str, chosen: Option<&str>| {
            std::fs::write(file.path(), text).unwrap();
            over_preset(file.path(), chosen, "quick")
        };
        let batch = |name: &str, batch| {
            let mut settings = preset(name).unwrap();
            settings.train.batch = batch;
            (settings, name.to_string())
        };
        let partial = "preset = \"vgan-cifar10\"\n[train]\nbatch = 9\n";
        assert_eq!(over(partial, None).unwrap(), batch("vgan-cifar10", 9));
        assert_eq!(over(partial, Some("vgan-cifar10")).unwrap(), batch("vgan-cifar10", 9));
        assert_eq!(over("[train]\nbatch = 9\n", None).unwrap(), batch("quick", 9));
        assert_eq!(over("[train]\nbatch = 9\n", Some("gan-mnist")).unwrap(), batch("gan-mnist", 9));
        let error = over(partial, Some("quick")).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("`vgan-cifar10` in "), "{error}");
        for (text, parts) in [
            ("[train]\nbatch = 9\n\npreset = 3", &["train.preset"][..]),
            ("preset = 3", &["`preset` to be the name of a preset, in quotes (line 1, column 10), found 3"]),
            ("preset = ''", &["in quotes"]),
            ("preset = \"a\\nb\"", &["in quotes"]),
            ("[preset]\nx = 3", &["in quotes"]),
            ("preset = 'vgan-mnst'", &["(line 1, column 10)", "nearest is `vgan-mnist`"]),
        ] {
            let error = over(text, None).unwrap_err();
            assert_eq!(error.exit_code(), 3, "{text}: {error}");
            assert!(parts.iter().all(|part| error.to_string().contains(part)), "{text}: {error}");
        }
        // Whole settings need no base: a run of a preset that was renamed since.
        let (settings, name) = batch("vgan-mnist", 9);
        let whole = to_toml(&settings, &name).unwrap().replace("\"vgan-mnist\"", "\"an older \\\"name\\\"\"");
        assert_eq!(over(&whole, None).unwrap(), (settings, "an older \"name\"".to_string()));
    }
}
