//! All that a checkpoint holds comes back: every number of the state, each another one, and every arena of every net.

use half::bf16;
use vgan_cuda::config::Settings;
use vgan_cuda::data::Images;
use vgan_cuda::device::{Cpu, StepState, Storage};
use vgan_cuda::nn::{ImageShape, NetworkMemory};
use vgan_cuda::run::checkpoint;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::snapshot::{self, DataIdentity, Lineage};
use vgan_cuda::train::step::model::Model;

/// Three nets, an average of G and means so far of both players.
fn trainer<S: Storage<f32>>() -> Trainer<Cpu<f32, S>> {
    let mut settings = Settings::default();
    settings.train.batch = 3;
    (settings.generator.latent, settings.generator.ema) = (5, 0.9);
    (settings.generator.hidden, settings.generator.channels) = (vec![9], vec![5, 4]);
    (settings.discriminator.channels, settings.discriminator.hidden) = (vec![4, 5], vec![9]);
    (settings.objective.reconstruction, settings.objective.mode) = (0.2, 0.4);
    settings.objective.historical_averaging = 0.05;
    Trainer::new(Cpu::new(Some(1)).expect("threads"), settings, ImageShape { h: 4, w: 4, c: 1 }).expect("a trainer")
}

/// Every arena, by name.
fn arenas<S: Storage<f32>>(trainer: &mut Trainer<Cpu<f32, S>>) -> Vec<(String, &mut Vec<f32>)> {
    let Model { discriminator, generator, image_encoder, average, .. } = &mut trainer.model;
    let encoder = image_encoder.as_mut().expect("an encoder");
    let mut all = Vec::new();
    for (net, memory) in [("D", &mut discriminator.memory), ("G", &mut generator.memory), ("E", &mut encoder.memory)] {
        let NetworkMemory { params, first_moments, second_moments, stats, historical_mean, .. } = memory;
        let own = [("params", params), ("m", first_moments), ("v", second_moments), ("stats", stats)];
        all.extend(own.map(|(name, arena)| (format!("{net} {name}"), arena)));
        all.extend(historical_mean.as_mut().map(|arena| (format!("{net} mean"), arena)));
    }
    let average = average.as_mut().expect("an average");
    all.push(("average params".into(), &mut average.params));
    all.push(("average stats".into(), &mut average.stats));
    all
}

#[test]
fn every_number_of_a_checkpoint_comes_back_where_it_was() {
    comes_back::<f32>();
    comes_back::<bf16>();
}

fn comes_back<S: Storage<f32> + std::fmt::Debug + PartialEq>() {
    let pixels: Vec<u8> = (0..10 * 16).map(|i| (i * 37 % 256) as u8).collect();
    let images = Images { count: 10, height: 4, width: 4, channels: 1, pixels, ..Images::default() };
    let data = DataIdentity::of(&images);
    let mut saved = trainer::<S>();
    let seed = saved.read_state().expect("the state").seed;
    let state = StepState { step: 11, updates: [22, 13, 17], balance: 0.625, ..StepState::new(seed, 0.375) };
    saved.write_state(&state).expect("the state");
    let mut next = 0.0;
    for (_, arena) in arenas(&mut saved) {
        for value in arena {
            next += 0.25;
            *value = next;
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let written = snapshot::checkpoint(&saved.model, "quick", &data, &Lineage::default()).expect("a checkpoint");
    let path = checkpoint::save(folder.path(), &written, 1).expect("a file");
    // What is missing is missed in the file that it belongs to.
    for file in ["model.safetensors", "optim.safetensors"] {
        let mut cut = checkpoint::load(&path).expect("a checkpoint");
        let tensors = if file.starts_with("model") { &mut cut.model } else { &mut cut.optim };
        let last = tensors.pop().expect("a tensor").name;
        let error = snapshot::restore(&mut trainer::<S>(), &data, cut, &path).expect_err("a tensor is missing");
        let start = format!("{}: expected a tensor `{last}`", path.join(file).display());
        assert!(error.to_string().starts_with(&start), "{error}\nlacks {start}");
    }
    let mut restored = trainer::<S>();
    assert_ne!(restored.read_state().expect("the state"), state);
    snapshot::restore(&mut restored, &data, checkpoint::load(&path).expect("a checkpoint"), &path).expect("its state");
    assert_eq!(restored.read_state().expect("the state"), state);
    let theirs = arenas(&mut saved);
    assert_eq!(theirs.len(), 3 * 4 + 2 + 2);
    for ((name, ours), (_, theirs)) in arenas(&mut restored).into_iter().zip(theirs) {
        assert!(!theirs.is_empty() && ours == theirs, "{name}");
    }
    // What products read is brought up to date.
    let Model { backend, discriminator, generator, image_encoder, .. } = &restored.model;
    let encoder = &image_encoder.as_ref().expect("an encoder").memory;
    for NetworkMemory { params, rounded, .. } in [&discriminator.memory, &generator.memory, encoder] {
        let expected: Vec<S> = params.iter().map(|&weight| S::of_real(weight)).collect();
        assert_eq!(rounded.view(backend, params), expected);
    }
}
