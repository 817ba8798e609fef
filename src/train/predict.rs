//! Predicts what a run needs before it starts: parameters, memory, arithmetic. Nets and step are those that train, run
//! on [`DryRun`], so layers and buffers can't go out of step. The cost of an operation stands
//! in its own file (`dry_run!`); what the data set and a checkpoint take is counted here. The tests hold the bytes of nets and
//! buffers against what the CPU allocates, and the arithmetic against a count by hand.

use super::batch::Batch;
use super::sampler::Sampler;
use super::session::gather;
use super::step::model::Model;
use super::trainer::Trainer;
use half::bf16;

use crate::config::{OptimizerKind, Settings};
use crate::data::Extent;
use crate::device::ranks::{Collective, Shards};
use crate::device::{Backend, DryRun, Precision, Storage};
use crate::nn::Parts;
use crate::{Error, Result};

/// The needs of training by some settings on images of some size.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The generator's tensors.
    pub generator: Parts,
    /// The discriminator's tensors.
    pub discriminator: Parts,
    /// Those of the encoder of mode regularisation, where the settings ask for it.
    pub encoder: Option<Parts>,
    /// Bytes of memory.
    pub memory: Memory,
    /// The arithmetic and the traffic of one step.
    pub work: Work,
    /// The collectives of a rank in a step, in order: in a step with a gradient penalty, if there is any.
    pub collectives: Vec<Collective>,
}

/// Bytes of memory, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Weights, their gradients, the optimiser's moments, running statistics, the moving average, and the mean so far.
    pub networks: u64,
    /// The values between the layers, with their gradients, and the memory that operations borrow.
    pub activations: u64,
    /// The generator that draws the pictures of snapshots.
    pub sampler: u64,
    /// The data set, with its classes where the nets are told them: as it was read, and in the device's memory.
    pub images: u64,
    /// A checkpoint while it is written: its tensors and its files.
    pub checkpoint: u64,
    /// Networks and activations in the memory of a device that has its own.
    pub model_on_device: u64,
    /// The sampler there.
    pub sampler_on_device: u64,
    /// Ranks that need so much each.
    pub ranks: usize,
}

impl Memory {
    /// An allowance for what can't be counted: the program itself, what its threads pack matrices into, and what the
    /// system's allocator loses between blocks. With it, the peaks measured for `quick` (172 MiB) and `vgan-mnist` (883
    /// MiB) are covered.
    pub fn allowance(&self) -> u64 {
        allowance_beside(self.counted())
    }

    /// Bytes in the memory of a device that has its own, each buffer in whole multiples of
    /// [`ALIGNMENT`](crate::device::ALIGNMENT) bytes: no checkpoint, the data set once, and a sixteenth for what
    /// reductions borrow and the driver rounds up.
    pub fn on_device(&self) -> u64 {
        let parts = [self.model_on_device, self.sampler_on_device, self.images / 2];
        let counted = parts.into_iter().fold(0, u64::saturating_add);
        counted.saturating_add(counted / 16)
    }

    /// Bytes of the host's memory beside a device that has its own: the data set as it was read, a checkpoint while it is written, the pixels
    /// of a picture, and the allowance for the program and its threads.
    pub fn beside_device(&self) -> u64 {
        let parts = [self.images / 2, self.checkpoint, self.sampler];
        let counted = parts.into_iter().fold(0, u64::saturating_add);
        counted.saturating_add(allowance_beside(counted))
    }

    /// All of it, where the processor trains.
    pub fn total(&self) -> u64 {
        self.counted().saturating_add(self.allowance())
    }

    fn counted(&self) -> u64 {
        let parts = [self.networks, self.activations, self.sampler, self.images, self.checkpoint];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

/// The bytes of [`Memory::allowance`] beside so many that are counted.
fn allowance_beside(counted: u64) -> u64 {
    (24 << 20) + counted / 8
}

/// A memory that a run needs room in.
#[derive(Debug, Clone, Copy)]
pub struct MemoryOf {
    /// Its name for people.
    pub name: &'static str,
    /// The part of a prediction that lies in it.
    pub needed: fn(&Memory) -> u64,
    /// Bytes that are free in it.
    pub free: u64,
}

/// The memories that a run needs room in: a device's own, if it has some and `own` bytes of it are free, and this machine's, if it is known that `here`
/// bytes of it are free.
pub fn places(own: Option<u64>, here: Option<u64>) -> impl Iterator<Item = MemoryOf> {
    let beside: fn(&Memory) -> u64 = if own.is_some() { Memory::beside_device } else { Memory::total };
    let device = own.map(|free| MemoryOf { name: "the GPU", needed: Memory::on_device, free });
    device.into_iter().chain(here.map(|free| MemoryOf { name: "this machine", needed: beside, free }))
}

/// The work of one training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Multiplications and additions of matrix products and convolutions.
    pub flops: u64,
    /// Bytes that its operations read and write.
    pub moved: u64,
}

/// Counts what training by `settings` on such images needs.
///
/// # Errors
/// If the widths do not fit the images.
pub fn predict(settings: &Settings, images: &Extent) -> Result<Prediction> {
    predict_for_ranks(settings, images, 1)
}

/// Counts what each of so many ranks needs, which train together: its part of every batch, with `train.shard_optimizer` its share of the
/// moments, and the whole data set. The arithmetic is that of one rank's step.
///
/// # Errors
/// If the widths do not fit the images, or the settings not several ranks.
pub fn predict_for_ranks(settings: &Settings, images: &Extent, ranks: usize) -> Result<Prediction> {
    match settings.train.dtype {
        Precision::F32 | Precision::Tf32 => counted::<f32>(settings, images, ranks),
        Precision::Bf16 => counted::<bf16>(settings, images, ranks),
    }
}

/// The same, with activations stored as `S`.
fn counted<S: Storage<f32>>(settings: &Settings, images: &Extent, ranks: usize) -> Result<Prediction> {
    let plan = DryRun::<f32, S>::default().with_ranks(ranks);
    let shape = images.shape;
    let mut trainer = Trainer::new(plan.clone(), settings.clone(), shape)?;
    let (training, model_on_device) = (plan.allocated(), plan.allocated_on_device());
    // On a dry run a buffer is its length.
    let labels = settings.nets.is_conditional().then_some(images.count);
    let batch = Batch::Drawn { gather: gather(settings, images), images: images.bytes() as usize, labels };
    let mut step = || -> Result<Work> {
        let before = (plan.flops(), plan.moved());
        trainer.step(&batch)?;
        Ok(Work { flops: plan.flops() - before.0, moved: plan.moved() - before.1 })
    };
    // Of so many steps the first has a gradient penalty, if there is any.
    let (first, collectives) = (step()?, plan.take_collectives());
    let (other, every) = (step()?, settings.objective.penalty_every.max(1));
    let mean = |first: u64, other: u64| first.saturating_add(other.saturating_mul(every - 1)) / every;
    let work = Work { flops: mean(first.flops, other.flops), moved: mean(first.moved, other.moved) };

    let sampling = DryRun::<f32, S>::default();
    Sampler::new(&sampling, settings, shape)?;

    let Model { generator, discriminator, image_encoder, .. } = trainer.model;
    let (generator, discriminator) = (generator.memory.parts, discriminator.memory.parts);
    let encoder = image_encoder.map(|encoder| encoder.memory.parts);
    let bytes = |reals: usize| 4 * reals as u64;
    let arenas = |parts: &Parts, copies: usize| bytes(copies * parts.params.len() + parts.stats.len());
    let shares = settings.train.shard_optimizer && ranks > 1;
    // The elements of an arena of moments that a rank keeps.
    let kept_moments = |parts: &Parts| match parts.params.len() {
        len if shares => Shards::of(plan.ranks(), len).kept(),
        len => len,
    };
    let average = if settings.generator.is_averaged() { arenas(&generator, 1) } else { 0 };
    let moments = if settings.optimizer.kind == OptimizerKind::Adam { 2 } else { 1 };
    let params = bytes(generator.params.len() + discriminator.params.len());
    let historical = if settings.objective.historical_averaging > 0.0 { params } else { 0 };
    let kept = average + historical;
    let nets = || [&generator, &discriminator].into_iter().chain(&encoder);
    // What products read beside the parameters themselves.
    let copy = if S::of_reals(&[]).is_none() { size_of::<S>() as u64 } else { 0 };
    let copies = nets().map(|parts| copy * parts.params.len() as u64).sum::<u64>();
    let own = |parts: &Parts| arenas(parts, 2) + bytes(moments * kept_moments(parts));
    let networks = nets().map(own).sum::<u64>() + copies + kept;
    let saved = nets().map(|parts| arenas(parts, 1 + moments)).sum::<u64>() + kept;
    let memory = Memory {
        networks,
        activations: (training - networks).saturating_add(plan.scratch()),
        sampler: sampling.allocated(),
        // A class is two bytes on the host, but the device's four count for either.
        images: images.bytes().saturating_add(labels.map_or(0, |count| 4 * count as u64)).saturating_mul(2),
        checkpoint: 2 * saved,
        model_on_device,
        sampler_on_device: sampling.allocated_on_device(),
        ranks,
    };
    Ok(Prediction { generator, discriminator, encoder, memory, work, collectives })
}

/// Refuses a run whose `memory` was predicted and does not fit into `free` bytes, where `needed` says which part of it counts:
/// [`Memory::total`], [`Memory::on_device`] or [`Memory::beside_device`].
///
/// # Errors
/// [`Error::OutOfMemory`] with the largest batch that would fit, and those of [`predict`].
pub fn require_memory(
    memory: &Memory,
    settings: &Settings,
    images: &Extent,
    needed: fn(&Memory) -> u64,
    free: u64,
) -> Result<()> {
    let bytes = needed(memory);
    if bytes <= free {
        return Ok(());
    }
    let largest_batch = largest_batch(settings, images, needed, free, memory.ranks)?;
    Err(Error::OutOfMemory { needed: bytes, free, largest_batch })
}

/// The largest batch below that of the settings with which training fits into `free` bytes of each rank; 0 if none does.
///
/// # Errors
/// Those of [`predict_for_ranks`].
pub fn largest_batch(
    settings: &Settings,
    images: &Extent,
    needed: fn(&Memory) -> u64,
    free: u64,
    ranks: usize,
) -> Result<usize> {
    let parts = settings.train.accumulate.max(1);
    // Batch normalisation needs two images. With several ranks only batches that divide are tried.
    let (unit, least) = match ranks {
        1 => (1, 2),
        _ => (parts * ranks, if settings.train.sync_batch_norm { 1 } else { 2 }),
    };
    let (mut fits, mut too_large) = (least - 1, (settings.train.batch / unit).max(least));
    while too_large - fits > 1 {
        let (mut tried, units) = (settings.clone(), fits.midpoint(too_large));
        tried.train.batch = units * unit;
        if needed(&predict_for_ranks(&tried, images, ranks)?.memory) <= free {
            fits = units;
        } else {
            too_large = units;
        }
    }
    // Parts of a batch are equal, and of at least two images too.
    let fits = if fits < least { 0 } else { fits * unit };
    Ok(if fits < 2 * parts { 0 } else { fits - fits % parts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use crate::config::{AugmentPolicy, preset};
    use crate::device::ranks::ThreadRanks;
    use crate::device::{Cpu, Network};
    use crate::image::ImageShape;
    use crate::nn::NetworkMemory;

    /// Side of the image, parameters of the generator and of the discriminator.
    const RESNET_PARAMETERS: [(usize, [usize; 2]); 3] =
        [(32, [1_696_099, 779_361]), (64, [2_876_259, 1_959_521]), (128, [4_056_419, 3_139_681])];

    const MNIST: Extent = Extent { count: 60_000, shape: ImageShape { h: 28, w: 28, c: 1 } };

    fn settings(name: &str, batch: usize) -> Settings {
        let mut settings = preset(name).unwrap();
        settings.train.batch = batch;
        settings
    }

    #[test]
    fn a_penalty_in_every_second_step_costs_half_and_in_every_fourth_a_quarter() {
        let saved = |every| {
            let flops = |every| {
                let mut settings = settings("quick", 4);
                settings.discriminator.norm = crate::config::Norm::None;
                (settings.objective.penalty, settings.objective.penalty_every) = (crate::config::Penalty::R1, every);
                predict(&settings, &MNIST).unwrap().work.flops
            };
            flops(1).checked_sub(flops(every)).expect("a penalty costs something")
        };
        let (half, three_quarters) = (saved(2), saved(4));
        assert!(half > 1000 && (3 * half).abs_diff(2 * three_quarters) <= 8, "{half} and {three_quarters}");
    }

    #[test]
    fn the_articles_model_has_the_articles_parameters() {
        let Prediction { generator, discriminator, .. } = predict(&settings("vgan-mnist", 128), &MNIST).unwrap();
        assert_eq!((generator.params.len(), discriminator.params.len()), (6_640_193, 6_592_321));
    }

    /// PyTorch's count of the modules of `tests/oracle/resnet.py` for this preset.
    #[test]
    fn the_papers_model_has_the_papers_parameters() {
        for (side, expected) in RESNET_PARAMETERS {
            let images = Extent { count: 50_000, shape: ImageShape { h: side, w: side, c: 3 } };
            let prediction = predict(&settings("vgan-cifar10-resnet", 64), &images).unwrap();
            let found = [&prediction.generator, &prediction.discriminator].map(|parts| parts.params.len());
            assert_eq!(found, expected, "{side}");
            assert!(prediction.generator.stats.is_empty() && prediction.discriminator.stats.is_empty());
        }
    }

    /// Every byte that training on the CPU allocates, predicted: narrow and wide, with and without bottleneck, moving
    /// average and first moments.
    #[test]
    fn the_bytes_are_those_that_the_cpu_allocates() {
        let cifar = Extent { count: 50_000, shape: ImageShape { h: 32, w: 32, c: 3 } };
        // What operations borrow comes on top: of each model's filters the largest with an input gradient.
        for (name, batch, ema, images, ranks, borrowed) in [
            ("quick", 3, 0.0, MNIST, 1, 16 * 32 * 16),
            ("quick", 64, 0.9, MNIST, 2, 16 * 32 * 16),
            ("vgan-mnist", 2, 0.0, MNIST, 1, 16 * 128 * 64),
            ("vgan-mnist", 17, 0.0, MNIST, 1, 16 * 128 * 64),
            ("gan-mnist", 5, 0.0, MNIST, 5, 16 * 128 * 64),
            ("vgan-cifar10-resnet", 3, 0.999, cifar, 1, 9 * 256 * 128),
        ] {
            let mut settings = settings(name, batch);
            settings.generator.ema = ema;
            // One of them with all that the objective may keep in memory.
            if batch == 17 {
                (settings.objective.historical_averaging, settings.objective.instance_noise) = (0.1, 0.1);
                settings.objective.augment = AugmentPolicy::ALL;
                settings.objective.feature_matching = 0.1;
                settings.discriminator.minibatch_kernels = 7;
                (settings.objective.reconstruction, settings.objective.mode) = (0.2, 0.4);
            }
            settings.train.shard_optimizer = ranks > 1;
            let memory = predict_for_ranks(&settings, &images, ranks).unwrap().memory;
            let cpu = Cpu::<f32>::new(Some(1)).unwrap().with_ranks(Arc::new(ThreadRanks::world(ranks).remove(0)));
            let shape = images.shape;
            let trainer = Trainer::new(cpu.clone(), settings.clone(), shape).unwrap();
            let model = &trainer.model;
            let nets = [Network::Generator, Network::Discriminator, Network::Encoder];
            let arenas = nets.into_iter().filter_map(|network| model.memory(network)).map(|memory| {
                let NetworkMemory { params, gradients, first_moments, second_moments, stats, .. } = memory;
                let mean = memory.historical_mean.as_ref().map_or(0, Vec::len);
                [params, gradients, first_moments, second_moments, stats].map(Vec::len).iter().sum::<usize>() + mean
            });
            let kept = model.average.as_ref().map_or(0, |average| average.params.len() + average.stats.len());
            let networks = 4 * (arenas.sum::<usize>() + kept) as u64;
            assert_eq!(memory.networks, networks, "{name} {batch}");
            assert_eq!(memory.activations, cpu.allocated() - networks + 4 * borrowed, "{name} {batch}");
            let before = cpu.allocated();
            Sampler::new(&cpu, &settings, shape).unwrap();
            assert_eq!(memory.sampler, cpu.allocated() - before, "{name} {batch}");
        }
    }

    /// One step of the article's model by hand. An image costs, in multiply-adds: G: 62·1024 + 1024·6272 + 7²·16·128·64
    /// + 14²·16·64·1; D: 14²·16·1·64 + 7²·16·64·128 + 7²·128·256 + 6272·1024 + 1024.
    #[test]
    fn the_arithmetic_of_a_step_is_that_of_the_hand() {
        let g_first = 62 * 1024;
        let g = g_first + 1024 * 6272 + 49 * 16 * 128 * 64 + 196 * 16 * 64;
        let d_first = 196 * 16 * 64;
        let encoder = d_first + 49 * 16 * 64 * 128 + 49 * 128 * 256;
        let d = encoder + 6272 * 1024 + 1024;
        // D's phase: G forward, D forward and both gradients on twice the images, but not the gradient of the images.
        let d_phase = g + 2 * (3 * d - d_first);
        // G's phase: G forward and both gradients, but not that of z; D forward and the gradient of its input.
        let g_phase = 3 * g - g_first + 2 * d;
        for batch in [2, 128] {
            let work = predict(&settings("vgan-mnist", batch), &MNIST).unwrap().work;
            assert_eq!(work.flops, 2 * batch as u64 * (d_phase + g_phase), "batch {batch}");
        }
        let mut five = settings("vgan-mnist", 2);
        five.objective.discriminator_steps = 5;
        assert_eq!(predict(&five, &MNIST).unwrap().work.flops, 4 * (5 * d_phase + g_phase), "five updates of D");
        let mut comparing = settings("vgan-mnist", 2);
        comparing.discriminator.minibatch_kernels = 100;
        // T x is a layer of 1024 · 500, and the logit has 100 inputs more.
        let more = 1024 * 500 + 100;
        let work = predict(&comparing, &MNIST).unwrap().work;
        assert_eq!(work.flops, 4 * (d_phase + 2 * 3 * more + g_phase + 2 * more), "minibatch discrimination");
        // An encoder beside: D's convolutions and a layer to z. It, G and D forward; the gradients of D's input, of G's
        // parameters and z, and of the encoder's parameters.
        let e = d_first + 49 * 16 * 64 * 128 + 6272 * 62;
        let mut regularized = settings("vgan-mnist", 2);
        (regularized.objective.reconstruction, regularized.objective.mode) = (0.2, 0.4);
        let all = d_phase + g_phase + (3 * e - d_first) + 3 * g + 2 * d;
        assert_eq!(predict(&regularized, &MNIST).unwrap().work.flops, 4 * all, "mode regularisation");
        regularized.objective.mode = 0.0;
        assert_eq!(predict(&regularized, &MNIST).unwrap().work.flops, 4 * (all - 2 * d), "without D's verdict");
        let mut matching = settings("vgan-mnist", 2);
        matching.objective.feature_matching = 1.0;
        // D's encoder forward on real images and on fakes, and the gradient of its input on the latter.
        let g_phase = 3 * g - g_first + 3 * encoder;
        assert_eq!(predict(&matching, &MNIST).unwrap().work.flops, 4 * (d_phase + g_phase), "feature matching");
    }

    #[test]
    fn the_largest_batch_is_the_last_that_fits() {
        let bytes = |batch| predict(&settings("quick", batch), &MNIST).unwrap().memory.total();
        let require = |batch, free| {
            let settings = settings("quick", batch);
            require_memory(&predict(&settings, &MNIST)?.memory, &settings, &MNIST, Memory::total, free)
        };
        let refused = |batch, free| match require(batch, free) {
            Err(Error::OutOfMemory { needed, free: told, largest_batch }) => {
                assert_eq!((needed, told), (bytes(batch), free));
                Some(largest_batch)
            }
            other => other.map(|()| None).unwrap(),
        };
        assert_eq!(refused(64, bytes(64)), None);
        assert_eq!(refused(64, bytes(64) - 1), Some(63));
        assert_eq!(refused(1000, bytes(100)), Some(100));
        assert_eq!(refused(1000, bytes(2)), Some(2));
        assert_eq!(refused(1000, bytes(2) - 1), Some(0));
        assert_eq!(refused(2, 0), Some(0));
    }

    #[test]
    fn ranks_have_the_memory_of_all() {
        let of_four = |batch, accumulate, share| {
            let mut settings = settings("quick", batch);
            (settings.train.accumulate, settings.train.shard_optimizer) = (accumulate, share);
            settings
        };
        let memory = |settings: &Settings| predict_for_ranks(settings, &MNIST, 4).unwrap().memory;
        let largest = |settings: &Settings, free| match require_memory(
            &memory(settings),
            settings,
            &MNIST,
            Memory::total,
            free,
        ) {
            Err(Error::OutOfMemory { largest_batch, .. }) => largest_batch,
            other => panic!("{other:?}"),
        };
        let free = memory(&of_four(100, 1, false)).total();
        assert_eq!(largest(&of_four(1000, 1, false), free), 100);
        assert_eq!(largest(&of_four(1000, 1, false), free - 1), 96);
        assert_eq!(largest(&of_four(800, 2, false), memory(&of_four(200, 2, false)).total()), 200);
        let least = memory(&of_four(4, 1, false)).total();
        assert_eq!([0, 1].map(|less| largest(&of_four(1000, 1, false), least - less)), [4, 0]);
        // Of two moments each keeps a quarter, and hardly more.
        let [all, shared] = [false, true].map(|share| memory(&of_four(64, 1, share)).networks);
        let nets = predict(&of_four(64, 1, true), &MNIST).unwrap();
        let others = 8 * (nets.generator.params.len() + nets.discriminator.params.len()) as u64 * 3 / 4;
        assert!(all - shared <= others && all - shared > others - 8 * 2 * 64 * 5, "{all} {shared}");
        // Each passes a quarter of the batch.
        let (alone, one_of_four) =
            (predict(&of_four(16, 1, false), &MNIST).unwrap().memory, memory(&of_four(64, 1, false)));
        assert!((0..1 << 14).contains(&(one_of_four.activations - alone.activations)));
    }

    /// Nothing is allocated: the widest model that the configuration takes would need more than a terabyte.
    #[test]
    fn the_widest_model_is_counted_at_once() {
        let mut settings = settings("vgan-mnist", 65_536);
        settings.generator.hidden = vec![65_536; 16];
        settings.generator.ema = 0.5;
        settings.discriminator.channels = vec![65_536; 4];
        let start = Instant::now();
        assert!(predict(&settings, &MNIST).unwrap().memory.total() > 1 << 40);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
