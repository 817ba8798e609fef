//! The engine against PyTorch: every fixture of tests/fixtures (made by tests/oracle/fixtures.py) through the library.
//!
//! The error of a tensor is max|a − b| / max|b|, b from PyTorch in f64: at most 1e-10 in f64, 1e-5 in f32. Where a tensor is
//! zero but for rounding that measure means nothing, and the fixture itself states an absolute tolerance and why
//! (tests/oracle/README.md, "How the comparison is made").

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::executors::emulated;
use safetensors::SafeTensors;
use simt::Options;
use vgan_cuda::config::{self, ScheduleKind, Settings};
use vgan_cuda::device::{Accelerator, Cpu, Real};
use vgan_cuda::ops::Executor;
use vgan_cuda::proof::models::{self, Model, PyTorchFixture};
use vgan_cuda::run::{Tensor, tensors};
use vgan_cuda::train::snapshot::TensorSet;
use vgan_cuda::train::trace::{Tracer, trace};

/// The models of tests/models/pytorch.toml with their fixtures.
fn listed() -> Vec<(Settings, PyTorchFixture)> {
    let models = models::read(include_str!("../models/pytorch.toml")).unwrap_or_else(|error| panic!("{error}"));
    let fixtures = |model: Model| model.pytorch.into_iter().map(move |fixture| (model.settings.clone(), fixture));
    models.into_iter().flat_map(fixtures).collect()
}

/// Names of the fixtures of single steps, with everything that a step computes.
fn steps() -> Vec<String> {
    listed().into_iter().filter(|(_, one)| one.steps.is_none()).map(|(_, one)| one.fixture).collect()
}

/// Names of the fixtures of trajectories.
fn trajectories() -> Vec<String> {
    listed().into_iter().filter(|(_, one)| one.steps.is_some()).map(|(_, one)| one.fixture).collect()
}

/// IN of one case in one type, and OUT.
pub(super) struct Fixture<T> {
    path: PathBuf,
    pub(super) settings: Settings,
    pub(super) input: Vec<Tensor<T>>,
    /// The results of PyTorch in f64: its f32 would be no other oracle, but the same with errors of its own.
    output: Vec<Tensor<f64>>,
    /// Absolute tolerances of single tensors.
    loose: BTreeMap<String, f64>,
    steps: usize,
}

fn tolerance<T: Real>() -> f64 {
    if T::NAME == "f64" { 1e-10 } else { 1e-5 }
}

pub(super) fn load<T: Real>(case: &str) -> Fixture<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let path = folder.join(format!("{case}.in.safetensors"));
    let out_path = folder.join(format!("{case}.out.safetensors"));
    let [input, output] = [&path, &out_path].map(|path| std::fs::read(path).expect("a committed fixture"));
    let (_, header) = SafeTensors::read_metadata(&output).expect("safetensors");
    let metadata = header.metadata().as_ref().expect("metadata");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &metadata["settings"]).expect("writing");
    // Both types start from the same values, which f32 can hold.
    let widened = |Tensor { name, shape, values }: Tensor<f32>| Tensor {
        name,
        shape,
        values: values.into_iter().map(T::of_f32).collect(),
    };
    let mut loose: BTreeMap<String, BTreeMap<String, f64>> =
        serde_json::from_str(&metadata["loose"]).expect("tolerances");
    Fixture {
        settings: config::read(file.path(), &Settings::default()).expect("settings"),
        input: tensors::decode_as::<f32>(&path, &input).expect("IN").into_iter().map(widened).collect(),
        output: tensors::decode_as(&out_path, &output).expect("OUT"),
        loose: loose.remove(T::NAME).expect("tolerances of this type"),
        steps: metadata.get("steps").map_or(1, |steps| steps.parse().expect("a number")),
        path,
    }
}

/// The result of PyTorch in f64 for a tensor.
pub(super) fn exact_of<'a, T>(fixture: &'a Fixture<T>, name: &str) -> &'a [f64] {
    &fixture.output.iter().find(|tensor| tensor.name == name).expect("a tensor of OUT").values
}

/// The error of one tensor.
#[derive(Debug)]
struct Row {
    name: String,
    error: f64,
    allowed: f64,
}

/// One row for each expected tensor, the worst first.
fn compare<T: Real>(fixture: &Fixture<T>, found: Vec<Tensor<T>>) -> Vec<Row> {
    let mut found: BTreeMap<String, Tensor<T>> = found.into_iter().map(|t| (t.name.clone(), t)).collect();
    let mut rows: Vec<Row> = fixture
        .output
        .iter()
        .map(|expected| {
            let name = expected.name.clone();
            let largest = expected.values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let scale = if largest > 0.0 { largest } else { 1.0 };
            let allowed = tolerance::<T>().max(fixture.loose.get(&name).copied().unwrap_or(0.0) / scale);
            let error = match found.remove(&name) {
                Some(tensor) if tensor.shape == expected.shape => {
                    let pairs = tensor.values.iter().zip(&expected.values);
                    let worst = |m: f64, d: f64| if d.is_nan() { f64::INFINITY } else { m.max(d) };
                    pairs.map(|(a, b)| (a.to_f64() - b).abs() / scale).fold(0.0, worst)
                }
                _ => f64::INFINITY,
            };
            Row { name, error, allowed }
        })
        .collect();
    assert!(found.is_empty(), "PyTorch has no {:?}", found.keys());
    rows.sort_by(|a, b| (b.error / b.allowed).total_cmp(&(a.error / a.allowed)));
    rows
}

/// Whether all is well; prints the worst tensor.
fn agrees<T: Real>(case: &str, rows: &[Row]) -> bool {
    let strict = rows.iter().filter(|row| row.allowed == tolerance::<T>()).map(|row| row.error).fold(0.0, f64::max);
    let Row { name, error, allowed } = &rows[0];
    eprintln!(
        "{case:22} {} {:3} tensors; worst strict {strict:.1e}; nearest to its bound: {name} {error:.1e} of {allowed:.1e}",
        T::NAME,
        rows.len()
    );
    let bad: Vec<&Row> = rows.iter().filter(|row| row.error > row.allowed).collect();
    bad.iter().for_each(|row| eprintln!("    off: {row:?}"));
    bad.is_empty()
}

/// The CPU.
fn cpu<T: Real>() -> Cpu<T> {
    Cpu::new(Some(2)).expect("threads")
}

/// The kernels, thread by thread.
fn kernels<T: Real>() -> Accelerator<T> {
    emulated(Options { detection: false, ..Options::default() })
}

/// The engine's OUT for a single step.
pub(super) fn step<B: Executor>(backend: B, fixture: &Fixture<B::Real>) -> Vec<Tensor<B::Real>> {
    trace(backend, &fixture.settings, TensorSet::new(fixture.input.clone(), &fixture.path)).expect("a step")
}

/// The engine's OUT for a trajectory: `step<k>.<name>` of the losses, KL and β after each step, and of every weight after the last.
fn trajectory<B: Executor>(backend: B, fixture: &Fixture<B::Real>) -> Vec<Tensor<B::Real>> {
    let batch = |k: usize| {
        let prefix = format!("step{k}.");
        let renamed = |t: &Tensor<B::Real>| Some(Tensor { name: t.name.strip_prefix(&prefix)?.into(), ..t.clone() });
        fixture.input.iter().filter_map(renamed).collect::<Vec<_>>()
    };
    let weights = fixture.input.iter().filter(|t| !t.name.starts_with("step")).cloned();
    let first = weights.chain(batch(0)).collect();
    let mut input = TensorSet::new(first, &fixture.path);
    let mut tracer = Tracer::new(backend, &fixture.settings, &mut input).expect("a trainer");
    let mut out = Vec::new();
    for k in 0..fixture.steps {
        let values = tracer.step(&mut input).expect("a step");
        input.finish().expect("nothing left over");
        const SCALARS: [&str; 9] =
            ["loss_d", "loss_g", "penalty", "balance", "convergence", "reconstruction", "kl_real", "kl_fake", "beta"];
        let scalars = values.into_iter().filter(|t| SCALARS.contains(&t.name.as_str()));
        let weights = if k + 1 == fixture.steps { tracer.weights().expect("the weights") } else { Vec::new() };
        out.extend(scalars.chain(weights).map(|t| Tensor { name: format!("step{k}.{}", t.name), ..t }));
        input = TensorSet::new(batch(k + 1), &fixture.path);
    }
    out
}

fn all_agree<T: Real>(cases: &[String], run: impl Fn(&Fixture<T>) -> Vec<Tensor<T>>) {
    let check = |case: &String| {
        let fixture = load::<T>(case);
        agrees::<T>(case, &compare(&fixture, run(&fixture)))
    };
    // Every fixture is looked at before the test fails.
    assert!(!cases.iter().map(check).collect::<Vec<_>>().contains(&false));
}

#[test]
fn single_steps_in_f64() {
    all_agree::<f64>(&steps(), |fixture| step(cpu(), fixture));
}

#[test]
fn single_steps_in_f32() {
    all_agree::<f32>(&steps(), |fixture| step(cpu(), fixture));
}

#[test]
fn trajectories_in_f64() {
    all_agree::<f64>(&trajectories(), |fixture| trajectory(cpu(), fixture));
}

#[test]
fn trajectories_in_f32() {
    all_agree::<f32>(&trajectories(), |fixture| trajectory(cpu(), fixture));
}

#[test]
fn single_steps_on_the_kernels() {
    all_agree::<f64>(&steps(), |fixture| step(kernels(), fixture));
    all_agree::<f32>(&steps(), |fixture| step(kernels(), fixture));
}

/// Some of them, of unlike kinds. Of all models, twenty steps on the kernels agree with the CPU's in both types (`steps`), the
/// CPU's trajectories agree with PyTorch's above, and so does each single step on the kernels.
#[test]
fn trajectories_on_the_kernels() {
    let some = ["paper", "mrgan", "began", "resnet-gp"].map(|name| format!("trajectory-{name}"));
    assert!(some.iter().all(|name| trajectories().contains(name)), "{:?}", trajectories());
    all_agree::<f64>(&some, |fixture| trajectory(kernels(), fixture));
}

#[test]
fn every_fixture_is_held_against_the_engine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let names = std::fs::read_dir(folder).expect("the fixtures").map(|entry| entry.expect("an entry").file_name());
    let mut files: Vec<_> =
        names.filter_map(|name| Some(name.to_str()?.strip_suffix(".out.safetensors")?.to_owned())).collect();
    let mut listed = [steps(), trajectories()].concat();
    files.sort();
    listed.sort_unstable();
    assert_eq!(files, listed);
}

/// Rust and Python read one list of models, so a setting that either understands otherwise shows here.
#[test]
fn fixtures_are_of_the_models_that_are_listed() {
    for (settings, PyTorchFixture { fixture: name, image: [h, w, c], steps, .. }) in listed() {
        let fixture = load::<f32>(&name);
        assert_eq!(fixture.settings, settings, "{name}");
        assert_eq!(fixture.steps, steps.unwrap_or(1), "{name}");
        let images = fixture.input.iter().find(|tensor| tensor.name.ends_with("images")).expect("images");
        assert_eq!(images.shape, [settings.train.batch, c, h, w], "{name}");
    }
}

/// Each setting of the objective has its part in the trajectory that covers it.
#[test]
fn a_planted_difference_of_the_objective_is_caught() {
    let changes: [(&str, &str, fn(&mut config::ObjectiveSettings)); 8] = [
        ("trajectory-instance-noise", "σ₀ 0.4 → 0.401", |o| o.instance_noise = 0.401),
        ("trajectory-instance-noise", "6 → 7 steps", |o| o.instance_noise_steps = 7),
        ("trajectory-lsgan", "λ 0.05 → 0.051", |o| o.historical_averaging = 0.051),
        ("trajectory-lsgan", "hinge", |o| o.loss = config::Loss::Hinge),
        ("trajectory-hinge", "Wasserstein", |o| o.loss = config::Loss::Wgan),
        ("trajectory-wgan", "clip 0.3 → 0.301", |o| o.clip = 0.301),
        ("trajectory-wgan", "no clip", |o| o.clip = 0.0),
        ("trajectory-hinge", "λ 0 → 0.01", |o| o.historical_averaging = 0.01),
    ];
    for (case, what, change) in changes {
        let mut fixture = load::<f32>(case);
        change(&mut fixture.settings.objective);
        let rows = compare(&fixture, trajectory(cpu(), &fixture));
        assert!(rows.iter().any(|row| row.error > row.allowed), "{case}: {what} went unnoticed: {:?}", rows[0]);
    }
}

/// The same where the generator matches features.
#[test]
fn a_planted_difference_of_feature_matching_is_caught() {
    let changes: [(&str, &str, fn(&mut Fixture<f64>)); 3] = [
        ("w 0.7 → 0.701", "step-feature-matching", |f| f.settings.objective.feature_matching = 0.701),
        ("one weight of μ by 1e-3", "step-feature-matching", |f| {
            scale_largest(f, "discriminator.conv_mean.weight", 1.001)
        }),
        ("one pixel of the real images by 1e-3", "step-feature-matching-resnet", |f| scale_largest(f, "images", 1.001)),
    ];
    for (what, case, change) in changes {
        let mut fixture = load::<f64>(case);
        change(&mut fixture);
        let rows = compare(&fixture, step(cpu(), &fixture));
        let caught = |name: &str| rows.iter().any(|row| row.name == name && row.error > row.allowed);
        assert!(
            caught("loss_g") && caught("grad.generator.deconv.0.weight") | caught("grad.generator.fc.weight"),
            "{what}"
        );
    }
}

/// The same for minibatch discrimination: its weight, and that the 12 numbers of an image are 4 kernels of 3 dimensions.
#[test]
fn a_planted_difference_of_minibatch_discrimination_is_caught() {
    let changes: [(&str, fn(&mut Fixture<f64>)); 2] = [
        ("one weight by 1e-3", |f| scale_largest(f, "discriminator.minibatch.weight", 1.001)),
        ("its rows moved on by one", |f| {
            let weight = f.input.iter_mut().find(|tensor| tensor.name == "discriminator.minibatch.weight");
            weight.expect("a tensor of IN").values.rotate_left(6);
        }),
    ];
    for (what, change) in changes {
        let mut fixture = load::<f64>("step-minibatch");
        change(&mut fixture);
        let rows = compare(&fixture, step(cpu(), &fixture));
        for name in ["loss_d", "logits_g", "grad.discriminator.minibatch.weight"] {
            let caught = rows.iter().any(|row| row.name == name && row.error > row.allowed);
            assert!(caught, "{what} in {name} went unnoticed: {:?}", rows[0]);
        }
    }
}

/// The same for the classes: one of each kind of image is another one, and what is of that kind differs.
#[test]
fn a_planted_difference_of_the_classes_is_caught() {
    let changes = [
        ("step-projection-gp", "classes_real", &["logits_real", "penalty"][..]),
        ("step-projection-gp", "classes_d", &["fakes_d", "logits_fake"]),
        ("step-projection-gp", "classes_g", &["fakes_g", "logits_g", "grad.generator.class_embedding.weight"]),
        ("step-concatenation-gp", "classes_real", &["logits_real", "reconstructions"]),
        ("step-selection-gp", "classes_d", &["fakes_d", "logits_fake", "penalty"]),
        ("step-selection-gp", "classes_real", &["logits_real", "grad.discriminator.fc.bias"]),
    ];
    for (case, classes, signs) in changes {
        let mut fixture = load::<f64>(case);
        let tensor = fixture.input.iter_mut().find(|tensor| tensor.name == classes).expect("a tensor of IN");
        tensor.values[1] = (tensor.values[1] + 1.0) % 3.0;
        let rows = compare(&fixture, step(cpu(), &fixture));
        for sign in signs {
            let caught = rows.iter().any(|row| row.name == *sign && row.error > row.allowed);
            assert!(caught, "{case}: a class of {classes} in {sign} went unnoticed");
        }
    }
}

/// The same for what only an autoencoder has.
#[test]
fn a_planted_difference_of_an_autoencoder_is_caught() {
    let changes: [(&str, &str, fn(&mut Fixture<f64>)); 6] = [
        ("one weight of the decoder by 1e-3", "step-ebgan", |f| {
            scale_largest(f, "discriminator.deconv.0.weight", 1.001)
        }),
        ("λ_PT 0.3 → 0.301", "step-ebgan", |f| f.settings.objective.repelling = 0.301),
        ("m 1.5 → 1.501", "step-ebgan", |f| f.settings.objective.margin = 1.501),
        ("one k by 1e-3", "step-began", |f| scale_largest(f, "balance", 1.001)),
        ("γ 0.7 → 0.701", "step-began", |f| f.settings.objective.balance_ratio = 0.701),
        ("λ_k 0.05 → 0.0501", "step-began", |f| f.settings.objective.balance_step = 0.0501),
    ];
    for (what, case, change) in changes {
        let mut fixture = load::<f64>(case);
        change(&mut fixture);
        let rows = compare(&fixture, step(cpu(), &fixture));
        assert!(rows.iter().any(|row| row.error > row.allowed), "{what} went unnoticed: {:?}", rows[0]);
    }
}

/// The same for what only mode regularisation has.
#[test]
fn a_planted_difference_of_mode_regularisation_is_caught() {
    let changes: [(&str, &str, fn(&mut Fixture<f64>)); 6] = [
        ("λ₁ 0.7 → 0.7001", "step-mrgan", |f| f.settings.objective.reconstruction = 0.7001),
        ("λ₂ 0.4 → 0.4001", "step-mrgan-began", |f| f.settings.objective.mode = 0.4001),
        ("one weight of E by 1e-3", "step-mrgan", |f| scale_largest(f, "encoder.conv.3.weight", 1.001)),
        ("one weight of E's last layer by 1e-3", "step-mrgan-resnet", |f| scale_largest(f, "encoder.fc.weight", 1.001)),
        ("one ε of the reconstructions by 1e-3", "step-mrgan", |f| scale_largest(f, "noise_reconstruction", 1.001)),
        ("G's learning rate, which is E's", "step-mrgan", |f| f.settings.optimizer.generator_lr *= 1.001),
    ];
    for (what, case, change) in changes {
        let mut fixture = load::<f64>(case);
        change(&mut fixture);
        let rows = compare(&fixture, step(cpu(), &fixture));
        assert!(rows.iter().any(|row| row.error > row.allowed), "{what} went unnoticed: {:?}", rows[0]);
    }
}

/// The same for several updates of the discriminator, and for the moving average.
#[test]
fn a_planted_difference_of_updates_or_of_the_average_is_caught() {
    let changes: [(&str, &str, &str, fn(&mut Settings)); 11] = [
        ("trajectory-two-updates", "2 → 1 updates", "beta", |s| s.objective.discriminator_steps = 1),
        ("trajectory-two-updates", "α_β 0.01 → 0.01001", "beta", |s| s.bottleneck.beta_step = 0.01001),
        ("trajectory-three-updates-wgan", "3 → 2 updates", "loss_d", |s| s.objective.discriminator_steps = 2),
        ("trajectory-average", "decay 0.9 → 0.901", "average.deconv.0.weight", |s| s.generator.ema = 0.901),
        ("trajectory-average", "decay 0.9 → 0.901", "average.fc.1.running_var", |s| s.generator.ema = 0.901),
        ("trajectory-cosine", "warm-up 3 → 4 steps", "generator.fc.0.weight", |s| s.optimizer.warmup = 4),
        ("trajectory-cosine", "cosine → line", "generator.fc.0.weight", |s| {
            s.optimizer.schedule = ScheduleKind::Linear
        }),
        ("trajectory-cosine", "half-life 12 → 12.1", "average.fc.0.weight", |s| s.generator.ema_half_life = 12.1),
        ("trajectory-cosine", "ramp-up 0.5 → 0.6", "average.fc.0.weight", |s| s.generator.ema_rampup = 0.6),
        ("trajectory-linear", "5 → 6 steps", "generator.fc.0.weight", |s| s.optimizer.schedule_steps = 6),
        ("trajectory-linear", "floor 0.2 → 0.21", "generator.fc.0.weight", |s| s.optimizer.schedule_floor = 0.21),
    ];
    for (case, what, name, change) in changes {
        let mut fixture = load::<f64>(case);
        change(&mut fixture.settings);
        let rows = compare(&fixture, trajectory(cpu(), &fixture));
        // A figure in the first step, a weight in the last, of which alone the fixture has any.
        let names = [format!("step0.{name}"), format!("step9.{name}")];
        let caught = rows.iter().any(|row| names.contains(&row.name) && row.error > row.allowed);
        assert!(caught, "{case}: {what} went unnoticed in {name}: {:?}", rows[0]);
    }
}

/// The comparison itself: whatever is changed on our side must show.
#[test]
fn a_planted_difference_is_caught() {
    let article: [(&str, fn(&mut Fixture<f32>)); 9] = [
        ("one weight of D by 1e-3", |f| scale_largest(f, "discriminator.conv.3.weight", 1.001)),
        ("one weight of G by 1e-3", |f| scale_largest(f, "generator.deconv.0.weight", 1.001)),
        ("one pixel by 1e-3", |f| scale_largest(f, "images", 1.001)),
        ("one ε of the G step by 1e-3", |f| scale_largest(f, "noise_g", 1.001)),
        ("leak 0.2 → 0.201", |f| f.settings.discriminator.leak = 0.201),
        ("KL summed", |f| f.settings.bottleneck.kl_reduction = config::KlReduction::Sum),
        ("KL mixed", |f| f.settings.bottleneck.kl_mix = config::KlMix::Mean),
        ("β₁ 0.5 → 0.6", |f| f.settings.optimizer.beta1 = 0.6),
        ("I_c 0.1 → 0.101", |f| f.settings.bottleneck.target_kl = 0.101),
    ];
    let residual: [(&str, fn(&mut Fixture<f32>)); 5] = [
        ("one weight of a shortcut by 1e-3", |f| scale_largest(f, "discriminator.resnet.2.conv_s.weight", 1.001)),
        ("one weight of G's first block by 1e-3", |f| scale_largest(f, "generator.resnet.0.conv_0.weight", 1.001)),
        ("leak 0.2 → 0.201", |f| f.settings.discriminator.leak = 0.201),
        ("α 0.9 → 0.901", |f| f.settings.optimizer.decay = 0.901),
        ("ε 1e-8 → 1e-5", |f| f.settings.optimizer.epsilon = 1e-5),
    ];
    for (what, change) in article {
        assert_caught("trajectory-vgan-mnist", what, change);
    }
    for (what, change) in residual {
        assert_caught("trajectory-resnet", what, change);
    }
}

fn assert_caught(case: &str, what: &str, change: fn(&mut Fixture<f32>)) {
    let mut fixture = load::<f32>(case);
    for tensor in &mut fixture.input {
        tensor.name = tensor.name.strip_prefix("step0.").unwrap_or(&tensor.name).into();
    }
    change(&mut fixture);
    for tensor in &mut fixture.input {
        if ["images", "latents_d", "latents_g", "noise_real", "noise_fake", "noise_g"].contains(&tensor.name.as_str()) {
            tensor.name = format!("step0.{}", tensor.name);
        }
    }
    let rows = compare(&fixture, trajectory(cpu(), &fixture));
    assert!(rows.iter().any(|row| row.error > row.allowed), "{what} went unnoticed: {:?}", rows[0]);
}

/// The same for what only a gradient penalty has.
#[test]
fn a_planted_difference_of_a_penalty_is_caught() {
    let changes: [(&str, &str, fn(&mut Fixture<f64>)); 6] = [
        ("one u by 1e-3", "step-wgan-gp", |f| scale_largest(f, "penalty_positions", 1.001)),
        ("one ε at x̂ by 1e-3", "step-wgan-gp", |f| scale_largest(f, "noise_penalty", 1.001)),
        ("one w by 1e-2", "step-dragan", |f| scale_largest(f, "penalty_directions", 1.01)),
        ("γ 20 → 20.01", "step-r1", |f| f.settings.objective.penalty_weight = 20.01),
        ("sampled z → mean", "step-r1", |f| f.settings.objective.penalty_z = config::BottleneckZ::Mean),
        ("real → generated", "step-r2", |f| f.settings.objective.penalty = config::Penalty::R1),
    ];
    for (what, case, change) in changes {
        let mut fixture = load::<f64>(case);
        change(&mut fixture);
        let rows = compare(&fixture, step(cpu(), &fixture));
        assert!(rows.iter().any(|row| row.error > row.allowed), "{what} went unnoticed: {:?}", rows[0]);
    }
}

fn scale_largest<T: Real>(fixture: &mut Fixture<T>, name: &str, by: f64) {
    let tensor = fixture.input.iter_mut().find(|tensor| tensor.name == name).expect("a tensor of IN");
    let largest =
        tensor.values.iter_mut().max_by(|a, b| a.to_f64().abs().total_cmp(&b.to_f64().abs())).expect("not empty");
    *largest *= T::of(by);
}
