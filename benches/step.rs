//! One whole training step of the article's models, on random data.
//!
//! `cargo bench --bench step` measures with criterion, on the device and in the type of numbers that `VGAN_BENCH_DEVICE`
//! (`auto`, `cpu`, `cuda`, `cuda:N`) and `VGAN_BENCH_DTYPE` (`f32`, `f64`, `tf32`, `bf16`) choose; without them it is f32 on
//! the GPU, if there is one, and else on the CPU. A GPU is timed by its own clock, with a full queue of steps, as in
//! training. `cargo bench --bench step -- --json --batch 128 --threads 2 --steps 10` prints the one JSON line that
//! `benches/compare.sh` holds against `benches/peers/torch_step.py`, of the CPU; `--dtype` is `f32`, `tf32` or `bf16`.

mod device;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use device::{Benchmark, measure_on_chosen_device};
use half::bf16;
use vgan_cuda::config::{image_shape, preset};
use vgan_cuda::device::{Backend, Cpu, Storage};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::Executor;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;
use vgan_cuda::{Error, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|i| arguments.get(i + 1));
    if arguments.iter().any(|a| a == "--json") {
        let number = |flag, default| value(flag).and_then(|v| v.parse().ok()).unwrap_or(default);
        let model = value("--model").map_or("vgan-mnist", |m| m.as_str());
        let dtype = value("--dtype").map_or("f32", |m| m.as_str());
        return print_json(model, dtype, number("--batch", 128), number("--threads", 2), number("--steps", 10));
    }
    let criterion =
        Criterion::default().sample_size(10).measurement_time(Duration::from_secs(15)).configure_from_args();
    let mut steps = Steps { criterion };
    measure_on_chosen_device(&mut steps)?;
    steps.criterion.final_summary();
    Ok(())
}

struct Steps {
    criterion: Criterion,
}

impl Benchmark for Steps {
    fn measure<B: Executor>(&mut self, backend: &B, place: &str) -> Result<()> {
        let mut group = self.criterion.benchmark_group("step");
        for (model, batch) in
            [("vgan-mnist", 64), ("vgan-mnist", 128), ("vgan-cifar10", 64), ("vgan-cifar10-resnet", 64)]
        {
            let (mut trainer, data) = model_and_data(backend, model, batch)?;
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(format!("{place}/{model}/batch{batch}"), |bencher| {
                bencher.iter_custom(|steps| {
                    let mut all = || (0..steps).try_for_each(|_| trainer.step(&data));
                    backend.run(|| backend.timed(&mut all)).expect("steps")
                });
            });
        }
        group.finish();
        Ok(())
    }
}

fn model_and_data<B: Executor>(backend: &B, model: &str, batch: usize) -> Result<(Trainer<B>, Batch<B>)> {
    let mut settings = preset(model)?;
    settings.train.batch = batch;
    let image = image_shape(model).unwrap_or(ImageShape { h: 28, w: 28, c: 1 });
    let ImageShape { h, w, c } = image;
    let count = 4 * batch;
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    let images = backend.buffer_of(&(0..count * image.len()).map(noise).collect::<Vec<u8>>())?;
    let gather = Gather { n: batch, count, h, w, c, low: 0.0, high: 1.0, flip: false };
    Ok((Trainer::new(backend.clone(), settings, image)?, Batch::Drawn { gather, images, labels: None }))
}

/// Wall and CPU milliseconds a step, after two steps that are not counted.
fn print_json(model: &str, dtype: &str, batch: usize, threads: usize, steps: usize) -> Result<()> {
    match dtype {
        "f32" => print_step(&Cpu::<f32>::new(Some(threads))?, model, dtype, batch, steps),
        "tf32" => print_step(&Cpu::in_tf32(Some(threads))?, model, dtype, batch, steps),
        "bf16" => print_step(&Cpu::<f32, bf16>::new(Some(threads))?, model, dtype, batch, steps),
        _ => Err(Error::Usage(format!("--dtype is f32, tf32 or bf16, not {dtype}"))),
    }
}

#[expect(clippy::print_stdout, reason = "the line is what the script reads")]
fn print_step<S: Storage<f32>>(
    backend: &Cpu<f32, S>,
    model: &str,
    dtype: &str,
    batch: usize,
    steps: usize,
) -> Result<()> {
    let threads = backend.threads();
    let (mut trainer, data) = model_and_data(backend, model, batch)?;
    let mut walls = Vec::with_capacity(steps);
    let mut cpu_start = 0.0;
    backend.run(|| {
        for step in 0..steps + 2 {
            if step == 2 {
                cpu_start = cpu_seconds();
            }
            let start = Instant::now();
            trainer.step(&data)?;
            if step >= 2 {
                walls.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        Result::Ok(())
    })?;
    let cpu = (cpu_seconds() - cpu_start) * 1e3 / steps as f64;
    walls.sort_by(f64::total_cmp);
    let (median, fastest) = (walls[steps / 2], walls[0]);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    println!(
        "{{\"name\":\"vgan-cuda\",\"model\":\"{model}\",\"dtype\":\"{dtype}\",\"batch\":{batch},\"threads\":{threads},\"wall_ms\":{median:.1},\
         \"wall_ms_min\":{fastest:.1},\"cpu_ms\":{cpu:.1},\"images_per_s\":{:.1},\"load\":\"{load}\"}}",
        batch as f64 / median * 1e3
    );
    Ok(())
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // Linux counts in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}
