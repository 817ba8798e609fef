//! Runs single tests of the copy: without a mutant, to learn what each reaches, and with one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::tree::{Binary, Places, variables};

/// A file that a test writes may have so many blocks of 512 bytes; other work on the machine goes first.
const LIMITS: &str = "ulimit -f 4000000; exec nice -n 10 \"$@\"";

/// Memory that the processes of a test may use together, in bytes: a mutant of a size must not fill the machine. Addresses can't be
/// limited instead: the emulator reserves many and uses few.
const MOST_MEMORY: u64 = 5 << 30;

/// Tests that run all others once more on the PTX machine, for minutes each.
const LEFT_OUT: &str = "on_the_standin::";

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Passed,
    Failed,
    /// It was still running, and was killed.
    Late,
    /// It fails without the mutant too, now and then: it says nothing.
    Unsteady,
}

/// A test, how long it takes, and which mutants it reaches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reach {
    pub binary: String,
    pub test: String,
    pub seconds: f64,
    pub end: End,
    /// By [`crate::site::Site::key`].
    pub mutants: Vec<String>,
}

/// A mutant before a test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    pub mutant: String,
    pub binary: String,
    pub test: String,
    pub end: End,
    pub seconds: f64,
}

/// A file with a JSON value a line, to which values are added.
pub struct Lines(PathBuf);

impl Lines {
    pub fn new(places: &Places, name: &str) -> Lines {
        Lines(places.folder.join(name))
    }

    /// All values; a line that was cut off is none.
    pub fn read<T: DeserializeOwned>(&self) -> Vec<T> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// These values alone.
    pub fn write<T: Serialize>(&self, values: &[T]) -> Outcome<()> {
        let lines = values.iter().map(|value| Ok(serde_json::to_string(value)? + "\n"));
        Ok(fs::write(&self.0, lines.collect::<Outcome<String>>()?)?)
    }

    pub fn add<T: Serialize>(&self, value: &T) -> Outcome<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0)?;
        Ok(file.write_all(format!("{}\n", serde_json::to_string(value)?).as_bytes())?)
    }
}

/// Names of the tests of a binary.
pub fn names(places: &Places, binary: &Binary) -> Outcome<Vec<String>> {
    let output = Command::new(&binary.path).args(["--list", "--format", "terse"]).current_dir(&places.tree).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| !name.starts_with(LEFT_OUT))
        .map(str::to_owned)
        .collect())
}

/// One place for temporary files for each worker, short enough for the sockets of MPI.
fn temporary(worker: usize) -> PathBuf {
    std::env::temp_dir().join(format!("mut{}-{worker}", std::process::id()))
}

/// Bytes in memory of all processes of a group.
fn memory(group: u32) -> u64 {
    let Ok(all) = fs::read_dir("/proc") else { return 0 };
    let pages = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name, which may have blanks: the fields from the third on (proc(5)).
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        (fields.get(2)?.parse() == Ok(group)).then(|| fields.get(21)?.parse::<u64>().ok())?
    };
    all.flatten().filter_map(pages).sum::<u64>() * 4096
}

/// Runs a test with these variables, for at most `limit`. Returns how it ended and the seconds it took.
pub fn run(
    places: &Places,
    worker: usize,
    (binary, test): (&Path, &str),
    own: &[(&str, String)],
    limit: Duration,
) -> Outcome<(End, f64)> {
    let folder = temporary(worker);
    fs::create_dir_all(&folder)?;
    let log = places.folder.join(format!("last-{worker}.log"));
    let mut command = Command::new("sh");
    command.args(["-c", LIMITS, "sh"]).arg(binary).args([test, "--exact", "--nocapture"]);
    command.current_dir(&places.tree).env("CARGO_MANIFEST_DIR", &places.tree).env("TMPDIR", &folder);
    command
        .env_remove("MUTANT")
        .env_remove("MUTANT_NOTES")
        .envs(variables(places))
        .envs(own.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .process_group(0);
    let begin = Instant::now();
    let mut child = command.spawn()?;
    let (mut pause, mut looks) = (Duration::from_millis(2), 0_u32);
    let end = loop {
        looks += 1;
        match child.try_wait()? {
            Some(status) => break if status.success() { End::Passed } else { End::Failed },
            None if begin.elapsed() > limit => break End::Late,
            None if looks.is_multiple_of(4) && memory(child.id()) > MOST_MEMORY => break End::Failed,
            None => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    let seconds = begin.elapsed().as_secs_f64();
    // The test's own processes too: its group is its own.
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status()?;
    child.wait()?;
    let _ = fs::remove_dir_all(&folder);
    Ok((end, seconds))
}

/// Runs each test once, by two workers at a time, and notes what it reaches. Tests that have passed before are left out.
pub fn reach(places: &Places, binaries: &[Binary], keys: &[String], limit: Duration, filter: &str) -> Outcome<()> {
    let lines = Lines::new(places, "reach.jsonl");
    let done: Vec<Reach> = lines.read();
    let mut open = Vec::new();
    for binary in binaries {
        for test in names(places, binary)? {
            let known =
                done.iter().any(|reach| reach.end == End::Passed && reach.binary == binary.name && reach.test == test);
            if !known && format!("{}::{test}", binary.name).contains(filter) {
                open.push((binary, test));
            }
        }
    }
    println!("{} tests to run, {} are known", open.len(), done.len());
    crate::shared(&open, |worker, (binary, test)| {
        let notes = places.folder.join(format!("notes-{worker}"));
        let _ = fs::remove_file(&notes);
        let own = [("MUTANT_NOTES", notes.to_string_lossy().into_owned())];
        let (end, seconds) = run(places, worker, (&binary.path, test), &own, limit)?;
        let text = fs::read_to_string(&notes).unwrap_or_default();
        let mut ids: Vec<usize> = text.lines().filter_map(|line| line.parse().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mutants = ids.iter().filter_map(|id| keys.get(id - 1)).cloned().collect();
        if end != End::Passed {
            println!("{}::{test}: {end:?} without a mutant after {seconds:.1} s; it is left out", binary.name);
        }
        lines.add(&Reach { binary: binary.name.clone(), test: test.clone(), seconds, end, mutants })
    })
}

/// Forgets what the tests with this word in their names reach, and that they have passed with mutants.
pub fn forget(places: &Places, word: &str) -> Outcome<()> {
    let (reaches, trials) = (Lines::new(places, "reach.jsonl"), Lines::new(places, "trials.jsonl"));
    let (mut reached, mut tried): (Vec<Reach>, Vec<Trial>) = (reaches.read(), trials.read());
    reached.retain(|reach| !reach.test.contains(word));
    tried.retain(|trial| trial.end.catches() || !trial.test.contains(word));
    reaches.write(&reached)?;
    trials.write(&tried)
}

/// The module that a file's unit tests are in: `src/ops/layers/pool2d/cpu.rs` → `ops::layers::pool2d`.
fn module(file: &str) -> String {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod").trim_end_matches("/cpu").trim_end_matches("/launch");
    format!("{}::", path.replace('/', "::"))
}

/// Runs each mutant's tests until one fails: those of its own module first, then the fastest,
/// where one that has caught many mutants of the room counts as faster. `most` is the time for each mutant.
pub fn judge(
    places: &Places,
    binaries: &[Binary],
    mutants: &[crate::site::Site],
    most: Duration,
    filter: &str,
) -> Outcome<()> {
    let lines = Lines::new(places, "trials.jsonl");
    let (reached, trials): (Vec<Reach>, Vec<Trial>) = (Lines::new(places, "reach.jsonl").read(), lines.read());
    let paths: BTreeMap<&str, &Path> = binaries.iter().map(|binary| (&*binary.name, &*binary.path)).collect();
    // How many mutants of each room a test has caught.
    let mut caught: BTreeMap<(&str, &str, &str), u32> = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.end.catches()) {
        let room = trial.mutant.split('/').nth(1).unwrap_or_default();
        *caught.entry((&trial.binary, &trial.test, room)).or_default() += 1;
    }
    let mut order: Vec<(usize, String)> = (1..).zip(mutants.iter().map(crate::site::Site::key)).collect();
    order.retain(|(_, key)| {
        key.contains(filter) && !trials.iter().any(|trial| trial.mutant == *key && trial.end.catches())
    });
    order.sort_by_key(|(_, key)| crate::choose::Random::new(0, key).next());
    println!("{} mutants to judge", order.len());
    crate::shared(&order, |worker, (id, key)| {
        let (own, room) = (module(&mutants[id - 1].file), mutants[id - 1].room());
        let known = |reach: &Reach| {
            trials.iter().any(|trial| trial.mutant == *key && trial.binary == reach.binary && trial.test == reach.test)
        };
        let mut tests: Vec<&Reach> =
            reached.iter().filter(|reach| reach.end == End::Passed && reach.mutants.contains(key)).collect();
        tests.sort_by(|a, b| {
            let rank = |reach: &Reach| {
                let is_own = reach.binary == "vgan_cuda" && reach.test.starts_with(&own);
                let caught = caught.get(&(&*reach.binary, &*reach.test, room)).copied().unwrap_or_default();
                (!is_own, reach.seconds / f64::from(1 + caught))
            };
            rank(a).partial_cmp(&rank(b)).expect("times")
        });
        let begin = Instant::now();
        for reach in tests.into_iter().filter(|reach| !known(reach)) {
            if begin.elapsed() > most {
                return Ok(());
            }
            let Some(path) = paths.get(&*reach.binary) else { continue };
            // Other work on the machine must not make a test late.
            let limit = Duration::from_secs_f64(30.0 + 10.0 * reach.seconds);
            let test = (*path, &*reach.test);
            let (mut end, seconds) = run(places, worker, test, &[("MUTANT", id.to_string())], limit)?;
            if end.catches() && run(places, worker, test, &[("MUTANT", "0".to_owned())], limit)?.0 != End::Passed {
                end = End::Unsteady;
            }
            let (binary, name) = (reach.binary.clone(), reach.test.clone());
            lines.add(&Trial { mutant: key.clone(), binary, test: name, end, seconds })?;
            if end.catches() {
                return Ok(());
            }
        }
        Ok(())
    })
}

impl End {
    /// Whether a mutant that made a test end so is caught.
    pub fn catches(self) -> bool {
        matches!(self, End::Failed | End::Late)
    }
}
