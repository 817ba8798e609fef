//! Two GPUs that train one model together by NCCL, as threads of this process: on a machine that has them, or on the stand-ins for a
//! driver (tests/driver) and for NCCL (tests/nccl), where this binary runs itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use half::bf16;
use vgan_cuda::Result;
use vgan_cuda::config::{Override, apply, validate, validate_for_ranks};
use vgan_cuda::device::cuda::{self, Driver};
use vgan_cuda::device::ranks::{RankOf, nccl};
use vgan_cuda::device::{Accelerator, Backend, Real, Storage};

use crate::narrow_models::{Narrow, narrow};
use crate::standin;
use crate::steps::{Trained, train_for};

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether there are two GPUs and NCCL; says why not.
fn two_gpus() -> bool {
    let reason = match cuda::driver() {
        Driver::Working(2..) => nccl::check().err().map(|error| error.to_string()),
        found => Some(format!("two GPUs are needed, and there is {}", cuda::describe(found))),
    };
    reason.inspect(|reason| eprintln!("SKIPPED: {reason}")).is_none()
}

/// Runs `work` on each of two ranks, which are threads with a GPU each. One test at a time, as for one GPU.
fn on_two_gpus<T: Real, S: Storage<T>, R: Send>(work: impl Fn(RankOf, Accelerator<T, S>) -> R + Sync) -> [R; 2] {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (id, work) = (nccl::new_id().expect("an id"), &work);
    std::thread::scope(|scope| {
        let ranks = [0, 1].map(|rank| {
            scope.spawn(move || {
                let place = RankOf { rank, world: 2 };
                let backend = Accelerator::new(cuda::open(rank).expect("a GPU"));
                backend.join(&id, place, PATIENCE).expect("both ranks");
                work(place, backend)
            })
        });
        ranks.map(|rank| rank.join().expect("a rank"))
    })
}

/// Sums and gathered blocks, whose terms are the rank's own.
fn all<T: Real, S: Storage<T>>(place: RankOf, backend: &Accelerator<T, S>) -> Result<()> {
    assert_eq!(backend.ranks(), place);
    let own = |scale: f64| -> Vec<T> {
        (0..6).map(|at| T::of(scale * (at as f64 + 1.0) * (place.rank as f64 + 1.0))).collect()
    };
    let expected = |scale: f64| -> Vec<T> { (0..6).map(|at| T::of(3.0 * scale * (at as f64 + 1.0))).collect() };
    let mut x = backend.buffer_of(&own(1.0))?;
    backend.sum_over_ranks(backend.view_mut(&mut x))?;
    assert_eq!(backend.read(backend.view(&x))?, expected(1.0));
    // Each rank's own block alone is said to be the sum.
    let mut x = backend.buffer_of(&own(2.0))?;
    backend.sum_block_over_ranks(backend.view_mut(&mut x))?;
    let block = 3 * place.rank..3 * place.rank + 3;
    assert_eq!(backend.read(backend.part(&x, block.clone()))?, expected(2.0)[block.clone()]);
    // A part of a buffer, and what lies beside it stays.
    let mut x = backend.buffer_of(&own(1.0))?;
    backend.sum_over_ranks(backend.part_mut(&mut x, 2..4))?;
    let mixed = [&own(1.0)[..2], &expected(1.0)[2..4], &own(1.0)[4..]].concat();
    assert_eq!(backend.read(backend.view(&x))?, mixed);

    let mut blocks = backend.buffer_of(&[place.rank as u64 + 7; 6])?;
    backend.gather_blocks_from_ranks(backend.view_mut(&mut blocks))?;
    assert_eq!(backend.read(backend.view(&blocks))?, [7, 7, 7, 8, 8, 8]);
    let part = backend.buffer_of(&[place.rank as u8, 9])?;
    let mut whole = backend.buffer_of(&[77u8; 4])?;
    backend.gather_from_ranks(backend.view(&part), backend.view_mut(&mut whole))?;
    assert_eq!(backend.read(backend.view(&whole))?, [0, 9, 1, 9]);
    let part = backend.buffer_of(&[bf16::from_f32(0.5 + place.rank as f32)])?;
    let mut whole = backend.alloc(2)?;
    backend.gather_from_ranks(backend.view(&part), backend.view_mut(&mut whole))?;
    assert_eq!(backend.read(backend.view(&whole))?, [0.5, 1.5].map(bf16::from_f32));
    Ok(())
}

/// Work that is done the first time, recorded the second, and replayed from then on: each time on the values that are there by then.
fn recorded(place: RankOf, backend: &Accelerator<f32>) -> Result<()> {
    let mut x = backend.buffer_of(&[1.0 + place.rank as f32; 4])?;
    let mut whole = backend.alloc::<f32>(8)?;
    let mut repeated = Default::default();
    let mut called = 0;
    for _ in 0..5 {
        let step = || {
            called += 1;
            backend.sum_over_ranks(backend.part_mut(&mut x, 0..2))?;
            backend.sum_over_ranks(backend.part_mut(&mut x, 1..3))?;
            backend.gather_from_ranks(backend.view(&x), backend.view_mut(&mut whole))
        };
        backend.repeat(&mut repeated, step)?;
    }
    assert_eq!(called, 2);
    // 1 and 2 are summed to 3. From then on both have the same, which is doubled: by one sum, by two, by one.
    let (once, twice, own) = (3.0 * 16.0, 3.0 * 512.0, 1.0 + place.rank as f32);
    assert_eq!(backend.read(backend.view(&x))?, [once, twice, once, own]);
    assert_eq!(backend.read(backend.view(&whole))?, [once, twice, once, 1.0, once, twice, once, 2.0]);
    Ok(())
}

#[test]
fn two_gpus_sum_and_gather() {
    if two_gpus() {
        on_two_gpus::<f32, f32, _>(|place, backend| {
            all(place, &backend).and_then(|()| recorded(place, &backend)).expect("no failure");
        });
        on_two_gpus::<f64, f64, _>(|place, backend| all(place, &backend).expect("no failure"));
    }
}

/// The models and what is set over their own: batch normalisation of all ranks together or of each, gradient penalties, parts of a
/// batch, moments in shares. Adam's epsilon is far above rounding: what has no gradient but rounding would be moved by whole steps.
const MODELS: [(&str, &str); 3] = [
    ("mnist", "train.batch=8 optimizer.epsilon=1e-3"),
    ("residual", "train.batch=8 train.accumulate=2 penalty=wgan-gp penalty_every=2 optimizer.epsilon=1e-3"),
    ("began", "train.batch=8 train.shard_optimizer=true optimizer.epsilon=1e-3"),
];

fn model((name, words): (&str, &str)) -> Narrow {
    let (settings, image) = narrow(name);
    let overrides: Vec<Override> =
        words.split_whitespace().map(|word| Override::parse(word).expect("a setting")).collect();
    let settings = apply(&settings, &overrides).expect("settings");
    validate(&settings).and_then(|()| validate_for_ranks(&settings, 2)).expect("settings that go together");
    (settings, image)
}

/// The largest difference of figures, weights and statistics, relative to numbers above 1. Of moments a rank may have a share alone.
fn apart(one: &Trained, other: &Trained) -> f64 {
    let numbers = |trained: &Trained| -> Vec<f64> {
        let figures = trained.states.iter().flat_map(|state| bytemuck::cast_slice::<_, f64>(&[state.metrics]).to_vec());
        let whole = trained.arenas.iter().filter(|(name, _)| !name.contains("moments"));
        figures.chain(whole.flat_map(|(_, values)| values.iter().copied())).collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    assert_eq!(one.len(), other.len());
    one.iter().zip(&other).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max)
}

/// Steps that are computed, recorded and replayed: both ranks have the same bits, and one GPU that passes the whole batch has the same
/// numbers but for the order of sums.
#[test]
fn two_gpus_train_as_one() {
    if !two_gpus() {
        return;
    }
    for (which, of) in MODELS.into_iter().enumerate() {
        let model = model(of);
        let one = train_for(4, &Accelerator::<f64>::new(cuda::open(0).expect("a GPU")), &model);
        let [first, second] = on_two_gpus::<f64, f64, _>(|_, backend| train_for(4, &backend, &model));
        assert_eq!(apart(&first, &second), 0.0, "{of:?}: the ranks differ");
        let off = apart(&one, &first);
        eprintln!("{of:?}: two GPUs are off one by {off:.1e}");
        assert!(off <= 1e-11, "{of:?}, model {which}: off by {off:e}");
    }
}

/// The same on the stand-ins, with work done as late as can be, and all at once.
#[test]
fn two_devices_of_the_standin_train_as_one() {
    if !standin::has_kernels() {
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let run = |test: &str, settings: &[(&str, &str)]| {
        let mut command =
            standin::command_of_ranks(std::env::current_exe().expect("the test's own path"), place.path());
        let output = command.args([test, "--nocapture", "--test-threads", "1"]).envs(settings.iter().copied()).output();
        let output = output.expect("this binary runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success() && !text.contains("SKIPPED"), "{settings:?}\n{text}");
        let left = std::fs::read_dir(place.path()).expect("a folder").count();
        assert_eq!(left, 0, "a communicator was not destroyed\n{text}");
        text
    };
    let text = run("::two_gpus_", &[("CUDA_STANDIN_SCHEDULE", "shuffled:5")]);
    assert!(text.contains("2 passed"), "{text}");
    run("::two_gpus_sum", &[("CUDA_STANDIN_ORDER", "eager")]);
}
