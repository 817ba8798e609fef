//! Several ranks in this process, as threads: the leader writes, the others step, and all end at the same step for the same reason.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use vgan_cuda::config::{Override, Settings, apply, preset};
use vgan_cuda::data::{Images, glyphs};
use vgan_cuda::device::Cpu;
use vgan_cuda::device::ranks::{Communicator, ThreadRanks};
use vgan_cuda::run::{RunFolder, Status, checkpoint, write_file};
use vgan_cuda::train::{Interrupt, Session};
use vgan_cuda::{Error, Result};

use crate::whole_runs::{Run, assert_same_checkpoint};

const SIGTERM: i32 = 15;

/// The tiny model of the other tests, with more to set.
fn settings(words: &str) -> Settings {
    let tiny = "train.batch=8 train.tick=2 train.snap=4 generator.channels=8,4 generator.hidden=16 generator.latent=6 \
                discriminator.channels=4,8 discriminator.hidden=16 train.keep=0";
    let words = format!("{tiny} {words}");
    let overrides: Vec<Override> =
        words.split_whitespace().map(|word| Override::parse(word).expect("a setting")).collect();
    apply(&preset("quick").expect("a preset"), &overrides).expect("settings")
}

/// What happens to the ranks of a run.
struct World<'a> {
    size: usize,
    outdir: &'a Path,
    /// Settings of a rank.
    settings: &'a (dyn Fn(usize) -> Settings + Sync),
    /// Images of a rank.
    images: &'a (dyn Fn(usize) -> Images + Sync),
    /// What comes between a rank and the others.
    between: &'a (dyn Fn(usize, ThreadRanks) -> Arc<dyn Communicator> + Sync),
    /// What a rank is told to do once its session has begun.
    then: &'a (dyn Fn(usize, &Interrupt, &RunFolder) + Sync),
    patience: Duration,
}

impl<'a> World<'a> {
    fn new(size: usize, outdir: &'a Path, settings: &'a (dyn Fn(usize) -> Settings + Sync)) -> World<'a> {
        World {
            size,
            outdir,
            settings,
            images: &|_| glyphs::draw(40, 0),
            between: &|_, ranks| Arc::new(ranks),
            then: &|_, _, _| (),
            patience: Duration::from_secs(20),
        }
    }

    /// Starts a run, or goes on with the one that is there, and returns how each rank has ended.
    fn train(&self) -> Vec<Result<()>> {
        let run = self.outdir.join("run");
        let folder = if run.exists() { RunFolder::open(&run) } else { RunFolder::create_named(self.outdir, "run") };
        let folder = folder.expect("a folder");
        let toml = vgan_cuda::config::to_toml(&(self.settings)(0), "quick").expect("TOML");
        write_file(&folder.config_path(), toml.as_bytes()).expect("writing");
        std::thread::scope(|scope| {
            let ranks = ThreadRanks::patient(self.size, self.patience).into_iter().enumerate().map(|(rank, ranks)| {
                let folder = folder.clone();
                scope.spawn(move || self.rank(rank, ranks, folder))
            });
            // A rank that panics is one that died.
            let died = || Err(Error::Ranks("this rank died".into()));
            ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap_or_else(|_| died())).collect()
        })
    }

    fn rank(&self, rank: usize, ranks: ThreadRanks, folder: RunFolder) -> Result<()> {
        let cpu = Cpu::<f32>::new(Some(1))?.with_ranks((self.between)(rank, ranks));
        let (settings, images) = ((self.settings)(rank), (self.images)(rank));
        let mut session = match checkpoint::newest_valid(&folder.checkpoints_path()) {
            Ok((path, found, _)) => Session::resume(cpu, settings, &images, folder.clone(), None, (path, found))?,
            Err(_) => Session::start(cpu, settings, "quick", &images, folder.clone())?,
        };
        let interrupt = Interrupt::default();
        (self.then)(rank, &interrupt, &folder);
        session.train(&interrupt)
    }

    fn run(&self) -> Run {
        Run::at(&self.outdir.join("run"))
    }

    fn status(&self) -> Status {
        Status::read(&self.outdir.join("run/status.json")).expect("status.json")
    }
}

fn codes(ends: &[Result<()>]) -> Vec<i32> {
    ends.iter().map(|end| end.as_ref().err().map_or(0, Error::exit_code)).collect()
}

fn message(end: &Result<()>) -> String {
    end.as_ref().expect_err("an error").to_string()
}

/// Lets `act` have a word before each exchange, with the number of those before.
struct Between<F> {
    ranks: ThreadRanks,
    calls: AtomicUsize,
    act: F,
}

impl<F: Fn(usize) -> Result<()>> Between<F> {
    fn new(ranks: ThreadRanks, act: F) -> Self {
        Between { ranks, calls: AtomicUsize::new(0), act }
    }

    fn before(&self) -> Result<()> {
        (self.act)(self.calls.fetch_add(1, Ordering::Relaxed))
    }
}

impl<F: Fn(usize) -> Result<()> + Send + Sync> Communicator for Between<F> {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }
    fn world(&self) -> usize {
        self.ranks.world()
    }
    fn all_gather(&self, part: &[u8], whole: &mut [u8]) -> Result<()> {
        self.before()?;
        self.ranks.all_gather(part, whole)
    }
    fn all_to_all(&self, send: &[u8], receive: &mut [u8]) -> Result<()> {
        self.before()?;
        self.ranks.all_to_all(send, receive)
    }
}

/// The files are those of one rank's run: written once, by the leader.
#[test]
fn the_leader_writes_the_run_and_the_others_step() {
    let outdir = tempfile::tempdir().expect("a folder");
    let [alone, three, again] = ["alone", "three", "again"].map(|name| outdir.path().join(name));
    let alone = World::new(1, &alone, &|_| settings("train.steps=9")).train_and_list();
    let three = World::new(3, &three, &|_| settings("train.steps=9 train.batch=9")).train_and_list();
    assert_eq!(three, alone);
    let run = Run::at(&outdir.path().join("three/run"));
    assert_eq!(run.records().iter().map(|record| record.step).collect::<Vec<_>>(), [2, 4, 6, 8, 9]);
    assert_eq!(run.newest_step(), 9);
    let again = World::new(3, &again, &|_| settings("train.steps=9 train.batch=9"));
    again.train_and_list();
    assert_same_checkpoint(&again.run().checkpoint(9), &run.checkpoint(9), "the same ranks again");
}

impl World<'_> {
    /// Trains to the end, and lists the run's files.
    fn train_and_list(&self) -> Vec<String> {
        assert_eq!(codes(&self.train()), vec![0; self.size]);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.outdir.join("run")).expect("a run").flatten() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
        found.sort();
        found
    }
}

/// Of a run that is done there is nothing to interrupt.
#[test]
fn a_signal_in_the_last_step_is_no_interruption() {
    for (steps, code) in [(1, 0), (2, 128 + SIGTERM)] {
        let outdir = tempfile::tempdir().expect("a folder");
        let of_steps = |_| settings(&format!("train.steps={steps}"));
        let ask: &(dyn Fn(usize, &Interrupt, &RunFolder) + Sync) = &|_, interrupt, _| interrupt.ask(SIGTERM);
        let world = World { then: ask, ..World::new(1, outdir.path(), &of_steps) };
        assert_eq!(codes(&world.train()), [code], "{steps} steps");
        assert_eq!(world.run().newest_step(), 1, "{steps} steps");
    }
}

/// Whoever gets the signal, all stop after the same step, saved, with the signal's exit code; and the run ends as if it had not been.
#[test]
fn a_signal_at_any_rank_saves_and_ends_all() {
    let outdir = tempfile::tempdir().expect("a folder");
    let whole = |_| settings("train.steps=10 train.tick=1 train.snap=100");
    let place = outdir.path().join("straight");
    let straight = World::new(2, &place, &whole);
    assert_eq!(codes(&straight.train()), [0, 0]);
    for signalled in 0..2 {
        let place = outdir.path().join(signalled.to_string());
        let stopped = World {
            then: &|rank, interrupt, _| {
                if rank == signalled {
                    interrupt.ask(SIGTERM);
                }
            },
            ..World::new(2, &place, &whole)
        };
        let ends = stopped.train();
        assert_eq!(codes(&ends), [128 + SIGTERM; 2], "{ends:?}");
        assert!(message(&ends[0]).starts_with("interrupted by SIGTERM; saved: continue with"), "{ends:?}");
        assert_eq!((stopped.run().newest_step(), stopped.status().outcome), (1, vgan_cuda::run::Outcome::Stopped));
        let resumed = World::new(2, &place, &whole);
        assert_eq!(codes(&resumed.train()), [0, 0]);
        assert_same_checkpoint(&resumed.run().checkpoint(10), &straight.run().checkpoint(10), "resumed");
        assert_eq!(resumed.run().numbers(), straight.run().numbers());
    }
}

/// Only the leader's clock counts: the others' may be ahead.
#[test]
fn a_run_out_of_time_ends_at_the_same_step_on_all_ranks() {
    let outdir = tempfile::tempdir().expect("a folder");
    let all = |_| settings("train.batch=9 train.steps=1000000 train.minutes=0.005 train.tick=1 train.snap=1000000");
    let world = World {
        then: &|rank, _, _| {
            if rank == 0 {
                std::thread::sleep(Duration::from_millis(200));
            }
        },
        ..World::new(3, outdir.path(), &all)
    };
    assert_eq!(codes(&world.train()), [0; 3]);
    let last = world.run().records().pop().expect("a record");
    assert_eq!((world.run().newest_step(), world.status().outcome), (last.step, vgan_cuda::run::Outcome::Done));
    assert!((0.3..5.0).contains(&last.elapsed_s), "{}", last.elapsed_s);
    // A start without time left is done on all ranks, too.
    assert_eq!(codes(&world.train()), [0; 3]);
}

#[test]
fn ranks_that_would_not_train_the_same_are_refused() {
    let outdir = tempfile::tempdir().expect("a folder");
    let first = outdir.path().join("settings");
    let other_rate =
        |rank| settings(if rank == 1 { "train.steps=4 optimizer.generator_lr=0.5" } else { "train.steps=4" });
    let world = World::new(2, &first, &other_rate);
    let ends = world.train();
    assert_eq!(codes(&ends), [2, 2]);
    for end in &ends {
        let text = message(end);
        assert!(text.contains("optimizer.generator_lr: 0.001 at rank 0, 0.5 at rank 1"), "{text}");
    }
    let second = outdir.path().join("images");
    let same = |_| settings("train.steps=4 train.batch=9");
    let world = World { images: &|rank| glyphs::draw(40, rank as u64 / 2), ..World::new(3, &second, &same) };
    let ends = world.train();
    assert_eq!(codes(&ends), [2; 3]);
    assert!(message(&ends[1]).contains("at ranks 0, 1, 40, sha256"), "{}", message(&ends[1]));
    assert!(!world.outdir.join("run/stats.jsonl").exists(), "refused before the first step");
}

#[test]
fn a_rank_that_is_slow_ends_nobody() {
    let outdir = tempfile::tempdir().expect("a folder");
    let all = |_| settings("train.steps=6");
    let slow = World {
        between: &|rank, ranks| {
            Arc::new(Between::new(ranks, move |call| {
                if rank == 1 && call == 12 {
                    std::thread::sleep(Duration::from_millis(700));
                }
                Ok(())
            }))
        },
        ..World::new(2, outdir.path(), &all)
    };
    assert_eq!(codes(&slow.train()), [0, 0]);
}

/// The others end with an error that names it, at once, and the last checkpoint goes on to the bits of a run in which nobody died.
#[test]
fn a_rank_that_dies_ends_the_others() {
    let outdir = tempfile::tempdir().expect("a folder");
    let all = |_| settings("train.steps=10");
    let place = outdir.path().join("straight");
    let straight = World::new(2, &place, &all);
    assert_eq!(codes(&straight.train()), [0, 0]);
    for (dies, calls) in [(1, 0), (0, 2), (1, 3)] {
        let place = outdir.path().join(format!("{dies}-{calls}"));
        let reached = place.join("run/checkpoints/000004");
        let world = World {
            between: &|rank, ranks| {
                let (reached, since) = (reached.clone(), AtomicUsize::new(0));
                Arc::new(Between::new(ranks, move |_| {
                    let is_after = rank == dies && reached.exists();
                    assert!(
                        !is_after || since.fetch_add(1, Ordering::Relaxed) < calls,
                        "rank {rank} dies as the test says"
                    );
                    Ok(())
                }))
            },
            ..World::new(2, &place, &all)
        };
        let start = Instant::now();
        let ends = world.train();
        assert_eq!(codes(&ends), [1, 1], "{ends:?}");
        assert!(message(&ends[1 - dies]).contains(&format!("rank {dies}")), "{ends:?}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let newest = world.run().newest_step();
        assert!((4..10).contains(&newest), "it died at the wrong moment: {newest}");
        let resumed = World::new(2, &place, &all);
        assert_eq!(codes(&resumed.train()), [0, 0]);
        assert_same_checkpoint(&resumed.run().checkpoint(10), &straight.run().checkpoint(10), "after a death");
    }
}

/// Where the disk refuses the leader a picture, the steps are saved, and all end with its exit code.
#[test]
fn a_disk_that_refuses_the_leader_ends_all() {
    let outdir = tempfile::tempdir().expect("a folder");
    let all = |_| settings("train.steps=10 train.batch=9");
    let world = World {
        then: &|rank, _, folder| {
            if rank == 0 {
                std::fs::create_dir_all(folder.snapshot_picture_path(4).join("in the way")).expect("a folder");
            }
        },
        ..World::new(3, outdir.path(), &all)
    };
    let ends = world.train();
    assert_eq!(codes(&ends), [1; 3], "{ends:?}");
    assert!(message(&ends[0]).contains("fakes000004.png: can't"), "{ends:?}");
    assert!(message(&ends[2]).starts_with("rank 0: ") && message(&ends[2]).contains("fakes000004.png"), "{ends:?}");
    assert_eq!((world.run().newest_step(), world.status().outcome), (4, vgan_cuda::run::Outcome::Failed));
}

#[test]
fn a_run_that_diverges_does_so_on_all_ranks() {
    let outdir = tempfile::tempdir().expect("a folder");
    let all = |_| settings("train.steps=200 optimizer.generator_lr=1e30 optimizer.discriminator_lr=1e30");
    let world = World::new(2, outdir.path(), &all);
    let ends = world.train();
    assert_eq!(codes(&ends), [5, 5], "{ends:?}");
    assert!(message(&ends[0]).contains("is not finite"), "{ends:?}");
    assert_eq!(world.status().outcome, vgan_cuda::run::Outcome::Diverged);
}
