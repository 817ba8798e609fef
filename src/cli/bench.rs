//! `bench`: times every operation at the sizes of three presets against the limits of the device; with `--plan`, takes a training step
//! apart without a GPU.

use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use half::bf16;

use super::arguments::DeviceChoice;
use super::bench_plan::{self, PlanOptions};
use super::bench_tune::{self, TuneOptions};
use super::output;
use crate::bench::measure::{Bound, Ceilings, Measured, ceilings, chosen, measure, type_name};
use crate::choices::Choices;
use crate::device::cuda::{self, Driver};
use crate::device::{Accelerator, Cpu, Precision, Real, Storage};
use crate::error::{Error, Result};
use crate::ops::Executor;
use crate::ops::pass::Pass;

/// Time every operation at the sizes of three presets
///
/// The presets are `vgan-mnist`, `vgan-cifar10` and `vgan-cifar10-resnet`. First the limits of the device are measured: copy
/// bandwidth, multiply-adds in registers and, for tf32 and bf16, tensor-core products in registers. The table then gives the
/// roofline efficiency of each pass: the time at its limit, memory or arithmetic, divided by the measured time. A pass whose data
/// fit into a cache can beat the copy.
#[derive(Debug, Args)]
#[command(after_help = "\
A time is the median of seven samples of many runs each, measured by the GPU's own clock on a GPU.
Bytes are those that must be read and written at least once. Only matrix products and convolutions
count as flop.

With --plan nothing is timed: one training step of a preset runs on the CPU, with the embedded
PTX, and its work is counted. Times are then predictions for the GPU that --gpu names.

With --tune every matrix product runs on the GPU in each tile and in several numbers of parts. The
output has the choice of the table in src/device/product.rs beside the fastest.

Examples:
  vgan-cuda bench
  vgan-cuda bench --filter conv2d --json
  vgan-cuda bench --tune --dtype bf16
  vgan-cuda bench --plan vgan-mnist --dtype bf16 --gpu h200
  vgan-cuda bench --plan vgan-cifar10 --batch 4096 --dtype bf16 --world 64")]
pub(super) struct BenchArgs {
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,

    /// Only passes whose operation, size or name contains this text [default: all]
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,

    /// Number type
    #[arg(long, value_name = "TYPE", value_enum, default_value = "f32")]
    dtype: Type,

    /// Time to spend on each pass, in milliseconds
    #[arg(long, value_name = "MS", default_value = "200", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    budget: u64,

    /// Try the tile and the split of each matrix product instead, on a GPU: the table's choice and the fastest
    #[arg(long, conflicts_with = "plan")]
    tune: bool,

    /// Take one training step of a preset apart instead: every launch with its counted work and a predicted time; needs no GPU
    #[arg(long, value_name = "PRESET", conflicts_with_all = ["filter", "device", "budget"])]
    plan: Option<String>,

    /// With --plan: images of a batch [default: the preset's]
    #[arg(long, value_name = "N", requires = "plan", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,

    /// With --plan: the GPU to predict for, such as h200, h100, a100 or rtx4090
    #[arg(long, value_name = "GPU", requires = "plan", default_value = "h200")]
    gpu: String,

    /// With --plan: GPUs that share each batch, eight on a machine; what they tell each other, and how much faster they are
    #[arg(long, value_name = "N", requires = "plan", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    world: u16,
}

/// A type of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// One that training has.
    Trains(Precision),
    /// Double precision, as in gradient checks.
    F64,
}

impl ValueEnum for Type {
    fn value_variants<'a>() -> &'a [Type] {
        use Precision::{Bf16, F32, Tf32};
        &[Type::Trains(F32), Type::F64, Type::Trains(Tf32), Type::Trains(Bf16)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Type::Trains(precision) => {
                let choice = Precision::CHOICES.iter().find(|choice| choice.word == precision.word())?;
                PossibleValue::new(choice.word).help(choice.meaning.trim())
            }
            Type::F64 => PossibleValue::new("f64").help("Double precision, as in gradient checks."),
        })
    }
}

/// The options of `bench`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BenchOptions {
    /// JSON lines instead of a table.
    pub(crate) json: bool,
    /// Only passes whose operation, size or name contains this text.
    pub(crate) filter: Option<String>,
    /// The device to compute on.
    pub(crate) device: DeviceChoice,
    /// In which type.
    pub(crate) dtype: Type,
    /// Time to spend on each pass.
    pub(crate) budget: Duration,
    /// Try what products could run by, instead.
    pub(crate) tune: bool,
    /// A step to take apart instead.
    pub(crate) plan: Option<PlanOptions>,
}

impl BenchArgs {
    pub(super) fn resolve(self) -> BenchOptions {
        let BenchArgs { json, filter, device, dtype, budget, tune, plan, batch, gpu, world } = self;
        let batch = batch.map(|batch| batch as usize);
        let plan = plan.map(|preset| PlanOptions { preset, batch, gpu, world: world.into() });
        BenchOptions { json, filter, device, dtype, budget: Duration::from_millis(budget), tune, plan }
    }
}

/// Measures and prints.
pub(super) fn run(options: BenchOptions) -> Result<()> {
    output::warn_if_unoptimised();
    if let Some(plan) = &options.plan {
        let Type::Trains(dtype) = options.dtype else {
            return Err(Error::Usage("bench --plan knows no f64: training has none".into()));
        };
        return bench_plan::run(plan, dtype, options.json);
    }
    if options.tune {
        let dtype = if let Type::Trains(precision) = options.dtype { Some(precision) } else { None };
        let BenchOptions { json, filter, device, budget, .. } = options;
        return bench_tune::run(gpu(device), dtype, &TuneOptions { json, filter, budget });
    }
    match options.dtype {
        Type::Trains(Precision::F32) => stored_as::<f32, f32>(&options),
        Type::Trains(Precision::Tf32) => in_tf32(&options),
        Type::Trains(Precision::Bf16) => stored_as::<f32, bf16>(&options),
        Type::F64 => stored_as::<f64, f64>(&options),
    }
}

/// The number of the GPU to compute on, if one is.
fn gpu(device: DeviceChoice) -> Option<usize> {
    match (device, cuda::driver()) {
        (DeviceChoice::Cuda(number), _) => Some(number),
        (DeviceChoice::Auto, Driver::Working(1..)) => Some(0),
        _ => None,
    }
}

fn in_tf32(options: &BenchOptions) -> Result<()> {
    match gpu(options.device) {
        Some(number) => on_backend(&Accelerator::<f32>::in_tf32(cuda::open(number)?), options),
        None => on_backend(&Cpu::<f32>::in_tf32(None)?, options),
    }
}

/// In reals of type `T`, activations stored as `S`.
fn stored_as<T: Real, S: Storage<T>>(options: &BenchOptions) -> Result<()> {
    match gpu(options.device) {
        Some(number) => on_backend(&Accelerator::<T, S>::new(cuda::open(number)?), options),
        None => on_backend(&Cpu::<T, S>::new(None)?, options),
    }
}

fn on_backend<B: Executor>(backend: &B, options: &BenchOptions) -> Result<()> {
    let passes = chosen(options.filter.as_deref())?;
    let ceilings = ceilings(backend, options.budget)?;
    let device = backend.describe();
    output::print(&if options.json { ceilings_json(&device, &ceilings)? } else { heading(&device, &ceilings) })?;
    for (pass, twin) in passes {
        let measured = measure(backend, &pass, &twin, options.budget)?;
        let line = Line::new(&pass, type_name(backend), &measured, &ceilings);
        output::print(&if options.json { line.json()? } else { line.table() })?;
    }
    Ok(())
}

fn heading(device: &str, ceilings: &Ceilings) -> String {
    let mma = ceilings.mma_flops_per_second;
    let mma = mma.map(|flops| format!("mma      {:.3} TFLOP/s in registers, on tensor cores\n", flops / 1e12));
    format!(
        "device   {device}\ncopy     {:.1} GB/s, read and written\nfma      {:.3} TFLOP/s in registers\n{}\n\
         {:<17} {:<45} {:<15} {:>11} {:>8} {:>8} {:>8}  under\n",
        ceilings.bytes_per_second / 1e9,
        ceilings.fma_flops_per_second / 1e12,
        mma.unwrap_or_default(),
        "op",
        "size",
        "pass",
        "µs",
        "GB/s",
        "TFLOP/s",
        "ceiling"
    )
}

fn ceilings_json(device: &str, ceilings: &Ceilings) -> Result<String> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        op: &'a str,
        device: &'a str,
        copy_gigabytes_per_second: f64,
        fma_teraflops: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        mma_teraflops: Option<f64>,
    }
    output::json(&Line {
        op: "ceiling",
        device,
        copy_gigabytes_per_second: ceilings.bytes_per_second / 1e9,
        fma_teraflops: ceilings.fma_flops_per_second / 1e12,
        mma_teraflops: ceilings.mma_flops_per_second.map(|flops| flops / 1e12),
    })
}

/// A row of the table.
#[derive(Debug, serde::Serialize)]
struct Line<'a> {
    op: &'a str,
    size: &'a str,
    pass: &'a str,
    dtype: &'a str,
    microseconds: f64,
    gigabytes_per_second: f64,
    teraflops: f64,
    fraction_of_ceiling: f64,
    ceiling: &'a str,
}

impl<'a> Line<'a> {
    fn new<B>(pass: &'a Pass<B>, dtype: &'a str, measured: &Measured, ceilings: &Ceilings) -> Self {
        let (fraction_of_ceiling, bound) = measured.of_ceiling(ceilings);
        Line {
            op: pass.op,
            size: &pass.shape,
            pass: pass.pass,
            dtype,
            microseconds: measured.seconds * 1e6,
            gigabytes_per_second: measured.counts.bytes as f64 / measured.seconds / 1e9,
            teraflops: measured.counts.flops as f64 / measured.seconds / 1e12,
            fraction_of_ceiling,
            ceiling: match bound {
                Bound::Memory => "copy",
                Bound::Arithmetic => "fma",
                Bound::TensorCores => "mma",
            },
        }
    }

    fn table(&self) -> String {
        let Line { op, size, pass, microseconds, gigabytes_per_second, teraflops, ceiling, .. } = self;
        let percent = 100.0 * self.fraction_of_ceiling;
        format!(
            "{op:<17} {size:<45} {pass:<15} {microseconds:>11.1} {gigabytes_per_second:>8.1} {teraflops:>8.3} \
             {percent:>7.1}%  {ceiling}\n"
        )
    }

    fn json(&self) -> Result<String> {
        output::json(self)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn options() {
        let cli =
            Cli::try_parse_from("vgan-cuda bench --json --filter conv --device cuda --dtype f64".split(' ')).unwrap();
        let Command::Bench(args) = cli.command else { panic!("{cli:?}") };
        let expected = BenchOptions {
            json: true,
            filter: Some("conv".into()),
            device: DeviceChoice::Cuda(0),
            dtype: Type::F64,
            budget: Duration::from_millis(200),
            tune: false,
            plan: None,
        };
        assert_eq!(args.resolve(), expected);
    }

    #[test]
    fn a_plan_takes_the_place_of_times() {
        let parse = |line: &str| Cli::try_parse_from(format!("vgan-cuda bench {line}").split(' '));
        let cli = parse("--plan quick --batch 8 --gpu a100 --dtype bf16").expect("options");
        let Command::Bench(args) = cli.command else { panic!("{cli:?}") };
        let options = args.resolve();
        let expected = PlanOptions { preset: "quick".into(), batch: Some(8), gpu: "a100".into(), world: 1 };
        assert_eq!((options.plan, options.dtype), (Some(expected), Type::Trains(Precision::Bf16)));
        for wrong in
            ["--batch 8", "--gpu a100", "--plan quick --tune", "--plan quick --device cpu", "--plan quick --batch 0"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// The ceiling of tensor cores is shown where there is one.
    #[test]
    fn ceilings_are_shown() {
        let fma = Ceilings { bytes_per_second: 2e12, fma_flops_per_second: 6e13, mma_flops_per_second: None };
        let mma = Ceilings { mma_flops_per_second: Some(6.25e14), ..fma };
        let expected = "device   a GPU\ncopy     2000.0 GB/s, read and written\nfma      60.000 TFLOP/s in registers\n";
        let (without, with) = (heading("a GPU", &fma), heading("a GPU", &mma));
        assert!(without.starts_with(&format!("{expected}\nop ")), "{without}");
        let expected = format!("{expected}mma      625.000 TFLOP/s in registers, on tensor cores\n\nop ");
        assert!(with.starts_with(&expected), "{with}");
        let json = |ceilings| -> serde_json::Value {
            serde_json::from_str(&ceilings_json("a GPU", ceilings).expect("a line")).expect("JSON")
        };
        let figures = serde_json::json!({
            "op": "ceiling", "device": "a GPU", "copy_gigabytes_per_second": 2000.0, "fma_teraflops": 60.0,
            "mma_teraflops": 625.0
        });
        assert_eq!(json(&mma), figures);
        assert_eq!(json(&fma).get("mma_teraflops"), None);
    }

    /// With tf32 and bf16 a product is held against tensor cores, and what is none against the copy.
    #[test]
    fn passes_are_held_against_their_ceiling() {
        let ceilings =
            Ceilings { bytes_per_second: 1e12, fma_flops_per_second: 1e12, mma_flops_per_second: Some(4e12) };
        for (pass, twin) in chosen::<Cpu<f32>>(None).expect("passes") {
            let counts = crate::ops::pass::counted(&twin).expect("counts");
            let line = Line::new(&pass, "bf16", &Measured { seconds: 1.0, counts }, &ceilings);
            let product = ["linear", "conv2d", "conv_transpose2d"].contains(&pass.op);
            assert_eq!(counts.flops > 0, product, "{} {}", pass.op, pass.shape);
            let computes_longer = counts.flops > 4 * counts.bytes;
            assert_eq!(line.ceiling, if computes_longer { "mma" } else { "copy" }, "{} {}", pass.op, pass.shape);
        }
    }
}
