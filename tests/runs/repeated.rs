//! The same run many times, at the widths of `quick`: equal bytes each time, on any number of threads, cut anywhere.
//!
//! The long form is ten runs of 1,000 steps and 20 cuts of one:
//! `VGAN_REPEATS=10 VGAN_CUTS=20 VGAN_STEPS=1000 cargo test --release --test runs repeated -- --nocapture`.

use crate::whole_runs::{TestFolder, assert_same_checkpoint, succeed};

/// Threads of the runs, in turn.
const THREADS: [usize; 4] = [1, 2, 3, 8];

/// A number from the environment, such as a count of repetitions.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn words(steps: u64) -> String {
    // No snapshot but at the end: a cut saves too.
    format!("quick --data glyphs --batch 32 --tick 10 --snap 100000 --set generator.ema=0.9 --steps {steps}")
}

#[test]
fn runs_that_are_repeated_have_equal_bytes() {
    let (repeats, steps) = (number("VGAN_REPEATS", 4), number("VGAN_STEPS", 4));
    let place = TestFolder::new();
    let mut first = None;
    for (repeat, threads) in (0..repeats).zip(THREADS.into_iter().cycle()) {
        let outdir = format!("run{repeat}");
        succeed(place.train_wide(&outdir, &format!("{} --threads {threads}", words(steps))));
        let checkpoint = place.run(&outdir).checkpoint(steps);
        eprintln!("run {repeat} of {repeats}: {steps} steps on {threads} threads");
        assert_same_checkpoint(first.get_or_insert_with(|| checkpoint.clone()), &checkpoint, &outdir);
    }
}

#[test]
fn a_run_cut_anywhere_has_equal_bytes() {
    let (cuts, steps) = (number("VGAN_CUTS", 2), number("VGAN_STEPS", 6));
    let place = TestFolder::new();
    succeed(place.train_wide("straight", &words(steps)));
    let straight = place.run("straight").checkpoint(steps);
    for cut in 1..=cuts {
        // Spread over the run, but on no round number of steps, and at both ends.
        let at = match cut {
            1 => 1,
            last if last == cuts => steps - 1,
            _ => (steps * (cut - 1) / (cuts - 1) + cut % 3).clamp(1, steps - 1),
        };
        let outdir = format!("cut{at}-{cut}");
        let threads = THREADS[cut as usize % 4];
        succeed(place.train_wide(&outdir, &format!("{} --threads {threads}", words(at))));
        let run = place.run(&outdir);
        assert_eq!(run.newest_step(), at);
        succeed(run.resume(&format!("--steps {steps} --threads {}", THREADS[(cut as usize + 1) % 4])));
        eprintln!("cut {cut} of {cuts}: after {at} of {steps} steps");
        assert_same_checkpoint(&run.checkpoint(steps), &straight, &outdir);
        std::fs::remove_dir_all(place.path(&outdir)).expect("removing a run");
    }
}
