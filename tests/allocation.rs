//! A training step allocates nothing of its own once it is warm, and readers take no more memory than their files may ask for.

use std::alloc::System;
use std::sync::{Arc, Barrier, Mutex, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use vgan_cuda::config::{AugmentPolicy, Conditional, Settings};
use vgan_cuda::device::ranks::ThreadRanks;
use vgan_cuda::device::{Backend, Cpu};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

#[path = "common/fuzz_inputs.rs"]
mod fuzz_inputs;
#[path = "common/needs.rs"]
mod needs;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by each test, so that no other thread of this process allocates meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

/// A trainer on this device, and what it is fed with.
fn trainer(cpu: &Cpu<f32>, batch: usize) -> (Trainer<Cpu<f32>>, Batch<Cpu<f32>>) {
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
    let images: Vec<u8> = (0..64 * image.len()).map(|i| ((i * 31) >> 3) as u8).collect();
    let gather = Gather { n: batch, count: 64, h: 28, w: 28, c: 1, low: 0.0, high: 1.0, flip: true };
    let data = Batch::Drawn {
        gather,
        images: cpu.buffer_of(&images).expect("memory"),
        labels: Some((0..64).map(|i| i % 3).collect()),
    };
    (Trainer::new(cpu.clone(), settings, image).expect("a trainer"), data)
}

/// Allocations (and reallocations) in each of `steps` steps on all threads, after two warm ones.
fn allocations(threads: usize, batch: usize, steps: usize) -> Vec<usize> {
    let cpu = Cpu::<f32>::new(Some(threads)).expect("threads");
    let (mut trainer, data) = trainer(&cpu, batch);
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

/// The same of two ranks together, each with a batch of half the size, and the mean over the steps: they meet in every one.
fn allocations_of_ranks(batch: usize, steps: usize) -> usize {
    let together = Barrier::new(2);
    let work = |rank: ThreadRanks| {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads").with_ranks(Arc::new(rank));
        let (mut trainer, data) = trainer(&cpu, batch);
        cpu.run(|| {
            (0..3).for_each(|_| trainer.step(&data).expect("a step"));
            together.wait();
            let region = Region::new(COUNTED);
            (0..steps).for_each(|_| trainer.step(&data).expect("a step"));
            together.wait();
            let change = region.change();
            together.wait();
            (change.allocations + change.reallocations) / steps
        })
    };
    std::thread::scope(|scope| {
        let work = &work;
        let ranks: Vec<_> = ThreadRanks::world(2).into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank")).max().expect("two")
    })
}

/// None of ours, that is: crate `gemm` takes up to two small buffers a product, for the packed right-hand side and for
/// flags of what is packed on the left; how many depends on the processor's vectors. With AVX-512 a step takes 116 at batch
/// 16 and 276 at batch 48 (118 once); with AVX2, before the weight gradient of few channels did without a product, it
/// took 109 and 252, all of them in that crate by their backtraces, where AVX-512 took 122 and 290. A buffer of ours for
/// each layer of each pass would add some 60, one for each batch normalisation 21.
#[test]
fn a_step_allocates_nothing_once_warm() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    needs::say("allocation", 2, &[]);
    for (threads, batch, most) in [(1, 16, 122), (2, 16, 122), (2, 48, 300)] {
        let counts = allocations(threads, batch, 5);
        eprintln!("{threads} threads, batch {batch}: {counts:?} allocations in 5 steps");
        assert!(counts.iter().all(|&count| count <= most), "{threads} threads, batch {batch}: {counts:?}");
    }
    // Twice the products of one rank with 16 images.
    let count = allocations_of_ranks(32, 5);
    eprintln!("two ranks: {count} allocations a step");
    assert!(count <= 2 * 122, "two ranks: {count}");
}

/// What the fuzzers kept: all that is allocated together, and not only at once, is within what a reader may take for a file of that length.
#[test]
fn readers_take_no_more_memory_than_their_files_may_ask_for() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut files = 0;
    for reader in fuzz_inputs::ALL {
        // What is made once, such as threads, is no reader's.
        (reader.read)(b"");
        let mut largest = 0.0f64;
        for file in fuzz_inputs::kept(reader) {
            let region = Region::new(COUNTED);
            (reader.read)(&file);
            let taken = region.change().bytes_allocated;
            let most = reader.most_memory(file.len());
            assert!(taken <= most, "{}: {taken} bytes for {} of input, at most {most}", reader.name, file.len());
            largest = largest.max(taken as f64 / most as f64);
            files += 1;
        }
        eprintln!("{}: at most {:.0} % of its bound", reader.name, 100.0 * largest);
    }
    assert!(files > fuzz_inputs::ALL.len(), "{files} files");
}
