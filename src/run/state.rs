//! `state.json`: everything of a checkpoint that is not a tensor, and the sha256 of the files that hold the tensors.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::ImageShape;

/// The version of the checkpoint's layout. It grows when an older program could not read a newer checkpoint; those of all
/// earlier formats are read. Since format 2 a state has `settings`, `changes` and `origin`.
pub const FORMAT: u32 = 2;

/// Changes of settings that a state lists; of more, the oldest are left out, and stand in `log.txt` alone.
pub const MOST_CHANGES: usize = 1000;

/// The names of the checkpoint's other files.
pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const OPTIM: &str = "optim.safetensors";

/// The most bytes that a `state.json` may have; ours have about 1,000.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The state of a run after `step` steps. The same state gives the same bytes: there are no times in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`FORMAT`], or an earlier one.
    pub format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// The preset that the run's configuration began with.
    pub preset: String,
    /// The size of the images that the nets were made for.
    pub image: ImageShape,
    /// The key of every random draw.
    pub seed: u64,
    /// Training steps done.
    pub step: u64,
    /// Images of each kind in a step.
    pub batch: u64,
    /// Real images shown to the discriminator: `step` × `batch`, once for each of its updates in a step.
    pub samples_seen: u64,
    /// Passes over the data set, with the fraction.
    pub epoch: f64,
    /// β, the weight of the bottleneck's constraint.
    pub beta: f64,
    /// k, the weight of fake images in the loss of `began`; left out where it is 0, as in every run of another loss.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub balance: f64,
    /// Updates made by the optimisers, for Adam's bias correction.
    pub updates: Updates,
    /// Positions of the random streams.
    pub rng: RngPosition,
    /// The run's data, and the position in it.
    pub data: DataPosition,
    /// The classes that the nets are told; left out where they are told none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
    /// The settings that the weights came from, by `section.key`: all but the run's length and rhythm, and the path of
    /// its images. Empty in format 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, serde_json::Value>,
    /// The settings that were changed by a resume, in order, the newest [`MOST_CHANGES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Origin of the run, if it continued from a checkpoint of another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The checkpoint's other files. `checkpoint::save` fills it in; what the caller puts here is not used.
    pub files: Files,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn never_updated(updates: &u64) -> bool {
    *updates == 0
}

/// The most rows or columns that an image may have.
const MOST_PIXELS: usize = 1 << 16;

/// Updates made by the optimisers: t in Kingma & Ba 2015, algorithm 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// Of the discriminator.
    pub discriminator: u64,
    /// Of the generator.
    pub generator: u64,
    /// Of the encoder of mode regularisation; left out where it is 0, as in every run without one.
    #[serde(default, skip_serializing_if = "never_updated")]
    pub encoder: u64,
}

/// Positions of the counter-based random streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngPosition {
    /// The step whose draws come next: as many as are done.
    pub step: u64,
}

/// The run's data, and the position in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPosition {
    /// The global number of the sample that comes next: as many as were shown.
    pub position: u64,
    /// Images of the data set.
    pub count: u64,
    /// The SHA-256 of all its pixels, as 64 hexadecimal digits in lower case.
    pub sha256: String,
}

/// The classes of the run's images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// Their names, by their numbers.
    pub names: Vec<String>,
    /// The SHA-256 of the number of each image's class, two bytes each, the lower first, as 64 hexadecimal digits in lower case.
    pub sha256: String,
}

/// A setting that a resume changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The last step with the old value.
    pub step: u64,
    /// `section.key`.
    pub key: String,
    /// The old value.
    pub from: serde_json::Value,
    /// The new value.
    pub to: serde_json::Value,
}

/// The checkpoint of another run that this run went on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The name of that run's folder.
    pub run: String,
    /// Its step.
    pub step: u64,
    /// The SHA-256 of its `model.safetensors`, as 64 hexadecimal digits in lower case.
    pub model_sha256: String,
}

/// The checkpoint's other files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The nets, their running statistics, and the EMA.
    #[serde(rename = "model.safetensors")]
    pub model: FileEntry,
    /// The moments of the optimisers.
    #[serde(rename = "optim.safetensors")]
    pub optim: FileEntry,
}

/// Facts about one of the checkpoint's files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, as 64 hexadecimal digits in lower case.
    pub sha256: String,
}

impl State {
    /// The text of `state.json`.
    ///
    /// # Errors
    /// [`Error::Internal`] where a field is out of its range.
    pub fn to_json(&self) -> Result<String> {
        if let Some(Fault { field, range, found }) = self.fault() {
            return Err(Error::Internal(format!("the state's {field} should be {range} and is {found}")));
        }
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Internal(format!("state.json: {e}")))?;
        Ok(text + "\n")
    }

    /// Reads the text of a `state.json`; `path` is for the messages.
    ///
    /// # Errors
    /// [`Error::BadData`] where it is no JSON, or a field is missing, unknown, given twice or out of its range.
    pub fn from_json(path: &Path, bytes: &[u8]) -> Result<State> {
        // The format comes first: a newer one may well have other fields.
        #[derive(Deserialize)]
        struct FormatOnly {
            format: u32,
        }
        let FormatOnly { format } = serde_json::from_slice(bytes)
            .map_err(|e| Error::bad_data(path, format!("a JSON object with \"format\": {FORMAT}"), e.to_string()))?;
        if !(1..=FORMAT).contains(&format) {
            let expected = format!("checkpoint format 1 to {FORMAT}");
            let error = Error::bad_data(path, expected, format!("format {format}"));
            return Err(error.with_hint("read it with the version of vgan-cuda that wrote it"));
        }
        let state: State = serde_json::from_slice(bytes)
            .map_err(|e| Error::bad_data(path, "the fields of a checkpoint's state", e.to_string()))?;
        match state.fault() {
            Some(Fault { field, range, found }) => Err(Error::bad_data(path, format!("{field} to be {range}"), found)),
            None => Ok(state),
        }
    }

    /// The first field that is out of its range.
    fn fault(&self) -> Option<Fault> {
        let fault = |field, range, found: String| Some(Fault { field, range, found });
        for (field, value) in [("epoch", self.epoch), ("beta", self.beta)] {
            if !(value.is_finite() && value >= 0.0) {
                return fault(field, "a finite number from 0", value.to_string());
            }
        }
        if !(0.0..=1.0).contains(&self.balance) {
            return fault("balance", "from 0 to 1", self.balance.to_string());
        }
        let origin = self.origin.iter().map(|origin| ("origin.run", &origin.run));
        let plain = |text: &str, most| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
        for (field, text) in [("version", &self.version), ("preset", &self.preset)].into_iter().chain(origin) {
            if !plain(text, 200) {
                return fault(field, "1 to 200 bytes of plain text", format!("{text:?}"));
            }
        }
        if let Some(name) = self.classes.iter().flat_map(|classes| &classes.names).find(|name| !plain(name, 1000)) {
            return fault("classes.names", "1 to 1000 bytes of plain text each", format!("{name:?}"));
        }
        let ImageShape { h: height, w: width, c: channels } = self.image;
        for (field, side) in [("image.height", height), ("image.width", width)] {
            if !(1..=MOST_PIXELS).contains(&side) {
                return fault(field, "from 1 to 65536", side.to_string());
            }
        }
        if !matches!(channels, 1 | 3) {
            return fault("image.channels", "1 or 3", channels.to_string());
        }
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let Files { model, optim } = &self.files;
        let sums = [("data", &self.data.sha256), (MODEL, &model.sha256), (OPTIM, &optim.sha256)];
        let origin = self.origin.iter().map(|origin| ("origin", &origin.model_sha256));
        let classes = self.classes.iter().map(|classes| ("classes", &classes.sha256));
        for (field, sum) in sums.into_iter().chain(origin).chain(classes) {
            if sum.len() != 64 || !sum.chars().all(is_hex) {
                return fault(field, "listed with a sha256 of 64 hexadecimal digits in lower case", format!("{sum:?}"));
            }
        }
        self.contradiction()
    }

    /// The first field that does not go with another one.
    fn contradiction(&self) -> Option<Fault> {
        let fault = |field, range, found: u64| Some(Fault { field, range, found: found.to_string() });
        if self.batch == 0 || self.batch > self.data.count {
            return fault("batch", "from 1 to data.count", self.batch);
        }
        // A step shows one batch for each of the discriminator's updates.
        let shown = self.step.checked_mul(self.batch).filter(|&once| match once {
            0 => self.samples_seen == 0,
            _ => self.samples_seen > 0 && self.samples_seen.is_multiple_of(once),
        });
        if shown.is_none() {
            return fault("samples_seen", "a multiple of step × batch", self.samples_seen);
        }
        if self.rng.step != self.step {
            return fault("rng.step", "equal to step", self.rng.step);
        }
        if self.data.position != self.samples_seen {
            return fault("data.position", "equal to samples_seen", self.data.position);
        }
        None
    }
}

struct Fault {
    field: &'static str,
    range: &'static str,
    found: String,
}
