//! `trace` and `gradcheck` as their users meet them: files, messages, exit codes.

use std::path::{Path, PathBuf};
use std::process::Output;

use vgan_cuda::run::{Tensor, tensors};

const NARROW: &str = "--set train.batch=3 --set generator.hidden=[5] --set generator.channels=[4,3] \
                      --set discriminator.channels=[3,4] --set discriminator.hidden=[5]";

fn run(words: &str) -> Output {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_vgan-cuda"))
        .args(words.split_whitespace())
        .output()
        .expect("it starts")
}

fn trace(preset: &str, rest: &str) -> Output {
    run(&format!("trace --force --preset {preset} {NARROW} {rest}"))
}

/// A valid IN of a preset, as `--example` writes it.
fn example(folder: &Path, preset: &str) -> PathBuf {
    let path = folder.join(format!("{preset}.in.safetensors"));
    let output = trace(preset, &format!("--example {}", path.display()));
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    path
}

fn names(path: &Path) -> Vec<String> {
    tensors::read(path).expect("a written file").into_iter().map(|tensor| tensor.name).collect()
}

#[test]
fn an_example_goes_through_and_the_output_is_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    for (preset, bottleneck) in [("vgan-mnist", true), ("gan-mnist", false)] {
        let input = example(folder.path(), preset);
        let out = ["a", "b"].map(|name| folder.path().join(name));
        for out in &out {
            let output = trace(preset, &format!("--input {} --output {}", input.display(), out.display()));
            assert!(output.status.success(), "{output:?}");
        }
        assert_eq!(std::fs::read(&out[0]).expect("OUT"), std::fs::read(&out[1]).expect("OUT"));
        let names = names(&out[0]);
        let has = |name: &str| names.iter().any(|other| other == name);
        for name in ["fakes_d", "fakes_g", "logits_real", "logits_fake", "logits_g", "loss_d", "loss_g"] {
            assert!(has(name), "{name}");
        }
        for name in ["grad.generator.fc.0.weight", "discriminator.fc.1.running_var", "generator.deconv.3.bias"] {
            assert!(has(name), "{name}");
        }
        for name in ["mu_real", "logvar_fake", "z_g", "kl_real", "kl_fake", "beta"] {
            assert_eq!(has(name), bottleneck, "{name}");
        }
    }
}

/// Mode regularisation: a third net, and noise of its own where D's verdict on the reconstructions wants some.
#[test]
fn an_encoder_is_given_and_read_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let [example, out] = ["example", "out"].map(|name| folder.path().join(name));
    for (words, noise) in
        [("--set mode=0.4 --set instance_noise=0.1 --set augment=color", true), ("--set reconstruction=0.2", false)]
    {
        let output = trace("vgan-mnist", &format!("{words} --example {}", example.display()));
        assert!(output.status.success(), "{output:?}");
        for name in ["noise_reconstruction", "instance_reconstruction", "augment_reconstruction"] {
            assert_eq!(names(&example).iter().any(|other| other == name), noise, "{words}: {name}");
        }
        let files = format!("--input {} --output {}", example.display(), out.display());
        let output = trace("vgan-mnist", &format!("{words} {files}"));
        assert!(output.status.success(), "{output:?}");
        let names = names(&out);
        for name in ["reconstructions", "reconstruction", "grad.encoder.fc.weight", "encoder.conv.1.running_var"] {
            assert!(names.iter().any(|other| other == name), "{name}");
        }
        // Without the settings there is no such net.
        let output = trace("vgan-mnist", &files);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
}

/// Residual nets: as many levels as the image needs, under the keys of the paper's code.
#[test]
fn residual_nets_follow_the_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let narrow = "trace --preset vgan-cifar10-resnet --set train.batch=2 --set generator.width=2 \
                  --set generator.max_width=4 --set discriminator.width=2 --set discriminator.max_width=4";
    let [example, out] = ["example", "out"].map(|name| folder.path().join(name));
    let output = run(&format!("{narrow} --example {}", example.display()));
    assert!(output.status.success(), "{output:?}");
    let output = run(&format!("{narrow} --input {} --output {}", example.display(), out.display()));
    assert!(output.status.success(), "{output:?}");
    let names = names(&out);
    for name in [
        "grad.generator.resnet.4.conv_s.weight",
        "generator.resnet.6.conv_1.bias",
        "grad.discriminator.resnet.2.conv_0.weight",
        "discriminator.conv_img.bias",
        "discriminator.conv_logvar.weight",
        "discriminator.fc.weight",
        "average.resnet.4.conv_s.weight",
        "z_g",
    ] {
        assert!(names.iter().any(|other| other == name), "{name}");
    }
    assert!(!names.iter().any(|name| name.contains("resnet.8") || name.contains("running")), "{names:?}");
}

/// With feature matching, D's head has no part in G's step.
#[test]
fn matched_features_leave_no_verdict_on_the_generators_images() {
    let folder = tempfile::tempdir().expect("a folder");
    let [input, out] = ["in", "out"].map(|name| folder.path().join(name));
    let matching = |rest: String| trace("vgan-mnist", &format!("--set feature_matching=1 {rest}"));
    let output = matching(format!("--example {}", input.display()));
    assert!(output.status.success(), "{output:?}");
    assert!(!names(&input).contains(&"noise_g".to_string()));
    let output = matching(format!("--input {} --output {}", input.display(), out.display()));
    assert!(output.status.success(), "{output:?}");
    let names = names(&out);
    for (name, there) in [("mu_g", true), ("logvar_g", true), ("logits_g", false), ("z_g", false), ("z_fake", true)] {
        assert_eq!(names.iter().any(|other| other == name), there, "{name}");
    }
}

/// They are made on the same tensors, and OUT has the values of the last.
#[test]
fn several_updates_of_the_discriminator_are_made_on_one_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let [input, once, twice] = ["in", "once", "twice"].map(|name| folder.path().join(name));
    let output = trace(
        "vgan-mnist",
        &format!("--set discriminator_steps=2 --set bottleneck.beta=0.5 --example {}", input.display()),
    );
    assert!(output.status.success(), "{output:?}");
    for (steps, out) in [(1, &once), (2, &twice)] {
        let files = format!("--input {} --output {}", input.display(), out.display());
        let output = trace("vgan-mnist", &format!("--set discriminator_steps={steps} --set beta_step=0.01 {files}"));
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(names(&once), names(&twice));
    assert!(!names(&once).iter().any(|name| name.starts_with("average.")), "no average is asked for");
    let [once, twice] = [once, twice].map(|path| tensors::read(&path).expect("OUT"));
    let value = |tensors: &[Tensor], name: &str| {
        tensors.iter().find(|tensor| tensor.name == name).expect("a key").values.clone()
    };
    // G has not moved in between, and the first update lowers D's loss on what it is shown.
    assert_eq!(value(&once, "fakes_d"), value(&twice, "fakes_d"));
    assert!(value(&twice, "loss_d") < value(&once, "loss_d"));
    // Weights so small leave the KL below its target, and each update takes β down.
    assert!(value(&twice, "beta") < value(&once, "beta") && value(&once, "beta") < vec![0.5]);
}

#[test]
fn augmentation_and_instance_noise_are_given_like_all_other_draws() {
    let folder = tempfile::tempdir().expect("a folder");
    let [input, out] = ["in", "out"].map(|name| folder.path().join(name));
    let noisy = |rest: String| trace("gan-mnist", &format!("--set augment=cutout --set instance_noise=0.5 {rest}"));
    let output = noisy(format!("--example {}", input.display()));
    assert!(output.status.success(), "{output:?}");
    for name in ["instance_real", "instance_fake", "instance_g", "augment_real", "augment_fake", "augment_g"] {
        assert!(names(&input).iter().any(|other| other == name), "{name}");
    }
    let output = noisy(format!("--input {} --output {}", input.display(), out.display()));
    assert!(output.status.success(), "{output:?}");
    let output = trace("gan-mnist", &format!("--input {} --output {}", input.display(), out.display()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("augment_"), "{output:?}");
}

#[test]
fn bad_files_are_refused_by_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let valid = tensors::read(&example(folder.path(), "vgan-mnist")).expect("IN");
    let named = |tensors: &[Tensor], name: &str| tensors.iter().position(|t| t.name == name).expect("a key");
    type Change<'a> = Box<dyn Fn(&mut Vec<Tensor>) + 'a>;
    let without = |name: &'static str| -> Change<'_> { Box::new(move |t| t.retain(|tensor| tensor.name != name)) };
    let shaped = |name: &'static str, shape: &'static [usize]| -> Change<'_> {
        Box::new(move |t| {
            let at = named(t, name);
            (t[at].shape, t[at].values) = (shape.into(), vec![0.5; shape.iter().product()]);
        })
    };
    let cases: Vec<(&str, Change<'_>)> = vec![
        ("`images`", without("images")),
        ("`noise_g`", without("noise_g")),
        ("`beta`", without("beta")),
        ("`generator.fc.1.running_mean`", without("generator.fc.1.running_mean")),
        ("`discriminator.conv_logvar.weight`", without("discriminator.conv_logvar.weight")),
        ("`images`", shaped("images", &[3, 28, 28])),
        ("`images`", shaped("images", &[1, 1, 28, 28])),
        ("`images`", shaped("images", &[3, 0, 28, 28])),
        ("`latents_d`", shaped("latents_d", &[3, 61])),
        ("`noise_real`", shaped("noise_real", &[3, 7, 7, 4])),
        ("`discriminator.conv.0.weight`", shaped("discriminator.conv.0.weight", &[3, 4, 4, 1])),
        ("`surplus`", Box::new(|t| t.push(Tensor { name: "surplus".into(), shape: vec![1], values: vec![1.0f32] }))),
        (
            "`latents_g`",
            Box::new(|t| {
                let at = named(t, "latents_g");
                t[at].values[5] = f32::NAN;
            }),
        ),
    ];
    let (path, out) = (folder.path().join("bad"), folder.path().join("out"));
    for (key, change) in cases {
        let mut changed = valid.clone();
        change(&mut changed);
        tensors::write(&path, &changed).expect("writing");
        let output = trace("vgan-mnist", &format!("--input {} --output {}", path.display(), out.display()));
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{key}: {message}");
        assert!(message.contains(key) && message.contains("expected"), "{key}: {message}");
        assert!(!out.exists(), "{key}");
    }
}

#[test]
fn values_that_overflow_are_a_divergence() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = example(folder.path(), "vgan-mnist");
    let mut changed = tensors::read(&input).expect("IN");
    let bias = changed.iter_mut().find(|t| t.name == "discriminator.conv_logvar.bias").expect("a key");
    bias.values.fill(1e4);
    tensors::write(&input, &changed).expect("writing");
    let out = folder.path().join("out");
    let output = trace("vgan-mnist", &format!("--input {} --output {}", input.display(), out.display()));
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("loss_d") && !out.exists(), "{output:?}");
}

#[test]
fn gradcheck_prints_a_table_or_json_of_what_is_asked_for() {
    let output = run("gradcheck --filter linear");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.starts_with("op ") && text.lines().count() > 15 && text.contains("n3 c17 k5"), "{text}");
    let output = run("gradcheck --filter loss --json");
    assert!(output.status.success(), "{output:?}");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        assert_eq!(value["passes"], true, "{line}");
        assert!(value["worst"].as_f64().is_some_and(|worst| worst <= 1e-6) && value["at"].is_u64(), "{line}");
    }
    let output = run("gradcheck --filter nothing-like-this");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("batch_norm"), "{output:?}");
}
