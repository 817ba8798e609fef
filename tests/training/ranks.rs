//! Several ranks train as one does: threads of this process, or processes of an MPI job, each with a share of every batch.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::narrow_models::narrow;
use vgan_cuda::config::{Override, Settings, apply, validate, validate_for_ranks};
use vgan_cuda::data::Images;
use vgan_cuda::device::ranks::ThreadRanks;
use vgan_cuda::device::{Backend, Cpu, Metrics, Network, Real, StepState};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::run::Checkpoint;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;
use vgan_cuda::train::snapshot::{self, DataIdentity, Lineage};
use vgan_cuda::train::step::model::Model;
use vgan_cuda::train::step::probe::Probe;
use vgan_cuda::{Error, Result};

const COUNT: usize = 48;
const STEPS: u64 = 3;
const NETWORKS: [Network; 3] = [Network::Discriminator, Network::Generator, Network::Encoder];
type Narrow = (Settings, ImageShape);

/// The models that several ranks train, with what is set beside: every kind of network, loss and method that is not refused. Adam's
/// epsilon is far above rounding: what has no gradient but rounding would be moved by whole steps.
const MODELS: [(&str, &str); 10] = [
    ("mnist", ""),
    ("colour", "ema=0.9"),
    ("residual", "train.accumulate=2 penalty=wgan-gp penalty_every=2 discriminator_steps=2"),
    ("residual", "penalty=r1 instance_noise=0.1 augment=color,translation,cutout spectral_norm=true"),
    ("residual", "penalty=r2 historical_averaging=0.01 bottleneck.generator_z=mean optimizer.kind=adam"),
    ("residual", "nets.conditional=projection nets.classes=3 penalty=wgan-gp"),
    ("residual", "nets.conditional=selection nets.classes=3 bottleneck.enabled=false loss=hinge"),
    ("began", ""),
    ("critic", "train.accumulate=3"),
    ("mnist", "nets.conditional=concatenation nets.classes=3 spectral_norm=true generator.hidden=200"),
];

/// A narrow model with a batch of 12 and these settings over its own.
fn model(name: &str, words: &str) -> Narrow {
    let (settings, image) = narrow(name);
    let words = format!("train.batch=12 optimizer.epsilon=1e-3 {words}");
    let overrides: Vec<Override> =
        words.split_whitespace().map(|word| Override::parse(word).expect("a setting")).collect();
    let settings = apply(&settings, &overrides).expect("settings");
    validate(&settings).expect("settings that go together");
    (settings, image)
}

fn inputs<T: Real>((settings, image): &Narrow) -> Batch<Cpu<T>> {
    let (n, [h, w, c]) = (settings.train.batch, [image.h, image.w, image.c]);
    let gather = Gather { n, count: COUNT, h, w, c, low: -1.0, high: 1.0, flip: true };
    let pixels = (0..COUNT * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let classes = u32::try_from(settings.nets.classes).expect("few classes");
    let labels = settings.nets.is_conditional().then(|| (0..COUNT as u32).map(|i| i % classes).collect());
    Batch::Drawn { gather, images: pixels, labels }
}

fn trainer_of<T: Real>(cpu: &Cpu<T>, (settings, image): &Narrow) -> Trainer<Cpu<T>> {
    Trainer::new(cpu.clone(), settings.clone(), *image).expect("a trainer")
}

/// Every number that the next step depends on, and the figures of the steps so far.
fn numbers<T: Real>(cpu: &Cpu<T>, trainer: &Trainer<Cpu<T>>) -> Vec<f64> {
    let (model, state) = (&trainer.model, trainer.read_state().expect("the state"));
    let mut values = vec![state.step as f64, state.beta, state.balance, state.non_finite as f64];
    for memory in NETWORKS.iter().filter_map(|&network| model.memory(network)) {
        let moments = memory.whole(cpu, &memory.second_moments).expect("moments");
        for arena in [&memory.params, &memory.stats, moments.as_ref().unwrap_or(&memory.second_moments)] {
            values.extend(arena.iter().map(|value| value.to_f64()));
        }
    }
    for average in model.average.iter() {
        values.extend(average.params.iter().chain(&average.stats).map(|value| value.to_f64()));
    }
    let history = trainer.read_history(0, state.step).expect("figures");
    values.extend_from_slice(bytemuck::cast_slice::<Metrics, f64>(&history));
    values
}

/// The same after some steps of one rank.
fn train<T: Real>(cpu: &Cpu<T>, model: &Narrow) -> Vec<f64> {
    let (mut trainer, batch) = (trainer_of(cpu, model), inputs(model));
    (0..STEPS).for_each(|_| cpu.run(|| trainer.step(&batch)).expect("a step"));
    numbers(cpu, &trainer)
}

/// The result of each of several ranks with its backend, in rank order; every one with so many threads.
fn each_rank<T: Real, R: Send>(world: usize, threads: usize, work: impl Fn(&Cpu<T>) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let start = |rank: ThreadRanks| {
            let cpu = Cpu::<T>::new(Some(threads)).expect("threads").with_ranks(Arc::new(rank));
            scope.spawn(move || work(&cpu))
        };
        let ranks: Vec<_> = ThreadRanks::patient(world, Duration::from_secs(20)).into_iter().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

/// The values of the ranks, which are the same for all, to the bit.
fn of_ranks<T: Real>(world: usize, threads: usize, model: &Narrow) -> Vec<f64> {
    let mut ranks = each_rank(world, threads, |cpu: &Cpu<T>| train(cpu, model));
    let first = ranks.remove(0);
    let same = |rank: &Vec<f64>| rank.iter().zip(&first).all(|(a, b)| a.to_bits() == b.to_bits());
    assert!(ranks.iter().all(same), "ranks of {world} differ");
    first
}

/// The largest difference, relative to numbers above 1.
fn apart(one: &[f64], other: &[f64]) -> f64 {
    assert_eq!(one.len(), other.len());
    assert!(one.iter().chain(other).all(|value| value.is_finite()));
    one.iter().zip(other).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max)
}

/// The worlds that a batch of these settings can be divided among.
fn worlds((settings, _): &Narrow) -> impl Iterator<Item = usize> {
    [2, 3, 4].into_iter().filter(|&world| validate_for_ranks(settings, world).is_ok())
}

/// Sums over ranks are in another order than those of one rank: they differ by roundings of f64, some 1e-16 each, no more.
#[test]
fn several_ranks_train_as_one() {
    for (name, words) in MODELS {
        let model = model(name, words);
        let one = train(&Cpu::<f64>::new(Some(1)).expect("threads"), &model);
        assert_eq!(apart(&one, &of_ranks::<f64>(1, 1, &model)), 0.0, "{name} {words}");
        let mut divided = 0;
        for world in worlds(&model) {
            let found = apart(&one, &of_ranks::<f64>(world, 1, &model));
            assert!(found <= 1e-12, "{name} {words}, {world} ranks: {found:e}");
            divided += 1;
        }
        assert!(divided > 1, "{name} {words}");
    }
    // Ranks of one image each.
    let model = model("mnist", "train.batch=4");
    let one = train(&Cpu::<f64>::new(Some(1)).expect("threads"), &model);
    assert!(apart(&one, &of_ranks::<f64>(4, 1, &model)) <= 1e-12);
}

/// In f32 by its roundings; and the same bits however many threads a rank has, and whether or not it has all moments.
#[test]
fn bits_depend_on_the_number_of_ranks_alone() {
    for (name, words) in MODELS {
        let whole = model(name, words);
        let one = train(&Cpu::<f32>::new(Some(1)).expect("threads"), &whole);
        for world in worlds(&whole).filter(|world| *world != 3 || name == "mnist") {
            let found = of_ranks::<f32>(world, 1, &whole);
            assert!(apart(&one, &found) <= 1e-5, "{name} {words}, {world} ranks: {:e}", apart(&one, &found));
            assert!(found == of_ranks::<f32>(world, 3, &whole), "{name} {words}: {world} ranks of three threads");
            let shared = model(name, &format!("{words} train.shard_optimizer=true"));
            assert!(found == of_ranks::<f32>(world, 1, &shared), "{name} {words}: {world} ranks that share moments");
        }
    }
}

/// With statistics of its own each rank sees other images, and all still have one set of weights.
#[test]
fn statistics_are_of_all_ranks_or_of_each() {
    let apiece = model("mnist", "sync_batch_norm=false");
    let ranks = each_rank(2, 1, |cpu: &Cpu<f64>| {
        let (mut trainer, batch) = (trainer_of(cpu, &apiece), inputs(&apiece));
        (0..STEPS).for_each(|_| cpu.run(|| trainer.step(&batch)).expect("a step"));
        let of = |network| trainer.model.memory(network).expect("a network").params.clone();
        [of(Network::Discriminator), of(Network::Generator)].concat()
    });
    assert!(ranks[0] == ranks[1]);
    let one = trainer_of(&Cpu::<f64>::new(Some(1)).expect("threads"), &apiece);
    assert_eq!(one.model.memory(Network::Generator).expect("a network").norm_ranks, 1);
    let together = train(&Cpu::<f64>::new(Some(1)).expect("threads"), &apiece);
    let of_generator = |values: &[f64]| values[4..4 + 50].to_vec();
    assert!(apart(&of_generator(&together), &ranks[0][..50]) > 1e-7);
}

/// Spoils one gradient of this rank's share before the discriminator's update.
struct Spoil(bool);

impl Probe<Cpu<f32>> for Spoil {
    fn discriminator_gradients(&mut self, model: &mut Model<Cpu<f32>>) -> Result<()> {
        let memory = model.memory_mut(Network::Discriminator).expect("a discriminator");
        let [(own, _), _] = memory.pieces();
        if self.0 {
            memory.gradients[own.end - 1] = f32::NAN;
        }
        Ok(())
    }
}

#[test]
fn what_one_rank_finds_in_its_share_stops_all() {
    let model = model("mnist", "train.shard_optimizer=true generator.hidden=200");
    for spoilt in [None, Some(1)] {
        let (batch, steps) = (inputs(&model), if spoilt.is_some() { 0 } else { 1 });
        let ranks = each_rank(3, 1, |cpu: &Cpu<f32>| {
            let mut trainer = trainer_of(cpu, &model);
            let before = trainer.model.memory(Network::Discriminator).expect("a network").params.clone();
            let mut spoil = Spoil(spoilt == Some(cpu.ranks().rank));
            cpu.run(|| trainer.probed_step(&batch, &mut spoil)).expect("a step");
            let state = trainer.read_state().expect("the state");
            let moved = trainer.model.memory(Network::Discriminator).expect("a network").params != before;
            (state.non_finite, state.updates[0], moved)
        });
        let noted = if spoilt.is_some() { StepState::NON_FINITE_GRADIENT_D } else { 0 };
        assert_eq!(ranks, [(noted, steps, spoilt.is_none()); 3]);
    }
}

/// The checkpoint of a rank, whose moments may lie with all of them.
fn saved(trainer: &Trainer<Cpu<f32>>, data: &DataIdentity) -> Checkpoint {
    snapshot::checkpoint(&trainer.model, "narrow", data, &Lineage::default()).expect("a checkpoint")
}

/// A run of some ranks goes on as one of others: from a checkpoint that does not tell how many there were.
#[test]
fn a_checkpoint_is_that_of_one_rank() {
    let plain = model("mnist", "generator.hidden=200 ema=0.9");
    let shared = model("mnist", "generator.hidden=200 ema=0.9 train.shard_optimizer=true");
    let pixels = vec![0; COUNT * plain.1.len()];
    let (height, width, channels) = (plain.1.h, plain.1.w, plain.1.c);
    let images = Images { pixels, count: COUNT, height, width, channels, ..Images::default() };
    let data = DataIdentity::of(&images);
    let begun = |world, model: &Narrow| {
        let mut ranks = each_rank(world, 1, |cpu: &Cpu<f32>| {
            let (mut trainer, batch) = (trainer_of(cpu, model), inputs(model));
            (0..2).for_each(|_| cpu.run(|| trainer.step(&batch)).expect("a step"));
            saved(&trainer, &data)
        });
        let first = ranks.remove(0);
        assert!(ranks.iter().all(|rank| (&rank.model, &rank.optim) == (&first.model, &first.optim)));
        first
    };
    let checkpoint = begun(4, &shared);
    assert!(checkpoint.optim == begun(4, &plain).optim);
    let go_on = |world, model: &Narrow| {
        each_rank(world, 1, |cpu: &Cpu<f32>| {
            let (mut trainer, batch) = (trainer_of(cpu, model), inputs(model));
            snapshot::restore(&mut trainer, &data, checkpoint.clone(), Path::new("checkpoint")).expect("a resume");
            cpu.run(|| trainer.step(&batch)).expect("a step");
            let [values, state] = [numbers(cpu, &trainer), vec![trainer.read_state().expect("the state").step as f64]];
            (values, state)
        })
        .remove(0)
    };
    let same = go_on(4, &shared);
    assert!(same == go_on(4, &plain));
    for (world, model) in [(1, &shared), (2, &shared), (3, &plain)] {
        let other = go_on(world, model);
        // The figures of the steps before are not in a checkpoint.
        assert!(same.1 == other.1 && apart(&same.0, &other.0) <= 1e-5, "{world}: {:e}", apart(&same.0, &other.0));
    }
}

/// Moments are divided among ranks where that is asked for, and else each rank has them all.
#[test]
fn moments_are_divided_where_that_is_asked_for() {
    for (ranks, shard) in [(1, false), (1, true), (2, false), (2, true)] {
        let (settings, image) = model("mnist", &format!("generator.hidden=200 train.shard_optimizer={shard}"));
        let kept = each_rank(ranks, 1, |cpu: &Cpu<f32>| {
            let memory = Trainer::new(cpu.clone(), settings.clone(), image).expect("a trainer").model.generator.memory;
            (memory.params.len(), memory.first_moments.len())
        });
        let (params, all): (usize, usize) = (kept[0].0, kept.iter().map(|(_, moments)| moments).sum());
        // Shares are whole blocks: the last one may go beyond the end.
        let expected = if shard { params..params + params / 10 } else { ranks * params..ranks * params + 1 };
        assert!(expected.contains(&all), "{ranks} ranks, {kept:?}");
        assert!(
            kept.iter().all(|(_, moments)| *moments > 0 && (!shard || ranks == 1 || *moments < params)),
            "{kept:?}"
        );
    }
}

#[test]
fn what_looks_at_the_whole_batch_is_refused_with_ranks() {
    let refused = |name: &str, words: &str, world| match validate_for_ranks(&model(name, words).0, world) {
        Err(error @ Error::Usage(_)) => error.to_string(),
        other => panic!("{name} {words}: {other:?}"),
    };
    for (words, key) in [
        ("feature_matching=1", "objective.feature_matching"),
        ("reconstruction=0.2", "objective.reconstruction"),
        ("mode=0.4", "objective.mode"),
        ("minibatch_kernels=3 minibatch_dims=2", "discriminator.minibatch_kernels"),
        ("discriminator.norm=none penalty=dragan", "objective.penalty"),
    ] {
        let message = refused("mnist", words, 2);
        let expected = format!("`{key}` must be");
        assert!(message.contains(&expected) && message.contains("with 2 ranks: it looks at all images"), "{message}");
    }
    let message = refused("mnist", "", 5);
    assert!(
        message.starts_with("`train.batch` must be a multiple of 5 where 5 ranks train") && message.ends_with("is 12"),
        "{message}"
    );
    let message = refused("mnist", "train.accumulate=2 sync_batch_norm=false", 6);
    assert!(
        message.contains("multiple of 12 where 6 ranks train and train.accumulate is 2, with two images"),
        "{message}"
    );
    let (settings, image) = model("mnist", "feature_matching=1");
    let refusals = each_rank(2, 1, |cpu: &Cpu<f32>| Trainer::new(cpu.clone(), settings.clone(), image).err());
    assert!(refusals.iter().all(|error| matches!(error, Some(Error::Usage(_)))), "{refusals:?}");
}

#[cfg(feature = "mpi")]
mod mpi {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::needs;
    use vgan_cuda::device::ranks::{Communicator, MpiRanks};

    /// The folder for what the ranks of a job write; the variable makes this binary one of them.
    const FOLDER: &str = "VGAN_TEST_MPI_RANK";

    fn file(folder: &Path, index: usize, rank: usize) -> std::path::PathBuf {
        folder.join(format!("{index}-{rank}"))
    }

    /// A rank of an MPI job that the test below starts: it trains every model and writes what it has. Without the job it does nothing.
    #[test]
    fn a_rank_of_a_job() {
        let Some(folder) = std::env::var_os(FOLDER) else { return };
        let ranks = Arc::new(MpiRanks::join(Duration::from_secs(60)).expect("a job"));
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads").with_ranks(ranks.clone());
        for (index, (name, words)) in MODELS.into_iter().enumerate() {
            let model = model(name, &format!("{words} train.shard_optimizer=true"));
            if validate_for_ranks(&model.0, ranks.world()).is_ok() {
                let values = train(&cpu, &model);
                fs::write(file(Path::new(&folder), index, ranks.rank()), bytemuck::cast_slice(&values))
                    .expect("a file");
            }
        }
    }

    /// Processes train with the bits of threads.
    #[test]
    fn processes_train_as_threads_do() {
        if std::env::var_os(FOLDER).is_some() {
            return;
        }
        if !needs::program("mpirun").is_found() {
            eprintln!("SKIPPED: no mpirun");
            return;
        }
        for world in 1..=4 {
            let folder = tempfile::tempdir().expect("a folder");
            let mut job = Command::new("mpirun");
            job.args(["--oversubscribe", "--bind-to", "none", "-np", &world.to_string()]);
            job.arg(std::env::current_exe().expect("this program"));
            job.args(["--exact", "ranks::mpi::a_rank_of_a_job", "--test-threads", "1"]);
            job.env(FOLDER, folder.path())
                .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
                .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
            let output = job.output().expect("mpirun");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            for (index, (name, words)) in MODELS.into_iter().enumerate() {
                let model = model(name, words);
                if validate_for_ranks(&model.0, world).is_err() {
                    continue;
                }
                let expected = of_ranks::<f32>(world, 1, &model);
                for rank in 0..world {
                    let found = fs::read(file(folder.path(), index, rank)).expect("a rank's numbers");
                    assert!(
                        found == bytemuck::cast_slice::<f64, u8>(&expected),
                        "{name} {words}: rank {rank} of {world}"
                    );
                }
            }
        }
    }
}
