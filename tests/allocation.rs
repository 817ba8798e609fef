//! A training step allocates nothing of its own once it is warm.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use vgan_cuda::config::{AugmentPolicy, Conditional, Settings};
use vgan_cuda::device::{Backend, Cpu};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

#[path = "common/needs.rs"]
mod needs;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations (and reallocations) in each of `steps` steps on all threads, after two warm ones.
fn allocations(threads: usize, batch: usize, steps: usize) -> Vec<usize> {
    let mut settings = Settings::default();
    settings.train.batch = batch;
    settings.generator.ema = 0.9;
    settings.generator.hidden = vec![64];
    settings.generator.channels = vec![16, 8];
    settings.discriminator.channels = vec![8, 16];
    settings.discriminator.hidden = vec![64];
    settings.objective.augment = AugmentPolicy::ALL;
    (settings.nets.conditional, settings.nets.classes) = (Conditional::Projection, 3);
    let image = ImageShape { h: 28, w: 28, c: 1 };
    let cpu = Cpu::<f32>::new(Some(threads)).expect("threads");
    let images: Vec<u8> = (0..64 * image.len()).map(|i| ((i * 31) >> 3) as u8).collect();
    let gather = Gather { n: batch, count: 64, h: 28, w: 28, c: 1, low: 0.0, high: 1.0, flip: true };
    let data = Batch::Drawn {
        gather,
        images: cpu.buffer_of(&images).expect("memory"),
        labels: Some((0..64).map(|i| i % 3).collect()),
    };
    let mut trainer = Trainer::new(cpu.clone(), settings, image).expect("a trainer");
    cpu.run(|| {
        let mut counts = Vec::with_capacity(steps);
        for step in 0..steps + 2 {
            let region = Region::new(COUNTED);
            trainer.step(&data).expect("a step");
            let change = region.change();
            if step >= 2 {
                counts.push(change.allocations + change.reallocations);
            }
        }
        counts
    })
}

/// None of ours, that is: crate `gemm` takes up to two small buffers a product, for the packed right-hand side and for
/// flags of what is packed on the left; how many depends on the processor's vectors. With AVX-512 a step takes 116 at batch
/// 16 and 276 at batch 48 (118 once); with AVX2, before the weight gradient of few channels did without a product, it
/// took 109 and 252, all of them in that crate by their backtraces, where AVX-512 took 122 and 290. A buffer of ours for
/// each layer of each pass would add some 60, one for each batch normalisation 21.
///
/// One test, so that no other thread of this process allocates meanwhile.
#[test]
fn a_step_allocates_nothing_once_warm() {
    needs::say("allocation", 2, &[]);
    for (threads, batch, most) in [(1, 16, 122), (2, 16, 122), (2, 48, 300)] {
        let counts = allocations(threads, batch, 5);
        eprintln!("{threads} threads, batch {batch}: {counts:?} allocations in 5 steps");
        assert!(counts.iter().all(|&count| count <= most), "{threads} threads, batch {batch}: {counts:?}");
    }
}
