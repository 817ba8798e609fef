//! The products of f32 in tiles of either size, which small ones would not all get by themselves: against the CPU in f64, and
//! in every order of threads.

use crate::executors::{differences, differences_of, emulated, results, say_digest};
use crate::limits::unchecked;
use crate::tensor_cores::products;
use simt::{CopyMode, Options, Order};
use vgan_cuda::device::product::TileSize;
use vgan_cuda::device::{Accelerator, Cpu, cuda};

const SIZES: [TileSize; 2] = [TileSize::Narrow, TileSize::Wide];

/// The results of the CPU in f64.
fn exact() -> Vec<Vec<(String, Vec<f64>)>> {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    products().iter().map(|case| results(&cpu, case)).collect()
}

#[test]
fn tiles_of_either_size_give_what_the_cpu_gives_and_nothing_is_found() {
    let exact = exact();
    for size in SIZES {
        let failed = differences(&emulated::<f32>(Options::default()).with_tiles(size), products(), &exact);
        assert!(failed.is_empty(), "{size:?}: {failed:#?}");
    }
}

#[test]
fn the_order_of_threads_changes_no_bit_of_a_wide_tile() {
    let run = |threads, blocks, copies| {
        let options = Options { threads, blocks, copies, ..unchecked() };
        let emulated = emulated::<f32>(options).with_tiles(TileSize::Wide);
        products().iter().map(|case| results(&emulated, case)).collect::<Vec<_>>()
    };
    let expected = run(Order::Ascending, Order::Ascending, CopyMode::Late);
    assert!(run(Order::Descending, Order::Descending, CopyMode::Early) == expected, "descending");
    assert!(run(Order::Random(1), Order::Random(2), CopyMode::Late) == expected, "random");
}

#[test]
fn a_gpu_gives_the_same_in_tiles_of_either_size() {
    let Ok(gpu) = cuda::open(0).map(Accelerator::<f32>::new).inspect_err(|error| eprintln!("SKIPPED: {error}")) else {
        return;
    };
    let exact = exact();
    for size in SIZES {
        let (gpu, cases) = (gpu.clone().with_tiles(size), products());
        let ours: Vec<_> = cases.iter().map(|case| results(&gpu, case)).collect();
        say_digest(&format!("products in f32, {size:?}"), &ours);
        let failed = differences_of(1e-5, &cases, &ours, &exact);
        assert!(failed.is_empty(), "{size:?}: {failed:#?}");
    }
}
