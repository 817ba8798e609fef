//! Weights that a run begins with: those of another run, or of a file, in the place of the ones that the seed gives.
//!
//! Names decide: a tensor of the new model takes the one of the same name, `generator.fc.0.weight`, if it has the same shape.
//! Nothing is cut, padded or guessed. What begins so is a run like any other: its checkpoint 0 holds the weights, so a
//! resume needs the source no more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::load::is_checkpoint;
use super::snapshot::{AVERAGE, F32Executor, networks};
use super::step::model::{Average, Model};
use super::trainer::Trainer;
use crate::config::Settings;
use crate::device::{Buffer, DryRun};
use crate::error::readable_path;
use crate::exchange::Weights;
use crate::nn::{ImageShape, NetworkMemory, Parts, Table};
use crate::ops::Executor;
use crate::run::{RunFolder, Tensor, checkpoint};
use crate::{Error, Result};

/// The weights that a run begins with, checked against its nets.
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    source: PathBuf,
    sha256: String,
    /// The tensors that are taken, by the new model's names.
    taken: BTreeMap<String, Tensor>,
    /// The name in the source of each, in the same order.
    from: Vec<String>,
    /// Names of the source that are not taken.
    left: Vec<String>,
    /// Whether there is a moving average that starts as the generator does.
    average_follows: bool,
}

/// The content of `init.json` in a run's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record<'a> {
    /// The run's or checkpoint's folder, or the file.
    pub source: String,
    /// The SHA-256 of the file of weights.
    pub sha256: &'a str,
    /// The new model's tensors, each with its name in the source.
    pub taken: BTreeMap<&'a str, &'a str>,
    /// Names of the source that are not in use.
    pub not_taken: &'a [String],
}

impl Init {
    /// Reads what `train.init` names, and holds it against the nets that the settings give for such images; `None` where nothing is named.
    ///
    /// # Errors
    /// [`Error::BadData`] where the source is no run and no file of weights, or tensors are missing or of other shapes: every one of them is
    /// listed. [`Error::Usage`] for parts that the nets have not.
    pub fn of(settings: &Settings, image: ImageShape) -> Result<Option<Init>> {
        if settings.train.init.is_empty() {
            return Ok(None);
        }
        let source = PathBuf::from(&settings.train.init);
        let (tensors, sha256) = read(&source)?;
        let trainer = Trainer::new(DryRun::<f32>::default(), settings.clone(), image)?;
        Plan::new(&trainer.model, &settings.train.init_parts, &source, tensors)?.init(sha256).map(Some)
    }

    /// Puts the weights into a model that was built from the same settings; the copies that products read follow.
    ///
    /// # Errors
    /// Those of the device.
    pub fn apply<B: F32Executor>(&self, model: &mut Model<B>) -> Result<()> {
        for (network, prefix) in super::snapshot::PREFIXES {
            let (backend, Some(memory), _) = model.split(network) else { continue };
            let NetworkMemory { parts: Parts { params, stats }, params: weights, stats: statistics, .. } = memory;
            self.put(backend, params, weights, prefix)?;
            self.put(backend, stats, statistics, prefix)?;
            memory.round(backend)?;
        }
        let Model { backend, generator, average, .. } = model;
        let Some(Average { params, stats }) = average else { return Ok(()) };
        let memory = &generator.memory;
        if self.average_follows {
            backend.copy(backend.view(&memory.params), backend.view_mut(params))?;
            return backend.copy(backend.view(&memory.stats), backend.view_mut(stats));
        }
        self.put(backend, &memory.parts.params, params, AVERAGE)?;
        self.put(backend, &memory.parts.stats, stats, AVERAGE)
    }

    /// Writes the tensors that are taken into an arena; the others stay.
    fn put<B: F32Executor>(&self, backend: &B, table: &Table, arena: &mut Buffer<B>, prefix: &str) -> Result<()> {
        let mut values = backend.read(backend.view(arena))?;
        for entry in table.entries() {
            if let Some(tensor) = self.taken.get(&format!("{prefix}{}", entry.name)) {
                values[entry.range()].copy_from_slice(&entry.from_pytorch(&tensor.values));
            }
        }
        backend.upload(&values, backend.view_mut(arena))
    }

    /// The tensors that were taken and those that were not, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.taken.keys() {
            *counts.entry(name.split('.').next().unwrap_or_default()).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(network, count)| format!("{count} of {network}")).collect();
        let mut lines =
            vec![format!("weights of {}: tensors taken: {}", readable_path(&self.source), counts.join(", "))];
        if self.average_follows {
            lines.push("the moving average begins as the generator does".into());
        }
        if let Some(first) = self.left.first() {
            let more = if self.left.len() > 1 { ", …" } else { "" };
            lines.push(format!("{} tensors of it are not in use: {first}{more}", self.left.len()));
        }
        lines
    }

    /// The content of `init.json`.
    pub fn record(&self) -> Record<'_> {
        let taken = self.taken.keys().map(String::as_str).zip(self.from.iter().map(String::as_str)).collect();
        Record { source: readable_path(&self.source), sha256: &self.sha256, taken, not_taken: &self.left }
    }
}

/// The tensors of a run's newest checkpoint, of a checkpoint, or of a file; and the SHA-256 of the file that holds them.
fn read(source: &Path) -> Result<(Vec<Tensor>, String)> {
    if !source.is_dir() {
        let weights = Weights::read(source)?;
        return Ok((weights.tensors, weights.sha256));
    }
    let (tensors, state) = if is_checkpoint(source) {
        checkpoint::load_model(source)?
    } else {
        checkpoint::newest_model(&RunFolder::open(source)?.checkpoints_path())?.1
    };
    Ok((tensors, state.files.model.sha256))
}

/// A part of the model, and the part of the source that it is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
    to: String,
    from: String,
}

impl Pair {
    /// `generator`, `discriminator.conv` or `generator=average`.
    fn parse(text: &str) -> Pair {
        let (to, from) = text.split_once('=').unwrap_or((text, text));
        let plain = |part: &str| part.trim().trim_end_matches('.').to_string();
        Pair { to: plain(to), from: plain(from) }
    }

    /// The source's name for the model's tensor `name`, if that belongs to this part.
    fn source_of(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(&self.to)?;
        match rest.strip_prefix('.') {
            Some(rest) if self.from.is_empty() => Some(rest.to_string()),
            Some(_) => Some(format!("{}{rest}", self.from)),
            None => rest.is_empty().then(|| self.from.clone()),
        }
    }
}

/// The comparison of a model's tensors with a source's.
struct Plan<'a> {
    path: &'a Path,
    source: BTreeMap<String, Tensor>,
    /// The model's tensors with their shapes.
    model: BTreeMap<String, Vec<usize>>,
    pairs: Vec<Pair>,
    /// True where no parts were named: all networks, and the average if the source has one.
    all: bool,
}

impl<'a> Plan<'a> {
    fn new<B: Executor>(model: &Model<B>, parts: &str, path: &'a Path, tensors: Vec<Tensor>) -> Result<Self> {
        let source: BTreeMap<String, Tensor> =
            tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        let mut shapes = BTreeMap::new();
        let mut add = |prefix: &str, parts: &Parts| {
            for entry in parts.params.entries().iter().chain(parts.stats.entries()) {
                shapes.insert(format!("{prefix}{}", entry.name), entry.shape.clone());
            }
        };
        networks(model).for_each(|(prefix, memory)| add(prefix, &memory.parts));
        if model.average.is_some() {
            add(AVERAGE, &model.generator.memory.parts);
        }
        let all = parts.trim().is_empty();
        let mut pairs: Vec<Pair> = match all {
            true => networks(model).map(|(prefix, _)| Pair::parse(prefix)).collect(),
            false => parts.split(',').map(Pair::parse).collect(),
        };
        let prefixes: BTreeSet<&str> = shapes.keys().filter_map(|name| Some(name.split_once('.')?.0)).collect();
        let is_bare = !source.keys().any(|name| name.split_once('.').is_some_and(|(head, _)| prefixes.contains(head)));
        if let ([pair], true) = (&mut pairs[..], is_bare)
            && pair.to == pair.from
            && prefixes.contains(&pair.to[..])
        {
            // The state_dict of one network, whose names begin with no network's.
            pair.from.clear();
        } else if is_bare && all {
            let first = source.keys().next().map_or("", |name| name);
            let expected = "names that begin with the name of a network, such as `generator.`";
            let hint = "if the file holds one network, say which: --init-parts generator";
            return Err(Error::bad_data(path, expected, format!("`{first}`")).with_hint(hint));
        }
        let plan = Plan { path, source, model: shapes, pairs, all };
        match plan.pairs.iter().find(|pair| !plan.model.keys().any(|name| pair.source_of(name).is_some())) {
            None => Ok(plan),
            Some(pair) => {
                let heads: BTreeSet<&str> =
                    plan.model.keys().filter_map(|name| Some(name.split_once('.')?.0)).collect();
                let heads = heads.into_iter().collect::<Vec<_>>().join(", ");
                let pair: String = pair.to.chars().flat_map(char::escape_default).collect();
                Err(Error::Usage(format!(
                    "init_parts: this model has no tensor `{pair}` and none that begins with `{pair}.`: its networks are {heads}"
                )))
            }
        }
    }

    fn init(mut self, sha256: String) -> Result<Init> {
        let source = self.path.to_path_buf();
        let mut wanted = BTreeMap::new();
        for name in self.model.keys() {
            if let Some(from) = self.pairs.iter().find_map(|pair| pair.source_of(name)) {
                wanted.insert(name.clone(), from);
            }
        }
        if self.all && self.has_average() {
            let average = self.model.keys().filter(|name| name.starts_with(AVERAGE));
            wanted.extend(average.map(|name| (name.clone(), name.clone())));
        }
        self.require_all(&wanted)?;
        let mut taken = BTreeMap::new();
        for (name, from) in &wanted {
            if let Some(tensor) = self.source.get(from) {
                taken.insert(name.clone(), tensor.clone());
            }
        }
        let from: Vec<String> = wanted.into_values().collect();
        self.source.retain(|name, _| !from.contains(name));
        let of_average = |name: &&String| name.starts_with(AVERAGE);
        let average_follows =
            self.model.keys().any(|name| of_average(&name)) && !taken.keys().any(|name| of_average(&name));
        Ok(Init { source, sha256, taken, from, left: self.source.into_keys().collect(), average_follows })
    }

    /// Whether the source has an average that fits this model's, where it has one.
    fn has_average(&self) -> bool {
        let mut average = self.model.iter().filter(|(name, _)| name.starts_with(AVERAGE)).peekable();
        average.peek().is_some()
            && average.all(|(name, shape)| self.source.get(name).is_some_and(|tensor| tensor.shape == *shape))
    }

    /// Refuses a source in which tensors are missing or have other shapes, and lists every one.
    fn require_all(&self, wanted: &BTreeMap<String, String>) -> Result<()> {
        let mut wrong = Vec::new();
        for (name, from) in wanted {
            let shape = &self.model[name];
            let found = match self.source.get(from) {
                Some(tensor) if tensor.shape == *shape => continue,
                Some(tensor) => format!("shape {:?}", tensor.shape),
                None => "none".to_string(),
            };
            let called = if name == from { String::new() } else { format!(" (in the file `{from}`)") };
            wrong.push(format!("\n  {name}{called}: expected shape {shape:?}, found {found}"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let expected = format!("{} tensors with the shapes of this model", wanted.len());
        let found = format!("{} that are missing or have other shapes", wrong.len());
        let hint = format!(
            "take parts that fit with --init-parts, or train with the settings that the weights were made with; these do \
             not fit:{}",
            wrong.concat()
        );
        Err(Error::bad_data(self.path, expected, found).with_hint(hint))
    }
}
