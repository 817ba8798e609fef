//! `train --dry-run`: the settings as TOML, and beneath them, as comments, what the run would need.

use super::arguments::{Opened, on_device};
use super::load_options::load_options;
use super::train_options::TrainOptions;
use crate::config::{Settings, to_toml, validate_for_images, validate_for_ranks};
use crate::data::{Extent, extent, load};
use crate::device::Backend;
use crate::device::cpu::free_memory;
use crate::error::Result;
use crate::image::ImageShape;
use crate::nn::Parts;
use crate::train::Init;
use crate::train::classes::with_classes;
use crate::train::disk::{self, Disk};
use crate::train::plan::Plan;
use crate::train::predict::{Memory, MemoryOf, Prediction, largest_batch, places, predict_for_ranks};
use crate::train::speed::Speed;
use crate::units::{bytes, bytes_apart, duration, grouped};

/// The whole text: a file that `--config` takes.
pub(super) fn text(options: &TrainOptions) -> Result<String> {
    let TrainOptions { settings, preset, outdir, device, ranks, .. } = options;
    let (settings, images) = &sized(settings)?;
    validate_for_images(settings, images.shape)?;
    let ranks = ranks.planned()?;
    validate_for_ranks(settings, ranks)?;
    let plan = Plan::new(settings, images.count)?;
    let prediction = predict_for_ranks(settings, images, ranks)?;
    let mut lines = vec![describe(images)];
    lines.extend(Init::of(settings, images.shape)?.iter().flat_map(Init::lines));
    lines.extend(network("generator", &prediction.generator));
    lines.extend(network("discriminator", &prediction.discriminator));
    lines.extend(prediction.encoder.iter().flat_map(|parts| network("encoder", parts)));
    let opened = device.open_in(settings.train.dtype);
    let own = match &opened {
        Ok(opened) => on_device!(opened, |backend| backend.own_memory()),
        Err(_) => None,
    };
    lines.extend(memory(&prediction.memory, ranks, own.is_some()));
    lines.extend(room(settings, images, &prediction.memory, own, free_memory())?);
    lines.extend(written(&Disk::of(settings, images, &prediction.memory, &plan), disk::free(outdir)));
    lines.extend(time(&prediction, &plan, opened));
    if settings.train.minutes > 0.0 {
        lines.push(format!("  at most {} minutes of training, saving not counted", settings.train.minutes));
    }
    let comments = lines.iter().map(|line| format!("{}\n", format!("# {line}").trim_end()));
    let settings = to_toml(settings, preset)?;
    Ok(format!("{settings}\n# `vgan-cuda settings` explains each setting.\n#\n{}", comments.collect::<String>()))
}

/// The settings with the number of classes, where the nets are told them, and number and size of the images.
fn sized(settings: &Settings) -> Result<(Settings, Extent)> {
    if !settings.nets.is_conditional() {
        return Ok((settings.clone(), image_extent(settings)?));
    }
    let images = load(&settings.data.source, &load_options(settings))?;
    Ok((with_classes(settings, &images)?, images.extent()))
}

/// Number and size of the images that these settings name. All but `glyphs` are loaded for it.
pub(super) fn image_extent(settings: &Settings) -> Result<Extent> {
    extent(&settings.data.source, &load_options(settings))
}

fn describe(images: &Extent) -> String {
    let Extent { count, shape: ImageShape { h, w, c } } = *images;
    format!("{} images of {h}×{w}, {}", grouped(count as u64), if c == 1 { "grey" } else { "colour" })
}

/// A line for each tensor, and their sum.
fn network(name: &str, parts: &Parts) -> Vec<String> {
    let row = |name: &str, shape: &str, count: usize| format!("{name:<24} {shape:<22} {:>14}", grouped(count as u64));
    let entries = parts.params.entries().iter();
    let tensors = entries.map(|entry| row(&format!("  {}", entry.name), &format!("{:?}", entry.shape), entry.len()));
    let heading = format!("{name:<24} {:<22} {:>14}", "shape", "parameters");
    [String::new(), heading].into_iter().chain(tensors).chain([row("  in all", "", parts.params.len())]).collect()
}

/// Of one rank, where there are several; `on_device` where a device with memory of its own trains.
fn memory(memory: &Memory, ranks: usize, on_device: bool) -> Vec<String> {
    let row = |(name, size): (&str, u64)| format!("  {name:<52} {:>9}", bytes(size));
    let parts = [
        ("weights, gradients, moments, statistics", memory.networks),
        ("activations and their gradients", memory.activations),
        ("the generator of the snapshots' pictures", memory.sampler),
        ("the data set, as read and as used", memory.images),
        ("a checkpoint while it is written", memory.checkpoint),
    ];
    let sums = if on_device {
        [("of the GPU's memory", memory.on_device()), ("of this machine's memory", memory.beside_device())]
    } else {
        [("allowance for the program and its threads", memory.allowance()), ("in all", memory.total())]
    };
    let heading = if ranks == 1 { "memory".into() } else { format!("memory of each of {ranks} ranks") };
    [String::new(), heading].into_iter().chain(parts.into_iter().chain(sums).map(row)).collect()
}

/// Tells if the run fits: into what is free of a device's own memory, if it has some, and of this machine's.
fn room(
    settings: &Settings,
    images: &Extent,
    memory: &Memory,
    own: Option<u64>,
    free: Option<u64>,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for MemoryOf { name, needed, free } in places(own, free) {
        lines.push(format!("  {:<52} {:>9}", format!("free on {name}"), bytes(free)));
        if needed(memory) > free {
            lines.push(match largest_batch(settings, images, needed, free, memory.ranks)? {
                0 => format!("  too large for {name} with any batch: narrow the model"),
                batch => format!("  too large for {name}: the largest batch that fits is {batch}"),
            });
        }
    }
    Ok(lines)
}

/// Bytes that the run would write, and a warning if there is no room for them.
fn written(disk: &Disk, free: Option<u64>) -> Vec<String> {
    let row = |name: &str, size: u64| format!("  {name:<52} {:>9}", bytes(size));
    let Disk { checkpoint, checkpoints, picture, pictures, records } = *disk;
    let mut lines = vec![
        String::new(),
        "disk, at most".into(),
        row(&format!("{} checkpoints at once", grouped(checkpoints)), checkpoint.saturating_mul(checkpoints)),
        row(&format!("{} pictures", grouped(pictures)), picture.saturating_mul(pictures)),
        row("records", records),
        row("in all", disk.total()),
    ];
    lines.extend(free.map(|free| row("free where the run would be", free)));
    lines.extend(too_full(disk, free));
    lines
}

/// The warning for a run that will not fit on the disk.
pub(super) fn too_full(disk: &Disk, free: Option<u64>) -> Option<String> {
    let free = free.filter(|free| disk.total() > *free)?;
    let [needed, free] = bytes_apart(disk.total(), free);
    Some(format!(
        "  the run may write up to {needed}, and {free} are free on its disk: keep fewer checkpoints (--keep N), write them less \
         often (--snap STEPS), or choose another disk (--outdir)"
    ))
}

/// An estimate of the run's duration.
fn time(prediction: &Prediction, plan: &Plan, opened: Result<Opened>) -> Vec<String> {
    let work = &prediction.work;
    let per_step = work.flops as f64 / 1e9;
    let mut lines = vec![
        String::new(),
        "time".into(),
        format!("  {} steps, an epoch has {}", grouped(plan.total), grouped(plan.epoch)),
        format!("  {per_step:.1} GFLOP a step, {} moved", bytes(work.moved)),
    ];
    let measured = opened.and_then(|opened| {
        on_device!(opened, |backend| Speed::measure(&backend).map(|speed| (speed, backend.describe())))
    });
    let estimate = measured.map(|(speed, device)| {
        let step = speed.seconds(work);
        let run = duration(step * plan.total as f64);
        let (gflops, moved) = (speed.flops / 1e9, bytes(speed.moved as u64));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_full_is_said() {
        let disk = Disk { checkpoint: 1 << 30, checkpoints: 3, picture: 1 << 20, pictures: 4, records: 1000 };
        assert_eq!(too_full(&disk, None), None);
        assert_eq!(too_full(&disk, Some(disk.total())), None);
        let text = written(&disk, Some(disk.total() - 1)).join("\n");
        assert!(
            text.contains("3 checkpoints at once") && text.contains("3.0 GiB") && text.contains("--keep N"),
            "{text}"
        );
    }

    #[test]
    fn too_large_is_said() {
        let settings = crate::config::preset("quick").unwrap();
        let images = Extent { count: 100, shape: ImageShape { h: 28, w: 28, c: 1 } };
        let memory = predict_for_ranks(&settings, &images, 1).unwrap().memory;
        let lines = |own, free| room(&settings, &images, &memory, own, free).unwrap().join("\n");
        let here = |free| lines(None, Some(free));
        assert_eq!(lines(None, None), "");
        assert!(!here(memory.total()).contains("too large"));
        assert!(here(memory.total() - 1).contains("too large for this machine: the largest batch that fits is 63"));
        assert!(here(0).contains("narrow the model"));
        // On a GPU this machine needs room for no activations.
        let with = |own, free| lines(Some(own), Some(free));
        assert!(memory.beside_device() < memory.total(), "{memory:?}");
        assert!(!with(memory.on_device(), memory.beside_device()).contains("too large"));
        let text = with(memory.on_device() - 1, memory.beside_device());
        assert!(text.contains("too large for the GPU: the largest batch that fits is 63"), "{text}");
        let text = with(memory.on_device(), 0);
        assert!(text.contains("too large for this machine with any batch"), "{text}");
    }
}
