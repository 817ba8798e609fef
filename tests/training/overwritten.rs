//! A step's first backward pass overwrites the gradients: what an arena held before the step is in none of them.

use crate::narrow_models::{Narrow, narrow_models};
use vgan_cuda::device::{Backend, Cpu, Network};
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

const COUNT: usize = 12;

/// The gradients of a network after a step that began with `before` in every place of every arena of gradients.
fn gradients((settings, image): &Narrow, before: f64) -> Vec<(String, Vec<f64>)> {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    let gather = Gather {
        n: settings.train.batch,
        count: COUNT,
        h: image.h,
        w: image.w,
        c: image.c,
        low: -1.0,
        high: 1.0,
        flip: false,
    };
    let pixels = (0..COUNT * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let classes = u32::try_from(settings.nets.classes.max(1)).expect("few classes");
    let labels = settings.nets.is_conditional().then(|| (0..COUNT as u32).map(|i| i % classes).collect());
    let batch = Batch::Drawn { gather, images: pixels, labels };
    let mut trainer = Trainer::new(cpu.clone(), settings.clone(), *image).expect("a trainer");
    let networks = [Network::Discriminator, Network::Generator, Network::Encoder];
    for network in networks {
        if let Some(memory) = trainer.model.memory_mut(network) {
            memory.gradients.fill(before);
        }
    }
    cpu.run(|| trainer.step(&batch)).expect("a step");
    let of = |network| {
        let Some(memory) = trainer.model.memory(network) else { return Vec::new() };
        let values = cpu.read(cpu.view(&memory.gradients)).expect("a copy");
        let tensors = memory.parts.params.entries().iter();
        tensors.map(|tensor| (format!("{network:?} {}", tensor.name), values[tensor.range()].to_vec())).collect()
    };
    networks.into_iter().flat_map(of).collect()
}

#[test]
fn what_was_there_before_a_step_is_in_no_gradient() {
    let mut dead = 0;
    for (name, model) in narrow_models() {
        for ((tensor, expected), (_, found)) in gradients(&model, 0.0).into_iter().zip(gradients(&model, 7.0)) {
            // The bias in front of a batch normalisation has no gradient, and nothing writes one.
            if tensor.ends_with(".bias")
                && expected.iter().all(|&value| value == 0.0)
                && found.iter().all(|&value| value == 7.0)
            {
                dead += 1;
                continue;
            }
            // That bias has moved, and with it the rounding of what is normalised behind it.
            let largest = expected.iter().fold(1e-6f64, |most, value| most.max(value.abs()));
            for (expected, found) in expected.iter().zip(&found) {
                assert!((expected - found).abs() <= 1e-6 * largest, "{name}, {tensor}: {found}, not {expected}");
            }
        }
    }
    assert!(dead > 0, "no model has a batch normalisation");
}
