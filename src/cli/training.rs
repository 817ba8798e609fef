//! The beginning of a run: images, memory and folder, by a process alone or by several ranks together.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::arguments::DeviceArgs;
use super::load_options::load_options;
use super::ranks::join::Ranks;
use super::{details, dry_run, eval, output};
use crate::config::{Settings, to_toml, validate_for_images, validate_for_ranks};
use crate::data::{Images, load};
use crate::device::Backend;
use crate::device::cpu::free_memory;
use crate::error::{Result, readable_path};
use crate::run::env::Environment;
use crate::run::{LogFile, RunFolder, messages, write_file};
use crate::train::classes::with_classes;
use crate::train::disk::{self, Disk};
use crate::train::plan::Plan;
use crate::train::predict::{self, Memory};
use crate::train::snapshot::F32Executor;
use crate::train::{Agreement, Evaluation, Init, Interrupt, Session};

/// Everything that a run needs before it has a folder.
struct Ready {
    images: Images,
    settings: Settings,
    reading: Duration,
    memory: Memory,
    init: Option<Init>,
    /// The leader's.
    evaluation: Option<Evaluation>,
}

impl Ready {
    fn of<B: Backend>(backend: &B, settings: &Settings, device: DeviceArgs, is_leader: bool) -> Result<Ready> {
        let start = Instant::now();
        let images = load_images(settings)?;
        let settings = with_classes(settings, &images)?;
        validate_for_ranks(&settings, backend.ranks().world)?;
        let reading = start.elapsed();
        let memory = require_memory(backend, &settings, &images)?;
        let init = Init::of(&settings, images.shape())?;
        let evaluation = if is_leader { eval::evaluation(&settings, &images, device)? } else { None };
        Ok(Ready { images, settings, reading, memory, init, evaluation })
    }

    /// Writes and says what stands at the beginning of a run.
    fn open(
        &self,
        preset: &str,
        environment: &Environment,
        folder: RunFolder,
        begin: impl FnOnce(&RunFolder) -> Result<Interrupt>,
    ) -> Result<(RunFolder, Interrupt)> {
        let Ready { images, settings, reading, memory, init, .. } = self;
        let needed = Disk::of(settings, &images.extent(), memory, &Plan::new(settings, images.count)?);
        write_file(&folder.config_path(), to_toml(settings, preset)?.as_bytes())?;
        environment.add_to(&folder.env_path())?;
        let interrupt = begin(&folder)?;
        if let Some(warning) = dry_run::too_full(&needed, disk::free(folder.path())) {
            say(&folder, &format!("warning: {}", warning.trim_start()))?;
        }
        let start =
            format!("{preset} on {} ({}), in {}", images.description, environment.device, readable_path(folder.path()));
        say(&folder, &start)?;
        if let Some(line) = images.report.line() {
            say(&folder, &line)?;
        }
        details::of_start(environment, settings, preset, images, *reading, memory)?
            .iter()
            .try_for_each(|text| detail(&folder, text))?;
        init.iter().flat_map(Init::lines).for_each(|line| output::to_stderr(&line));
        Ok((folder, interrupt))
    }
}

/// Trains on a backend, which is that of the arguments and computes with so many CPU threads, to the end of the run, and returns its
/// folder. `folder` makes that once nothing that can be known beforehand stands against the run; `begin` listens for signals from then on.
/// Of several ranks the leader makes the folder, and all train.
pub(super) fn train<B: F32Executor>(
    (backend, device, threads): (B, DeviceArgs, usize),
    ranks: &Ranks,
    settings: Settings,
    preset: &str,
    folder: impl FnOnce() -> Result<RunFolder>,
    begin: impl FnOnce(&RunFolder) -> Result<Interrupt>,
) -> Result<RunFolder> {
    let mut agreement = Agreement::new(&backend)?.with_pulse(ranks.pulse());
    let is_leader = ranks.is_leader();
    let ready = agreement.all(Ready::of(&backend, &settings, device, is_leader))?;
    let mut begin = Some(begin);
    let open = || {
        let folder = folder()?;
        let environment = Environment::now(&ranks.describe(&backend), threads);
        begin.take().map(|begin| ready.open(preset, &environment, folder, begin)).transpose()
    };
    let opened = agreement.all(if is_leader { open() } else { Ok(None) })?;
    let (folder, interrupt) = in_the_same_folder(&mut agreement, opened, begin)?;
    ranks.train_in(&folder)?;
    let Ready { images, settings, init, evaluation, .. } = ready;
    let session = Session::start_with(backend, settings, preset, &images, folder, init)?;
    let mut session = session.with_evaluation(evaluation).with_pulse(ranks.pulse());
    session.train(&interrupt)?;
    Ok(session.folder().clone())
}

/// The leader's folder for all ranks, and each rank's ear for signals.
pub(super) fn in_the_same_folder<B: Backend>(
    agreement: &mut Agreement<B>,
    opened: Option<(RunFolder, Interrupt)>,
    begin: Option<impl FnOnce(&RunFolder) -> Result<Interrupt>>,
) -> Result<(RunFolder, Interrupt)> {
    let path = opened.as_ref().map(|(folder, _)| folder.path().to_string_lossy().into_owned());
    let path = PathBuf::from(agreement.text_of_leader(path.as_deref().unwrap_or_default())?);
    let follow = || {
        let folder = RunFolder::open(&path).map_err(|error| {
            error.with_hint(
                "the folder that rank 0 has made: all machines need the runs' folder on a file system that they share",
            )
        })?;
        let interrupt = begin.map(|begin| begin(&folder)).transpose()?.unwrap_or_default();
        Ok((folder, interrupt))
    };
    agreement.all(opened.map_or_else(follow, Ok))
}

/// Reads the images that the settings name, and holds the settings against them.
pub(super) fn load_images(settings: &Settings) -> Result<Images> {
    let images = load(&settings.data.source, &load_options(settings))?;
    validate_for_images(settings, images.shape())?;
    // A set smaller than a batch is refused here, before there is a folder for the run.
    Plan::new(settings, images.count)?;
    Ok(images)
}

/// The memory that training will take. Refuses what does not fit into the machine's, or into the device's own, before anything is
/// allocated for it.
pub(super) fn require_memory<B: Backend>(backend: &B, settings: &Settings, images: &Images) -> Result<Memory> {
    let extent = images.extent();
    let memory = predict::predict_for_ranks(settings, &extent, backend.ranks().world)?.memory;
    // The images are in memory already, and counted as needed.
    let here = free_memory().map(|free| free.saturating_add(extent.bytes()));
    for place in predict::places(backend.own_memory(), here) {
        predict::require_memory(&memory, settings, &extent, place.needed, place.free)?;
    }
    Ok(memory)
}

/// Keeps a line in the run's log, and says it where the user wants details.
pub(super) fn detail(folder: &RunFolder, text: &str) -> Result<()> {
    messages::detail(text);
    LogFile::open(&folder.log_path())?.line(text)
}

/// Says something to a person, and keeps it in the run's log.
pub(super) fn say(folder: &RunFolder, text: &str) -> Result<()> {
    output::to_stderr(text);
    LogFile::open(&folder.log_path())?.line(text)
}
