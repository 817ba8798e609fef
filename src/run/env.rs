//! `env.json`: the machine and the program of each start of the run, the newest last.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::atomic;
use crate::error::{Error, Result};

/// One start of the run: what it ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The time of its start, in UTC: `2026-01-31T12:00:00Z`.
    pub start_time: String,
    /// The program's version.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// The device that trains, as a person would name it.
    pub device: String,
    /// Threads of the CPU path.
    pub threads: usize,
    /// The operating system, with its kernel.
    pub os: String,
    /// The CPU's model.
    pub cpu: String,
    /// Logical CPUs that this process may use.
    pub cores: usize,
}

impl Environment {
    /// This machine, this program, this moment. What the system doesn't tell is "unknown".
    pub fn now(device: &str, threads: usize) -> Environment {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Environment {
            start_time: utc(seconds),
            version: env!("CARGO_PKG_VERSION").into(),
            command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            device: device.into(),
            threads,
            os: os(),
            cpu: value_of(&read("/proc/cpuinfo"), "model name", ':').unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Adds this start to the file at `path`, which holds a list of them.
    ///
    /// # Errors
    /// [`Error::BadData`] where the file is no such list; [`Error::Io`] where the system refuses.
    pub fn add_to(&self, path: &Path) -> Result<()> {
        let mut starts: Vec<serde_json::Value> = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                let error = Error::bad_data(path, "a JSON list of the run's starts", e.to_string());
                error.with_hint("move the file away; nothing depends on it")
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io(path, "read", e)),
        };
        let internal = |e| Error::Internal(format!("env.json: {e}"));
        starts.push(serde_json::to_value(self).map_err(internal)?);
        let text = serde_json::to_string_pretty(&starts).map_err(internal)?;
        atomic::write_file(path, (text + "\n").as_bytes())
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn os() -> String {
    let name = value_of(&read("/etc/os-release"), "PRETTY_NAME", '=').unwrap_or_else(|| std::env::consts::OS.into());
    let kernel = read("/proc/sys/kernel/osrelease");
    if kernel.is_empty() { name } else { format!("{name}, kernel {}", kernel.trim()) }
}

/// The value of the first line `key<separator>value`, without quotes.
fn value_of(text: &str, key: &str, separator: char) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let (_, value) = pairs.find(|(name, _)| name.trim() == key)?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The seconds since 1970 of a time as [`utc`] writes it; `None` for any other text.
pub(super) fn seconds_of(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, mark: char| -> Option<Vec<u64>> { text.split(mark).map(|part| part.parse().ok()).collect() };
    let ([year, month, day], [hour, minute, second]) =
        (*numbers(date, '-')?.first_chunk::<3>()?, *numbers(time, ':')?.first_chunk::<3>()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days before the year, counted from a March, whose leap day comes last (Hinnant, "chrono-compatible date algorithms").
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// ISO 8601 of the seconds since 1970-01-01T00:00:00Z.
pub(crate) fn utc(seconds: u64) -> String {
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right side is from `date -u -d @SECONDS +%FT%TZ`.
    #[test]
    fn utc_agrees_with_date() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), expected);
            assert_eq!(seconds_of(expected), Some(seconds));
        }
    }

    #[test]
    fn times_are_read_back() {
        for day in (0..80_000).step_by(7) {
            let seconds = day * 86_400 + day % 86_400;
            assert_eq!(seconds_of(&utc(seconds)), Some(seconds));
        }
        for wrong in [
            "",
            "Z",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "1969-01-31T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "x-y-zTa:b:cZ",
        ] {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_start_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env.json");
        let first = Environment::now("CPU", 2);
        let second = Environment { device: "another".into(), ..first.clone() };
        first.add_to(&path).unwrap();
        second.add_to(&path).unwrap();
        let starts: Vec<Environment> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(starts, [first, second]);
        fs::write(&path, "{").unwrap();
        let error = starts[0].add_to(&path).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert_eq!(fs::read(&path).unwrap(), b"{");
    }

    #[test]
    fn values_are_found_by_their_whole_key() {
        let text = "model\t\t: 85\nmodel name\t: Some CPU @ 2: GHz\nmodel name: other";
        assert_eq!(value_of(text, "model name", ':').as_deref(), Some("Some CPU @ 2: GHz"));
        assert_eq!(value_of("PRETTY_NAME=\"Some Linux 1\"", "PRETTY_NAME", '=').as_deref(), Some("Some Linux 1"));
        assert_eq!(value_of(text, "name", ':'), None);
    }
}
