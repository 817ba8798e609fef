//! Output that people look at: curves, progress, the console line.

use std::fs;

use vgan_cuda::run::stats::{self, StatsLog};
use vgan_cuda::run::{Record, RunFolder};

use crate::whole_runs::{Run, TestFolder, exit_with, program, stderr, stdout, succeed};

/// A kind of run: its settings, the titles of its panels, and the names of the figures in its lines.
const KINDS: &[(&str, &[&str], &[&str])] = &[
    ("quick", &["Loss", BETA, KL, PROBABILITY], &["D", "G", "kl", "D(x)", "beta"]),
    ("gan-mnist", &["Loss", PROBABILITY], &["D", "G", "D(x)"]),
    ("gan-mnist --set loss=hinge", &["Loss", OUTPUT], &["D", "G", "D(x)"]),
    (
        "gan-mnist --set loss=wgan --set penalty=wgan-gp --set discriminator.norm=none",
        &["Loss", OUTPUT, PENALTY],
        &["D", "G", "D(x)", "penalty"],
    ),
    (
        "quick --set penalty=r1 --set discriminator.norm=none",
        &["Loss", BETA, KL, PROBABILITY, PENALTY],
        &["D", "G", "kl", "D(x)", "beta", "penalty"],
    ),
    ("gan-mnist --set loss=ebgan", &["Loss", ENERGY], &["D", "G", "e(x)"]),
    ("gan-mnist --set loss=began", &["Loss", ENERGY, K, M], &["D", "G", "e(x)", "k", "M"]),
    (
        "gan-mnist --set reconstruction=0.2 --set mode=0.4",
        &["Loss", PROBABILITY, RECONSTRUCTION],
        &["D", "G", "D(x)", "rec"],
    ),
];

const BETA: &str = "β (weight of the bottleneck";
const KL: &str = "KL of the bottleneck (nats)";
const PROBABILITY: &str = "Output of D (mean probability of real)";
const OUTPUT: &str = "Output of D (mean, higher for real)";
const ENERGY: &str = "Energy of images (mean, lower for real)";
const PENALTY: &str = "Gradient penalty";
const K: &str = "k (weight of fake images";
const M: &str = "M (measure of convergence";
const RECONSTRUCTION: &str = "Error of the reconstructions";
const TITLES: [&str; 10] = ["Loss", BETA, KL, PROBABILITY, OUTPUT, ENERGY, PENALTY, K, M, RECONSTRUCTION];

fn svg(run: &Run) -> String {
    String::from_utf8(run.bytes("curves.svg")).expect("UTF-8")
}

#[test]
fn case_25_curves_and_lines_show_what_the_run_has() {
    let place = TestFolder::new();
    for (index, (words, titles, names)) in KINDS.iter().enumerate() {
        let outdir = format!("kind{index}");
        let output = succeed(place.train(&outdir, &format!("{words} --steps 6 --tick 2")));
        let svg = svg(&place.run(&outdir));
        let found: Vec<&str> = TITLES.into_iter().filter(|title| svg.contains(title)).collect();
        assert_eq!(&found[..], *titles, "{words}");
        let said = stderr(&output);
        let line = said.lines().find(|line| line.starts_with("step 4/6")).expect("the second line");
        // Names are all but the step, the time and the speed.
        let parts: Vec<&str> = line.split("  ").map(|part| part.split(' ').next().unwrap()).collect();
        let [step, eta, shown @ .., _, epoch] = &parts[..] else { panic!("{line}") };
        assert_eq!((*step, *eta, *epoch), ("step", "ETA", "epoch"), "{line}");
        assert_eq!(shown, *names, "{line}");
        assert!(line.len() <= 132, "{line}");
        assert!(place.run(&outdir).bytes("log.txt").windows(line.len()).any(|bytes| bytes == line.as_bytes()));
    }
}

/// The numbers at the axes.
fn ticks(svg: &str) -> Vec<f64> {
    let ticks: Vec<f64> = svg.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(ticks.len() > 20, "{ticks:?}");
    ticks
}

/// A run whose records are these, with its curves drawn anew.
fn redrawn(run: &Run, records: &[Record]) -> String {
    let folder = RunFolder::open(run.path()).expect("the run");
    fs::remove_file(folder.stats_path()).expect("removing");
    let mut log = StatsLog::create(&folder.stats_path()).expect("new records");
    records.iter().for_each(|record| log.append(record).expect("a record"));
    fs::remove_file(folder.snapshot_picture_path(run.newest_step())).expect("removing");
    succeed(run.resume("--device cpu"));
    svg(run)
}

#[test]
fn case_25_one_peak_does_not_flatten_an_axis() {
    let place = TestFolder::new();
    let run = place.trained("runs", "quick --steps 40 --tick 1");
    let calm = stats::read(&run.file("stats.jsonl")).expect("records");
    let mut records = calm.clone();
    (records[20].loss_d, records[9].kl_real) = (45_000.0, 3e9);
    let svg = redrawn(&run, &records);
    assert!(svg.contains("1 point beyond: up to 45000 at step 21"), "{svg}");
    assert!(svg.contains("1 point beyond: up to 3.0e9 at step 10"));
    assert_eq!(svg.matches("<polygon").count(), 2, "an arrowhead for each");
    assert!(ticks(&svg).iter().all(|tick| tick.abs() <= 100.0), "{:?}", ticks(&svg));

    let mut records = calm;
    (records[5].loss_g, records[6].loss_g) = (f64::NAN, f64::NAN);
    records.iter_mut().for_each(|record| record.beta = 0.0);
    let svg = redrawn(&run, &records);
    assert!(svg.contains("2 not finite") && !svg.contains("beyond"), "{svg}");
    // A line of zeros alone has an axis that tells it from noise.
    assert!(ticks(&svg).iter().all(|&tick| tick == 0.0 || tick.abs() > 1e-3), "{:?}", ticks(&svg));
}

#[test]
fn quiet_leaves_results_and_warnings() {
    let place = TestFolder::new();
    let output = succeed(place.train("quiet", "quick --steps 6 --tick 2 --quiet"));
    assert_eq!(stderr(&output), "");
    assert!(stdout(&output).starts_with("done; ") && stdout(&output).lines().count() == 1, "{}", stdout(&output));
    let usual = succeed(place.train("usual", "quick --steps 6 --tick 2"));
    let verbose = succeed(place.train("verbose", "quick --steps 6 --tick 2 -v"));
    // The log has every line, whatever was shown.
    let kinds = |outdir: &str| -> Vec<String> {
        let log = String::from_utf8(place.run(outdir).bytes("log.txt")).expect("UTF-8");
        log.lines().map(|line| line.split(' ').next().unwrap_or_default().to_string()).collect()
    };
    assert_eq!(kinds("quiet"), kinds("usual"));
    assert_eq!(kinds("quiet"), kinds("verbose"));
    let (usual, verbose) = (stderr(&usual), stderr(&verbose));
    for detail in
        ["setting: train.steps = 6, 1500 in quick", "device: ", "memory: ", "data: 44 images", "saved ", " done: "]
    {
        assert!(verbose.contains(detail), "{detail}: {verbose}");
        assert!(!usual.contains(detail), "{detail}: {usual}");
    }
    assert!(verbose.contains("checkpoints/000006 in "), "{verbose}");

    // What tells of harm is said all the same.
    let run = place.run("quiet");
    let other = run.file("nothing");
    let mut compare = program("compare -q");
    compare.arg(run.path()).arg(&other).arg("--output").arg(place.path("out"));
    let said = stderr(&succeed(compare));
    assert!(said.lines().count() == 1 && said.starts_with("warning: left out: "), "{said}");
    fs::write(run.file("checkpoints/000006/model.safetensors"), b"cut").expect("writing");
    let said = stderr(&succeed(run.resume("-q")));
    assert!(said.lines().count() == 1 && said.starts_with("warning: passed over: "), "{said}");
}

#[test]
fn every_command_takes_quiet_and_verbose_but_not_both() {
    let commands = [
        "train",
        "resume",
        "generate",
        "interpolate",
        "compare",
        "experiment",
        "trace",
        "gradcheck",
        "bench",
        "doctor",
    ];
    for command in commands.into_iter().chain(["dataset check", "dataset fetch", "completions"]) {
        let help = stdout(&succeed(program(&format!("{command} --help"))));
        assert!(help.contains("-q, --quiet") && help.contains("-v, --verbose"), "{command}: {help}");
    }
    for words in ["-q -v doctor", "doctor -q -v", "-q doctor -v", "--verbose doctor --quiet"] {
        let said = stderr(&exit_with(program(words), 2));
        assert!(said.contains("--quiet") && said.contains("--verbose"), "{words}: {said}");
    }
    assert_eq!(stderr(&succeed(program("doctor --quiet"))), "");
}

/// Help as wide as its terminal, at most 100 columns.
#[test]
fn help_fits_narrow_terminals() {
    for columns in ["60", "80", "120"] {
        for command in
            ["", "train", "resume", "generate", "compare", "experiment", "gradcheck", "dataset check", "bench"]
        {
            let mut help = program(&format!("{command} --help"));
            help.env("COLUMNS", columns);
            let text = stdout(&succeed(help));
            let most = columns.parse::<usize>().expect("a number").clamp(80, 100);
            let long =
                text.lines().find(|line| line.chars().count() > most && !line.trim_start().starts_with("vgan-cuda"));
            assert_eq!(long, None, "{command} at {columns} columns");
        }
    }
}
