//! Every pass of every operation at the article's sizes on the CPU, timed as `vgan-cuda bench` times them, with
//! criterion's statistics and its comparison with the run before.
//!
//! `cargo bench --bench operations -- conv2d` measures those whose name contains the text. Throughput is in
//! multiplications and additions a second; where an operation has none to speak of, in bytes that it must move.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use vgan_cuda::Result;
use vgan_cuda::device::{Cpu, DryRun};
use vgan_cuda::ops::measure::time;
use vgan_cuda::ops::passes::{Pass, article_passes, counted};

type Device = Cpu<f32>;

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let cpu = Device::new(None)?;
    for (pass, twin) in article_passes::<Device>().iter().zip(article_passes::<DryRun>()) {
        measure(&mut criterion, &cpu, pass, &twin)?;
    }
    criterion.final_summary();
    Ok(())
}

fn measure(criterion: &mut Criterion, cpu: &Device, pass: &Pass<Device>, twin: &Pass<DryRun>) -> Result<()> {
    let counts = counted(twin)?;
    let mut group = criterion.benchmark_group(format!("{}/{}", pass.op, pass.shape));
    group.throughput(if counts.flops > 0 {
        Throughput::Elements(counts.flops)
    } else {
        Throughput::Bytes(counts.bytes)
    });
    group.bench_function(BenchmarkId::from_parameter(pass.pass), |bencher| {
        // Here, and not before, so that what the filter leaves out takes no memory.
        let mut work = pass.prepare(cpu).expect("memory");
        bencher.iter_custom(|repetitions| time(cpu, &mut work, repetitions).expect("a pass"));
    });
    group.finish();
    Ok(())
}
