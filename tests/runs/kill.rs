//! `kill -9` at random moments, half of them during a save: nothing is lost but the steps since the last snapshot.
//!
//! `VGAN_KILLS=1000 cargo test --release --test runs kill` kills 1,000 times, in runs of 50 kills; without it there are 10.

use std::time::{Duration, Instant};

use crate::whole_runs::{Run, TestFolder, assert_same_checkpoint, succeed, wait_for};

/// Steps between two snapshots.
const SNAP: u64 = 2;
/// Kills of one run: its records, and so its curves, grow with its steps.
const KILLS_OF_A_RUN: u64 = 50;

/// SplitMix64 (Steele, Lea & Flood 2014): the moments are random, and the same in every run of the test.
struct Random(u64);

impl Random {
    /// A number in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn part_of(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.uniform())
    }
}

/// Resumes the run and kills it after `delay`, or `delay` after the next save has begun. Whether a save was under way; `None` where the
/// run came to its end before, as on a machine that has become faster meanwhile.
fn kill_once(run: &Run, during_save: bool, delay: Duration) -> Option<bool> {
    let before = run.newest_step();
    let mut child = run.resume("--threads 2").spawn().expect("the program starts");
    // What an earlier kill left is there until the first save: only a name with this process's number is its own.
    let mine = format!("-{}-", child.id());
    let is_saving = || saves(run).iter().any(|name| name.contains(&mine));
    if during_save {
        wait_for(&mut child, "save", is_saving);
    }
    std::thread::sleep(delay);
    child.kill().expect("a kill");
    let output = child.wait_with_output().expect("the child's end");
    if output.status.code() == Some(0) {
        return None;
    }
    assert_eq!(output.status.code(), None, "the run ended before the kill: {output:?}");

    let newest = run.newest_step();
    assert!(newest >= before, "the checkpoint of step {before} is gone: {newest} is the newest");
    // stats.jsonl has a record of each step that was trained, in this start or in an earlier one.
    let trained = run.records().last().map_or(0, |record| record.step);
    assert!(trained <= newest + SNAP, "trained to {trained}, but only {newest} was kept");
    Some(is_saving())
}

/// The names of checkpoints half written.
fn saves(run: &Run) -> Vec<String> {
    let entries = std::fs::read_dir(run.file("checkpoints")).expect("checkpoints");
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".tmp-")).collect()
}

/// Kills the run at most `kills` times, as long as it has steps left for it: the number of kills, and of those that came during a save.
fn kill(run: &Run, (kills, steps): (u64, u64), stretch: Duration, random: &mut Random) -> (u64, u64) {
    let (mut killed, mut during_a_save) = (0, 0);
    while killed < kills && run.newest_step() + 10 * SNAP < steps {
        let during_save = killed.is_multiple_of(2);
        let delay = random.part_of(if during_save { Duration::from_millis(4) } else { stretch });
        let Some(saving) = kill_once(run, during_save, delay) else { break };
        killed += 1;
        during_a_save += u64::from(saving);
    }
    (killed, during_a_save)
}

#[test]
fn killed_at_random_moments_a_run_ends_as_if_it_had_not_been() {
    let kills: u64 = std::env::var("VGAN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let each = kills.min(KILLS_OF_A_RUN);
    // A start gets at most a few snapshots far before its kill.
    let steps = 8 * each + 20;
    // Moments of some hundred kilobytes, so that a save takes its time.
    let words = format!(
        "quick --steps {steps} --tick 1 --snap {SNAP} --set generator.ema=0.99 --set generator.hidden=256 --batch 8 \
         --set generator.channels=32,8 --set discriminator.channels=8,32 --set discriminator.hidden=256"
    );
    let place = TestFolder::new();
    let start = Instant::now();
    succeed(place.train_wide("straight", &words));
    // Time enough for a start that makes four snapshots.
    let training = start.elapsed().mul_f64(4.0 * SNAP as f64 / steps as f64);
    let straight = place.run("straight");
    let start = Instant::now();
    succeed(straight.resume(""));
    let stretch = start.elapsed() + training;

    let mut random = Random(2018);
    let (mut killed, mut during_a_save) = (0, 0);
    for round in 0.. {
        // The first start is stopped once there is something to resume.
        let outdir = format!("killed{round}");
        let mut child = place.train_wide(&outdir, &words).spawn().expect("the program starts");
        let first = place.path(&format!("{outdir}/00000-quick-b8/checkpoints/000000"));
        wait_for(&mut child, "first checkpoint", || first.is_dir());
        child.kill().expect("a kill");
        child.wait().expect("the child's end");
        let run = place.run(&outdir);
        let (here, during) = kill(&run, (each.min(kills - killed), steps), stretch, &mut random);
        (killed, during_a_save) = (killed + here, during_a_save + during);
        eprintln!("{killed} kills, {during_a_save} during a save; {} of {steps} steps done", run.newest_step());

        succeed(run.resume(""));
        assert_same_checkpoint(&run.checkpoint(steps), &straight.checkpoint(steps), "after the kills");
        let recorded: Vec<u64> = run.records().iter().map(|record| record.step).collect();
        assert_eq!(recorded, (1..=steps).collect::<Vec<_>>());
        assert_eq!(run.numbers(), straight.numbers());
        assert_eq!(saves(&run), Vec::<String>::new(), "what the killed ones left is cleared away");
        std::fs::remove_dir_all(place.path(&outdir)).expect("removing a run");
        if killed >= kills {
            break;
        }
        assert!(here > 0 && round < 2 * kills, "a run that is never killed");
    }
    assert!(during_a_save >= kills / 4, "only {during_a_save} of {kills} kills came during a save");
}
