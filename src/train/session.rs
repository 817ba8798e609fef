//! A run from start to end: steps, ticks, snapshots, and what is left behind when something goes wrong.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGXFSZ;

use super::batch::Batch;
use super::classes;
use super::evaluation::{self, Evaluation};
use super::grid::{GRID, GRID_COLUMNS, Grid};
use super::init::Init;
use super::interrupt::Interrupt;
use super::plan::{Plan, most_seconds};
use super::report::{Since, figures};
use super::sampler::Sampler;
use super::snapshot::{self, DataIdentity, F32Executor, Lineage};
use super::step::model::{Average, HISTORY, Model};
use super::trainer::Trainer;
use crate::config::{PixelRange, Settings};
use crate::data::{Extent, Images};
use crate::device::{Buffer, Network, StepState};
use crate::error::shown;
use crate::nn::{Generator, ImageShape, TrainedNetwork};
use crate::ops::inputs::gather::Gather;
use crate::run::{
    Checkpoint, EventLog, LogFile, Outcome, Progress, Record, RunFolder, RunLock, StatsLog, Status, checkpoint, curves,
    measured, picture, stats, write_file,
};
use crate::{Error, Result, shell};

/// A run in a folder.
pub struct Session<B: F32Executor> {
    trainer: Trainer<B>,
    batch: Batch<B>,
    sampler: Sampler<B>,
    grid: Grid,
    preset: String,
    data: DataIdentity,
    lineage: Lineage,
    plan: Plan,
    folder: RunFolder,
    stats: StatsLog,
    // Begun with the run's first picture.
    events: Option<EventLog>,
    records: Vec<Record>,
    evaluation: Option<Evaluation>,
    // Spent on measuring, on pictures and checkpoints since this start.
    saving: Duration,
    // The step of the newest checkpoint.
    saved: Option<u64>,
    log: LogFile,
    // Held for as long as the run goes on.
    _lock: RunLock,
}

/// The way in which images are picked from a data set and scaled for the nets.
pub fn gather(settings: &Settings, images: &Extent) -> Gather {
    let (low, high) = match settings.data.range {
        PixelRange::ZeroToOne => (0.0, 1.0),
        PixelRange::MinusOneToOne => (-1.0, 1.0),
    };
    let Extent { count, shape: ImageShape { h, w, c } } = *images;
    Gather { n: settings.train.batch, count, h, w, c, low, high, flip: settings.data.flip }
}

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

impl<B: F32Executor> Session<B> {
    /// Starts a run in a folder that holds its config.toml and nothing else: writes the pictures of the real images and
    /// of the untrained generator, and the checkpoint of step 0.
    ///
    /// # Errors
    /// Those of [`Init::of`], which reads the weights that `train.init` names; what the device or the disk refuses.
    pub fn start(backend: B, settings: Settings, preset: &str, images: &Images, folder: RunFolder) -> Result<Self> {
        let settings = classes::with_classes(&settings, images)?;
        let init = Init::of(&settings, images.shape())?;
        Self::start_with(backend, settings, preset, images, folder, init)
    }

    /// [`Session::start`] with weights that were read before.
    ///
    /// # Errors
    /// What the device or the disk refuses.
    pub fn start_with(
        backend: B,
        settings: Settings,
        preset: &str,
        images: &Images,
        folder: RunFolder,
        init: Option<Init>,
    ) -> Result<Self> {
        // Building and drawing use as many threads as training does.
        backend.clone().run(move || Self::start_here(backend, settings, preset, images, folder, init))
    }

    fn start_here(
        backend: B,
        settings: Settings,
        preset: &str,
        images: &Images,
        folder: RunFolder,
        init: Option<Init>,
    ) -> Result<Self> {
        let lock = folder.lock()?;
        let mut session = Self::build(backend, settings, preset, images, folder, lock, |_, _, folder| {
            Ok((StatsLog::create(&folder.stats_path())?, Vec::new()))
        })?;
        if let Some(init) = init {
            init.apply(&mut session.trainer.model)?;
            let text = serde_json::to_string_pretty(&init.record());
            let text = text.map_err(|error| Error::Internal(format!("init.json: {error}")))?;
            write_file(&session.folder.init_path(), format!("{text}\n").as_bytes())?;
            init.lines().iter().try_for_each(|line| session.log.line(line))?;
        }
        let Images { height, width, channels, .. } = *images;
        let (shown, reals) = spread(images, GRID);
        picture::write_grid(&session.folder.reals_path(), &reals, shown, height, width, channels, GRID_COLUMNS, 0)?;
        session.write_fakes(&session.folder.fakes_init_path())?;
        session.begin_events(0)?;
        session.save()?;
        Ok(session)
    }

    /// Goes on from a checkpoint. The picture and the curves of its step are made again where the picture is missing:
    /// the disk refused it, or the user removed it.
    ///
    /// # Errors
    /// [`Error::BadData`] where the checkpoint is one of other settings or images; the records are then as they were.
    pub fn resume(
        backend: B,
        settings: Settings,
        images: &Images,
        folder: RunFolder,
        lock: RunLock,
        checkpoint: (PathBuf, Checkpoint),
    ) -> Result<Self> {
        backend.clone().run(move || Self::resume_here(backend, settings, images, folder, lock, checkpoint))
    }

    fn resume_here(
        backend: B,
        settings: Settings,
        images: &Images,
        folder: RunFolder,
        lock: RunLock,
        (path, checkpoint): (PathBuf, Checkpoint),
    ) -> Result<Self> {
        let (step, preset) = (checkpoint.state.step, checkpoint.state.preset.clone());
        let lineage = Lineage::of(&checkpoint.state);
        let mut session = Self::build(backend, settings, &preset, images, folder, lock, |trainer, data, folder| {
            snapshot::restore(trainer, data, checkpoint, &path)?;
            let log = StatsLog::resume(&folder.stats_path(), step)?;
            measured::cut(&folder.metrics_path(), step)?;
            Ok((log, stats::read(&folder.stats_path())?))
        })?;
        (session.saved, session.lineage) = (Some(step), lineage);
        session.begin_events(step)?;
        session.end_if_out_of_time(step, session.elapsed());
        if step > 0 && session.plan.has_snapshot(step) && !session.folder.snapshot_picture_path(step).exists() {
            session.draw_snapshot(step)?;
        }
        Ok(session)
    }

    fn build(
        backend: B,
        settings: Settings,
        preset: &str,
        images: &Images,
        folder: RunFolder,
        lock: RunLock,
        // What may still fail comes before the records, which a resume cuts.
        records: impl FnOnce(&mut Trainer<B>, &DataIdentity, &RunFolder) -> Result<(StatsLog, Vec<Record>)>,
    ) -> Result<Self> {
        let settings = classes::with_classes(&settings, images)?;
        let plan = Plan::new(&settings, images.count)?;
        let shape = images.shape();
        let labels = classes::numbers_of(&settings, images)?.map(|labels| backend.buffer_of(&labels)).transpose()?;
        let pixels = backend.buffer_of(&images.pixels)?;
        let batch = Batch::Drawn { gather: gather(&settings, &images.extent()), images: pixels, labels };
        let sampler = Sampler::new(&backend, &settings, shape)?;
        let (grid, data) = (Grid::new(&settings), DataIdentity::of(images));
        let log = LogFile::open(&folder.log_path())?;
        let mut trainer = Trainer::new(backend, settings, shape)?;
        let preset = preset.to_string();
        let (stats, records) = records(&mut trainer, &data, &folder)?;
        Ok(Session {
            trainer,
            batch,
            sampler,
            grid,
            preset,
            data,
            lineage: Lineage::default(),
            plan,
            folder,
            stats,
            events: None,
            records,
            evaluation: None,
            saving: Duration::ZERO,
            saved: None,
            log,
            _lock: lock,
        })
    }

    /// Has samples measured while the run goes on, at the steps that its settings name. Training is the same with and without it.
    #[must_use]
    pub fn with_evaluation(self, evaluation: Option<Evaluation>) -> Self {
        Session { evaluation, ..self }
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The run's lengths.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Seconds of training up to the last record.
    fn elapsed(&self) -> f64 {
        self.records.last().map_or(0.0, |record| record.elapsed_s)
    }

    /// A run that has used up its time ends at this step, with all that the end of a run leaves.
    fn end_if_out_of_time(&mut self, step: u64, elapsed: f64) {
        if elapsed >= most_seconds(&self.trainer.model.settings) {
            self.plan.total = self.plan.total.min(step);
        }
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> Result<u64> {
        Ok(self.trainer.read_state()?.step)
    }

    /// Trains to the end of the plan or of its time, or to the first signal.
    ///
    /// # Errors
    /// [`Error::Interrupted`] once the run is saved, [`Error::Diverged`] with the last good checkpoint in place, and what
    /// the disk refuses.
    pub fn train(&mut self, interrupt: &Interrupt) -> Result<()> {
        let backend = self.trainer.model.backend.clone();
        self.note(Outcome::Running, None);
        let outcome = backend.run(|| self.train_here(interrupt));
        match &outcome {
            Ok(()) => self.note(Outcome::Done, None),
            Err(error) => {
                // The run has stopped already; a log that can't be written must not hide why.
                let _ = self.log.line(&error.to_string());
                self.note(Outcome::of(error), Some(error.to_string()));
            }
        }
        outcome
    }

    /// Says in the run's folder how it stands. Nothing of the run depends on it, so a disk that refuses is no reason to stop.
    fn note(&self, outcome: Outcome, message: Option<String>) {
        let step = self.steps_done().ok().or(self.saved).unwrap_or_default();
        let _ = Status { outcome, step, steps: self.plan.total, message }.write(&self.folder.status_path());
    }

    fn train_here(&mut self, interrupt: &Interrupt) -> Result<()> {
        let start = Instant::now();
        let mut done = self.steps_done()?;
        let time_left = Duration::try_from_secs_f64(most_seconds(&self.trainer.model.settings) - self.elapsed()).ok();
        let progress = Progress::new(done, self.plan.total, time_left, figures(&self.trainer.model.settings));
        let mut since = Since::new(self.elapsed());
        while done < self.plan.total {
            let mut signal = None;
            for _ in done..self.next_look(done) {
                self.trainer.step(&self.batch)?;
                signal = signal.or_else(|| interrupt.arrived());
                if signal.is_some() {
                    break;
                }
            }
            let state = self.trainer.read_state()?;
            if state.non_finite != 0 {
                progress.finish();
                return Err(self.diverged(&state));
            }
            self.trainer.read_history(done, state.step)?.iter().for_each(|metrics| since.add(metrics));
            done = state.step;
            self.end_if_out_of_time(done, since.seconds());
            progress.step(done);
            if let Err(error) = self.report(done, &mut since, &progress) {
                progress.finish();
                // A line or a picture that the disk refuses must not cost the steps since the last checkpoint.
                let saved = self.save_once(done);
                return Err(match interrupt.arrived() {
                    // The file that met the limit is named first; then it is a signal like any other.
                    Some((SIGXFSZ, name)) if saved.is_ok() => {
                        progress.say(&format!("warning: {error}"));
                        let _ = self.log.line(&error.to_string());
                        self.interrupted(SIGXFSZ, name)
                    }
                    _ => error,
                });
            }
            // Of a run that is done there is nothing to interrupt.
            if let Some((signal, name)) = signal.filter(|_| done < self.plan.total) {
                self.save_once(done)?;
                progress.finish();
                return Err(self.interrupted(signal, name));
            }
        }
        progress.finish();
        let (all, saving) = (start.elapsed().as_secs_f64(), self.saving.as_secs_f64());
        let text =
            format!("{done} steps done: {:.1} s of training and {saving:.1} s of saving in this start", all - saving);
        self.log.line(&text)?;
        progress.detail(&text);
        Ok(())
    }

    fn interrupted(&self, signal: i32, name: &'static str) -> Error {
        let resume = format!("vgan-cuda resume {}", shell::path(self.folder.path()));
        Error::Interrupted { signal, name, resume }
    }

    /// The step up to which the device works before the host looks at it: the end of the tick at the latest.
    fn next_look(&self, done: u64) -> u64 {
        let next = |period: u64| done.saturating_add(period - done % period);
        let unwatched = self.trainer.model.backend.steps_per_readback().min(HISTORY);
        let tick = self.trainer.model.settings.train.tick.max(1);
        let eval = if self.evaluation.is_some() { next(self.plan.eval) } else { u64::MAX };
        done.saturating_add(unwatched).min(next(tick)).min(next(self.plan.snap)).min(eval).min(self.plan.total)
    }

    /// The record of a tick; the files of a snapshot.
    fn report(&mut self, done: u64, since: &mut Since, progress: &Progress) -> Result<()> {
        let train = &self.trainer.model.settings.train;
        if done.is_multiple_of(train.tick.max(1)) || done == self.plan.total {
            let updates = self.trainer.model.settings.objective.discriminator_steps as usize;
            let record = since.take(done, self.plan.epoch, train.batch * updates, &self.trainer.model.settings);
            self.stats.append(&record)?;
            self.events.as_mut().map_or(Ok(()), |events| events.record(&record))?;
            self.records.push(record);
            self.log.line(&progress.tick(&record))?;
        }
        if self.evaluation.is_some() && (done.is_multiple_of(self.plan.eval) || done == self.plan.total) {
            let start = Instant::now();
            self.measure(done, progress)?;
            self.saving += start.elapsed();
            since.pause(start.elapsed());
        }
        if self.plan.has_snapshot(done) {
            let start = Instant::now();
            // The checkpoint last, so that a run killed in between makes all three again.
            self.draw_snapshot(done)?;
            let drawn = start.elapsed();
            self.save()?;
            let all = start.elapsed();
            let (pictures, saving) = (drawn.as_secs_f64(), (all - drawn).as_secs_f64());
            let path = self.folder.checkpoints_path().join(format!("{done:06}"));
            let text = format!("saved {} in {saving:.2} s, pictures and curves in {pictures:.2} s", shown(&path));
            self.log.line(&text)?;
            progress.detail(&text);
            self.saving += all;
            since.pause(start.elapsed());
        }
        Ok(())
    }

    /// Begins the events for TensorBoard of a start after `step`, where they are asked for.
    fn begin_events(&mut self, step: u64) -> Result<()> {
        if self.trainer.model.settings.train.tensorboard {
            self.events = Some(EventLog::begin(&self.folder, step)?);
        }
        Ok(())
    }

    /// Grid and curves.
    fn draw_snapshot(&mut self, step: u64) -> Result<()> {
        let picture = self.folder.snapshot_picture_path(step);
        self.write_fakes(&picture)?;
        self.events.as_mut().map_or(Ok(()), |events| events.samples(step, &picture))?;
        let extras = evaluation::panels(&measured::read(&self.folder.metrics_path())?);
        curves::draw(&self.folder.curves_path(), &self.records, &figures(&self.trainer.model.settings), &extras)
    }

    /// Measures samples, as `eval` does with a checkpoint of this step.
    fn measure(&mut self, step: u64, progress: &Progress) -> Result<()> {
        let Session { trainer, sampler, evaluation: Some(evaluation), folder, events, log, .. } = self else {
            return Ok(());
        };
        let start = Instant::now();
        let Model { backend, settings, generator, average, .. } = &mut trainer.model;
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

    fn save_once(&mut self, done: u64) -> Result<()> {
        if self.saved == Some(done) { Ok(()) } else { self.save() }
    }

    fn save(&mut self) -> Result<()> {
        let state = snapshot::checkpoint(&self.trainer.model, &self.preset, &self.data, &self.lineage)?;
        checkpoint::save(&self.folder.checkpoints_path(), &state, self.trainer.model.settings.train.keep)?;
        self.saved = Some(state.state.step);
        Ok(())
    }

    fn write_fakes(&mut self, path: &std::path::Path) -> Result<()> {
        let Model { backend, image, generator, average, .. } = &mut self.trainer.model;
        let (params, stats) = sampled(generator, average);
        let Grid { latents, classes, count } = &self.grid;
        let pixels = self.sampler.draw(backend, params, stats, latents, classes)?;
        let ImageShape { h, w, c } = *image;
        picture::write_grid(path, &pixels, *count, h, w, c, GRID_COLUMNS, 0)
    }

    /// Names what is not finite.
    fn diverged(&self, state: &StepState) -> Error {
        let optimizer = &self.trainer.model.settings.optimizer;
        let advice = format!(
            "the last good checkpoint is in {}; try a smaller learning rate: `vgan-cuda resume {} --set \
             optimizer.generator_lr={:.1e} --set optimizer.discriminator_lr={:.1e}`",
            shown(self.folder.checkpoints_path()),
            shell::path(self.folder.path()),
            optimizer.generator_lr / 10.0,
            optimizer.discriminator_lr / 10.0
        );
        let found = match state.non_finite {
            StepState::NON_FINITE_LOSS_D => Ok(("loss_d".to_string(), state.metrics.loss_d)),
            StepState::NON_FINITE_LOSS_G => Ok(("loss_g".to_string(), state.metrics.loss_g)),
            StepState::NON_FINITE_GRADIENT_D => self.bad_gradient(Network::Discriminator),
            StepState::NON_FINITE_GRADIENT_E => self.bad_gradient(Network::Encoder),
            _ => self.bad_gradient(Network::Generator),
        };
        match found {
            Ok((tensor, value)) => Error::Diverged { step: state.step + 1, tensor, value, advice },
            Err(error) => error,
        }
    }

    fn bad_gradient(&self, network: Network) -> Result<(String, f64)> {
        let name = match network {
            Network::Discriminator => "discriminator",
            Network::Generator => "generator",
            Network::Encoder => "encoder",
        };
        let model = &self.trainer.model;
        let memory = model.memory(network).ok_or_else(|| Error::Internal(format!("a gradient of no {name}")))?;
        let backend = &model.backend;
        let gradients = backend.read(backend.view(&memory.gradients))?;
        // Where ranks share the moments, each sees its own share of the sums.
        let Some(index) = gradients.iter().position(|g| !g.is_finite()) else {
            return Ok((format!("a gradient of {name}, in the share of another rank,"), f64::NAN));
        };
        let tensor = memory.parts.params.at(index).map_or_else(String::new, |entry| entry.name.clone());
        Ok((format!("the gradient of {name}.{tensor}"), f64::from(gradients[index])))
    }
}
