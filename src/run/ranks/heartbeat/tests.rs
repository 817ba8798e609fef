//! Ranks that die, fail, hang, are slow, or were never there.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::*;

const PATIENCE: Duration = Duration::from_millis(400);

struct Rank {
    watch: Option<Watch>,
    pulse: Arc<Pulse>,
    lost: Receiver<Lost>,
}

fn words(world: usize) -> Vec<String> {
    (0..world).map(|rank| format!("word {rank}")).collect()
}

fn begin(folder: &LaunchFolder, rank: usize, world: usize) -> Rank {
    let (found, lost) = channel();
    let pulse = Arc::new(Pulse::default());
    let me = Me { rank, words: words(world), patience: PATIENCE, is_spread: rank == 1 };
    // The receiver may have gone with its test.
    let watch = Watch::begin(folder, me, Arc::clone(&pulse), move |lost| drop(found.send(lost))).unwrap();
    Rank { watch: Some(watch), pulse, lost }
}

fn all(folder: &LaunchFolder, world: usize) -> Vec<Rank> {
    (0..world).map(|rank| begin(folder, rank, world)).collect()
}

fn folder() -> (tempfile::TempDir, LaunchFolder) {
    let outdir = tempfile::tempdir().unwrap();
    let folder = LaunchFolder::open(outdir.path(), "x").unwrap();
    (outdir, folder)
}

impl Rank {
    /// The ranks that it finds lost within `time`.
    fn finds(&self, time: Duration) -> Option<Lost> {
        match self.lost.recv_timeout(time) {
            Ok(lost) => Some(lost),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the watch has ended"),
        }
    }

    fn end(&mut self, error: Option<&Error>) {
        self.watch.take().unwrap().end(error);
    }

    /// As a process that is killed: no last word, and the lock falls.
    fn dies(&mut self) {
        let mut watch = self.watch.take().unwrap();
        watch.shared.stop.store(true, Ordering::Relaxed);
        watch.thread.take().unwrap().join().unwrap();
    }

    /// As a process that is stopped, or one on a machine that is gone: no sign, but the lock is held.
    fn stops(&mut self) {
        let watch = self.watch.as_mut().unwrap();
        watch.shared.stop.store(true, Ordering::Relaxed);
        watch.thread.as_ref().unwrap().thread().unpark();
    }
}

#[test]
fn a_rank_that_dies_is_found_by_its_neighbour_and_not_by_one_that_ends() {
    let (_outdir, folder) = folder();
    let mut ranks = all(&folder, 3);
    assert_eq!(ranks[0].finds(PATIENCE * 2), None, "all live");
    ranks[1].end(None);
    assert_eq!(ranks[0].finds(PATIENCE), None, "an end in agreement is no loss");
    ranks[2].dies();
    let start = Instant::now();
    assert_eq!(ranks[0].finds(Duration::from_secs(5)), Some(Lost::Died(2)));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn an_error_of_one_rank_is_told_and_one_of_all_is_not() {
    let (_outdir, folder) = folder();
    let mut ranks = all(&folder, 3);
    let error = Error::Failed("its disk burns".into());
    ranks[0].pulse.ends_with_all();
    ranks[0].end(Some(&error));
    assert_eq!(ranks[2].finds(PATIENCE), None);
    ranks[1].end(Some(&error));
    let lost = ranks[2].finds(Duration::from_secs(5)).unwrap();
    assert_eq!(lost, Lost::Failed(1, "its disk burns".into()));
    let names = ["a", "cuda:1 on b"].map(String::from);
    assert_eq!(lost.message(&names), "rank 1 (cuda:1 on b) failed: its disk burns");
}

#[test]
fn a_rank_that_hangs_is_lost_and_a_slow_one_is_not() {
    let (_outdir, folder) = folder();
    let mut ranks = all(&folder, 2);
    ranks[1].stops();
    assert_eq!(ranks[0].finds(PATIENCE * 3 / 4), None, "it may be slow");
    let lost = ranks[0].finds(Duration::from_secs(5)).unwrap();
    assert!(matches!(lost, Lost::Silent(1, silence) if silence >= PATIENCE && silence < 3 * PATIENCE), "{lost:?}");
    assert!(lost.message(&[]).contains("no sign of life for"));
}

#[test]
fn a_rank_that_never_came_is_lost_and_signs_of_another_start_are_none() {
    let (_outdir, folder) = folder();
    // Rank 1 of an earlier start lives, with other words.
    let (found, _lost) = channel();
    let me = Me { rank: 1, words: vec!["old".into(); 2], patience: Duration::from_secs(60), is_spread: false };
    let _old = Watch::begin(&folder, me, Arc::default(), move |lost| drop(found.send(lost))).unwrap();
    let rank = begin(&folder, 0, 2);
    assert!(matches!(rank.finds(Duration::from_secs(5)), Some(Lost::Silent(1, _))));
}

#[test]
fn whoever_is_behind_is_named_but_not_while_the_leader_reports() {
    let (_outdir, folder) = folder();
    let ranks = all(&folder, 3);
    for rank in [0, 2] {
        ranks[rank].pulse.begins_step(7);
        ranks[rank].pulse.meets();
    }
    ranks[1].pulse.begins_step(7);
    let reporting = Instant::now();
    ranks[1].pulse.while_reporting(|| {
        assert_eq!(ranks[0].finds(PATIENCE * (STANDSTILL + 2)), None, "a report may take any time");
    });
    assert!(reporting.elapsed() >= PATIENCE * (STANDSTILL + 2));
    let lost = ranks[0].finds(Duration::from_secs(20)).unwrap();
    assert!(matches!(&lost, Lost::Stuck(ranks, _, 7) if *ranks == [1]), "{lost:?}");
    assert!(lost.message(&[]).starts_with("rank 1 has not gone on for"), "{}", lost.message(&[]));
    let all = Lost::Stuck(vec![0, 1], Duration::from_secs(300), 7).message(&["a", "b"].map(String::from));
    assert!(all.starts_with("no rank has gone on for"), "{all}");
}

#[test]
fn one_verdict_ends_all_and_is_said_once() {
    let (_outdir, folder) = folder();
    let ranks = all(&folder, 3);
    assert!(folder.take_verdict("rank 9"));
    assert!(!folder.take_verdict("rank 9"), "it is taken");
    for rank in &ranks {
        assert_eq!(rank.finds(Duration::from_secs(5)), Some(Lost::FoundByAnother));
    }
}
