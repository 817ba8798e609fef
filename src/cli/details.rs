//! Details of a run's start, which `--verbose` shows and log.txt always has.

use std::time::Duration;

use crate::config::{Settings, differences, preset};
use crate::data::Images;
use crate::device::cpu::free_memory;
use crate::error::Result;
use crate::run::env::Environment;
use crate::train::predict::Memory;
use crate::units::{bytes, grouped};

/// A line each: the images and how long reading them took, the settings that differ from the preset's, the device, the memory.
pub(super) fn of_start(
    environment: &Environment,
    settings: &Settings,
    preset_name: &str,
    images: &Images,
    reading: Duration,
    memory: &Memory,
) -> Result<Vec<String>> {
    let Images { height, width, channels, .. } = *images;
    let seconds = reading.as_secs_f64();
    let mut lines = vec![format!(
        "data: {} images of {height}×{width}×{channels}, read in {seconds:.2} s",
        grouped(images.count as u64)
    )];
    lines.extend(changed(settings, preset_name)?);
    let Environment { device, cpu, cores, os, .. } = environment;
    lines.push(format!("device: {device}; on {cpu}, {cores} cores, {os}"));
    let free = free_memory().map_or_else(String::new, |free| format!(", {} are free", bytes(free)));
    lines.push(format!("memory: about {} for all of it{free}", bytes(memory.total())));
    Ok(lines)
}

/// Each setting that is not as in the preset. A preset of another version of the program says nothing.
fn changed(settings: &Settings, preset_name: &str) -> Result<Vec<String>> {
    let Ok(preset) = preset(preset_name) else { return Ok(Vec::new()) };
    let changed = differences(&[settings, &preset])?;
    let line = |one: &crate::config::Difference| {
        format!("setting: {} = {}, {} in {preset_name}", one.key, one.values[0], one.values[1])
    };
    Ok(changed.iter().map(line).collect())
}
