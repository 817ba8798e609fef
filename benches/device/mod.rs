//! The device that a benchmark runs on and its type of numbers, which the environment chooses: criterion's command line has no room
//! for flags of ours.

use std::env;

use half::bf16;
use vgan_cuda::device::{Accelerator, Cpu, Real, Storage, cuda};
use vgan_cuda::ops::Executor;
use vgan_cuda::{Error, Result};

/// `auto`, `cpu`, `cuda` or `cuda:N`; auto, which is also what is taken where it is not set, means the first GPU, if there
/// is one to compute on, and else the CPU.
const DEVICE: &str = "VGAN_BENCH_DEVICE";
/// `f32`, which is also what is taken where it is not set, `f64`, `bf16` or, on a GPU, `tf32`.
const DTYPE: &str = "VGAN_BENCH_DTYPE";

/// A benchmark, on any backend.
pub(crate) trait Benchmark {
    /// Measures; `place` names the device and the type, as criterion's names begin.
    ///
    /// # Errors
    /// If the device fails or has not the memory.
    fn measure<B: Executor>(&mut self, backend: &B, place: &str) -> Result<()>;
}

/// The number of the GPU that was chosen; `None` for the CPU.
fn gpu(device: &str) -> Result<Option<usize>> {
    match device {
        "" | "auto" => Ok(cuda::obstacle(0).is_none().then_some(0)),
        "cpu" => Ok(None),
        "cuda" => Ok(Some(0)),
        _ => match device.strip_prefix("cuda:").and_then(|number| number.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::Usage(format!("{DEVICE} is {device}: set it to auto, cpu, cuda or cuda:N"))),
        },
    }
}

/// Runs `benchmark` where the environment wants it.
///
/// # Errors
/// Those of the benchmark; what is wrong with the choice; that the GPU can't be used.
pub(crate) fn measure_on_chosen_device(benchmark: &mut impl Benchmark) -> Result<()> {
    let value = |name| env::var(name).unwrap_or_default();
    let (gpu, dtype) = (gpu(&value(DEVICE))?, value(DTYPE));
    match dtype.as_str() {
        "" | "f32" => stored_as::<f32, f32>(benchmark, gpu, "f32"),
        "f64" => stored_as::<f64, f64>(benchmark, gpu, "f64"),
        "bf16" => stored_as::<f32, bf16>(benchmark, gpu, "bf16"),
        "tf32" => match gpu {
            Some(number) => {
                let backend = Accelerator::<f32>::in_tf32(cuda::open(number)?);
                benchmark.measure(&backend, &format!("cuda{number}-tf32"))
            }
            None => Err(Error::Usage(format!("{DTYPE}={dtype} needs a GPU: set {DEVICE}=cuda, or take f32"))),
        },
        other => Err(Error::Usage(format!("{DTYPE} is {other}: set it to f32, f64, tf32 or bf16"))),
    }
}

/// In reals of type `T`, activations stored as `S`; `dtype` names them.
fn stored_as<T: Real, S: Storage<T>>(benchmark: &mut impl Benchmark, gpu: Option<usize>, dtype: &str) -> Result<()> {
    match gpu {
        Some(number) => {
            let backend = Accelerator::<T, S>::new(cuda::open(number)?);
            benchmark.measure(&backend, &format!("cuda{number}-{dtype}"))
        }
        None => benchmark.measure(&Cpu::<T, S>::new(None)?, &format!("cpu-{dtype}")),
    }
}
