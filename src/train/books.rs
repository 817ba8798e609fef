//! The files that a run writes while it trains: records, pictures, measurements, checkpoints. With several ranks, only the leader writes
//! them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::evaluation::{self, Evaluation};
use super::grid::{GRID, GRID_COLUMNS, Grid};
use super::init::Init;
use super::plan::Plan;
use super::report::{Since, figures};
use super::sampler::Sampler;
use super::snapshot::F32Executor;
use super::step::model::{Average, Model};
use crate::config::Settings;
use crate::data::Images;
use crate::device::Buffer;
use crate::error::readable_path;
use crate::nn::{Generator, ImageShape, TrainedNetwork};
use crate::run::{
    Checkpoint, EventLog, LogFile, Outcome, Progress, Record, RunFolder, RunLock, StatsLog, Status, checkpoint, curves,
    measured, picture, stats, write_file,
};
use crate::{Error, Result};

/// At most `count` images, evenly spread over the data set: a folder of classes shows all of them, and not the first alone. How many
/// they are, and their pixels.
fn spread(images: &Images, count: usize) -> (usize, Vec<u8>) {
    let shown = count.min(images.count);
    let size = images.height * images.width * images.channels;
    let image = |i: usize| {
        let index = (i as u128 * images.count as u128 / shown as u128) as usize;
        &images.pixels[index * size..][..size]
    };
    (shown, (0..shown).flat_map(image).copied().collect())
}

/// The parameters and statistics that samples are drawn with.
fn sampled<'a, B: F32Executor>(
    generator: &'a mut TrainedNetwork<Generator<B>, B>,
    average: &'a mut Option<Average<B>>,
) -> (&'a Buffer<B>, &'a mut Buffer<B>) {
    match average {
        Some(average) => (&average.params, &mut average.stats),
        None => (&generator.memory.params, &mut generator.memory.stats),
    }
}

/// The files of a run that goes on, and what they are made with.
pub(super) struct Books<B: F32Executor> {
    sampler: Sampler<B>,
    grid: Grid,
    folder: RunFolder,
    stats: StatsLog,
    // Begun with the run's first picture.
    events: Option<EventLog>,
    records: Vec<Record>,
    evaluation: Option<Evaluation>,
    // Spent on measuring, on pictures and checkpoints since this start; on the pictures of the last snapshot.
    saving: Duration,
    drawing: Duration,
    pub(super) log: LogFile,
    // Held for as long as the run goes on.
    _lock: RunLock,
}

impl<B: F32Executor> Books<B> {
    /// Those of a new run, in a folder that holds its config.toml and nothing else.
    pub(super) fn begin(backend: &B, settings: &Settings, shape: ImageShape, folder: &RunFolder) -> Result<Self> {
        let lock = folder.lock()?;
        let (stats, records) = (StatsLog::create(&folder.stats_path())?, Vec::new());
        Self::of(backend, settings, shape, folder, lock, (stats, records))
    }

    /// Those of a run up to `step`: what was written after it is cut off.
    pub(super) fn go_on(
        backend: &B,
        settings: &Settings,
        shape: ImageShape,
        folder: &RunFolder,
        lock: RunLock,
        step: u64,
    ) -> Result<Self> {
        let stats = StatsLog::resume(&folder.stats_path(), step)?;
        measured::cut(&folder.metrics_path(), step)?;
        let records = stats::read(&folder.stats_path())?;
        Self::of(backend, settings, shape, folder, lock, (stats, records))
    }

    fn of(
        backend: &B,
        settings: &Settings,
        shape: ImageShape,
        folder: &RunFolder,
        lock: RunLock,
        (stats, records): (StatsLog, Vec<Record>),
    ) -> Result<Self> {
        Ok(Books {
            sampler: Sampler::new(backend, settings, shape)?,
            grid: Grid::new(settings),
            folder: folder.clone(),
            stats,
            events: None,
            records,
            evaluation: None,
            saving: Duration::ZERO,
            drawing: Duration::ZERO,
            log: LogFile::open(&folder.log_path())?,
            _lock: lock,
        })
    }

    /// Has samples measured while the run goes on.
    pub(super) fn evaluate_with(&mut self, evaluation: Option<Evaluation>) {
        self.evaluation = evaluation;
    }

    /// Seconds of training up to the last record.
    pub(super) fn elapsed(&self) -> f64 {
        self.records.last().map_or(0.0, |record| record.elapsed_s)
    }

    /// Writes the files that a run has before its first step, except its checkpoint.
    pub(super) fn open(&mut self, model: &mut Model<B>, images: &Images, init: Option<&Init>) -> Result<()> {
        if let Some(init) = init {
            let text = serde_json::to_string_pretty(&init.record());
            let text = text.map_err(|error| Error::Internal(format!("init.json: {error}")))?;
            write_file(&self.folder.init_path(), format!("{text}\n").as_bytes())?;
            init.lines().iter().try_for_each(|line| self.log.line(line))?;
        }
        let Images { height, width, channels, .. } = *images;
        let (shown, reals) = spread(images, GRID);
        picture::write_grid(&self.folder.reals_path(), &reals, shown, height, width, channels, GRID_COLUMNS, 0)?;
        let path = self.folder.fakes_init_path();
        self.write_fakes(model, &path)?;
        self.begin_events(&model.settings, 0)
    }

    /// The picture and the curves of the step of a checkpoint are made again where the picture is missing.
    pub(super) fn open_again(&mut self, model: &mut Model<B>, step: u64, plan: &Plan) -> Result<()> {
        self.begin_events(&model.settings, step)?;
        if step > 0 && plan.has_snapshot(step) && !self.folder.snapshot_picture_path(step).exists() {
            self.draw_snapshot(model, step)?;
        }
        Ok(())
    }

    /// Says in the run's folder how it stands. Nothing of the run depends on it, so a disk that refuses is no reason to stop.
    pub(super) fn note(&self, outcome: Outcome, step: u64, steps: u64, message: Option<String>) {
        let _ = Status { outcome, step, steps, message }.write(&self.folder.status_path());
    }

    /// The record of a tick, a measurement, the pictures of a snapshot: what is due after step `done`, but for the checkpoint.
    pub(super) fn report(
        &mut self,
        model: &mut Model<B>,
        (done, plan): (u64, &Plan),
        since: &mut Since,
        progress: &Progress,
    ) -> Result<()> {
        let train = &model.settings.train;
        if plan.has_tick(done, train.tick) {
            let updates = model.settings.objective.discriminator_steps as usize;
            let record = since.take(done, plan.epoch, train.batch * updates, &model.settings);
            self.stats.append(&record)?;
            self.records.push(record);
            self.events.as_mut().map_or(Ok(()), |events| events.record(&record))?;
            self.log.line(&progress.tick(&record))?;
        }
        let start = Instant::now();
        if self.evaluation.is_some() && plan.has_evaluation(done) {
            self.measure(model, done, progress)?;
        }
        if plan.has_snapshot(done) {
            let start = Instant::now();
            self.draw_snapshot(model, done)?;
            self.drawing = start.elapsed();
        }
        self.pause(start, since);
        Ok(())
    }

    /// Writes a checkpoint, which comes last of all that a snapshot leaves: a run killed in between makes all of it again.
    pub(super) fn save(&mut self, checkpoint: &Checkpoint, keep: usize, progress: Option<&Progress>) -> Result<()> {
        let start = Instant::now();
        // A record that is still refused is no reason to lose the steps too.
        let _ = self.stats.try_again();
        let path = checkpoint::save(&self.folder.checkpoints_path(), checkpoint, keep)?;
        if let Some(progress) = progress {
            let (saving, pictures) = (start.elapsed().as_secs_f64(), self.drawing.as_secs_f64());
            let text =
                format!("saved {} in {saving:.2} s, pictures and curves in {pictures:.2} s", readable_path(&path));
            self.log.line(&text)?;
            progress.detail(&text);
        }
        Ok(())
    }

    /// Leaves the time since `start` out of that of training.
    pub(super) fn pause(&mut self, start: Instant, since: &mut Since) {
        self.saving += start.elapsed();
        since.pause(start.elapsed());
    }

    /// The last line of a start.
    pub(super) fn close(&mut self, done: u64, all: Duration, progress: &Progress) -> Result<()> {
        let (all, saving) = (all.as_secs_f64(), self.saving.as_secs_f64());
        let text =
            format!("{done} steps done: {:.1} s of training and {saving:.1} s of saving in this start", all - saving);
        self.log.line(&text)?;
        progress.detail(&text);
        Ok(())
    }

    /// Begins the events for TensorBoard of a start after `step`, where they are asked for.
    fn begin_events(&mut self, settings: &Settings, step: u64) -> Result<()> {
        if settings.train.tensorboard {
            self.events = Some(EventLog::begin(&self.folder, step)?);
        }
        Ok(())
    }

    /// Grid and curves.
    fn draw_snapshot(&mut self, model: &mut Model<B>, step: u64) -> Result<()> {
        let picture = self.folder.snapshot_picture_path(step);
        self.write_fakes(model, &picture)?;
        self.events.as_mut().map_or(Ok(()), |events| events.samples(step, &picture))?;
        let extras = evaluation::panels(&measured::read(&self.folder.metrics_path())?);
        curves::draw(&self.folder.curves_path(), &self.records, &figures(&model.settings), &extras)
    }

    /// Measures samples, as `eval` does with a checkpoint of this step.
    fn measure(&mut self, model: &mut Model<B>, step: u64, progress: &Progress) -> Result<()> {
        let Books { sampler, evaluation: Some(evaluation), folder, events, log, .. } = self else {
            return Ok(());
        };
        let start = Instant::now();
        let Model { backend, settings, generator, average, .. } = model;
        let (params, stats) = sampled(generator, average);
        let measured = evaluation
            .measure(step, settings, |latents, classes| sampler.draw(backend, params, stats, latents, classes))?;
        measured.append_to(&folder.metrics_path())?;
        events.as_mut().map_or(Ok(()), |events| events.measured(&measured))?;
        let seconds = start.elapsed().as_secs_f64();
        let text = format!("step {step}: {} ({seconds:.1} s)", evaluation::line(&measured));
        log.line(&text)?;
        progress.say(&text);
        Ok(())
    }

    fn write_fakes(&mut self, model: &mut Model<B>, path: &Path) -> Result<()> {
        let Model { backend, image, generator, average, .. } = model;
        let (params, stats) = sampled(generator, average);
        let Grid { latents, classes, count } = &self.grid;
        let pixels = self.sampler.draw(backend, params, stats, latents, classes)?;
        let ImageShape { h, w, c } = *image;
        picture::write_grid(path, &pixels, *count, h, w, c, GRID_COLUMNS, 0)
    }
}
