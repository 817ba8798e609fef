//! The meeting of the ranks of one start, by files, if nothing else connects them: each writes a line about itself, and all get the lines
//! of all and the leader's value for them (the id of NCCL's communicator).
//!
//! A file may be one of an earlier start of the same name that was killed. So each rank makes up a word of its own for this start and
//! believes only what answers it: the leader an acceptance of its word, the others an answer that has theirs.
//!
//! ```text
//! rank r:  hello-r { word }                        leader: looks for hellos
//! leader:  answer { word, words of those there }   rank r: waits for an answer with its word
//! rank r:  hello-r { word, accepts: the leader's } leader: waits until all accept its word
//! leader:  answer { …, all lines, gift, go }       rank r: waits for `go`
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{LaunchFolder, named};
use crate::error::{Error, Result};
use crate::run::atomic;
use crate::run::checkpoint::sha256;
use crate::units;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The message of a rank about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hello {
    word: String,
    line: String,
    accepts: Option<String>,
}

/// The leader's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    word: String,
    words: Vec<String>,
    lines: Vec<String>,
    gift: String,
    go: bool,
}

/// A rank that is to meet the others.
#[derive(Debug)]
pub struct Meeting<'a> {
    folder: &'a LaunchFolder,
    rank: usize,
    world: usize,
    word: String,
    patience: Duration,
}

/// The knowledge of all ranks after they have met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// The line of each rank.
    pub lines: Vec<String>,
    /// The word of each rank, which is in its signs of life.
    pub words: Vec<String>,
    /// The leader's value for all.
    pub gift: String,
}

impl<'a> Meeting<'a> {
    /// Of `world` ranks; each waits as long as `patience` for the others.
    pub fn new(folder: &'a LaunchFolder, rank: usize, world: usize, patience: Duration) -> Meeting<'a> {
        Meeting { folder, rank, world, word: word(rank), patience }
    }

    /// Meets the others. `line` is what they are to know of this rank; `gift`, asked of the leader alone once all are there, is given to all.
    ///
    /// # Errors
    /// [`Error::Failed`] where ranks are missing after the time: it names them. Those of `gift` and of the disk.
    pub fn attend(&self, line: &str, gift: impl FnOnce() -> Result<String>) -> Result<Met> {
        if self.rank == 0 { self.lead(line, gift) } else { self.follow(line) }
    }

    fn lead(&self, line: &str, gift: impl FnOnce() -> Result<String>) -> Result<Met> {
        let start = Instant::now();
        self.folder.forget_verdict();
        let mut said: Option<Answer> = None;
        let hellos = loop {
            let hellos: Vec<Option<Hello>> = (1..self.world).map(|rank| read(&self.hello(rank))).collect();
            let accepts = |hello: &Option<Hello>| {
                hello.as_ref().is_some_and(|hello| hello.accepts.as_deref() == Some(&self.word[..]))
            };
            let missing: Vec<usize> = (1..self.world).filter(|rank| !accepts(&hellos[rank - 1])).collect();
            if missing.is_empty() {
                break hellos;
            }
            // Whoever is there is answered at once, so that those who are missing are known. A hello of an earlier start makes way for one
            // of this start later: then the answer is another one.
            let answer = self.answer(line, &hellos, String::new(), false);
            if said.as_ref() != Some(&answer) {
                write(&self.folder.file("answer"), &answer)?;
                said = Some(answer);
            }
            self.wait(start, &missing)?;
        };
        let answer = self.answer(line, &hellos, gift()?, true);
        write(&self.folder.file("answer"), &answer)?;
        Ok(Met { lines: answer.lines, words: answer.words, gift: answer.gift })
    }

    fn follow(&self, line: &str) -> Result<Met> {
        let start = Instant::now();
        let mut hello = Hello { word: self.word.clone(), line: line.into(), accepts: None };
        write(&self.hello(self.rank), &hello)?;
        loop {
            let answer: Option<Answer> = read(&self.folder.file("answer"));
            // One without this rank's word is of another start.
            if let Some(answer) = answer.filter(|answer| answer.words.get(self.rank) == Some(&self.word)) {
                if answer.go {
                    return Ok(Met { lines: answer.lines, words: answer.words, gift: answer.gift });
                }
                if hello.accepts.as_ref() != Some(&answer.word) {
                    hello.accepts = Some(answer.word);
                    write(&self.hello(self.rank), &hello)?;
                }
            }
            self.wait(start, &[0])?;
        }
    }

    fn answer(&self, line: &str, hellos: &[Option<Hello>], gift: String, go: bool) -> Answer {
        let of = |own: &str, part: fn(&Hello) -> &String| {
            let theirs = hellos.iter().map(|hello| hello.as_ref().map(part).cloned().unwrap_or_default());
            std::iter::once(own.to_string()).chain(theirs).collect()
        };
        Answer {
            word: self.word.clone(),
            words: of(&self.word, |hello| &hello.word),
            lines: of(line, |hello| &hello.line),
            gift,
            go,
        }
    }

    fn hello(&self, rank: usize) -> std::path::PathBuf {
        self.folder.file(&format!("hello-{rank}"))
    }

    /// This rank's word.
    pub fn word(&self) -> &str {
        &self.word
    }

    fn wait(&self, start: Instant, missing: &[usize]) -> Result<()> {
        if start.elapsed() < self.patience {
            std::thread::sleep(LOOK);
            return Ok(());
        }
        let Meeting { rank, world, .. } = self;
        let time = units::duration(self.patience.as_secs_f64());
        let whom = named(missing);
        let why = if missing == [0] {
            "it was not started, or does not see this folder, or itself waits for another rank"
        } else {
            "they were not started, or ended before, or do not see this folder"
        };
        Err(Error::Failed(format!(
            "rank {rank} of {world} has waited {time} for {whom}, which did not come to {}: {why}. All ranks need the same runs' folder \
             (--outdir), on a file system that all machines share",
            self.folder
        )))
    }
}

/// A word that no other process makes up.
fn word(rank: usize) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let machine = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let thread = std::thread::current().id();
    sha256(format!("{rank} {now} {} {thread:?} {machine}", std::process::id()).as_bytes())[..16].to_string()
}

/// The file of another rank; `None` if it is missing or incomplete.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|e| Error::Internal(format!("a rank's file: {e}")))?;
    match atomic::write_file(path, &text) {
        // The leader of an earlier start may be clearing its folder away at this moment.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(path);
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, "create the folder", e))?;
            atomic::write_file(path, &text)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(150);

    fn meet(folder: &LaunchFolder, rank: usize, world: usize, patience: Duration) -> Result<Met> {
        let gift = || if rank == 0 { Ok(format!("gift of {world}")) } else { panic!("a gift of rank {rank}") };
        Meeting::new(folder, rank, world, patience).attend(&format!("line {rank}"), gift)
    }

    fn all_meet(folder: &LaunchFolder, world: usize) -> Vec<Met> {
        std::thread::scope(|scope| {
            let ranks = (0..world).map(|rank| scope.spawn(move || meet(folder, rank, world, LONG).unwrap()));
            ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    /// The leader of an earlier start clears its folder away while a rank of this one writes.
    #[test]
    fn a_folder_that_is_cleared_away_is_made_again() {
        let outdir = tempfile::tempdir().unwrap();
        let path = outdir.path().join("gone").join("hello");
        write(&path, &7).unwrap();
        assert_eq!(read::<i32>(&path), Some(7));
    }

    #[test]
    fn all_know_the_same_of_all() {
        let outdir = tempfile::tempdir().unwrap();
        let folder = LaunchFolder::open(&outdir.path().join("new"), "a launch").unwrap();
        let met = all_meet(&folder, 4);
        assert_eq!(met[0].lines, ["line 0", "line 1", "line 2", "line 3"]);
        assert_eq!(met[0].gift, "gift of 4");
        assert!(met.iter().all(|other| *other == met[0]));
        folder.remove();
        assert!(!folder.path().exists());
    }

    /// Files of a start that was killed at any moment: all hellos there, an answer with `go`, acceptances of another leader.
    #[test]
    fn files_of_an_earlier_start_are_not_taken() {
        let outdir = tempfile::tempdir().unwrap();
        let folder = LaunchFolder::open(outdir.path(), "the same name").unwrap();
        let before = all_meet(&folder, 3);
        assert!(folder.file("answer").exists() && folder.file("hello-2").exists());
        assert!(folder.take_verdict("rank 1") && folder.has_verdict());
        // A follower alone: an old answer is none, and says `go` as a new one would.
        let error = meet(&folder, 2, 3, SHORT).unwrap_err().to_string();
        assert!(error.contains("rank 2 of 3") && error.contains("for rank 0,"), "{error}");
        // The leader alone: old hellos, however whole, are no ranks.
        let error = meet(&folder, 0, 3, SHORT).unwrap_err().to_string();
        assert!(error.contains("rank 0 of 3 has waited") && error.contains("for ranks 1, 2,"), "{error}");
        for _ in 0..3 {
            let after = all_meet(&folder, 3);
            assert!(after.iter().all(|met| *met == after[0]));
            assert!(after[0].words.iter().zip(&before[0].words).all(|(new, old)| new != old));
        }
        assert!(!folder.has_verdict(), "a verdict of the start before ends nobody");
    }

    #[test]
    fn whoever_is_missing_is_named() {
        let outdir = tempfile::tempdir().unwrap();
        let folder = LaunchFolder::open(outdir.path(), "x").unwrap();
        let errors = std::thread::scope(|scope| {
            let folder = &folder;
            let ranks = [0, 1, 3].map(|rank| scope.spawn(move || meet(folder, rank, 4, SHORT).unwrap_err()));
            ranks.map(|rank| rank.join().unwrap())
        });
        for (error, whom) in errors.iter().zip(["rank 2", "rank 0", "rank 0"]) {
            let text = error.to_string();
            assert!(error.exit_code() == 1 && text.contains(&format!("for {whom}, which did not come")), "{text}");
        }
    }
}
