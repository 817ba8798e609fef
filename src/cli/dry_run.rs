//! `train --dry-run`: the settings as TOML, and beneath them, as comments, what the run would need.

use super::arguments::{DeviceChoice, Opened, on_device};
use super::train::load_options;
use crate::config::{Settings, to_toml, validate_for_images};
use crate::data::{Extent, extent};
use crate::device::Backend;
use crate::device::cpu::free_memory;
use crate::error::Result;
use crate::nn::Parts;
use crate::train::predict::{Memory, Prediction, Speed, largest_batch, predict};
use crate::train::session::Plan;

/// The whole text: a file that `--config` takes.
pub(super) fn text(settings: &Settings, preset: &str, device: DeviceChoice, threads: Option<usize>) -> Result<String> {
    let images = image_extent(settings)?;
    validate_for_images(settings, images.height, images.width, images.channels)?;
    let plan = Plan::new(settings, images.count)?;
    let prediction = predict(settings, &images)?;
    let mut lines = vec![describe(&images)];
    lines.extend(network("generator", &prediction.generator));
    lines.extend(network("discriminator", &prediction.discriminator));
    lines.extend(prediction.encoder.iter().flat_map(|parts| network("encoder", parts)));
    lines.extend(memory(&prediction.memory));
    lines.extend(room(settings, &images, &prediction.memory, free_memory())?);
    lines.extend(time(&prediction, &plan, || device.open_in(threads, settings.train.dtype)));
    if settings.train.minutes > 0.0 {
        lines.push(format!("  at most {} minutes of training, saves left out", settings.train.minutes));
    }
    let comments = lines.iter().map(|line| format!("{}\n", format!("# {line}").trim_end()));
    Ok(format!("{}\n{}", to_toml(settings, preset)?, comments.collect::<String>()))
}

/// How many images these settings name, and of which size. All but `glyphs` are loaded for it.
pub(super) fn image_extent(settings: &Settings) -> Result<Extent> {
    extent(&settings.data.source, &load_options(settings))
}

fn describe(images: &Extent) -> String {
    let Extent { count, height, width, channels } = *images;
    format!("{} images of {height}×{width}, {}", grouped(count as u64), if channels == 1 { "grey" } else { "colour" })
}

/// A line for each tensor, and their sum.
fn network(name: &str, parts: &Parts) -> Vec<String> {
    let row = |name: &str, shape: &str, count: usize| format!("{name:<24} {shape:<22} {:>14}", grouped(count as u64));
    let entries = parts.params.entries().iter();
    let tensors = entries.map(|entry| row(&format!("  {}", entry.name), &format!("{:?}", entry.shape), entry.len()));
    let heading = format!("{name:<24} {:<22} {:>14}", "shape", "parameters");
    [String::new(), heading].into_iter().chain(tensors).chain([row("  in all", "", parts.params.len())]).collect()
}

fn memory(memory: &Memory) -> Vec<String> {
    let row = |(name, bytes): (&str, u64)| format!("  {name:<52} {:>9}", binary(bytes));
    let rows = [
        ("weights, gradients, moments, statistics", memory.networks),
        ("activations and their gradients", memory.activations),
        ("the generator of the snapshots' pictures", memory.sampler),
        ("the data set, as read and as used", memory.images),
        ("a checkpoint while it is written", memory.checkpoint),
        ("allowance for the program and its threads", memory.allowance()),
        ("in all", memory.total()),
    ];
    [String::new(), "memory".into()].into_iter().chain(rows.map(row)).collect()
}

/// Whether the run fits into this machine.
fn room(settings: &Settings, images: &Extent, memory: &Memory, free: Option<u64>) -> Result<Vec<String>> {
    let Some(free) = free else { return Ok(vec![]) };
    let mut lines = vec![format!("  {:<52} {:>9}", "free on this machine", binary(free))];
    if memory.total() > free {
        lines.push(match largest_batch(settings, images, Memory::total, free)? {
            0 => "  too large for this machine with any batch: narrow the model".into(),
            batch => format!("  too large for this machine: the largest batch that fits is {batch}"),
        });
    }
    Ok(lines)
}

/// How long the run would take.
fn time(prediction: &Prediction, plan: &Plan, open: impl FnOnce() -> Result<Opened>) -> Vec<String> {
    let work = &prediction.work;
    let per_step = work.flops as f64 / 1e9;
    let mut lines = vec![
        String::new(),
        "time".into(),
        format!("  {} steps, an epoch has {}", grouped(plan.total), grouped(plan.epoch)),
        format!("  {per_step:.1} GFLOP a step, {} moved", binary(work.moved)),
    ];
    let measured = open().and_then(|opened| {
        on_device!(opened, |backend| Speed::measure(&backend).map(|speed| (speed, backend.describe())))
    });
    let estimate = measured.map(|(speed, device)| {
        let step = speed.seconds(work);
        let run = duration(step * plan.total as f64);
        let (gflops, moved) = (speed.flops / 1e9, binary(speed.moved as u64));
        [
            format!("  about {} a step and {run} in all on this {device}", duration(step)),
            format!("  an estimate, from {gflops:.0} GFLOP/s and {moved}/s measured just now"),
        ]
    });
    match estimate {
        Ok(estimate) => lines.extend(estimate),
        Err(error) => lines.push(format!("  no estimate: {error}")),
    }
    lines
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// Bytes with three digits or so: `1.5 MiB`.
fn binary(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.*} {}", usize::from(value < 100.0), UNITS[unit])
}

/// Seconds in the unit that a person would use.
fn duration(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")];
    match UNITS.iter().find(|(length, _)| seconds >= 1.5 * length) {
        Some((length, unit)) => format!("{:.*} {unit}", usize::from(seconds < 10.0 * length), seconds / length),
        None => format!("{:.0} ms", seconds * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 6_640_193].map(grouped), ["0", "999", "1,000", "6,640,193"]);
        let bytes = [0, 512, 1 << 20, 1000 << 20, 3 << 29, u64::MAX];
        assert_eq!(bytes.map(binary), ["0.0 KiB", "0.5 KiB", "1.0 MiB", "1.0 GiB", "1.5 GiB", "16384 PiB"]);
        let seconds = [0.0, 0.0123, 1.4, 1.5, 42.0, 89.0, 90.0, 1200.0, 7200.0, 1e9];
        let texts = [
            "0 ms",
            "12 ms",
            "1400 ms",
            "1.5 seconds",
            "42 seconds",
            "89 seconds",
            "1.5 minutes",
            "20 minutes",
            "2.0 hours",
            "11574 days",
        ];
        assert_eq!(seconds.map(duration), texts);
    }

    #[test]
    fn too_large_is_said() {
        let settings = crate::config::preset("quick").unwrap();
        let images = Extent { count: 100, height: 28, width: 28, channels: 1 };
        let memory = predict(&settings, &images).unwrap().memory;
        let lines = |free| room(&settings, &images, &memory, free).unwrap().join("\n");
        assert_eq!(lines(None), "");
        assert!(!lines(Some(memory.total())).contains("too large"));
        assert!(lines(Some(memory.total() - 1)).contains("the largest batch that fits is 63"));
        assert!(lines(Some(0)).contains("narrow the model"));
    }
}
