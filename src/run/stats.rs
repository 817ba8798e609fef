//! `stats.jsonl`: one record a tick, one JSON object a line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic;
use crate::error::{Error, Result};

macro_rules! define_record {
    ($($(#[$meaning:meta])* $name:ident: $type:ty { json: ($($json:tt)*), $($rest:tt)* })+) => {
        /// The record of the run at one step. Its figures, which src/figures.rs declares, are means over the steps since
        /// the record before or the last step's; the first record after a resume takes the steps since that resume, if they
        /// are fewer. A number that is not finite is written as `null` and read as NaN.
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(Default))]
        pub struct Record {
            /// Training steps done.
            pub step: u64,
            /// Passes over the data set, with the fraction.
            #[serde(with = "finite_or_null")]
            pub epoch: f64,
            $($(#[$meaning])* #[serde($($json)*)] pub $name: $type,)+
            /// Real images trained on per second over the same steps, the time of snapshots left out.
            #[serde(with = "finite_or_null")]
            pub images_per_s: f64,
            /// Seconds of training over all starts of the run, likewise.
            #[serde(with = "finite_or_null")]
            pub elapsed_s: f64,
        }
    };
}
figures!(define_record);

/// An open `stats.jsonl`; records go to its end.
#[derive(Debug)]
pub struct StatsLog {
    path: PathBuf,
    file: File,
    /// A line that the disk refused.
    refused: Vec<u8>,
}

impl StatsLog {
    /// Starts the log of a new run.
    ///
    /// # Errors
    /// [`Error::Io`] where the file is there already, or the system refuses.
    pub fn create(path: &Path) -> Result<StatsLog> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|e| Error::io(path, "create the file", e))?;
        Ok(StatsLog { path: path.to_path_buf(), file, refused: Vec::new() })
    }

    /// Goes on with the log of a run that is resumed after `step`: the records of later steps, which come again, and
    /// a last line that a crash cut short are removed. The other lines keep their bytes.
    ///
    /// # Errors
    /// [`Error::BadData`] where a line is no record; [`Error::Io`] where the system refuses.
    pub fn resume(path: &Path, step: u64) -> Result<StatsLog> {
        let kept = text_up_to(path, step)?;
        if fs::read(path).map_or(true, |bytes| bytes != kept.as_bytes()) {
            atomic::write_file(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().append(true).open(path).map_err(|e| Error::io(path, "open", e))?;
        Ok(StatsLog { path: path.to_path_buf(), file, refused: Vec::new() })
    }

    /// Appends one record, in one call of the system: a kill cuts no line in two.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk is full or refuses. [`StatsLog::try_again`] then writes the record, if the disk takes it.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record).map_err(|e| Error::Internal(format!("stats.jsonl: {e}")))?;
        self.refused = (line + "\n").into_bytes();
        self.try_again()
    }

    /// Writes the record that the disk refused, if there is one: a checkpoint of its step may find room, and the record does not come again.
    ///
    /// # Errors
    /// Those of [`StatsLog::append`].
    pub fn try_again(&mut self) -> Result<()> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let length = self.file.metadata().map_err(|e| Error::io(&self.path, "read the size of", e))?.len();
        if let Err(error) = self.file.write_all(&self.refused) {
            // Half a line would make the next one unreadable. Where it stays, a resume cuts it off.
            let _ = self.file.set_len(length);
            return Err(Error::io(&self.path, "append", error));
        }
        self.refused.clear();
        Ok(())
    }
}

/// The lines of the records that are not of a later step, each as it is. A last line that a crash cut short is passed
/// over; a file that is not there has none.
///
/// # Errors
/// Those of [`StatsLog::resume`].
pub fn text_up_to(path: &Path, step: u64) -> Result<String> {
    let text = match read_text(path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let kept = parse(path, &text)?.into_iter().filter(|(_, record)| record.step <= step);
    Ok(kept.map(|(line, _)| format!("{line}\n")).collect())
}

/// Reads all records. A last line that a crash cut short is passed over.
///
/// # Errors
/// [`Error::BadData`] with the number of a line that is no record; [`Error::Io`] where the file can't be read.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    Ok(parse(path, &read_text(path)?)?.into_iter().map(|(_, record)| record).collect())
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    // Bytes that are no UTF-8 make their line unreadable, and `parse` says which.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse<'a>(path: &Path, text: &'a str) -> Result<Vec<(&'a str, Record)>> {
    let mut records = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (content, is_whole) = line.strip_suffix('\n').map_or((line, false), |content| (content, true));
        match serde_json::from_str(content) {
            Ok(record) => records.push((content, record)),
            Err(_) if !is_whole => {}
            Err(e) => {
                let error = Error::bad_data(path, format!("a record in line {}", index + 1), e.to_string());
                return Err(error.with_hint("remove that line"));
            }
        }
    }
    Ok(records)
}

/// JSON has no NaN and no infinity.
mod finite_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(step: u64) -> Record {
        Record {
            step,
            epoch: step as f64 / 468.0,
            loss_d: 1.386_294_361_119_890_6,
            loss_g: 0.1 + 0.2,
            beta: 1e-7 * step as f64,
            kl_real: 0.125,
            kl_fake: 1.0 / 3.0,
            d_real: 0.5,
            d_fake: 0.499_999_999_999_999_94,
            penalty: 0.75,
            images_per_s: 312.0,
            elapsed_s: 7.25,
            // Figures that some runs have: a new one is added without a line here.
            ..Record::default()
        }
    }

    /// Records of other losses have no such fields, and those of earlier versions neither.
    #[test]
    fn figures_of_one_loss_are_left_out_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.jsonl");
        let mut log = StatsLog::create(&path).unwrap();
        let balanced = Record { balance: Some(0.25), convergence: Some(0.1), ..record(40) };
        let reconstructed = Record { reconstruction: Some(0.5), ..record(60) };
        log.append(&record(20)).unwrap();
        log.append(&balanced).unwrap();
        log.append(&reconstructed).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for name in ["balance", "convergence", "reconstruction"] {
            assert!(!lines[0].contains(name), "{}", lines[0]);
        }
        assert!(lines[1].contains(r#""balance":0.25,"convergence":0.1"#), "{}", lines[1]);
        assert!(lines[2].contains(r#""reconstruction":0.5"#), "{}", lines[2]);
        assert_eq!(read(&path).unwrap(), [record(20), balanced, reconstructed]);
    }

    fn steps(path: &Path) -> Vec<u64> {
        read(path).unwrap().iter().map(|r| r.step).collect()
    }

    #[test]
    fn records_come_back_bit_for_bit_and_have_the_promised_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.jsonl");
        let mut log = StatsLog::create(&path).unwrap();
        log.append(&record(20)).unwrap();
        log.append(&Record { kl_fake: f64::NAN, loss_g: f64::INFINITY, ..record(40) }).unwrap();
        let records = read(&path).unwrap();
        assert_eq!(records[0], record(20));
        assert!(records[1].kl_fake.is_nan() && records[1].loss_g.is_nan());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(r#"{"step":20,"epoch":0.042735042735042736,"loss_d":1.3862943611198906,"loss_g":"#));
        for name in ["beta", "kl_real", "kl_fake", "d_real", "d_fake", "penalty", "images_per_s", "elapsed_s"] {
            assert_eq!(text.matches(&format!("\"{name}\":")).count(), 2, "{name}");
        }
        assert!(StatsLog::create(&path).is_err(), "a new run must not overwrite an old log");
    }

    #[test]
    fn a_resumed_log_has_each_step_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.jsonl");
        let mut log = StatsLog::create(&path).unwrap();
        (1..=5).for_each(|i| log.append(&record(20 * i)).unwrap());
        log.file.write_all(br#"{"step":120,"epo"#).unwrap();
        assert_eq!(steps(&path), [20, 40, 60, 80, 100]);

        let mut log = StatsLog::resume(&path, 60).unwrap();
        log.append(&record(80)).unwrap();
        assert_eq!(steps(&path), [20, 40, 60, 80]);
        assert!(fs::read_to_string(&path).unwrap().ends_with("}\n"));

        let mut log = StatsLog::resume(&folder.path().join("new.jsonl"), 60).unwrap();
        log.append(&record(80)).unwrap();
        assert_eq!(steps(&folder.path().join("new.jsonl")), [80]);
    }

    #[test]
    fn a_torn_line_within_the_log_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.jsonl");
        StatsLog::create(&path).unwrap().append(&record(20)).unwrap();
        let good = fs::read(&path).unwrap();
        fs::write(&path, [&good, b"{\"step\":30}\n".as_slice(), &good].concat()).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("a record in line 2, found missing field `epoch`"), "{error}");
        fs::write(&path, [&good, b"\xff\xfe\n".as_slice()].concat()).unwrap();
        assert!(read(&path).is_err());
        fs::write(&path, [&good, [0; 9].as_slice()].concat()).unwrap();
        assert_eq!(steps(&path), [20]);
    }
}
