//! Rules for settings that differ, at a resume, from those that the run was trained with.
//!
//! A checkpoint names the settings that its weights came from ([`recorded`]); [`changes`] holds those of a resume against
//! them. The table of all settings is [`SETTINGS`]: a test refuses a setting that is not in it.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::differences::SettingValue;
use super::schema::{Key, from_table, keys, to_table};
use super::settings::Settings;
use crate::error::Result;

/// The effect of another value at a resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtResume {
    /// It takes effect from the next step on, and is noted.
    Free,
    /// As [`AtResume::Free`], but not between 0 and more, where a checkpoint has tensors for it or has not.
    FreeUnlessZero,
    /// Refused: the weights, their moments or the data's position mean something else under another value.
    Fixed,
    /// Without effect, since it sets the start of a run. A note says so.
    Start,
    /// It decides how long the run is and how often it reports. The weights of a step don't depend on it.
    Pace,
    /// The path of the images. They are identified by their SHA-256, whatever their path.
    Place,
}

use AtResume::{Fixed, Free, FreeUnlessZero, Pace, Place, Start};

/// Every setting: its name, what a resume does with another value, and why.
pub const SETTINGS: &[(&str, AtResume, &str)] = &[
    ("data.source", Place, "the images are identified by their SHA-256"),
    ("data.resize", Fixed, "other images"),
    ("data.channels", Fixed, "other images"),
    ("data.background", Fixed, "other images, if some are transparent"),
    ("data.seed", Fixed, "other images, if they are the embedded digits"),
    ("data.flip", Free, "drawn at every step"),
    ("data.range", Fixed, "the nets read and draw pixels in this range, and G's last activation depends on it"),
    ("nets.family", Fixed, "other tensors"),
    ("nets.conditional", Fixed, "other tensors"),
    ("nets.class_embedding", Fixed, "other tensors"),
    ("nets.classes", Fixed, "other tensors"),
    ("generator.latent", Fixed, "other tensors"),
    ("generator.prior", Fixed, "G was trained with latents of this distribution"),
    ("generator.hidden", Fixed, "other tensors"),
    ("generator.channels", Fixed, "other tensors"),
    ("generator.width", Fixed, "other tensors"),
    ("generator.max_width", Fixed, "other tensors"),
    ("generator.output", Fixed, "other tensors"),
    ("generator.ema", FreeUnlessZero, "the decay of the moving average; above 0 the checkpoint holds that average"),
    ("generator.ema_half_life", FreeUnlessZero, "as generator.ema, of which it takes the place"),
    ("generator.ema_rampup", Free, "a bound on the half-life from now on"),
    ("discriminator.channels", Fixed, "other tensors"),
    ("discriminator.width", Fixed, "other tensors"),
    ("discriminator.max_width", Fixed, "other tensors"),
    ("discriminator.norm", Fixed, "other tensors"),
    ("discriminator.norm_first", Fixed, "other tensors"),
    ("discriminator.hidden", Fixed, "other tensors"),
    ("discriminator.leak", Fixed, "the weights were trained with this activation"),
    ("discriminator.spectral_norm", Fixed, "the weights were trained with or without this division"),
    ("discriminator.minibatch_kernels", Fixed, "other tensors"),
    ("discriminator.minibatch_dims", Fixed, "other tensors"),
    ("bottleneck.enabled", Fixed, "other tensors"),
    ("bottleneck.channels", Fixed, "other tensors"),
    ("bottleneck.kl_reduction", Fixed, "beta has adapted to the KL in this unit"),
    ("bottleneck.kl_mix", Fixed, "beta has adapted to the constraint at this scale"),
    ("bottleneck.generator_z", Free, "the z of G's step from now on"),
    ("bottleneck.logvar_bias", Start, "the initial value of a bias, which has been trained since"),
    ("bottleneck.sigma", Fixed, "the meaning of the encoder's second output"),
    ("bottleneck.beta", Start, "the initial value of beta, which has moved since"),
    ("bottleneck.beta_step", Free, "the step size of beta from now on"),
    ("bottleneck.target_kl", Free, "the target of beta's constraint from now on"),
    ("objective.loss", Fixed, "D's output means something else under each loss"),
    ("objective.real_target", Free, "part of the loss from now on"),
    ("objective.margin", Free, "part of the loss from now on"),
    ("objective.repelling", Free, "the weight of a term from now on"),
    ("objective.balance_ratio", Free, "the target of k from now on"),
    ("objective.balance_step", Free, "the step size of k from now on"),
    ("objective.penalty", Free, "a term of the loss from now on"),
    ("objective.penalty_weight", Free, "the weight of a term from now on"),
    ("objective.penalty_every", Free, "the interval of a term from now on"),
    ("objective.penalty_z", Free, "the z of a term from now on"),
    ("objective.clip", Free, "a bound on the weights from the next update"),
    ("objective.discriminator_steps", Fixed, "the position in the data depends on it"),
    ("objective.instance_noise", Free, "noise on the images from now on"),
    ("objective.instance_noise_steps", Free, "counted from the run's start"),
    ("objective.augment", Free, "changes of the images from now on"),
    ("objective.feature_matching", Free, "G's loss from now on"),
    (
        "objective.historical_averaging",
        FreeUnlessZero,
        "the weight of a term; above 0 the checkpoint holds a mean for it",
    ),
    ("objective.reconstruction", Free, "the weight of a term; a checkpoint without an encoder is refused"),
    ("objective.mode", Free, "the weight of a term; a checkpoint without an encoder is refused"),
    ("optimizer.kind", Fixed, "the optimiser state belongs to one rule"),
    ("optimizer.discriminator_lr", Free, "the learning rate from now on"),
    ("optimizer.generator_lr", Free, "the learning rate from now on"),
    ("optimizer.warmup", Free, "counted from the run's start"),
    ("optimizer.schedule", Free, "the way that the rates fall from now on"),
    ("optimizer.schedule_start", Free, "counted from the run's start"),
    ("optimizer.schedule_steps", Free, "counted from the step at which the rates begin to fall"),
    ("optimizer.schedule_floor", Free, "the part of the rates that is left in the end"),
    ("optimizer.beta1", Free, "the decay of a moment from now on"),
    ("optimizer.beta2", Free, "the decay of a moment from now on"),
    ("optimizer.decay", Free, "the decay of a moment from now on"),
    ("optimizer.epsilon", Free, "a constant of the update from now on"),
    ("optimizer.init_std", Start, "the initial spread of the weights, which have been trained since"),
    ("train.batch", Fixed, "the position in the data is counted in batches"),
    ("train.accumulate", Free, "the parts of a batch from now on; the images and all draws are the same"),
    ("train.sync_batch_norm", Free, "the images that are normalised together on several ranks from now on"),
    ("train.shard_optimizer", Pace, "where moments lie while several ranks train; a checkpoint has them all"),
    ("train.epochs", Pace, "the run's length"),
    ("train.steps", Pace, "the run's length"),
    ("train.minutes", Pace, "the run's length"),
    ("train.seed", Fixed, "every random draw depends on it, and so does the order of the data"),
    ("train.tick", Pace, "the interval of reports"),
    ("train.snap", Pace, "the interval of saves"),
    ("train.keep", Pace, "the number of checkpoints"),
    ("train.tensorboard", Pace, "a copy of the run's records and pictures"),
    ("train.init", Start, "the source of the initial weights, which have been trained since"),
    ("train.init_parts", Start, "the choice of initial weights, which have been trained since"),
    ("eval.metrics", Pace, "what is measured; the weights do not depend on it"),
    ("eval.every", Pace, "the interval of measurements"),
    ("eval.samples", Pace, "how measurements are made"),
    ("eval.seed", Pace, "how measurements are made"),
    ("eval.classifier", Place, "measurements name the classifier by its hash"),
    ("eval.inception", Place, "measurements name the weights by their hash"),
    ("eval.inception_resize", Pace, "how measurements are made"),
    ("eval.inception_statistics", Place, "measurements name the statistics by their hash"),
    ("train.dtype", Free, "the precision of products from now on; the weights are always f32"),
];

/// The effect of another value of the setting `section.key`, with the reason. A setting that is not in the table, which a
/// test rules out, is fixed.
pub fn at_resume(key: &str) -> (AtResume, &'static str) {
    let found = SETTINGS.iter().find(|(name, _, _)| *name == key);
    found.map_or((Fixed, "nothing is known of it"), |&(_, class, reason)| (class, reason))
}

/// The settings that a checkpoint names: all that its weights depend on, by `section.key`. Neither the run's pace nor the
/// place of its images is among them, so that the same weights come with the same bytes.
///
/// # Errors
/// [`Usage`](crate::Error::Usage) for a whole number above 2⁶³ − 1, which [`validate`](super::validate) refuses too.
pub fn recorded(settings: &Settings) -> Result<BTreeMap<String, SettingValue>> {
    let table = to_table(settings)?;
    let kept = keys().filter(|key| !matches!(at_resume(&key.dotted()).0, Pace | Place));
    Ok(kept.filter_map(|key| Some((key.dotted(), SettingValue(value_of(&table, key)?.clone())))).collect())
}

/// Puts the settings that a checkpoint names over `base`. What it names and this version does not know is passed over;
/// what this version knows and it does not name stays as in `base`.
///
/// # Errors
/// A description of the invalid value.
pub fn with_recorded(
    base: &Settings,
    recorded: &BTreeMap<String, SettingValue>,
) -> std::result::Result<Settings, String> {
    let internal = |error: crate::Error| error.to_string();
    let mut table = to_table(base).map_err(internal)?;
    for key in keys() {
        let Some(SettingValue(value)) = recorded.get(&key.dotted()) else { continue };
        key.check(value).map_err(|mismatch| {
            format!("`{}` should be {} and is {}", key.dotted(), mismatch.expected, mismatch.found)
        })?;
        if let Some(Value::Table(section)) = table.get_mut(key.section) {
            section.insert(key.name.to_string(), value.clone());
        }
    }
    from_table(table).map_err(internal)
}

/// A setting that is another one than the run was trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingChange {
    /// `section.key`.
    pub key: String,
    /// The value that the run was trained with.
    pub from: SettingValue,
    /// The value now.
    pub to: SettingValue,
    /// The effect at a resume.
    pub class: AtResume,
    /// The reason.
    pub reason: &'static str,
}

impl SettingChange {
    /// Returns true if a resume is refused because of it.
    pub fn is_refused(&self) -> bool {
        match self.class {
            AtResume::Fixed => true,
            AtResume::FreeUnlessZero => self.from.is_zero() != self.to.is_zero(),
            AtResume::Free | AtResume::Start | AtResume::Pace | AtResume::Place => false,
        }
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} → {}", self.key, self.from, self.to)
    }
}

/// The settings of `now` that are others in `then`, in the order of their names.
///
/// # Errors
/// Those of [`differences`](super::differences()).
pub fn changes(then: &Settings, now: &Settings) -> Result<Vec<SettingChange>> {
    let differences = super::differences(&[then, now])?;
    let change = |one: super::Difference| {
        let (class, reason) = at_resume(&one.key);
        let [from, to] = <[SettingValue; 2]>::try_from(one.values).ok()?;
        Some(SettingChange { key: one.key, from, to, class, reason })
    };
    Ok(differences.into_iter().filter_map(change).collect())
}

/// `now` with the settings of [`AtResume::Start`] as they were `then`: those that the weights really began with.
///
/// # Errors
/// As [`changes`].
pub fn with_start_of(then: &Settings, now: &Settings) -> Result<Settings> {
    let (then, mut table) = (to_table(then)?, to_table(now)?);
    for key in keys().filter(|key| at_resume(&key.dotted()).0 == Start) {
        if let (Some(value), Some(Value::Table(section))) = (value_of(&then, key), table.get_mut(key.section)) {
            section.insert(key.name.to_string(), value.clone());
        }
    }
    from_table(table)
}

fn value_of(table: &Table, key: Key) -> Option<&Value> {
    table.get(key.section)?.get(key.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, apply, known_keys, preset};

    /// A new setting must be thought about: what would it do to a run that is resumed with another value?
    #[test]
    fn every_setting_is_in_the_table_once() {
        let mut listed: Vec<&str> = SETTINGS.iter().map(|(key, _, _)| *key).collect();
        listed.sort_unstable();
        let known = known_keys();
        let missing: Vec<&String> = known.iter().filter(|key| !listed.contains(&key.as_str())).collect();
        assert!(missing.is_empty(), "settings without a class: {missing:?}");
        assert_eq!(listed, known.iter().map(String::as_str).collect::<Vec<_>>(), "once each, and no others");
        assert!(SETTINGS.iter().all(|(_, _, reason)| !reason.is_empty()));
        assert_eq!(at_resume("no.such").0, Fixed);
    }

    #[test]
    fn what_a_checkpoint_names_is_read_back() {
        let words = ["generator.channels=7,9", "objective.loss=hinge", "beta_step=0.1", "data.flip=true", "batch=9"];
        let overrides: Vec<Override> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
        let settings = apply(&preset("quick").unwrap(), &overrides).unwrap();
        let recorded = recorded(&settings).unwrap();
        let text = serde_json::to_string(&recorded).unwrap();
        assert!(
            text.contains("\"generator.channels\":[7,9]") && text.contains("\"bottleneck.beta_step\":0.1"),
            "{text}"
        );
        assert!(!text.contains("data.source") && !text.contains("train.steps"), "{text}");
        let read: BTreeMap<String, SettingValue> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, recorded);
        let back = with_recorded(&preset("vgan-cifar10").unwrap(), &read).unwrap();
        let left = changes(&back, &settings).unwrap();
        assert!(left.iter().all(|change| matches!(change.class, Pace | Place)), "{left:?}");
        // A whole number is a number too, and what is unknown is passed over.
        let odd: BTreeMap<String, SettingValue> =
            serde_json::from_str(r#"{"bottleneck.beta_step": 1, "later.setting": {"x": [1]}}"#).unwrap();
        assert_eq!(with_recorded(&settings, &odd).unwrap().bottleneck.beta_step, 1.0);
        let wrong = serde_json::from_str(r#"{"train.batch": "many"}"#).unwrap();
        let error = with_recorded(&settings, &wrong).unwrap_err();
        assert!(error.contains("`train.batch` should be a whole number") && error.contains("`many`"), "{error}");
    }

    #[test]
    fn each_class_has_its_say() {
        let then = preset("quick").unwrap();
        let refused = |word: &str| {
            let now = apply(&then, &[Override::parse(word).unwrap()]).unwrap();
            let [change] = &changes(&then, &now).unwrap()[..] else { panic!("{word}") };
            (change.is_refused(), change.class)
        };
        for (word, expected) in [
            ("data.range=-1..1", (true, Fixed)),
            ("objective.loss=hinge", (true, Fixed)),
            ("generator_lr=0.5", (false, Free)),
            ("generator.ema=0.5", (true, FreeUnlessZero)),
            ("bottleneck.beta=0.7", (false, Start)),
            ("train.keep=9", (false, Pace)),
            ("data.source=elsewhere", (false, Place)),
        ] {
            assert_eq!(refused(word), expected, "{word}");
        }
        let averaged = |ema: f64| Settings {
            generator: super::super::GeneratorSettings { ema, ..then.generator.clone() },
            ..then.clone()
        };
        assert!(!changes(&averaged(0.9), &averaged(0.99)).unwrap()[0].is_refused());
        let now = apply(&then, &[Override::parse("bottleneck.beta=0.7").unwrap()]).unwrap();
        assert_eq!(changes(&then, &now).unwrap()[0].to_string(), "bottleneck.beta 0.0 → 0.7");
        assert_eq!(with_start_of(&then, &now).unwrap(), then);
    }
}
