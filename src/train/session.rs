//! A run from start to end: steps, ticks, snapshots, and what is left behind when something goes wrong. Several ranks go through it
//! together; the leader alone writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGXFSZ;

use super::agreement::{Agreement, Look};
use super::batch::Batch;
use super::books::Books;
use super::classes;
use super::evaluation::Evaluation;
use super::init::Init;
use super::interrupt::{Interrupt, name_of};
use super::plan::{Plan, most_seconds};
use super::report::{Since, figures};
use super::snapshot::{self, DataIdentity, F32Executor, Lineage};
use super::step::model::{HISTORY, Model};
use super::trainer::Trainer;
use crate::config::{PixelRange, Settings};
use crate::data::{Extent, Images};
use crate::device::{Network, StepState};
use crate::error::readable_path;
use crate::nn::ImageShape;
use crate::ops::inputs::gather::Gather;
use crate::run::checkpoint::sha256;
use crate::run::ranks::Pulse;
use crate::run::{Checkpoint, Outcome, Progress, RunFolder, RunLock};
use crate::{Error, Result, shell};

/// Steps at most between two moments at which several ranks tell each other of signals.
const STEPS_BETWEEN_AGREEMENTS: u64 = 16;

/// A run in a folder.
pub struct Session<B: F32Executor> {
    trainer: Trainer<B>,
    batch: Batch<B>,
    preset: String,
    data: DataIdentity,
    lineage: Lineage,
    plan: Plan,
    folder: RunFolder,
    agreement: Agreement<B>,
    // The leader's; the others write nothing.
    books: Option<Books<B>>,
    // Whether the leader measures samples.
    evaluates: bool,
    // The step of the newest checkpoint.
    saved: Option<u64>,
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

impl<B: F32Executor> Session<B> {
    /// Starts a run in a folder that holds its config.toml and nothing else: writes the pictures of the real images and
    /// of the untrained generator, and the checkpoint of step 0. Each of several ranks calls this, with the same folder.
    ///
    /// # Errors
    /// Those of [`Init::of`], which reads the weights that `train.init` names; what the device or the disk refuses.
    /// [`Error::Usage`] where ranks have different settings or images.
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
        let mut session = Self::build(backend, settings, preset, images, folder)?;
        if let Some(init) = &init {
            init.apply(&mut session.trainer.model)?;
        }
        session.require_same_start()?;
        session.open_books(|model, folder, _| {
            let mut books = Books::begin(&model.backend, &model.settings, model.image, folder)?;
            books.open(model, images, init.as_ref())?;
            Ok(books)
        })?;
        session.save(None)?;
        Ok(session)
    }

    /// Goes on from a checkpoint. The picture and the curves of its step are made again where the picture is missing:
    /// the disk refused it, or the user removed it. Of several ranks the leader alone has the lock.
    ///
    /// # Errors
    /// [`Error::BadData`] where the checkpoint is one of other settings or images; the records are then as they were.
    pub fn resume(
        backend: B,
        settings: Settings,
        images: &Images,
        folder: RunFolder,
        lock: impl Into<Option<RunLock>>,
        checkpoint: (PathBuf, Checkpoint),
    ) -> Result<Self> {
        let lock = lock.into();
        backend.clone().run(move || Self::resume_here(backend, settings, images, folder, lock, checkpoint))
    }

    fn resume_here(
        backend: B,
        settings: Settings,
        images: &Images,
        folder: RunFolder,
        lock: Option<RunLock>,
        (path, checkpoint): (PathBuf, Checkpoint),
    ) -> Result<Self> {
        let (step, preset) = (checkpoint.state.step, checkpoint.state.preset.clone());
        let lineage = Lineage::of(&checkpoint.state);
        let mut session = Self::build(backend, settings, &preset, images, folder)?;
        let restored = snapshot::restore(&mut session.trainer, &session.data, checkpoint, &path);
        session.agreement.all(restored)?;
        (session.saved, session.lineage) = (Some(step), lineage);
        session.require_same_start()?;
        // What may still fail comes before the records, which a resume cuts.
        session.open_books(|model, folder, plan| {
            let lock = lock.map_or_else(|| folder.lock(), Ok)?;
            let mut books = Books::go_on(&model.backend, &model.settings, model.image, folder, lock, step)?;
            let plan = if books.elapsed() >= most_seconds(&model.settings) { plan.ending_at(step) } else { *plan };
            books.open_again(model, step, &plan)?;
            Ok(books)
        })?;
        if session.agreement.as_leader_says(session.elapsed() >= most_seconds(&session.trainer.model.settings))? {
            session.plan = session.plan.ending_at(step);
        }
        Ok(session)
    }

    fn build(backend: B, settings: Settings, preset: &str, images: &Images, folder: RunFolder) -> Result<Self> {
        let mut agreement = Agreement::new(&backend)?;
        let built = Self::build_alone(backend, settings, images);
        let (trainer, batch, plan) = agreement.all(built)?;
        Ok(Session {
            trainer,
            batch,
            preset: preset.to_string(),
            data: DataIdentity::of(images),
            lineage: Lineage::default(),
            plan,
            folder,
            agreement,
            books: None,
            evaluates: false,
            saved: None,
        })
    }

    fn build_alone(backend: B, settings: Settings, images: &Images) -> Result<(Trainer<B>, Batch<B>, Plan)> {
        let settings = classes::with_classes(&settings, images)?;
        let plan = Plan::new(&settings, images.count)?;
        let shape = images.shape();
        let labels = classes::numbers_of(&settings, images)?.map(|labels| backend.buffer_of(&labels)).transpose()?;
        let pixels = backend.buffer_of(&images.pixels)?;
        let batch = Batch::Drawn { gather: gather(&settings, &images.extent()), images: pixels, labels };
        Ok((Trainer::new(backend, settings, shape)?, batch, plan))
    }

    /// Refuses ranks that would not train the same.
    fn require_same_start(&mut self) -> Result<()> {
        if self.agreement.place().is_alone() {
            return Ok(());
        }
        let model = &self.trainer.model;
        let tensors = snapshot::weights(model)?;
        let bytes: Vec<u8> = tensors.iter().flat_map(|tensor| bytemuck::cast_slice(&tensor.values)).copied().collect();
        let start = (model.read_state()?.step, sha256(&bytes));
        self.agreement.require_same(&model.settings, &self.preset, &self.data, start)
    }

    /// Has the leader open its books; the others wait.
    fn open_books(&mut self, open: impl FnOnce(&mut Model<B>, &RunFolder, &Plan) -> Result<Books<B>>) -> Result<()> {
        let Session { trainer, folder, plan, agreement, .. } = self;
        let is_leader = agreement.place().is_leader();
        let books =
            agreement.pulse().while_reporting(|| is_leader.then(|| open(&mut trainer.model, folder, plan)).transpose());
        self.books = self.agreement.all(books)?;
        Ok(())
    }

    /// Has samples measured while the run goes on, at the steps that its settings name. Training is the same with and without it.
    /// Of several ranks the leader measures.
    #[must_use]
    pub fn with_evaluation(mut self, evaluation: Option<Evaluation>) -> Self {
        self.evaluates = evaluation.is_some();
        if let Some(books) = &mut self.books {
            books.evaluate_with(evaluation);
        }
        self
    }

    /// Tells `pulse` how far this rank is, while it trains.
    #[must_use]
    pub fn with_pulse(self, pulse: Arc<Pulse>) -> Self {
        Session { agreement: self.agreement.with_pulse(pulse), ..self }
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The run's lengths.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Seconds of training up to the last record, as the leader knows them.
    fn elapsed(&self) -> f64 {
        self.books.as_ref().map_or(0.0, Books::elapsed)
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> Result<u64> {
        Ok(self.trainer.read_state()?.step)
    }

    /// Trains to the end of the plan or of its time, or to the first signal at any rank.
    ///
    /// # Errors
    /// [`Error::Interrupted`] once the run is saved, [`Error::Diverged`] with the last good checkpoint in place, and what
    /// the disk refuses. Of several ranks those which the error did not meet end with [`Error::Elsewhere`].
    pub fn train(&mut self, interrupt: &Interrupt) -> Result<()> {
        let backend = self.trainer.model.backend.clone();
        self.note(Outcome::Running, None);
        let outcome = backend.run(|| self.train_here(interrupt));
        match &outcome {
            Ok(()) => self.note(Outcome::Done, None),
            Err(error) => {
                // The run has stopped already; a log that can't be written must not hide why.
                let _ = self.books.as_mut().map_or(Ok(()), |books| books.log.line(&error.to_string()));
                self.note(Outcome::of(error), Some(error.to_string()));
            }
        }
        outcome
    }

    fn note(&self, outcome: Outcome, message: Option<String>) {
        if let Some(books) = &self.books {
            let step = self.steps_done().ok().or(self.saved).unwrap_or_default();
            books.note(outcome, step, self.plan.total, message);
        }
    }

    fn train_here(&mut self, interrupt: &Interrupt) -> Result<()> {
        let start = Instant::now();
        let mut done = self.steps_done()?;
        let most = most_seconds(&self.trainer.model.settings);
        let time_left = Duration::try_from_secs_f64(most - self.elapsed()).ok();
        let progress = Progress::new(done, self.plan.total, time_left, figures(&self.trainer.model.settings));
        let progress = if self.books.is_some() { progress } else { progress.without_a_bar() };
        let mut since = Since::new(self.elapsed());
        self.evaluates = self.agreement.as_leader_says(self.evaluates)?;
        while done < self.plan.total {
            let signal = self.steps(done, interrupt)?;
            let state = self.trainer.read_state()?;
            let seen = Look { signal, non_finite: state.non_finite, out_of_time: since.seconds() >= most };
            let Look { signal, non_finite, out_of_time } = self.agreement.look(seen)?;
            if non_finite != 0 {
                progress.finish();
                let error = self.diverged(&StepState { non_finite, ..state });
                return Err(self.agreement.end_with(error));
            }
            self.trainer.read_history(done, state.step)?.iter().for_each(|metrics| since.add(metrics));
            done = state.step;
            if out_of_time {
                self.plan = self.plan.ending_at(done);
            }
            progress.step(done);
            if let Err(error) = self.report(done, &mut since, &progress) {
                progress.finish();
                return Err(self.stopped_by(error, done, interrupt, &progress));
            }
            // Of a run that is done there is nothing to interrupt.
            if let Some(signal) = signal.filter(|_| done < self.plan.total) {
                self.save_once(done)?;
                progress.finish();
                let error = self.interrupted(signal);
                return Err(self.agreement.end_with(error));
            }
        }
        progress.finish();
        let closed = self.books.as_mut().map_or(Ok(()), |books| books.close(done, start.elapsed(), &progress));
        self.agreement.all(closed)
    }

    /// Steps up to the next look, and the signal that arrived meanwhile. A rank alone looks as soon as there is one.
    fn steps(&mut self, done: u64, interrupt: &Interrupt) -> Result<Option<i32>> {
        let mut signal = None;
        for step in done..self.next_look(done) {
            self.agreement.pulse().begins_step(step + 1);
            self.trainer.step(&self.batch)?;
            signal = signal.or_else(|| interrupt.arrived().map(|(number, _)| number));
            if signal.is_some() && self.agreement.place().is_alone() {
                break;
            }
        }
        Ok(signal)
    }

    /// A line or a picture that the disk refuses must not cost the steps since the last checkpoint.
    fn stopped_by(&mut self, error: Error, done: u64, interrupt: &Interrupt, progress: &Progress) -> Error {
        // Ranks that are gone save nothing, and nobody waits for them.
        if matches!(error, Error::Ranks(_)) {
            return error;
        }
        let saved = self.save_once(done);
        let error = match (interrupt.arrived(), &mut self.books) {
            // The file that met the limit is named first; then it is a signal like any other.
            (Some((SIGXFSZ, _)), Some(books)) if saved.is_ok() => {
                progress.say(&format!("warning: {error}"));
                let _ = books.log.line(&error.to_string());
                self.interrupted(SIGXFSZ)
            }
            _ => error,
        };
        self.agreement.end_with(error)
    }

    fn interrupted(&self, signal: i32) -> Error {
        let resume = format!("vgan-cuda resume {}", shell::path(self.folder.path()));
        Error::Interrupted { signal, name: name_of(signal), resume }
    }

    /// The step up to which the device works before the host looks at it: the end of the tick at the latest.
    fn next_look(&self, done: u64) -> u64 {
        let next = |period: u64| done.saturating_add(period - done % period);
        let most = if self.agreement.place().is_alone() { HISTORY } else { HISTORY.min(STEPS_BETWEEN_AGREEMENTS) };
        let unwatched = self.trainer.model.backend.steps_per_readback().min(most);
        let tick = self.trainer.model.settings.train.tick.max(1);
        let eval = if self.evaluates { next(self.plan.eval) } else { u64::MAX };
        done.saturating_add(unwatched).min(next(tick)).min(next(self.plan.snap)).min(eval).min(self.plan.total)
    }

    /// Does the work that is due after step `done`: the leader's record, measurement and pictures, and a checkpoint.
    fn report(&mut self, done: u64, since: &mut Since, progress: &Progress) -> Result<()> {
        let Session { trainer, plan, agreement, books, evaluates, .. } = self;
        let tick = trainer.model.settings.train.tick;
        if !(plan.has_tick(done, tick) || plan.has_snapshot(done) || (*evaluates && plan.has_evaluation(done))) {
            return Ok(());
        }
        let written = match books {
            Some(books) => {
                agreement.pulse().while_reporting(|| books.report(&mut trainer.model, (done, plan), since, progress))
            }
            None => Ok(()),
        };
        agreement.all(written)?;
        if !plan.has_snapshot(done) {
            return Ok(());
        }
        let start = Instant::now();
        self.save(Some(progress))?;
        if let Some(books) = &mut self.books {
            books.pause(start, since);
        }
        Ok(())
    }

    fn save_once(&mut self, done: u64) -> Result<()> {
        if self.saved == Some(done) { Ok(()) } else { self.save(None) }
    }

    /// Writes a checkpoint, and says so where there is progress to be shown.
    fn save(&mut self, progress: Option<&Progress>) -> Result<()> {
        let Session { trainer, preset, data, lineage, agreement, books, .. } = self;
        // Where moments are shared, each rank has a part of the checkpoint; elsewhere the leader needs nobody.
        let is_asked = books.is_some() || snapshot::shares_moments(&trainer.model);
        let whole = || snapshot::checkpoint(&trainer.model, preset, data, lineage);
        let checkpoint = is_asked.then(whole).transpose()?;
        let keep = trainer.model.settings.train.keep;
        let saved = match (books, checkpoint) {
            (Some(books), Some(checkpoint)) => {
                agreement.pulse().while_reporting(|| books.save(&checkpoint, keep, progress))
            }
            _ => Ok(()),
        };
        agreement.all(saved)?;
        self.saved = Some(self.steps_done()?);
        Ok(())
    }

    /// Names what is not finite.
    fn diverged(&self, state: &StepState) -> Error {
        let optimizer = &self.trainer.model.settings.optimizer;
        let advice = format!(
            "the last good checkpoint is in {}; try a smaller learning rate: `vgan-cuda resume {} --set \
             optimizer.generator_lr={:.1e} --set optimizer.discriminator_lr={:.1e}`",
            readable_path(self.folder.checkpoints_path()),
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
