//! The common decisions of the ranks of a session, so that all of them end at the same step and with the same exit code. Alone, a process
//! agrees with itself, and nothing here costs anything.
//!
//! Every function is collective: all ranks call the same ones in the same order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::snapshot::DataIdentity;
use crate::config::{Settings, to_toml};
use crate::device::{Backend, Buffer, RankOf};
use crate::run::ranks::{Pulse, named};
use crate::{Error, Result};

/// Numbers that go around at once.
const WIDTH: usize = 4;

/// The ranks' way to tell each other what they decide on.
pub struct Agreement<B: Backend> {
    backend: B,
    place: RankOf,
    pulse: Arc<Pulse>,
    /// This rank's numbers, and those of all; nothing where it is alone.
    buffers: Option<(Buffer<B, u64>, Buffer<B, u64>)>,
}

/// The observations of a rank when it polls between steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// The number of the signal that has arrived.
    pub(super) signal: Option<i32>,
    /// The mark of a step that was not finite.
    pub(super) non_finite: u64,
    /// The leader's clock says that the run's time is used up. No other clock counts.
    pub(super) out_of_time: bool,
}

impl<B: Backend> Agreement<B> {
    /// Of the ranks of this backend.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn new(backend: &B) -> Result<Self> {
        let place = backend.ranks();
        let buffers =
            if place.is_alone() { None } else { Some((backend.alloc(WIDTH)?, backend.alloc(WIDTH * place.world)?)) };
        Ok(Agreement { backend: backend.clone(), place, pulse: Arc::default(), buffers })
    }

    /// Tells `pulse` how far this rank is.
    #[must_use]
    pub fn with_pulse(self, pulse: Arc<Pulse>) -> Self {
        Agreement { pulse, ..self }
    }

    /// This rank and their number.
    pub fn place(&self) -> RankOf {
        self.place
    }

    /// The progress of this rank.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The numbers of every rank, in order.
    fn numbers(&mut self, mine: [u64; WIDTH]) -> Result<Vec<[u64; WIDTH]>> {
        let Agreement { backend, pulse, buffers, .. } = self;
        let Some((part, whole)) = buffers else { return Ok(vec![mine]) };
        backend.upload(&mine, backend.view_mut(part))?;
        pulse.meets();
        backend.gather_from_ranks(backend.view(part), backend.view_mut(whole))?;
        let all = backend.read(backend.view(whole))?;
        pulse.meets();
        Ok(all.chunks_exact(WIDTH).map(|numbers| [numbers[0], numbers[1], numbers[2], numbers[3]]).collect())
    }

    /// The text of every rank, in order.
    ///
    /// # Errors
    /// [`Error::Ranks`] where another rank has ended, here and below.
    pub fn texts(&mut self, mine: &str) -> Result<Vec<String>> {
        let lengths = self.numbers([mine.len() as u64, 0, 0, 0])?;
        if self.place.is_alone() {
            return Ok(vec![mine.to_string()]);
        }
        let longest = lengths.iter().map(|numbers| numbers[0] as usize).max().unwrap_or_default().max(1);
        let backend = &self.backend;
        let mut padded = mine.as_bytes().to_vec();
        padded.resize(longest, 0);
        let part = backend.buffer_of(&padded)?;
        let mut whole = backend.alloc::<u8>(longest * self.place.world)?;
        backend.gather_from_ranks(backend.view(&part), backend.view_mut(&mut whole))?;
        let all = backend.read(backend.view(&whole))?;
        let text = |(bytes, length): (&[u8], &[u64; WIDTH])| {
            String::from_utf8_lossy(&bytes[..(length[0] as usize).min(bytes.len())]).into_owned()
        };
        Ok(all.chunks_exact(longest).zip(&lengths).map(text).collect())
    }

    /// The leader's decision, which holds for all.
    pub(super) fn as_leader_says(&mut self, mine: bool) -> Result<bool> {
        Ok(self.numbers([u64::from(mine), 0, 0, 0])?[0][0] != 0)
    }

    /// The leader's text, which is all ranks'.
    ///
    /// # Errors
    /// As above.
    pub fn text_of_leader(&mut self, mine: &str) -> Result<String> {
        let mine = if self.place.is_leader() { mine } else { "" };
        Ok(self.texts(mine)?.swap_remove(0))
    }

    /// The observations of all ranks together: the signal of the first rank that has one, what was not finite at any, the leader's clock.
    pub(super) fn look(&mut self, mine: Look) -> Result<Look> {
        let signal = mine.signal.and_then(|signal| u64::try_from(signal).ok()).unwrap_or_default();
        let all = self.numbers([signal, mine.non_finite, u64::from(mine.out_of_time), 0])?;
        let signal = all.iter().map(|numbers| numbers[0]).find(|signal| *signal != 0);
        let non_finite = all.iter().map(|numbers| numbers[1]).find(|mark| *mark != 0).unwrap_or_default();
        Ok(Look {
            signal: signal.and_then(|signal| i32::try_from(signal).ok()),
            non_finite,
            out_of_time: all[0][2] != 0,
        })
    }

    /// The result of this rank, if all ranks have one. Otherwise they all end: a rank without an error of its own ends with that of the
    /// first rank that has one.
    ///
    /// # Errors
    /// As said; those of ranks that are gone.
    pub fn all<T>(&mut self, mine: Result<T>) -> Result<T> {
        if self.place.is_alone() {
            return mine;
        }
        // What says that a rank is gone can't be told to it.
        if let Err(Error::Ranks(_)) = &mine {
            return mine;
        }
        let code = mine.as_ref().err().map_or(0, |error| 1 + error.exit_code().unsigned_abs());
        let codes = self.numbers([u64::from(code), 0, 0, 0])?;
        let Some(rank) = codes.iter().position(|numbers| numbers[0] != 0) else { return mine };
        let text = mine.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let message = self.texts(&text)?.swap_remove(rank);
        self.pulse.ends_with_all();
        let code = i32::try_from(codes[rank][0]).unwrap_or(2) - 1;
        if rank == self.place.rank { mine } else { Err(Error::Elsewhere { rank, code, message }) }
    }

    /// All ranks end with the leader's error.
    pub(super) fn end_with(&mut self, error: Error) -> Error {
        if self.place.is_alone() || matches!(error, Error::Ranks(_)) {
            return error;
        }
        let mine = if self.place.is_leader() { Err(error) } else { Ok(()) };
        match self.all(mine) {
            Err(error) => error,
            Ok(()) => Error::Internal("a leader that ends without an error".into()),
        }
    }

    /// Refuses ranks of which not all have the same version, settings and images, and start from the same weights. Paths may differ: what
    /// was read from them may not.
    ///
    /// # Errors
    /// [`Error::Usage`] on all ranks, with both values and whose they are.
    pub(super) fn require_same(
        &mut self,
        settings: &Settings,
        preset: &str,
        data: &DataIdentity,
        start: (u64, String),
    ) -> Result<()> {
        if self.place.is_alone() {
            return Ok(());
        }
        let (step, weights) = start;
        let own = [
            ("version of the program".to_string(), env!("CARGO_PKG_VERSION").to_string()),
            ("images".into(), data.in_words()),
            ("step to start from".into(), step.to_string()),
            ("weights at the start, by their sha256".into(), weights),
        ];
        let facts: BTreeMap<String, String> = own.into_iter().chain(lines_of(&to_toml(settings, preset)?)).collect();
        let internal = |error| Error::Internal(format!("facts of a rank: {error}"));
        let mine = serde_json::to_string(&facts).map_err(internal)?;
        let all = self.texts(&mine)?;
        let all = all.iter().map(|text| serde_json::from_str(text).map_err(internal)).collect::<Result<Vec<_>>>()?;
        let differences = differences(&all);
        if differences.is_empty() {
            return Ok(());
        }
        self.pulse.ends_with_all();
        let error = Error::Usage(format!(
            "the ranks must all train the same: {}. Start all of them with the same program, command line and files",
            differences.join("; ")
        ));
        if self.place.is_leader() {
            return Err(error);
        }
        Err(Error::Elsewhere { rank: 0, code: error.exit_code(), message: error.to_string() })
    }
}

/// Settings that say where something lies.
const PATHS: [&str; 2] = ["data.source", "train.init"];

/// The settings of a config.toml by their names.
fn lines_of(toml: &str) -> Vec<(String, String)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let name = if section.is_empty() { key.to_string() } else { format!("{section}.{key}") };
            found.push((name, value.to_string()));
        }
    }
    found.retain(|(name, _)| !PATHS.contains(&&name[..]));
    found
}

/// `train.batch is 64 at rank 0 and 32 at rank 1` for each fact that is not the same everywhere.
fn differences(all: &[BTreeMap<String, String>]) -> Vec<String> {
    let mut names: Vec<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        let mut values: Vec<(&str, Vec<usize>)> = Vec::new();
        for (rank, facts) in all.iter().enumerate() {
            let value = facts.get(name).map_or("not there", String::as_str);
            match values.iter_mut().find(|(known, _)| *known == value) {
                Some((_, ranks)) => ranks.push(rank),
                None => values.push((value, vec![rank])),
            }
        }
        if values.len() > 1 {
            let told: Vec<String> =
                values.iter().map(|(value, ranks)| format!("{value} at {}", named(ranks))).collect();
            found.push(format!("{name}: {}", told.join(", ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;
    use crate::device::Cpu;
    use crate::device::ranks::ThreadRanks;

    /// The result of each rank of a world.
    fn on_all<R: Send>(world: usize, work: impl Fn(usize, Agreement<Cpu<f32>>) -> R + Sync) -> Vec<R> {
        let work = &work;
        std::thread::scope(|scope| {
            let ranks = ThreadRanks::world(world).into_iter().enumerate().map(|(rank, ranks)| {
                let backend = Cpu::<f32>::new(Some(1)).unwrap().with_ranks(Arc::new(ranks));
                scope.spawn(move || work(rank, Agreement::new(&backend).unwrap()))
            });
            ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn what_any_rank_sees_all_see_but_only_the_leaders_clock_counts() {
        let looks = on_all(3, |rank, mut agreement| {
            let mine = Look {
                signal: (rank > 0).then_some(10 + rank as i32),
                non_finite: u64::from(rank == 2) * 7,
                out_of_time: rank != 0,
            };
            let first = agreement.look(mine).unwrap();
            (first, agreement.look(Look { out_of_time: rank == 0, ..Look::default() }).unwrap())
        });
        let expected = (
            Look { signal: Some(11), non_finite: 7, out_of_time: false },
            Look { signal: None, non_finite: 0, out_of_time: true },
        );
        assert_eq!(looks, [expected; 3]);
    }

    #[test]
    fn texts_of_any_length_go_around() {
        let texts = on_all(3, |rank, mut agreement| {
            let long = "é".repeat(rank * 1000);
            (agreement.texts(&long).unwrap(), agreement.text_of_leader(["the leader's", "x", "y"][rank]).unwrap())
        });
        let expected: Vec<String> = (0..3).map(|rank| "é".repeat(rank * 1000)).collect();
        assert!(texts.iter().all(|(texts, leader)| *texts == expected && leader == "the leader's"));
    }

    #[test]
    fn an_error_of_one_is_the_end_of_all_with_its_code() {
        let errors = on_all(3, |rank, mut agreement| {
            assert_eq!(agreement.all(Ok(rank)).unwrap(), rank);
            assert!(!agreement.pulse().has_agreed_to_end());
            let mine = if rank == 1 { Err(Error::bad_data("x", "a", "b")) } else { Ok(()) };
            let error = agreement.all(mine).unwrap_err();
            assert!(agreement.pulse().has_agreed_to_end());
            (error.exit_code(), error.to_string())
        });
        let told = |text: &str| (3, text.to_string());
        let elsewhere = told("rank 1: x: expected a, found b");
        assert_eq!(errors, [elsewhere.clone(), told("x: expected a, found b"), elsewhere]);
        let ends = on_all(2, |rank, mut agreement| agreement.end_with(Error::Usage(format!("of {rank}"))).to_string());
        assert_eq!(ends, ["of 0", "rank 0: of 0"]);
    }

    #[test]
    fn ranks_that_differ_are_refused_with_both_values() {
        let data = |sha256: &str| DataIdentity::for_tests(100, sha256);
        let refused = |change: &(dyn Fn(usize) -> (Settings, DataIdentity, (u64, String)) + Sync)| {
            on_all(3, |rank, mut agreement| {
                let (settings, data, start) = change(rank);
                agreement.require_same(&settings, "quick", &data, start).map_err(|e| (e.exit_code(), e.to_string()))
            })
        };
        let quick = || preset("quick").unwrap();
        let start = || (0, "aa".to_string());
        let elsewhere = |rank: usize| {
            let mut settings = quick();
            settings.data.source = format!("/node{rank}/images");
            (settings, data("d"), start())
        };
        assert_eq!(refused(&elsewhere), vec![Ok(()); 3], "paths may differ");
        let batch = |rank: usize| {
            let mut settings = quick();
            settings.train.batch = if rank == 1 { 32 } else { 64 };
            (settings, data("d"), start())
        };
        let images = |rank: usize| (quick(), data(if rank == 2 { "other" } else { "d" }), start());
        let step = |rank: usize| (quick(), data("d"), (rank as u64 / 2, "aa".into()));
        let weights = |rank: usize| (quick(), data("d"), (0, if rank == 0 { "aa" } else { "bb" }.into()));
        let cases: [(&(dyn Fn(usize) -> (Settings, DataIdentity, (u64, String)) + Sync), &str); 4] = [
            (&batch, "train.batch: 64 at ranks 0, 2, 32 at rank 1"),
            (&images, "images: 100, sha256 d at ranks 0, 1, 100, sha256 other at rank 2"),
            (&step, "step to start from: 0 at ranks 0, 1, 1 at rank 2"),
            (&weights, "weights at the start, by their sha256: aa at rank 0, bb at ranks 1, 2"),
        ];
        for (change, part) in cases {
            for result in refused(change) {
                let (code, text) = result.unwrap_err();
                assert!(code == 2 && text.contains(part), "{text}\nlacks {part}");
            }
        }
        let versions = ["1.0", "1.1"].map(|version| BTreeMap::from([("version".to_string(), version.to_string())]));
        assert_eq!(differences(&versions), ["version: 1.0 at rank 0, 1.1 at rank 1"]);
    }
}
