//! `metrics.jsonl`: what samples of a run were measured to be, a JSON object a line.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use super::atomic;
use crate::error::{Error, Result};

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Training steps done.
    pub step: u64,
    #[serde(flatten)]
    /// The setup of the measurement.
    pub setup: Setup,
    /// The figures by their names: `fcd`, `precision`, …. One that is not finite is written as `null` and read as NaN.
    #[serde(flatten, deserialize_with = "numbers")]
    pub figures: BTreeMap<String, f64>,
}

/// The setup of a measurement: numbers of the same setup can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Samples.
    pub samples: u64,
    /// The seed of the first one.
    pub seed: u64,
    /// Real images that they were compared with.
    pub reals: u64,
    /// The first 12 digits of the SHA-256 of the data set's pixels.
    pub data: String,
    /// That of the classifier's file, where one was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<String>,
    /// Inception's weights, the way of resizing and the real images' statistics, where they were needed: `6726825d0af5 clean data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inception: Option<String>,
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<BTreeMap<String, f64>, D::Error> {
    let read: BTreeMap<String, Option<f64>> = BTreeMap::deserialize(deserializer)?;
    Ok(read.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

impl Measured {
    /// Adds this line at the end of the file, in one call of the system. Nothing is written where the file has the same line already.
    ///
    /// # Errors
    /// [`Error::BadData`] where a line of the file is none; [`Error::Io`] where the system refuses.
    pub fn append_to(&self, path: &Path) -> Result<()> {
        let line = serde_json::to_string(self).map_err(|error| Error::Internal(format!("metrics.jsonl: {error}")))?;
        if parse(path, &text(path)?)?.iter().any(|(known, _)| *known == line) {
            return Ok(());
        }
        let file = OpenOptions::new().append(true).create(true).open(path);
        let mut file = file.map_err(|error| Error::io(path, "open", error))?;
        file.write_all((line + "\n").as_bytes()).map_err(|error| Error::io(path, "append", error))
    }
}

/// All measurements, in the order in which they were made; none where there is no file. A last line that a crash cut short is passed
/// over.
///
/// # Errors
/// [`Error::BadData`] with the number of a line that is none; [`Error::Io`] where the file can't be read.
pub fn read(path: &Path) -> Result<Vec<Measured>> {
    Ok(parse(path, &text(path)?)?.into_iter().map(|(_, measured)| measured).collect())
}

/// The lines of steps up to this one, each as it is.
///
/// # Errors
/// Those of [`read`].
pub fn text_up_to(path: &Path, step: u64) -> Result<String> {
    let text = text(path)?;
    let kept = parse(path, &text)?.into_iter().filter(|(_, measured)| measured.step <= step);
    Ok(kept.map(|(line, _)| format!("{line}\n")).collect())
}

/// Removes the lines of later steps, which a run that is resumed after `step` measures again.
///
/// # Errors
/// Those of [`read`].
pub fn cut(path: &Path, step: u64) -> Result<()> {
    let kept = text_up_to(path, step)?;
    if text(path)? == kept { Ok(()) } else { atomic::write_file(path, kept.as_bytes()) }
}

/// The measurements of the setup that was used last, one a step with all figures that were measured there. Of a figure that was measured
/// twice the last value counts.
pub fn comparable(measured: &[Measured]) -> Vec<Measured> {
    let Some(last) = measured.last() else { return Vec::new() };
    let same = |setup: &Setup| {
        let alike = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        alike(&setup.classifier, &last.setup.classifier)
            && alike(&setup.inception, &last.setup.inception)
            && (setup.samples, setup.seed, &setup.data) == (last.setup.samples, last.setup.seed, &last.setup.data)
    };
    let mut steps: BTreeMap<u64, Measured> = BTreeMap::new();
    for one in measured.iter().filter(|one| same(&one.setup)) {
        let merged = steps.entry(one.step).or_insert_with(|| Measured { figures: BTreeMap::new(), ..one.clone() });
        merged.figures.extend(one.figures.clone());
    }
    steps.into_values().collect()
}

fn text(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io(path, "read", error)),
    }
}

fn parse<'a>(path: &Path, text: &'a str) -> Result<Vec<(&'a str, Measured)>> {
    let mut found = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (content, is_whole) = line.strip_suffix('\n').map_or((line, false), |content| (content, true));
        match serde_json::from_str(content) {
            Ok(measured) => found.push((content, measured)),
            Err(_) if !is_whole => {}
            Err(error) => {
                let error = Error::bad_data(path, format!("a measurement in line {}", index + 1), error.to_string());
                return Err(error.with_hint("remove that line"));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(step: u64, figures: &[(&str, f64)]) -> Measured {
        let classifier = Some("c".into());
        let setup = Setup { samples: 100, seed: 0, reals: 50, data: "d".into(), classifier, inception: None };
        Measured { step, setup, figures: figures.iter().map(|(name, value)| ((*name).to_string(), *value)).collect() }
    }

    #[test]
    fn lines_come_back_and_none_comes_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let first = measured(20, &[("fcd", 0.1 + 0.2), ("kid", -1e-5)]);
        first.append_to(&path).unwrap();
        first.append_to(&path).unwrap();
        measured(40, &[("fcd", f64::NAN)]).append_to(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap().lines().next().unwrap(),
            concat!(
                r#"{"step":20,"samples":100,"seed":0,"reals":50,"data":"d","classifier":"c","#,
                r#""fcd":0.30000000000000004,"kid":-0.00001}"#
            )
        );
        let found = read(&path).unwrap();
        assert_eq!((found.len(), &found[0]), (2, &first));
        assert!(found[1].figures["fcd"].is_nan());
        cut(&path, 39).unwrap();
        assert_eq!(read(&path).unwrap(), [first]);
        // A line that a crash cut short is passed over, another one is named.
        let good = fs::read(&path).unwrap();
        fs::write(&path, [&good, br#"{"step":"#.as_slice()].concat()).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        fs::write(&path, [&good, b"{}\n".as_slice()].concat()).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn what_can_be_compared_is_of_one_setup() {
        let other = measured(20, &[("fcd", 9.0)]);
        let other = Measured { setup: Setup { samples: 7, ..other.setup }, ..other };
        let pixels = measured(20, &[("swd", 5.0)]);
        let pixels = Measured { setup: Setup { classifier: None, ..pixels.setup }, ..pixels };
        let all = [
            measured(40, &[("fcd", 1.0)]),
            other,
            pixels,
            measured(20, &[("fcd", 2.0)]),
            measured(40, &[("fcd", 3.0)]),
        ];
        let found = comparable(&all);
        assert_eq!(found.iter().map(|one| one.step).collect::<Vec<_>>(), [20, 40]);
        assert_eq!(found[0].figures, measured(0, &[("swd", 5.0), ("fcd", 2.0)]).figures);
        assert_eq!(found[1].figures["fcd"], 3.0);
        assert_eq!(comparable(&[]), []);
    }
}
