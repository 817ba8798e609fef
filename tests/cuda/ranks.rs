//! Several devices of the stand-in for a driver that train one model together, by the stand-in for NCCL.

use std::time::Duration;

use half::bf16;

use vgan_cuda::Result;
use vgan_cuda::device::ranks::{Place, nccl};
use vgan_cuda::device::{Accelerator, Backend, Real, Storage, cuda};

use crate::standin;

/// Tells this binary that it is to be the ranks of a test.
const RANKS: &str = "VGAN_TEST_RANKS";
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `work` of the test of this name in a process that finds both stand-ins.
fn with_libraries(test: &str, settings: &[(&str, &str)], work: impl FnOnce()) {
    if std::env::var(RANKS).is_ok_and(|wanted| wanted == test) {
        return work();
    }
    if !standin::has_kernels() {
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let mut command = standin::command_of_ranks(std::env::current_exe().expect("this binary"), place.path());
    command.args(["--exact", &format!("ranks::{test}"), "--nocapture"]).env(RANKS, test);
    let output = command.envs(settings.iter().copied()).output().expect("this binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let left = std::fs::read_dir(place.path()).expect("a folder").count();
    assert_eq!(left, 0, "a communicator was not destroyed\n{text}");
}

/// Runs `work` on each of two ranks, which are threads with a device each.
fn on_two_devices<T: Real, S: Storage<T>, R: Send>(work: impl Fn(Place, Accelerator<T, S>) -> R + Sync) -> [R; 2] {
    let (id, work) = (nccl::new_id().expect("an id"), &work);
    std::thread::scope(|scope| {
        let ranks = [0, 1].map(|rank| {
            scope.spawn(move || {
                let place = Place { rank, world: 2 };
                let backend = Accelerator::new(cuda::open(rank).expect("a device"));
                backend.join(&id, place, PATIENCE).expect("both ranks");
                work(place, backend)
            })
        });
        ranks.map(|rank| rank.join().expect("a rank"))
    })
}

/// Sums and gathered blocks, whose terms are the rank's own.
fn all<T: Real, S: Storage<T>>(place: Place, backend: &Accelerator<T, S>) -> Result<()> {
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

    let mut blocks = backend.buffer_of(&vec![place.rank as u64 + 7; 6])?;
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

#[test]
fn what_goes_over_ranks_is_summed_and_gathered() {
    with_libraries("what_goes_over_ranks_is_summed_and_gathered", &[], || {
        on_two_devices::<f32, f32, _>(|place, backend| all(place, &backend).expect("no failure"));
        on_two_devices::<f64, f64, _>(|place, backend| all(place, &backend).expect("no failure"));
    });
}

/// What is done the first time, recorded the second, and replayed from then on: each time over what is there by then.
#[test]
fn what_goes_over_ranks_is_recorded_with_the_rest() {
    let test = "what_goes_over_ranks_is_recorded_with_the_rest";
    for order in ["lazy", "eager"] {
        with_libraries(test, &[("CUDA_STANDIN_ORDER", order)], || {
            on_two_devices::<f32, f32, _>(|place, backend| {
                let mut x = backend.buffer_of(&[1.0 + place.rank as f32; 4]).expect("memory");
                let mut whole = backend.alloc::<f32>(8).expect("memory");
                let mut repeated = Default::default();
                let mut called = 0;
                for _ in 0..5 {
                    let step = || {
                        called += 1;
                        backend.sum_over_ranks(backend.part_mut(&mut x, 0..2))?;
                        backend.sum_over_ranks(backend.part_mut(&mut x, 1..3))?;
                        backend.gather_from_ranks(backend.view(&x), backend.view_mut(&mut whole))
                    };
                    backend.repeat(&mut repeated, step).expect("a step");
                }
                assert_eq!(called, 2);
                // 1 and 2 are summed to 3, and then doubled by each of both: 5 and 10 times.
                let (once, twice, own) = (3.0 * 16.0, 3.0 * 512.0, 1.0 + place.rank as f32);
                assert_eq!(backend.read(backend.view(&x)).expect("x"), [once, twice, once, own]);
                let gathered = backend.read(backend.view(&whole)).expect("the whole");
                assert_eq!(gathered, [once, twice, once, 1.0, once, twice, once, 2.0]);
            });
        });
    }
}
