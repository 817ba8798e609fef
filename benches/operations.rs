//! Every pass of every operation at the article's sizes, timed as `vgan-cuda bench` times them (on a GPU by its own clock),
//! with criterion's statistics and its comparison with the run before.
//!
//! `cargo bench --bench operations -- conv2d` measures those whose name contains the text. Throughput is in
//! multiplications and additions a second; where an operation has none to speak of, in bytes that it must move.
//!
//! `VGAN_BENCH_DEVICE` (`auto`, `cpu`, `cuda`, `cuda:N`) and `VGAN_BENCH_DTYPE` (`f32`, `f64`, `tf32`, `bf16`) choose where
//! and in what; without them it is f32 on the GPU, if there is one, and else on the CPU. Names begin with the choice, so
//! that criterion compares like with like.

mod device;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use device::{Benchmark, measure_on_chosen_device};
use vgan_cuda::Result;
use vgan_cuda::bench::measure::{Twin, time};
use vgan_cuda::ops::pass::{Counts, Pass, counted};
use vgan_cuda::ops::{self, Executor};

fn main() -> Result<()> {
    let criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let mut operations = Operations { criterion };
    measure_on_chosen_device(&mut operations)?;
    operations.criterion.final_summary();
    Ok(())
}

struct Operations {
    criterion: Criterion,
}

impl Benchmark for Operations {
    fn measure<B: Executor>(&mut self, backend: &B, place: &str) -> Result<()> {
        for (pass, twin) in ops::passes::<B>().iter().zip(ops::passes::<Twin<B>>()) {
            self.pass(backend, place, pass, counted(&twin)?);
        }
        Ok(())
    }
}

impl Operations {
    fn pass<B: Executor>(&mut self, backend: &B, place: &str, pass: &Pass<B>, counts: Counts) {
        let mut group = self.criterion.benchmark_group(format!("{place}/{}/{}", pass.op, pass.shape));
        group.throughput(if counts.flops > 0 {
            Throughput::Elements(counts.flops)
        } else {
            Throughput::Bytes(counts.bytes)
        });
        group.bench_function(BenchmarkId::from_parameter(pass.pass), |bencher| {
            // Here, and not before, so that what the filter leaves out takes no memory.
            let mut work = pass.prepare(backend).expect("memory");
            bencher.iter_custom(|repetitions| time(backend, &mut work, repetitions).expect("a pass"));
        });
        group.finish();
    }
}
