//! The device that a benchmark runs on and its type of numbers, which the environment chooses: criterion's command line has no room
//! for flags of ours.

use std::env;

use vgan_cuda::device::{Accelerator, Cpu, Precision, cuda};
use vgan_cuda::ops::Executor;
use vgan_cuda::{Error, Result};

/// `auto`, `cpu`, `cuda` or `cuda:N`; auto, which is also what is taken where it is not set, means the first GPU, if there
/// is one to compute on, and else the CPU.
const DEVICE: &str = "VGAN_BENCH_DEVICE";
/// `f32`, which is also what is taken where it is not set, `f64`, or, on a GPU, `tf32` or `bf16`.
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
pub(crate) fn measure_at_chosen_place(benchmark: &mut impl Benchmark) -> Result<()> {
    let value = |name| env::var(name).unwrap_or_default();
    let (gpu, dtype) = (gpu(&value(DEVICE))?, value(DTYPE));
    let precision = match dtype.as_str() {
        "" | "f32" => Precision::F32,
        "tf32" => Precision::Tf32,
        "bf16" => Precision::Bf16,
        "f64" => {
            return match gpu {
                Some(number) => {
                    let backend = Accelerator::<f64>::new(cuda::open(number)?);
                    benchmark.measure(&backend, &format!("cuda{number}-f64"))
                }
                None => benchmark.measure(&Cpu::<f64>::new(None)?, "cpu-f64"),
            };
        }
        other => return Err(Error::Usage(format!("{DTYPE} is {other}: set it to f32, f64, tf32 or bf16"))),
    };
    match (gpu, precision) {
        (Some(number), _) => {
            let backend = Accelerator::with_precision(cuda::open(number)?, precision);
            benchmark.measure(&backend, &format!("cuda{number}-{}", precision.word()))
        }
        (None, Precision::F32) => benchmark.measure(&Cpu::<f32>::new(None)?, "cpu-f32"),
        (None, _) => Err(Error::Usage(format!("{DTYPE}={dtype} needs a GPU: set {DEVICE}=cuda, or take f32"))),
    }
}
