//! Forward and backward passes of the article's layers on the CPU, one operation at a time.
//!
//! `cargo bench --bench operations -- conv2d` measures those whose name contains the text. Throughput is in
//! multiplications and additions a second; where an operation has none to speak of, in bytes of its tensors.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use vgan_cuda::Result;
use vgan_cuda::device::{Backend, Buffer, Cpu};
use vgan_cuda::ops::gradient_check::fill;
use vgan_cuda::ops::{self, Case, Tensor};

type Device = Cpu<f32>;

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let cpu = Device::new(None)?;
    for case in ops::article_cases::<Device>() {
        measure(&mut criterion, &cpu, &*case)?;
    }
    criterion.final_summary();
    Ok(())
}

fn measure(criterion: &mut Criterion, cpu: &Device, case: &dyn Case<Device>) -> Result<()> {
    let (inputs, outputs) = (case.inputs(), case.outputs());
    let (x, u) = (filled(cpu, &inputs, 0)?, filled(cpu, &outputs, 1000)?);
    let (mut y, mut dx) = (zeros(cpu, &outputs)?, zeros(cpu, &inputs)?);
    let bytes = 4 * inputs.iter().chain(&outputs).map(|tensor| tensor.len as u64).sum::<u64>();
    let throughput = |passes| match case.flops() {
        0 => Throughput::Bytes(passes * bytes),
        flops => Throughput::Elements(passes * flops),
    };
    let mut group = criterion.benchmark_group(format!("{}/{}", case.op(), case.name()));
    group.throughput(throughput(1));
    group.bench_function("forward", |bencher| {
        cpu.run(|| bencher.iter(|| case.forward(cpu, &x, &mut y).expect("a forward pass")));
    });
    if case.differentiable() {
        // By the input and by the weights: each costs as much as the forward pass.
        group.throughput(throughput(2));
        group.bench_function("backward", |bencher| {
            cpu.run(|| bencher.iter(|| case.backward(cpu, &x, &y, &u, &mut dx).expect("a backward pass")));
        });
    }
    group.finish();
    Ok(())
}

fn filled(cpu: &Device, tensors: &[Tensor], first: u32) -> Result<Vec<Buffer<Device>>> {
    let values = |(number, tensor)| fill(tensor, number).into_iter().map(|v| v as f32).collect::<Vec<_>>();
    (first..).zip(tensors).map(values).map(|values| cpu.buffer_of(&values)).collect()
}

fn zeros(cpu: &Device, tensors: &[Tensor]) -> Result<Vec<Buffer<Device>>> {
    tensors.iter().map(|tensor| cpu.alloc(tensor.len)).collect()
}
