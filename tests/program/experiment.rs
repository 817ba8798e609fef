//! Experiments and time limits on real runs: what is trained, resumed, passed over, compared, and refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::whole_runs::{
    TestFolder, assert_same_checkpoint, exit_with, program, send, stderr, stdout, succeed, wait_for,
};
use vgan_cuda::config::{
    ExperimentRun, Loss, OptimizerKind, Override, Penalty, image_shape, read_experiment, validate_for_images,
};
use vgan_cuda::run::{checkpoint, stats};

/// Two runs on the tiny data set; `more` is put before the first run.
fn write_experiment(place: &TestFolder, more: &str) -> PathBuf {
    let path = place.path("two.toml");
    let text = format!(
        "preset = \"quick\"\n\
         settings.generator = {{ channels = [8, 4], hidden = [16], latent = 6 }}\n\
         settings.discriminator = {{ channels = [4, 8], hidden = [16] }}\n\
         settings.train = {{ batch = 8, steps = 12, tick = 3 }}\n{more}\n\
         [[run]]\nname = \"vgan\"\n\n\
         [[run]]\nname = \"gan\"\npreset = \"gan-mnist\"\nsettings.discriminator.norm_first = true\n"
    );
    fs::write(&path, text).expect("writing");
    path
}

fn experiment(place: &TestFolder, file: &Path, words: &str) -> Command {
    let mut command = program("experiment");
    command.arg(file).arg("--outdir").arg(place.path("all")).args(words.split_whitespace());
    command.arg("--data").arg(place.path("images-idx3-ubyte"));
    command
}

fn step(place: &TestFolder, run: &str) -> u64 {
    checkpoint::newest_valid(&place.path(&format!("all/{run}/checkpoints"))).expect("a checkpoint").1.state.step
}

#[test]
fn runs_are_trained_passed_over_and_made_longer() {
    let place = TestFolder::new();
    let file = write_experiment(&place, "");
    let text = stdout(&succeed(experiment(&place, &file, "--dry-run")));
    for part in [
        "1  vgan  quick      new    12 steps",
        "2  gan   gan-mnist  new    12 steps",
        "train.batch",
        "bottleneck.enabled",
    ] {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
    assert!(!text.contains("train.seed") && !place.path("all").exists(), "{text}");

    let output = succeed(experiment(&place, &file, ""));
    assert!(stdout(&output).contains("1  vgan  quick"), "{}", stdout(&output));
    assert!(stdout(&output).contains("2  gan   gan-mnist"), "{}", stdout(&output));
    for name in ["curves.svg", "samples.png"] {
        assert!(place.path("all/compare").join(name).is_file(), "{name}");
    }
    // The run is the one that `train` would make.
    let alone = place.trained("alone", "quick --steps 12 --tick 3");
    let files = ["model.safetensors", "optim.safetensors", "state.json"];
    let of_experiment =
        files.map(|name| fs::read(place.path("all/vgan/checkpoints/000012").join(name)).expect("a file"));
    assert_same_checkpoint(&of_experiment, &alone.checkpoint(12), "as trained alone");

    // Once more: nothing is left to do, and nothing is touched.
    let written = |run: &str| fs::metadata(place.path(&format!("all/{run}/log.txt"))).expect("a log").len();
    let before = [written("vgan"), written("gan")];
    let output = succeed(experiment(&place, &file, ""));
    assert_eq!(stderr(&output).matches("done at step 12").count(), 2, "{}", stderr(&output));
    assert_eq!([written("vgan"), written("gan")], before);

    // Without its folder, a run is trained anew; with more steps, the other one goes on.
    fs::remove_dir_all(place.path("all/gan")).expect("removing");
    let text = stdout(&succeed(experiment(&place, &file, "--steps 20 --dry-run")));
    assert!(
        text.contains("goes on from step 12  20 steps") && text.contains("new                   20 steps"),
        "{text}"
    );
    succeed(experiment(&place, &file, "--steps 20"));
    assert_eq!([step(&place, "vgan"), step(&place, "gan")], [20, 20]);
    let config = fs::read_to_string(place.path("all/vgan/config.toml")).expect("a configuration");
    assert!(config.contains("steps = 20"), "{config}");
    what_does_not_fit_is_refused(&place, &file);
}

fn what_does_not_fit_is_refused(place: &TestFolder, file: &Path) {
    let message = |command: Command, code| stderr(&exit_with(command, code));
    let text = message(experiment(place, file, "--steps 20 --set train.seed=7"), 3);
    assert!(
        text.contains("a run with train.seed = 7") && text.contains("found one with 0: move the folder away"),
        "{text}"
    );
    // A mistake in the second run is found before the first one begins.
    fs::remove_dir_all(place.path("all/vgan")).expect("removing");
    let config = place.path("all/gan/config.toml");
    fs::remove_file(&config).expect("removing");
    assert!(message(experiment(place, file, ""), 3).contains("without config.toml: move the folder away"));
    fs::remove_dir_all(place.path("all")).expect("removing");
    let large = write_experiment(place, "");
    let text = fs::read_to_string(&large)
        .expect("the file")
        .replace("settings.discriminator.norm_first = true", "settings.train.batch = 45");
    fs::write(&large, text).expect("writing");
    let text = message(experiment(place, &large, ""), 2);
    assert!(text.contains("run `gan`: a batch of 45 images needs") && !place.path("all").exists(), "{text}");
    fs::write(&large, "[[run]]\nnmae = 3\n").expect("writing");
    assert!(message(experiment(place, &large, ""), 3).contains("two.toml: expected `name`, `preset`"));
}

#[test]
fn an_interrupted_experiment_goes_on_where_it_was() {
    let place = TestFolder::new();
    let file = write_experiment(&place, "");
    let mut child =
        experiment(&place, &file, "--steps 100000 --set train.snap=50").spawn().expect("the program starts");
    let checkpoints = place.path("all/vgan/checkpoints/000050");
    wait_for(&mut child, "a snapshot", || checkpoints.join("state.json").exists());
    send(&child, "INT");
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(text.contains("continue with `vgan-cuda experiment ") && text.contains("--steps 100000"), "{text}");
    assert!(!place.path("all/gan").exists(), "the next run has not begun");
    let stopped = step(&place, "vgan");
    assert!((50..100_000).contains(&stopped));

    let longer = stopped + 5;
    let output = succeed(experiment(&place, &file, &format!("--steps {longer} --set train.snap=50")));
    assert!(stderr(&output).contains(&format!("1 of 2: vgan, goes on from step {stopped}")), "{}", stderr(&output));
    assert_eq!([step(&place, "vgan"), step(&place, "gan")], [longer; 2]);
}

/// It ends with code 5, and the other one is trained and compared all the same.
#[test]
fn a_run_that_diverges_does_not_keep_the_others_back() {
    let place = TestFolder::new();
    let file = write_experiment(&place, "");
    let text = fs::read_to_string(&file).expect("the file");
    let text = text.replacen("name = \"vgan\"\n", "name = \"vgan\"\nsettings.optimizer.discriminator_lr = 1e30\n", 1);
    fs::write(&file, text).expect("writing");
    let output = exit_with(experiment(&place, &file, ""), 5);
    assert!(stderr(&output).contains("warning: run `vgan` stops here: step "), "{}", stderr(&output));
    assert_eq!(step(&place, "gan"), 12);
    assert!(stdout(&output).contains("2  gan"), "{}", stdout(&output));
}

/// The clock ends the run with everything that an end leaves, and `resume` knows it.
#[test]
fn a_run_ends_when_its_minutes_are_over() {
    let place = TestFolder::new();
    let start = Instant::now();
    let run = place.trained("timed", "quick --steps 100000000 --minutes 0.01 --tick 50 --snap 100000");
    assert!(start.elapsed() < Duration::from_secs(60));
    let last = *run.records().last().expect("records");
    let step = run.newest_step();
    assert_eq!(last.step, step, "a record of the last step");
    assert!((0.6..10.0).contains(&last.elapsed_s), "{}", last.elapsed_s);
    assert!(run.file(&format!("fakes{step:06}.png")).is_file() && run.file("curves.svg").is_file());

    let before = run.checkpoint(step);
    let output = succeed(run.resume(""));
    let expected = format!("nothing left to do at step {step}, its 0.01 minutes are used up; pass --minutes M");
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    assert_same_checkpoint(&run.checkpoint(step), &before, "untouched");

    // More time, and a length in steps that comes first: as if there had never been a limit.
    let longer = step + 7;
    succeed(run.resume(&format!("--minutes 1000 --steps {longer}")));
    let config = fs::read_to_string(run.file("config.toml")).expect("a configuration");
    assert!(config.contains("minutes = 1000.0") && config.contains(&format!("steps = {longer}")), "{config}");
    let whole = place.trained("whole", &format!("quick --steps {longer} --tick 50 --snap 100000"));
    assert_same_checkpoint(&run.checkpoint(longer), &whole.checkpoint(longer), "as without a limit");
    let text = stdout(&succeed(program("train quick --minutes 2.5 --dry-run --threads 1")));
    assert!(text.contains("minutes = 2.5") && text.contains("at most 2.5 minutes of training"), "{text}");
    assert!(stats::read(&run.file("stats.jsonl")).expect("records").windows(2).all(|pair| pair[0].step < pair[1].step));
}

/// Every file under experiments/ names runs that could be trained on images of the size they are for.
#[test]
fn the_experiments_that_come_along_resolve() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("the folder of experiments").flatten() {
        let runs = read_experiment(&entry.path(), &[]).unwrap_or_else(|error| panic!("{error}"));
        for ExperimentRun { name, preset, settings } in runs {
            let image = image_shape(&preset).expect("a preset's size");
            validate_for_images(&settings, image).unwrap_or_else(|error| panic!("{name}: {error}"));
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} runs");
}

/// The methods and figures of the paper's Fig. 8 and of Gulrajani et al. 2017, typed here once more on purpose.
#[test]
fn the_papers_comparison_has_its_six_methods() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/paper-cifar10.toml");
    let runs = read_experiment(&path, &[Override::flag("--minutes", "train.minutes", 3)]).expect("it resolves");
    let shown: Vec<_> = runs
        .iter()
        .map(|run| {
            let (objective, optimizer) = (&run.settings.objective, &run.settings.optimizer);
            assert_eq!((run.preset.as_str(), run.settings.train.minutes), ("vgan-cifar10-resnet", 3.0));
            assert_eq!((optimizer.discriminator_lr, optimizer.generator_lr), (1e-4, 1e-4));
            let penalty = (objective.penalty, objective.penalty_weight);
            let noise = objective.instance_noise > 0.0 && objective.instance_noise_steps > 0;
            let adam = (optimizer.kind, optimizer.beta1, optimizer.beta2);
            let losses = (objective.loss, objective.discriminator_steps, penalty, noise);
            (run.name.as_str(), run.settings.bottleneck.enabled, losses, adam)
        })
        .collect();
    let (none, r1) = ((Penalty::None, 10.0), (Penalty::R1, 20.0));
    let rmsprop = (OptimizerKind::Rmsprop, 0.5, 0.999);
    let expected = [
        ("gan", false, (Loss::Ns, 1, none, false), rmsprop),
        ("instance-noise", false, (Loss::Ns, 1, none, true), rmsprop),
        ("gp", false, (Loss::Ns, 1, r1, false), rmsprop),
        ("wgan-gp", false, (Loss::Wgan, 5, (Penalty::WganGp, 10.0), false), (OptimizerKind::Adam, 0.5, 0.9)),
        ("vgan", true, (Loss::Ns, 1, none, false), rmsprop),
        ("vgan-gp", true, (Loss::Ns, 1, r1, false), rmsprop),
    ];
    assert_eq!(shown, expected);
}
