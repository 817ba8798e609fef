//! Numbers that must not drift, and conventions that sources disagree about.

use std::fs;

use crate::whole_runs::{Run, TINY, TestFolder, assert_same_checkpoint, exit_with, program, stderr, stdout, succeed};

/// The values of a tensor of a run's newest checkpoint.
fn tensor(run: &Run, name: &str) -> Vec<f32> {
    let checkpoint = run.newest();
    let found = checkpoint.model.iter().find(|tensor| tensor.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).values.clone()
}

/// The words of the tiny model, its batch aside.
fn nets() -> String {
    TINY.replace("--batch 8", "")
}

/// By the Wasserstein loss real images and fakes cancel in the gradient of D's last bias. Batches of 20 and 13 are no powers of
/// two: rounding left 1e-8 of it, and Adam made a step of the learning rate of that each time.
#[test]
fn case_31_a_critics_last_bias_stays_at_zero() {
    let place = TestFolder::new();
    let wgan = "--set objective.loss=wgan --set discriminator.norm=none --set bottleneck.enabled=false \
                --set objective.discriminator_steps=2 --steps 12 --snap 12 --set beta2=0.9";
    for (name, words) in [
        ("gp", "--batch 20 --set objective.penalty=wgan-gp"),
        ("odd", "--batch 13 --set objective.penalty=wgan-gp --threads 1"),
        ("clipped", "--batch 20 --set objective.clip=0.05 --set optimizer.kind=rmsprop"),
        ("hinge", "--batch 20 --set objective.loss=hinge"),
    ] {
        succeed(place.train_wide(name, &format!("vgan-mnist {} {wgan} {words}", nets())));
        let run = place.run(name);
        assert_eq!(tensor(&run, "discriminator.fc.2.bias"), [0.0], "{name}");
        // Not each of them: those of a unit that no image takes over its kink cancel too.
        let moved = tensor(&run, "discriminator.fc.0.bias");
        assert!(moved.iter().any(|&bias| bias != 0.0), "{name}: what has a gradient moves: {moved:?}");
    }
}

/// The paper's code has σ = e^logstd, the article σ = e^(logvar/2): each preset is as its source.
#[test]
fn case_32_each_preset_says_sigma_as_its_source_does() {
    for (preset, sigma) in [
        ("quick", "logvar"),
        ("vgan-mnist", "logvar"),
        ("vgan-cifar10", "logvar"),
        ("vgan-cifar10-resnet", "logstd"),
        ("wide-2", "logstd"),
    ] {
        let data = if preset == "quick" { "" } else { "--data glyphs --resize 32 --channels 3" };
        let shown = stdout(&succeed(program(&format!("train {preset} {data} --dry-run"))));
        assert!(shown.contains(&format!("sigma = \"{sigma}\"")), "{preset}: {shown}");
    }
}

/// It is a choice that changes a run; and what a run had before there was a choice goes on.
#[test]
fn case_32_a_run_of_before_goes_on_with_log_variance() {
    let place = TestFolder::new();
    let words = "vgan-mnist --steps 6 --snap 3 --set bottleneck.beta=0.1";
    let whole = place.trained("whole", words);
    let other = place.trained("other", &format!("{words} --set bottleneck.sigma=logstd"));
    assert_ne!(whole.checkpoint(6)[0], other.checkpoint(6)[0], "the setting does something");
    assert_eq!(tensor(&other, "discriminator.conv_logvar.bias").len(), 8, "the tensor has its name either way");

    let old = place.trained("old", &words.replace("--steps 6", "--steps 3"));
    let config = fs::read_to_string(old.file("config.toml")).expect("the settings");
    let without: String =
        config.lines().filter(|line| !line.starts_with("sigma =")).map(|line| format!("{line}\n")).collect();
    assert_ne!(config, without);
    fs::write(old.file("config.toml"), without).expect("writing");
    succeed(old.resume("--steps 6"));
    assert_same_checkpoint(&old.checkpoint(6), &whole.checkpoint(6), "with and without the setting");
}

/// The start of the bias of log σ depends on the unit of sigma.
#[test]
fn case_32_the_bias_is_in_the_units_of_sigma() {
    let refused =
        exit_with(program("train quick --set bottleneck.sigma=logstd --set bottleneck.logvar_bias=-15 --dry-run"), 2);
    assert!(stderr(&refused).contains("from -10 to 10 where bottleneck.sigma is `logstd`"), "{}", stderr(&refused));
    succeed(program("train quick --set bottleneck.logvar_bias=-15 --dry-run"));
}

/// `noise_penalty` belongs to penalties at points of their own; R1 and R2 take the noise of the images that they are taken at.
#[test]
fn case_33_only_penalties_at_points_of_their_own_take_noise() {
    let place = TestFolder::new();
    let path = place.path("in.safetensors");
    for (words, expected) in [
        ("penalty=wgan-gp", true),
        ("penalty=dragan", true),
        ("penalty=r1", false),
        ("penalty=r2", false),
        ("penalty=dragan --set objective.penalty_z=mean", false),
        ("penalty=dragan --set bottleneck.enabled=false", false),
    ] {
        let words = format!("{} --set train.batch=3 --set discriminator.norm=none --set objective.{words}", nets());
        let mut command = program(&format!("trace {words}"));
        command.arg("--force").arg("--example").arg(&path);
        succeed(command);
        let bytes = fs::read(&path).expect("an example");
        let found = bytes.windows(15).any(|window| window == b"\"noise_penalty\"");
        assert_eq!(found, expected, "{words}");
    }
}
