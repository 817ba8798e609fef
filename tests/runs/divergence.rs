//! Whatever is not finite stops the step that it appears in, changes no weight, and is called by its name.

use crate::whole_runs::{Run, TestFolder, exit_with, stderr};
use vgan_cuda::Result;
use vgan_cuda::config::Settings;
use vgan_cuda::device::{Backend, Cpu, Network, StepState};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::run::checkpoint;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::{Batch, Given};
use vgan_cuda::train::step::model::Model;
use vgan_cuda::train::step::probe::Probe;

const IMAGE: ImageShape = ImageShape { h: 8, w: 8, c: 1 };
const N: usize = 4;

/// Small nets, the encoder of mode regularisation among them, on given inputs, after one good step.
struct Bench {
    cpu: Cpu<f32>,
    trainer: Trainer<Cpu<f32>>,
    given: Given<Cpu<f32>>,
    planted: Planted,
}

/// The network, if any, whose last gradient is made infinite right before its update.
struct Planted(Option<Network>);

impl Planted {
    fn plant(&self, model: &mut Model<Cpu<f32>>, networks: &[Network]) -> Result<()> {
        let chosen = self.0.filter(|network| networks.contains(network));
        if let Some(memory) = chosen.and_then(|network| model.memory_mut(network)) {
            *memory.gradients.last_mut().expect("a gradient") = f32::INFINITY;
        }
        Ok(())
    }
}

impl Probe<Cpu<f32>> for Planted {
    fn discriminator_gradients(&mut self, model: &mut Model<Cpu<f32>>) -> Result<()> {
        self.plant(model, &[Network::Discriminator])
    }
    fn generator_gradients(&mut self, model: &mut Model<Cpu<f32>>) -> Result<()> {
        self.plant(model, &[Network::Generator, Network::Encoder])
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Bench {
        let mut settings = Settings::default();
        settings.train.batch = N;
        settings.generator.latent = 6;
        settings.generator.hidden = vec![16];
        settings.generator.channels = vec![8, 4];
        settings.discriminator.channels = vec![4, 8];
        settings.discriminator.hidden = vec![16];
        settings.bottleneck.beta = 0.5;
        (settings.objective.reconstruction, settings.objective.mode) = (0.2, 0.4);
        change(&mut settings);
        let cpu = Cpu::new(Some(2)).expect("threads");
        let trainer = Trainer::new(cpu.clone(), settings, IMAGE).expect("a trainer");
        let dims = trainer.model.discriminator.layers.bottleneck(N).expect("a bottleneck").dims();
        let ramp = |len: usize| (0..len).map(|i| (i * 7 % 19) as f32 / 19.0).collect::<Vec<f32>>();
        let given = Given {
            images: ramp(N * IMAGE.len()),
            latents_d: ramp(N * 6),
            latents_g: ramp(N * 6 + 1)[1..].to_vec(),
            noise_d: ramp(2 * N * dims),
            noise_g: ramp(N * dims),
            noise_reconstruction: ramp(N * dims),
            ..Given::none(&cpu).expect("memory")
        };
        let mut bench = Bench { cpu, trainer, given, planted: Planted(None) };
        bench.step();
        assert_eq!(bench.state().non_finite, 0);
        bench
    }

    fn step(&mut self) {
        let none = Given::none(&self.cpu).expect("memory");
        let inputs = Batch::Given(std::mem::replace(&mut self.given, none));
        self.trainer.probed_step(&inputs, &mut self.planted).expect("a step");
        let Batch::Given(given) = inputs else { unreachable!("given above") };
        self.given = given;
    }

    fn state(&self) -> StepState {
        self.trainer.read_state().expect("the state")
    }

    fn set_state(&mut self, change: impl FnOnce(&mut StepState)) {
        let mut state = self.state();
        change(&mut state);
        self.cpu.upload(&[state], self.cpu.view_mut(&mut self.trainer.model.state)).expect("upload");
    }

    /// Weights and both moments of a network, as bits.
    fn bits(&self, network: Network) -> Vec<u32> {
        let memory = self.trainer.model.memory(network).expect("a network");
        let arenas = [&memory.params, &memory.first_moments, &memory.second_moments];
        arenas.into_iter().flatten().map(|value| value.to_bits()).collect()
    }
}

/// Makes `fault` and takes a step: it must report `expected`, count nothing, and leave the networks of `untouched`, and
/// β, in every bit. A further step changes nothing at all.
fn stops(what: &str, expected: u64, untouched: &[Network], fault: impl FnOnce(&mut Bench)) {
    let mut bench = Bench::new();
    fault(&mut bench);
    let (before, networks) = (bench.state(), ALL);
    let bits = networks.map(|network| bench.bits(network));
    bench.step();
    let after = bench.state();
    assert_eq!(after.non_finite, expected, "{what}");
    assert_eq!(after.step, before.step, "{what}: the step does not count");
    for (network, bits) in networks.iter().zip(&bits) {
        if untouched.contains(network) {
            assert!(bench.bits(*network) == *bits, "{what}: {network:?} has changed");
            assert_eq!(after.updates[*network as usize], before.updates[*network as usize], "{what}: {network:?}");
        }
    }
    if expected == StepState::NON_FINITE_LOSS_D {
        assert_eq!(after.beta.to_bits(), before.beta.to_bits(), "{what}: β");
    }
    let (bits, beta) = (networks.map(|network| bench.bits(network)), after.beta.to_bits());
    bench.step();
    assert!(networks.map(|network| bench.bits(network)) == bits, "{what}: a further step changes weights");
    assert_eq!(bench.state().beta.to_bits(), beta, "{what}: a further step changes β");
    assert_eq!(bench.state().non_finite, expected, "{what}: the first thing found is what is told");
}

const ALL: [Network; 3] = [Network::Discriminator, Network::Generator, Network::Encoder];

#[test]
fn images_latents_and_noise() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let loss_d = StepState::NON_FINITE_LOSS_D;
        stops(&format!("{bad} in an image"), loss_d, &ALL, |bench| bench.given.images[N * 64 - 1] = bad);
        stops(&format!("{bad} in a latent of D's step"), loss_d, &ALL, |bench| bench.given.latents_d[0] = bad);
        stops(&format!("{bad} in the noise of D's step"), loss_d, &ALL, |bench| bench.given.noise_d[5] = bad);
        // D has learnt from its own, good half of the step.
        let loss_g = StepState::NON_FINITE_LOSS_G;
        let rest = [Network::Generator, Network::Encoder];
        stops(&format!("{bad} in a latent of G's step"), loss_g, &rest, |bench| bench.given.latents_g[7] = bad);
        stops(&format!("{bad} in the noise of G's step"), loss_g, &rest, |bench| bench.given.noise_g[0] = bad);
        let what = format!("{bad} in the noise on reconstructions");
        stops(&what, loss_g, &rest, |bench| bench.given.noise_reconstruction[3] = bad);
    }
}

/// The loss of matched features is watched as any other of the generator's.
#[test]
fn features_that_are_matched() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut bench = Bench::with(|settings| settings.objective.feature_matching = 1.0);
        bench.given.latents_g[7] = bad;
        let weights = bench.bits(Network::Generator);
        bench.step();
        assert_eq!(bench.state().non_finite, StepState::NON_FINITE_LOSS_G, "{bad} in a latent of G's step");
        assert!(bench.bits(Network::Generator) == weights, "the generator has changed");
    }
}

#[test]
fn any_weight() {
    let bench = Bench::new();
    let memory = |network| bench.trainer.model.memory(network).expect("a network");
    for network in ALL {
        // D has learnt from its half of the step before the encoder comes in.
        let (expected, untouched) = match network {
            Network::Encoder => (StepState::NON_FINITE_LOSS_G, &ALL[1..]),
            _ => (StepState::NON_FINITE_LOSS_D, &ALL[..]),
        };
        for entry in memory(network).parts.params.entries() {
            for at in [entry.range().start, entry.range().end - 1] {
                let what = format!("NaN in {network:?} {} at {at}", entry.name);
                stops(&what, expected, untouched, |bench| {
                    bench.trainer.model.memory_mut(network).expect("a network").params[at] = f32::NAN;
                });
            }
        }
    }
}

#[test]
fn beta() {
    for bad in [f64::NAN, f64::INFINITY] {
        stops("β", StepState::NON_FINITE_LOSS_D, &ALL, |bench| bench.set_state(|state| state.beta = bad));
    }
    // The loss is a finite f64, and the gradient of the KL is beyond f32.
    let code = StepState::NON_FINITE_GRADIENT_D;
    stops("a large β", code, &ALL, |bench| bench.set_state(|state| state.beta = 1e300));
}

/// A gradient alone, while both losses are finite: the check comes before the update, and stops every network that has not
/// moved before it.
#[test]
fn a_gradient() {
    let plant = |network| move |bench: &mut Bench| bench.planted = Planted(Some(network));
    stops("D's gradient", StepState::NON_FINITE_GRADIENT_D, &ALL, plant(Network::Discriminator));
    let untouched = [Network::Generator, Network::Encoder];
    stops("G's gradient", StepState::NON_FINITE_GRADIENT_G, &untouched, plant(Network::Generator));
    stops("E's gradient", StepState::NON_FINITE_GRADIENT_E, &[Network::Encoder], plant(Network::Encoder));
}

/// The program's last words, after checks that hold for every run that diverged.
fn diverges(place: &TestFolder, outdir: &str, words: &str) -> (String, Run) {
    let output = exit_with(place.train(outdir, &format!("{words} --tick 1")), 5);
    let (text, run) = (stderr(&output), place.run(outdir));
    last_words(&text, &run);
    (text, run)
}

fn last_words(text: &str, run: &Run) {
    assert!(text.contains(" is not finite ("), "{text}");
    let checkpoints = run.file("checkpoints").display().to_string();
    assert!(text.contains(&format!("the last good checkpoint is in {checkpoints}; try a smaller")), "{text}");
    let log = String::from_utf8(run.bytes("log.txt")).expect("UTF-8");
    let said = text.lines().last().and_then(|line| line.strip_prefix("error: ")).expect("an error");
    assert!(log.ends_with(&format!("{said}\n")), "log.txt ends with the reason: {log}");
    // What was kept loads and goes on; it meets the same end, at the same step.
    assert!(run.newest_step() <= run.records().last().map_or(0, |record| record.step));
    let again = stderr(&exit_with(run.resume(""), 5));
    assert_eq!(again.lines().last(), text.lines().last());
}

#[test]
fn a_run_names_the_loss() {
    let place = TestFolder::new();
    let steps = "--steps 40 --snap 1";
    let (text, run) = diverges(&place, "g", &format!("quick {steps} --set optimizer.generator_lr=1e30"));
    assert!(text.contains("error: step 2: loss_d is not finite (NaN)"), "{text}");
    assert_eq!(run.newest_step(), 1);
    let (text, run) = diverges(&place, "d", &format!("quick {steps} --set optimizer.discriminator_lr=1e30"));
    assert!(text.contains("error: step 1: loss_g is not finite (NaN)"), "{text}");
    assert_eq!(run.newest_step(), 0);
}

#[test]
fn a_run_names_the_gradient_of_the_discriminator() {
    let place = TestFolder::new();
    let beta = "--set bottleneck.beta=3e38 --set bottleneck.kl_reduction=sum --set bottleneck.logvar_bias=5";
    let (text, _) = diverges(&place, "run", &format!("quick --steps 9 {beta}"));
    let expected = "error: step 1: the gradient of discriminator.conv.0.weight is not finite (";
    assert!(text.contains(expected), "{text}");
}

/// Features of 1e37 and weights of 1e-37 make good pictures; a steep discriminator then drives the gradient of those
/// weights beyond f32, while both losses stay finite.
#[test]
fn a_run_names_the_gradient_of_the_generator() {
    let place = TestFolder::new();
    let run = place.trained("run", "gan-mnist --steps 2 --tick 1");
    let (path, mut edited) = (run.file("checkpoints"), run.newest());
    let state = &mut edited.state;
    (state.step, state.rng.step) = (3, 3);
    state.samples_seen = 3 * state.batch;
    state.data.position = state.samples_seen;
    for tensor in &mut edited.model {
        let values = tensor.values.iter_mut();
        match tensor.name.as_str() {
            "generator.deconv.1.weight" => values.for_each(|v| *v = 1e37),
            "generator.deconv.3.weight" => values.for_each(|v| *v *= 1e-37),
            "discriminator.fc.1.weight" => values.for_each(|v| *v = 1e6),
            "discriminator.fc.3.bias" => values.for_each(|v| *v = -1e7),
            _ => {}
        }
    }
    checkpoint::save(&path, &edited, 0).expect("a checkpoint");
    let text = stderr(&exit_with(run.resume("--steps 9"), 5));
    assert!(text.contains("error: step 4: the gradient of generator.deconv.3.weight is not finite ("), "{text}");
    assert_eq!(run.newest_step(), 3);
}

/// A statistic can overflow while losses and gradients are finite: no checkpoint with it is written.
#[test]
fn a_statistic_that_can_not_be_saved_stops_the_run() {
    let place = TestFolder::new();
    let words = "gan-mnist --steps 60 --snap 2 --tick 1 --set optimizer.discriminator_lr=1e10";
    let output = exit_with(place.train("run", words), 5);
    let (text, run) = (stderr(&output), place.run("run"));
    assert!(text.contains("discriminator.conv.3.running_var is not finite (inf); no checkpoint was written"), "{text}");
    assert_eq!(run.newest_step() % 2, 0);
}
