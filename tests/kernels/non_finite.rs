//! Values that are not finite, on the kernels as on the CPU: each is seen wherever it is, noted once, and nothing moves.

use crate::executors::{emulated, emulated_as, emulator};
use crate::limits::{Limited, unchecked};
use crate::narrow_models::narrow;
use bytemuck::Zeroable;
use half::bf16;
use vgan_cuda::device::{Accelerator, Buffer, Cpu, Metrics, Network, StepState};
use vgan_cuda::ops::Executor;
use vgan_cuda::ops::losses::feature_matching::FeatureMatching;
use vgan_cuda::ops::losses::loss::{DiscriminatorLoss, Part};
use vgan_cuda::ops::losses::objective::{Loss, Objective};
use vgan_cuda::ops::losses::penalty::{Center, GradientPenalty};
use vgan_cuda::ops::losses::reconstruction::Reconstruction;
use vgan_cuda::ops::losses::repelling::Repelling;
use vgan_cuda::ops::optimizers::adam::Adam;
use vgan_cuda::ops::optimizers::rmsprop::Rmsprop;
use vgan_cuda::ops::optimizers::schedule::Schedule;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
const NETWORKS: [Network; 3] = [Network::Discriminator, Network::Generator, Network::Encoder];

/// Two blocks stride over all gradients, so that some lie beyond the grid.
fn kernels() -> Accelerator<f32> {
    Accelerator::new(Limited::new(emulator("f32", unchecked()), 2, false))
}

fn cpu() -> Cpu<f32> {
    Cpu::new(Some(2)).expect("threads")
}

/// A state in the middle of training; every part of it is another number.
fn state(noted: u64) -> StepState {
    StepState {
        step: 7,
        updates: [21, 7, 5],
        balance: 0.25,
        non_finite: noted,
        metrics: Metrics { d_real: 0.5, ..Metrics::zeroed() },
        ..StepState::new(3, 0.125)
    }
}

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 % 19) as f32 - 9.0) / 19.0).collect()
}

/// Gradients go through the check and then through each optimiser and the clipping: the state after the check, and whether
/// anything has moved.
fn update<B: Executor<Real = f32, Storage = f32>>(
    be: &B,
    network: Network,
    gradients: &[f32],
    noted: u64,
) -> (StepState, bool) {
    let len = gradients.len();
    let before: Vec<Vec<f32>> = (1..4).map(|i| ramp(len + i)[i..].iter().map(|w| w.abs() * 9.0).collect()).collect();
    let mut arenas: Vec<Buffer<B>> = before.iter().map(|values| be.buffer_of(values).expect("memory")).collect();
    let gradients = be.buffer_of(gradients).expect("memory");
    let mut held = be.buffer_of(&[state(noted)]).expect("memory");
    be.check_gradients(network, be.view(&gradients), be.view_mut(&mut held)).expect("a check");
    let adam = Adam { network, lr: 0.1, beta1: 0.5, beta2: 0.9, epsilon: 1e-8, schedule: Schedule::CONSTANT };
    let rmsprop = Rmsprop { lr: 0.1, decay: 0.9, epsilon: 1e-8, schedule: Schedule::CONSTANT };
    let (g, s) = (be.view(&gradients), be.view(&held));
    let [weights, first, second] = arenas.as_mut_slice() else { unreachable!("three arenas") };
    be.adam_update(&adam, g, be.view_mut(weights), be.view_mut(first), be.view_mut(second), None, s)
        .expect("an update");
    be.rmsprop_update(&rmsprop, g, be.view_mut(weights), be.view_mut(second), None, s).expect("an update");
    be.clip_weights(0.01, s, be.view_mut(weights)).expect("clipping");
    be.historical_mean(network, g, s, be.view_mut(weights)).expect("a mean");
    let after: Vec<Vec<f32>> = arenas.iter().map(|arena| be.read(be.view(arena)).expect("a copy")).collect();
    (be.read(be.view(&held)).expect("a copy")[0], after != before)
}

/// In the first and the last element, at the ends of blocks, beyond the grid; of each network; alone and among others.
#[test]
fn a_gradient_is_seen_wherever_it_stands() {
    fn check<B: Executor<Real = f32, Storage = f32>>(be: &B) {
        const LEN: usize = 1300;
        let codes = [3, 4, 5];
        for (network, code) in NETWORKS.into_iter().zip(codes) {
            let expected = StepState { non_finite: code, ..state(0) };
            for bad in BAD {
                for at in [0, 1, 255, 256, 511, 512, 1023, 1024, LEN - 1] {
                    let mut gradients = ramp(LEN);
                    gradients[at] = bad;
                    let found = update(be, network, &gradients, 0);
                    assert_eq!(found, (expected, false), "{}: {bad} at {at} of {network:?}", be.describe());
                }
            }
            // What was noted first stays.
            for noted in 1..=5 {
                let found = update(be, network, &[f32::NAN; 3], noted);
                assert_eq!(found, (state(noted), false), "{}: {network:?} after {noted}", be.describe());
                assert_eq!(update(be, network, &ramp(300), noted), (state(noted), false), "{noted}");
            }
            // The largest numbers are finite; all is counted and moves.
            let mut counted = state(0);
            counted.updates[network as usize] += 1;
            let extremes = [f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0, 1e-45];
            assert_eq!(update(be, network, &extremes.repeat(60), 0), (counted, true), "{}", be.describe());
        }
    }
    check(&cpu());
    check(&kernels());
}

/// The entry that a loss leaves in the state, from two tensors of inputs.
type LossOf<B> = fn(&B, [&Buffer<B>; 2], &mut Buffer<B, StepState>);
/// A loss: its name, elements of its inputs, and which code it notes.
type Watched<B> = (&'static str, [usize; 2], u64, LossOf<B>);

/// Images of each kind: more than a block of the losses has threads.
const N: usize = 270;

fn losses<B: Executor<Real = f32, Storage = f32>>() -> Vec<Watched<B>> {
    const D: u64 = StepState::NON_FINITE_LOSS_D;
    const G: u64 = StepState::NON_FINITE_LOSS_G;
    vec![
        ("discriminator's", [2 * N, 2 * N], D, |be, inputs, state| discriminator(be, Loss::Wgan, inputs, state)),
        ("discriminator's of ns", [2 * N, 2 * N], D, |be, inputs, state| discriminator(be, Loss::Ns, inputs, state)),
        ("discriminator's of began", [2 * N, 2 * N], D, |be, inputs, state| {
            discriminator(be, Loss::Began, inputs, state);
        }),
        ("generator's", [N, 0], G, |be, inputs, state| generator(be, Loss::Lsgan, inputs, state)),
        ("generator's of began", [N, 0], G, |be, inputs, state| generator(be, Loss::Began, inputs, state)),
        ("reconstruction", [N, 0], G, |be, [errors, _], state| {
            let d = Reconstruction { n: N, len: 4, weight: 0.5 };
            be.reconstruction_loss(&d, be.view(errors), be.view_mut(state)).expect("a loss");
        }),
        ("mode", [N, 0], G, |be, [logits, _], state| {
            let mut dlogits = be.alloc(N).expect("memory");
            let (objective, dlogits) = (Objective::new(Loss::Lsgan), be.view_mut(&mut dlogits));
            be.mode_loss(&objective, 0.5, be.view(logits), dlogits, be.view_mut(state)).expect("a loss");
        }),
        ("feature matching", [N, N], G, |be, [real, fake], state| {
            let d = FeatureMatching { n: 2, positions: N / 3, parts: 1, c: 3, weight: 0.5 };
            be.feature_matching_loss(&d, be.view(real), be.view(fake), be.view_mut(state)).expect("a loss");
        }),
        ("repelling", [17 * 17, 0], G, |be, [cosines, _], state| {
            let d = Repelling { n: 17, dims: 2, weight: 0.5 };
            be.repelling_loss(&d, be.view(cosines), be.view_mut(state)).expect("a loss");
        }),
        ("penalty to 0", [N * 3, 0], D, |be, inputs, state| penalty(be, Center::Zero, inputs, state)),
        ("penalty to 1", [N * 3, 0], D, |be, inputs, state| penalty(be, Center::One, inputs, state)),
    ]
}

fn discriminator<B: Executor<Real = f32, Storage = f32>>(
    be: &B,
    loss: Loss,
    [logits, kl]: [&Buffer<B>; 2],
    state: &mut Buffer<B, StepState>,
) {
    let objective = Objective::new(loss);
    let d = DiscriminatorLoss {
        n: N,
        part: Part::WHOLE,
        objective,
        kl_scale: 0.5,
        kl_mix: 1.0,
        target_kl: 0.1,
        beta_step: 0.1,
    };
    let [mut dlogits, mut dkl] = [(); 2].map(|()| be.alloc(2 * N).expect("memory"));
    let (dlogits, dkl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
    be.discriminator_loss(&d, be.view(logits), be.view(kl), dlogits, dkl, be.view_mut(state)).expect("a loss");
}

fn generator<B: Executor<Real = f32, Storage = f32>>(
    be: &B,
    loss: Loss,
    [logits, _]: [&Buffer<B>; 2],
    state: &mut Buffer<B, StepState>,
) {
    let [mut dlogits, mut dkl] = [(); 2].map(|()| be.alloc(N).expect("memory"));
    let (dlogits, dkl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
    be.generator_loss(&Objective::new(loss), Part::WHOLE, be.view(logits), dlogits, dkl, be.view_mut(state))
        .expect("a loss");
}

fn penalty<B: Executor<Real = f32, Storage = f32>>(
    be: &B,
    center: Center,
    [g, _]: [&Buffer<B>; 2],
    state: &mut Buffer<B, StepState>,
) {
    let d = GradientPenalty { n: N, len: 3, center, weight: 0.5 };
    let (mut v, mut norms) = (be.alloc(3 * N).expect("memory"), be.alloc(N).expect("memory"));
    be.gradient_penalty_norms(&d, be.view(g), be.view_mut(&mut v), be.view_mut(&mut norms)).expect("norms");
    be.gradient_penalty_value(&d, be.view(&norms), be.view_mut(state)).expect("a penalty");
}

/// The state after a loss of inputs in which one element, of one of them, is `bad`.
fn after<B: Executor<Real = f32, Storage = f32>>(
    be: &B,
    watched: &Watched<B>,
    bad: Option<(usize, usize, f32)>,
    noted: u64,
) -> StepState {
    let mut inputs = watched.1.map(ramp);
    if let Some((input, at, bad)) = bad {
        inputs[input][at] = bad;
    }
    let inputs = inputs.map(|values| be.buffer_of(&values).expect("memory"));
    let mut held = be.buffer_of(&[state(noted)]).expect("memory");
    be.run(|| (watched.3)(be, inputs.each_ref(), &mut held));
    let mut state = be.read(be.view(&held)).expect("a copy")[0];
    // The finish of a step counts it, unless something was noted; its figures are kept, or those before it stay.
    let (before, mut history) = (state, be.buffer_of(&[Metrics::zeroed(); 3]).expect("memory"));
    be.finish_step(be.view_mut(&mut held), be.view_mut(&mut history)).expect("an end");
    let finished = be.read(be.view(&held)).expect("a copy")[0];
    let kept = be.read(be.view(&history)).expect("a copy");
    let counted = before.non_finite == 0;
    assert_eq!(finished.step, before.step + u64::from(counted));
    let kept_at: Vec<bool> = kept.iter().map(|metrics| *metrics != Metrics::zeroed()).collect();
    assert_eq!(kept_at, [false, counted, false], "the figures of step 7 in a ring of three");
    state.metrics = Metrics::zeroed();
    state
}

/// Every loss: in the first element and in the last of each input, which is beyond the first round of a block.
#[test]
fn a_loss_is_noted_and_neither_beta_nor_k_moves() {
    fn check<B: Executor<Real = f32, Storage = f32>>(be: &B) {
        for watched in losses::<B>() {
            let (name, lengths, code, _) = watched;
            let good = after(be, &watched, None, 0);
            assert_eq!(good.non_finite, 0, "{name}: {}", be.describe());
            let quiet = StepState { metrics: Metrics::zeroed(), ..state(0) };
            for (input, len) in lengths.into_iter().enumerate() {
                for (at, bad) in [0, len.saturating_sub(1)].into_iter().flat_map(|at| BAD.map(|bad| (at, bad))) {
                    // A cosine's diagonal is no cosine.
                    if len == 0 || name == "repelling" {
                        continue;
                    }
                    let what = format!("{name}: {}: {bad} at {at} of input {input}", be.describe());
                    let found = after(be, &watched, Some((input, at, bad)), 0);
                    assert_eq!(found, StepState { non_finite: code, ..quiet }, "{what}");
                    for noted in [1, 2, 3] {
                        let found = after(be, &watched, Some((input, at, bad)), noted);
                        assert_eq!(found, StepState { non_finite: noted, ..quiet }, "{what}: after {noted}");
                    }
                }
            }
            // With something noted before, a good loss moves neither β nor k.
            assert_eq!(after(be, &watched, None, 5), StepState { non_finite: 5, ..quiet }, "{name}: {}", be.describe());
        }
        let repelling = losses::<B>().into_iter().find(|watched| watched.0 == "repelling").expect("it is listed");
        for bad in BAD {
            for at in [1, 17 * 17 - 2] {
                assert_eq!(after(be, &repelling, Some((0, at, bad)), 0).non_finite, 2, "{bad} at {at}");
            }
        }
    }
    check(&cpu());
    check(&emulated::<f32>(unchecked()));
}

/// The value that is spoilt in a trainer.
#[derive(Debug, Clone, Copy)]
enum Fault {
    FirstWeight(Network),
    LastWeight(Network),
    /// β is finite, and the gradient of what it weighs is not.
    Beta,
}

/// Weights, moments and β, k, counts of a trainer, as bits.
#[derive(Debug, PartialEq)]
struct Held {
    networks: Vec<Vec<u32>>,
    state: (u64, [u64; 3], u64, u64, u64),
}

fn held<B: Executor<Real = f32>>(trainer: &Trainer<B>) -> Held {
    let be = &trainer.model.backend;
    let memories = [
        Some(&trainer.model.discriminator.memory),
        Some(&trainer.model.generator.memory),
        trainer.model.image_encoder.as_ref().map(|net| &net.memory),
    ];
    let bits = |buffer: &Buffer<B>| {
        be.read(be.view(buffer)).expect("a copy").into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let networks = memories
        .into_iter()
        .flatten()
        .map(|memory| [&memory.params, &memory.first_moments, &memory.second_moments].map(&bits).concat());
    let StepState { step, updates, beta, balance, non_finite, .. } = trainer.read_state().expect("the state");
    Held { networks: networks.collect(), state: (step, updates, beta.to_bits(), balance.to_bits(), non_finite) }
}

/// A step with a fault after two good ones, the second of which is the one that is recorded; then one more. What was held
/// before and what is held after each.
fn spoilt<B: Executor<Real = f32>>(be: &B, model: &str, fault: Fault, bad: f32) -> [Held; 3] {
    let (settings, image) = narrow(model);
    let batch = drawn(be, &settings, image.len());
    be.run(|| {
        let mut trainer = Trainer::new(be.clone(), settings, image).expect("a trainer");
        (0..2).for_each(|_| trainer.step(&batch).expect("a step"));
        assert_eq!(trainer.read_state().expect("the state").non_finite, 0);
        match fault {
            Fault::Beta => {
                let state = StepState { beta: 1e300, ..trainer.read_state().expect("the state") };
                trainer.write_state(&state).expect("the state");
            }
            Fault::FirstWeight(network) | Fault::LastWeight(network) => {
                let memory = match network {
                    Network::Discriminator => &mut trainer.model.discriminator.memory,
                    Network::Generator => &mut trainer.model.generator.memory,
                    Network::Encoder => &mut trainer.model.image_encoder.as_mut().expect("an encoder").memory,
                };
                let last = be.len(be.view(&memory.params)) - 1;
                let at = if matches!(fault, Fault::FirstWeight(_)) { 0 } else { last };
                let target = be.slice_mut(be.view_mut(&mut memory.params), at..at + 1);
                be.upload(&[bad], target).expect("a weight");
                memory.round(be).expect("a weight");
            }
        }
        let before = held(&trainer);
        let mut after = || {
            trainer.step(&batch).expect("a step");
            held(&trainer)
        };
        [before, after(), after()]
    })
}

fn drawn<B: Executor>(be: &B, settings: &vgan_cuda::config::Settings, len: usize) -> Batch<B> {
    use vgan_cuda::ops::inputs::gather::Gather;
    let (n, count) = (settings.train.batch, 50);
    let pixels: Vec<u8> = (0..count * len).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let gather = Gather { n, count, h: 1, w: len, c: 1, low: 0.0, high: 1.0, flip: false };
    Batch::Drawn { gather, images: be.buffer_of(&pixels).expect("memory"), labels: None }
}

/// A whole step, recorded as on a GPU: the kernels note what the CPU notes, and nothing that follows moves.
#[test]
fn a_whole_step_moves_nothing_once_something_is_not_finite() {
    use Network::{Discriminator, Encoder, Generator};
    let (d, g, e) = (Fault::FirstWeight(Discriminator), Fault::FirstWeight(Generator), Fault::FirstWeight(Encoder));
    let faults: [(&str, Fault, f32, u64); 8] = [
        ("mnist", d, f32::NAN, 1),
        ("mnist", Fault::LastWeight(Discriminator), f32::NEG_INFINITY, 1),
        ("mnist", g, f32::NAN, 1),
        ("mnist", Fault::Beta, 0.0, 3),
        ("began", Fault::LastWeight(Discriminator), f32::NAN, 1),
        ("critic", g, f32::INFINITY, 1),
        ("critic", Fault::LastWeight(Generator), f32::NAN, 1),
        ("mode regularisation", e, f32::NAN, 2),
    ];
    let (kernels, in_bf16) = (emulated::<f32>(unchecked()), emulated_as::<f32, bf16>(unchecked()));
    let cpu_in_bf16 = Cpu::<f32, bf16>::new(Some(2)).expect("threads");
    for (model, fault, bad, code) in faults {
        let what = format!("{fault:?} {bad}");
        let all = [
            spoilt(&cpu(), model, fault, bad),
            spoilt(&kernels, model, fault, bad),
            spoilt(&cpu_in_bf16, model, fault, bad),
            spoilt(&in_bf16, model, fault, bad),
        ];
        let names = ["the CPU", "the kernels", "the CPU in bf16", "the kernels in bf16"];
        for ([before, after, later], who) in all.iter().zip(names) {
            assert_eq!(after.state.4, code, "{what}: {who}");
            assert_eq!(after.state.0, before.state.0, "{what}: {who}: the step does not count");
            assert!(after == later, "{what}: {who}: a further step changes something");
            // D has learnt from its half of the step where the generator's loss is the first to be none.
            let untouched = if code == 2 { 1.. } else { 0.. };
            assert!(
                after.networks[untouched.clone()] == before.networks[untouched],
                "{what}: {who}: weights or moments"
            );
            let (_, updates, beta, balance, _) = after.state;
            assert_eq!(updates[1..], before.state.1[1..], "{what}: {who}: updates");
            assert_eq!(balance, before.state.3, "{what}: {who}: k");
            if code == 1 {
                assert_eq!((updates, beta), (before.state.1, before.state.2), "{what}: {who}: β or updates of D");
            }
        }
    }
}
