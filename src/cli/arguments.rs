//! Arguments that several subcommands share.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use half::bf16;

use super::output::to_stderr;
use crate::config::{Override, PRESETS};
use crate::device::cuda::{self, Driver};
use crate::device::{Accelerator, Cpu, Precision, Storage};
use crate::error::{Error, Result};
use crate::ops::self_check::self_check;

/// The device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// The best there is.
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number, as the CUDA driver counts them.
    Cuda(usize),
}

/// An opened device. [`on_device`] runs generic code on it.
pub(crate) enum Opened {
    /// The processor.
    Cpu(Cpu<f32>),
    /// The processor, with activations in bf16.
    CpuBf16(Cpu<f32, bf16>),
    /// A GPU.
    Gpu(Accelerator<f32>),
    /// A GPU, with activations in bf16.
    GpuBf16(Accelerator<f32, bf16>),
}

impl Opened {
    /// CPU threads that compute; none where a GPU does.
    pub(crate) fn threads(&self) -> usize {
        match self {
            Opened::Cpu(cpu) => cpu.threads(),
            Opened::CpuBf16(cpu) => cpu.threads(),
            Opened::Gpu(_) | Opened::GpuBf16(_) => 0,
        }
    }
}

/// Runs `$work` with `$backend` as the backend of an [`Opened`] device, compiled for each kind.
macro_rules! on_device {
    ($opened:expr, |$backend:ident| $work:expr) => {
        match $opened {
            $crate::cli::arguments::Opened::Cpu($backend) => $work,
            $crate::cli::arguments::Opened::CpuBf16($backend) => $work,
            $crate::cli::arguments::Opened::Gpu($backend) => $work,
            $crate::cli::arguments::Opened::GpuBf16($backend) => $work,
        }
    };
}
pub(crate) use on_device;

impl DeviceChoice {
    /// This device, with every core of the CPU, and kernels that are checked on a GPU.
    pub(crate) fn with_defaults(self) -> DeviceArgs {
        DeviceArgs { device: self, threads: None, no_selfcheck: false }
    }
}

impl DeviceArgs {
    /// Opens the device that was chosen, to compute in f32.
    ///
    /// # Errors
    /// As [`DeviceArgs::open_in`].
    pub(crate) fn open(self) -> Result<Opened> {
        self.open_in(Precision::F32)
    }

    /// Opens the device that was chosen, to compute products in `precision`. On a GPU the fast kernels are checked first, unless
    /// `--no-selfcheck` is given.
    ///
    /// # Errors
    /// [`Error::Device`] for a GPU that was asked for by name and can't be used.
    pub(crate) fn open_in(self, precision: Precision) -> Result<Opened> {
        let on_cpu = || match precision {
            Precision::F32 => Cpu::new(self.threads).map(Opened::Cpu),
            Precision::Tf32 => Cpu::in_tf32(self.threads).map(Opened::Cpu),
            Precision::Bf16 => Cpu::new(self.threads).map(Opened::CpuBf16),
        };
        let on_gpu = |number| {
            let gpu = cuda::open(number)?;
            match precision {
                Precision::F32 => self.checked(Accelerator::new(gpu)).map(Opened::Gpu),
                Precision::Tf32 => self.checked(Accelerator::in_tf32(gpu)).map(Opened::Gpu),
                Precision::Bf16 => self.checked(Accelerator::new(gpu)).map(Opened::GpuBf16),
            }
        };
        match self.device {
            DeviceChoice::Cpu => on_cpu(),
            DeviceChoice::Cuda(number) => on_gpu(number),
            DeviceChoice::Auto => {
                // The usual machine without a GPU: nothing to be said beyond the device's name.
                let reason = match cuda::driver() {
                    Driver::Missing | Driver::Working(0) => return on_cpu(),
                    _ => cuda::obstacle(0),
                };
                let reason = match reason {
                    Some(reason) => reason,
                    None => match on_gpu(0) {
                        Ok(gpu) => return Ok(gpu),
                        Err(error) => error.to_string(),
                    },
                };
                to_stderr(&format!("note: computing on the CPU: {reason}"));
                on_cpu()
            }
        }
    }
}

/// Refuses a dtype that rounds, in a command that shows numbers as they are.
pub(super) fn require_f32(command: &str, dtype: Precision) -> Result<()> {
    if dtype == Precision::F32 {
        return Ok(());
    }
    Err(Error::Usage(format!("`{command}` rounds no operands: pass --set train.dtype=f32")))
}

impl DeviceArgs {
    /// The kernels, without those that compute something else on this GPU than the plain ones do: for those the plain ones stand in,
    /// and the user is told. All of them with `--no-selfcheck`.
    fn checked<S: Storage<f32>>(self, gpu: Accelerator<f32, S>) -> Result<Accelerator<f32, S>> {
        if self.no_selfcheck {
            return Ok(gpu);
        }
        let wrong = self_check(&gpu)?;
        if !wrong.is_empty() {
            let names: Vec<_> = wrong.iter().map(|kernel| kernel.name()).collect();
            to_stderr(&format!(
                "warning: on this GPU fast kernels compute something else than the plain ones: {}. The plain ones take their place: \
                 the results are right, the steps take longer. Please report this, with what `vgan-cuda doctor` says",
                names.join(", ")
            ));
        }
        Ok(gpu.without(wrong))
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceChoice::Auto => write!(text, "auto"),
            DeviceChoice::Cpu => write!(text, "cpu"),
            DeviceChoice::Cuda(number) => write!(text, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || "expected auto, cpu, cuda or cuda:N".to_string();
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|number| number.parse().ok()).map(Self::Cuda).ok_or_else(wrong),
        }
    }
}

/// The device, and the number of CPU threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct DeviceArgs {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: DeviceChoice,

    /// CPU threads; the results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,

    /// Do not compare fast kernels with plain ones before the start on a GPU
    #[arg(long)]
    pub(crate) no_selfcheck: bool,
}

fn parse_threads(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("expected a whole number from 1 to 1024".into()),
    }
}

/// The layers of settings that any command may put over a preset.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct SettingsArgs {
    /// TOML file of settings that override the preset; flags and --set override the file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Change any setting, as section.key=value; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// The values of `--set`, in order.
    pub(super) fn overrides(&self) -> Result<Vec<Override>> {
        self.set.iter().map(|text| Override::parse(text)).collect()
    }
}

/// Accepts the names of presets, and lists them in the help.
pub(super) fn preset_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(PRESETS.iter().map(|(name, description)| PossibleValue::new(*name).help(*description)))
}

/// Seeds of samples, as `0-31,40`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seeds(pub(crate) Vec<u64>);

/// As many samples as one command may draw.
pub(super) const MOST_SAMPLES: usize = 65_536;

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |part: &str| {
            part.trim().parse::<u64>().map_err(|_| format!("expected seeds such as 0-31,40, found `{part}`"))
        };
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(format!("the range {part} runs backwards"));
            }
            if last - first >= (MOST_SAMPLES - seeds.len()) as u64 {
                return Err(format!("at most {MOST_SAMPLES} seeds at once"));
            }
            seeds.extend(first..=last);
        }
        Ok(Seeds(seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Backend;

    #[test]
    fn devices() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_cpu_rounds_as_it_is_told() {
        for &precision in Precision::ALL {
            let arguments = DeviceArgs { threads: Some(1), ..DeviceChoice::Cpu.with_defaults() };
            let opened = arguments.open_in(precision).expect("threads");
            assert_eq!(matches!(opened, Opened::CpuBf16(_)), precision == Precision::Bf16);
            assert_eq!(on_device!(opened, |backend| backend.precision()), precision);
            assert_eq!(require_f32("trace", precision).is_ok(), precision == Precision::F32);
        }
    }

    #[test]
    fn seeds() {
        assert_eq!("7".parse(), Ok(Seeds(vec![7])));
        assert_eq!("0-3,40, 2-2".parse(), Ok(Seeds(vec![0, 1, 2, 3, 40, 2])));
        assert_eq!("18446744073709551615".parse(), Ok(Seeds(vec![u64::MAX])));
        assert_eq!("0-65535".parse::<Seeds>().map(|seeds| seeds.0.len()), Ok(65_536));
        for wrong in ["", ",", "1,", "a", "3-1", "-1", "1-", "1.5", "0-65536", "0-65535,1", "0-18446744073709551615"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }
}
