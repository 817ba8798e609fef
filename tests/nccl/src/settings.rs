//! Settings and faults from the environment. README.md has the table of variables.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::code::{Code, Failure, Result};

/// A place where a fault can be planted: `ncclGetUniqueId`, `ncclCommInitRank` and its kin, a call of a collective, a collective as it is
/// carried out, and there a process that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    Id,
    Join,
    Enqueue,
    CarryOut,
    Die,
}

const POINTS: [(&str, Point, Code); 5] = [
    ("id", Point::Id, Code::SYSTEM_ERROR),
    ("join", Point::Join, Code::INTERNAL_ERROR),
    ("enqueue", Point::Enqueue, Code::UNHANDLED_CUDA_ERROR),
    ("carry-out", Point::CarryOut, Code::REMOTE_ERROR),
    ("die", Point::Die, Code::SUCCESS),
];

/// One fault: the N-th passing of a point, on one rank or on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    point: Point,
    number: u64,
    code: Code,
    rank: Option<usize>,
}

/// All settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `NCCL_VERSION_CODE` of the library that is stood in for.
    pub(crate) version: i32,
    /// After how long waiting for other ranks ends.
    pub(crate) patience: Duration,
    /// Whether a rank that died is noticed.
    pub(crate) notices: bool,
    /// Bytes of device memory that a communicator takes.
    pub(crate) memory: usize,
    /// The folder in which ranks meet.
    pub(crate) folder: PathBuf,
    faults: Vec<Fault>,
    trace: Option<Mutex<File>>,
    passed: Mutex<[u64; POINTS.len()]>,
}

/// The settings of this process.
pub(crate) fn settings() -> Result<&'static Settings> {
    static SETTINGS: OnceLock<std::result::Result<Settings, String>> = OnceLock::new();
    let read = SETTINGS.get_or_init(|| Settings::read(|name| std::env::var(name).ok()));
    read.as_ref().map_err(|text| Failure::new(Code::INVALID_USAGE, text.clone()))
}

impl Settings {
    fn read(variable: impl Fn(&str) -> Option<String>) -> std::result::Result<Settings, String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let number = |name: &str, default: u64| match set(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("{name} is {text:?}, expected a whole number")),
        };
        let version = match set("NCCL_STANDIN_VERSION") {
            None => 22_803,
            Some(text) => version_code(&text)
                .ok_or_else(|| format!("NCCL_STANDIN_VERSION is {text:?}, expected a version such as 2.28.3"))?,
        };
        let notices = match set("NCCL_STANDIN_NOTICES").as_deref() {
            None | Some("yes") => true,
            Some("no") => false,
            Some(text) => return Err(format!("NCCL_STANDIN_NOTICES is {text:?}, expected yes or no")),
        };
        let faults = match set("NCCL_STANDIN_FAIL") {
            None => Vec::new(),
            Some(text) => text.split(',').map(fault).collect::<std::result::Result<_, _>>()?,
        };
        let shared = PathBuf::from("/dev/shm");
        let folder = set("NCCL_STANDIN_FOLDER").map(PathBuf::from);
        let trace = set("NCCL_STANDIN_TRACE").map(|path| {
            let file = File::options().create(true).append(true).open(&path);
            file.map(Mutex::new).map_err(|error| format!("{path} can't be written: {error}"))
        });
        Ok(Settings {
            version,
            patience: Duration::from_secs(number("NCCL_STANDIN_TIMEOUT", 60)?),
            notices,
            memory: usize::try_from(number("NCCL_STANDIN_MEMORY", 65_536)?).unwrap_or(usize::MAX),
            folder: folder.unwrap_or_else(|| if shared.is_dir() { shared } else { std::env::temp_dir() }),
            faults,
            trace: trace.transpose()?,
            passed: Mutex::default(),
        })
    }

    /// Counts a passing of a point by a rank, or by a process that has none yet: why it fails, where that was asked for.
    pub(crate) fn pass(&self, point: Point, rank: Option<usize>) -> Result {
        let passed = {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let passed = &mut passed[point as usize];
            *passed += 1;
            *passed
        };
        let due = |fault: &&Fault| {
            fault.point == point && fault.number == passed && (fault.rank.is_none() || fault.rank == rank)
        };
        match self.faults.iter().find(due) {
            None => Ok(()),
            Some(Fault { point: Point::Die, .. }) => {
                eprintln!("nccl-standin: this process ends here, as NCCL_STANDIN_FAIL asks");
                std::process::abort();
            }
            Some(fault) => Err(Failure::new(fault.code, format!("{point:?} fails, as NCCL_STANDIN_FAIL asks"))),
        }
    }

    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(file) = &self.trace {
            // Nothing can be done here about a full disk, and the program under test is not to suffer from it.
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(format!("{}\n", line()).as_bytes());
        }
    }
}

/// `NCCL_VERSION` of `nccl.h`: until 2.8 in thousands, since then in ten thousands.
fn version_code(text: &str) -> Option<i32> {
    let parts: Vec<i32> =
        text.split('.').map(|part| part.parse().ok().filter(|part| *part >= 0)).collect::<Option<_>>()?;
    let &[major, minor, patch] = parts.as_slice() else { return None };
    Some(if major <= 2 && minor <= 8 {
        major * 1000 + minor * 100 + patch
    } else {
        major * 10_000 + minor * 100 + patch
    })
}

/// `POINT:N`, with `=CODE` or `@RANK` or both, in this order, behind it.
fn fault(entry: &str) -> std::result::Result<Fault, String> {
    let parse = || {
        let (point, rest) = entry.trim().split_once(':')?;
        let (_, point, code) = POINTS.into_iter().find(|known| known.0 == point)?;
        let (rest, rank) = match rest.split_once('@') {
            Some((rest, rank)) => (rest, Some(rank.parse().ok()?)),
            None => (rest, None),
        };
        let (number, code) = match rest.split_once('=') {
            Some((number, code)) => (number, Code(code.parse().ok().filter(|code| (1..8).contains(code))?)),
            None => (rest, code),
        };
        Some(Fault { point, number: number.parse().ok().filter(|number| *number > 0)?, code, rank })
    };
    parse().ok_or_else(|| {
        let points: Vec<&str> = POINTS.iter().map(|point| point.0).collect();
        format!(
            "NCCL_STANDIN_FAIL has {entry:?}, expected POINT:N, POINT:N=CODE, POINT:N@RANK or POINT:N=CODE@RANK with POINT one of {}",
            points.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_coded_as_the_header_codes_them() {
        assert_eq!(version_code("2.7.8"), Some(2708));
        assert_eq!(version_code("2.28.3"), Some(22_803));
        for text in ["", "2", "2.28", "2.x.1", "2.28.3.1", "-2.1.1"] {
            assert_eq!(version_code(text), None, "{text:?}");
        }
    }

    #[test]
    fn faults_are_read() {
        let parsed = fault("carry-out:5=5@1").expect("a fault");
        assert_eq!((parsed.point, parsed.number, parsed.code.0, parsed.rank), (Point::CarryOut, 5, 5, Some(1)));
        assert_eq!(fault("die:2").map(|fault| (fault.point, fault.rank)), Ok((Point::Die, None)));
        for text in ["", "die", "die:0", "die:x", "oven:1", "join:1=0", "join:1=9", "join:1@", "join:1@x"] {
            assert!(fault(text).is_err(), "{text:?}");
        }
        for (index, (name, point, _)) in POINTS.iter().enumerate() {
            assert_eq!(*point as usize, index, "{name}");
        }
    }
}
