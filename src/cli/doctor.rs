//! `doctor`: what this machine offers, for bug reports and for those who wonder why a run is slow.

use clap::Args;
use serde::Serialize;

use super::arguments::{DeviceChoice, on_device};
use super::output::{self, unoptimised};
use crate::device::ranks::nccl;
use crate::device::{Backend, cuda};
use crate::error::Result;
use crate::units::bytes;

/// Report the machine (system, processor, memory, GPU) and the device that a run would use
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda doctor
  vgan-cuda doctor --json")]
pub(super) struct DoctorArgs {
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// The options of `doctor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoctorOptions {
    /// One JSON object instead of the table.
    pub(crate) json: bool,
}

impl DoctorArgs {
    pub(super) fn resolve(self) -> DoctorOptions {
        DoctorOptions { json: self.json }
    }
}

/// Everything there is to report, in words.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(rename = "vgan-cuda")]
    program: String,
    system: String,
    processor: String,
    memory: String,
    kernels: String,
    driver: String,
    /// One entry a GPU.
    gpus: Vec<String>,
    /// The version of NCCL, or what is found instead.
    nccl: String,
    device: String,
}

/// Prints the report.
pub(super) fn run(options: DoctorOptions) -> Result<()> {
    let driver = cuda::driver_version().map_or(String::new(), |version| format!("; it serves CUDA {version}"));
    let build = unoptimised().map_or(String::new(), |note| format!("; {note}"));
    let report = Report {
        program: format!("{}{}{build}", env!("CARGO_PKG_VERSION"), features()),
        system: system(),
        processor: processor(),
        memory: memory(),
        kernels: cuda::describe_kernels(),
        driver: cuda::describe(cuda::driver()) + &driver,
        gpus: cuda::describe_gpus(),
        nccl: nccl::describe(),
        device: device(),
    };
    if options.json {
        return output::print(&output::json(&report)?);
    }
    let mut lines = vec![
        ("vgan-cuda", &report.program),
        ("system", &report.system),
        ("processor", &report.processor),
        ("memory", &report.memory),
        ("kernels", &report.kernels),
        ("driver", &report.driver),
    ];
    lines.extend(report.gpus.iter().map(|gpu| ("GPU", gpu)));
    lines.extend([("NCCL", &report.nccl), ("device", &report.device)]);
    let lines = lines.iter();
    output::print(&lines.map(|(name, value)| format!("{name:<10} {value}\n")).collect::<String>())
}

/// The device that `--device auto` would take.
fn device() -> String {
    match DeviceChoice::Auto.with_defaults().open() {
        Ok(opened) => format!("--device auto takes: {}", on_device!(opened, |backend| backend.describe())),
        Err(error) => format!("none: {error}"),
    }
}

fn features() -> &'static str {
    if cfg!(feature = "download") { "" } else { " (without the feature `download`)" }
}

fn system() -> String {
    let release = read("/etc/os-release");
    let name = field(&release, "PRETTY_NAME", '=').map(|name| name.trim_matches('"'));
    let kernel = read("/proc/sys/kernel/osrelease");
    let name = name.unwrap_or("unknown");
    format!("{name}, {} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH)
}

fn processor() -> String {
    let information = read("/proc/cpuinfo");
    let model = field(&information, "model name", ':').unwrap_or("unknown");
    let threads = std::thread::available_parallelism().map_or("unknown".into(), |count| count.to_string());
    format!("{model}, {threads} threads, {}", vector_instructions())
}

/// The instructions that decide the speed of matrix products.
fn vector_instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return "AVX2 and FMA";
        }
        "neither AVX-512 nor AVX2: slow"
    }
    #[cfg(not(target_arch = "x86_64"))]
    "not an x86-64"
}

fn memory() -> String {
    let information = read("/proc/meminfo");
    let size = |name| {
        let kibibytes = field(&information, name, ':').and_then(kibibytes);
        kibibytes.map_or("unknown".into(), |kibibytes| bytes(kibibytes.saturating_mul(1024)))
    };
    format!("{}, of which free {}", size("MemTotal"), size("MemAvailable"))
}

/// Reads `123 kB`.
fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse().ok()
}

/// A file of the system's, or nothing where there is no such file.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `name <separator> value`.
fn field<'a>(text: &'a str, name: &str, separator: char) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, v)| v.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "MemTotal:       16318480 kB\nMemFree: 3 kB\nmodel name\t: Some CPU @ 2: GHz\n";
        assert_eq!(field(text, "MemTotal", ':').and_then(kibibytes), Some(16_318_480));
        assert_eq!(field(text, "model name", ':'), Some("Some CPU @ 2: GHz"));
        assert_eq!(field(text, "Mem", ':'), None);
        assert_eq!(kibibytes("12 MB"), None);
    }
}
