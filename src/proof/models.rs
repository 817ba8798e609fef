//! Narrow models on which whole steps are proved, from tests/models/*.toml, which Python reads too (tests/models/README.md).

use serde::Deserialize;
use toml::{Table, Value};

use crate::config::{Override, Penalty, SECTIONS, Settings, apply, preset};
use crate::nn::ImageShape;
use crate::{Error, Result};

/// A model as its file has it, settings complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Unlike that of any other model of its file.
    pub name: String,
    /// All its settings.
    pub settings: Settings,
    /// The size of its images; `None` where it is only there for others to start from.
    pub image: Option<ImageShape>,
    /// Gradient penalties to check in the place of its losses.
    pub penalties: Vec<Penalty>,
    /// The fixtures that PyTorch computes of it.
    pub pytorch: Vec<PyTorchFixture>,
}

/// A file of tests/fixtures/, or rather two: what goes in, and what PyTorch makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PyTorchFixture {
    /// The files' name, without what follows the first point.
    pub fixture: String,
    /// Height, width and channels.
    pub image: [usize; 3],
    /// The seed of all that is drawn.
    pub seed: u64,
    /// The steps of a trajectory; `None` for a single step with everything that it computes.
    pub steps: Option<usize>,
}

/// A `[[model]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    like: Option<String>,
    preset: Option<String>,
    image: Option<[usize; 3]>,
    #[serde(default)]
    settings: Table,
    #[serde(default)]
    penalties: Vec<Penalty>,
    #[serde(default)]
    pytorch: Vec<PyTorchFixture>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Entry>,
}

/// The models of the gradient check: those of tests/models/gradients.toml, in its order, and the file's `narrowest` with each loss
/// that none of them has.
///
/// # Errors
/// Those of [`read`]: the file is part of the program, so that is a mistake of whoever changed it.
pub fn of_gradients() -> Result<Vec<Model>> {
    with_every_loss(read(include_str!("../../tests/models/gradients.toml"))?)
}

fn with_every_loss(mut models: Vec<Model>) -> Result<Vec<Model>> {
    let Some(narrowest) = models.iter().find(|model| model.name == "narrowest").cloned() else { return Ok(models) };
    let settings = SECTIONS.iter().flat_map(|section| section.settings);
    for choice in settings.filter(|setting| setting.key == "objective.loss").flat_map(|setting| setting.choices) {
        let missing = |model: &Model| model.image.is_none() || model.settings.objective.loss.word() != choice.word;
        if models.iter().all(missing) {
            let settings = apply(&narrowest.settings, &[Override::parse(&format!("objective.loss={}", choice.word))?])?;
            let (name, image) = (format!("vgan, {}", choice.word), Some(ImageShape { h: 4, w: 4, c: 1 }));
            models.push(Model { name, settings, image, ..narrowest.clone() });
        }
    }
    Ok(models)
}

/// Reads a file of models.
///
/// # Errors
/// [`Error::Usage`] for what is no such file: an unknown key or setting, a name that is there twice, a `like` that names no model
/// above.
pub fn read(text: &str) -> Result<Vec<Model>> {
    let file: File = toml::from_str(text).map_err(|error| Error::Usage(format!("a file of models: {error}")))?;
    let mut models: Vec<Model> = Vec::new();
    for entry in file.model {
        let model = complete(entry, &models)?;
        if models.iter().any(|other| other.name == model.name) {
            return Err(Error::Usage(format!("two models are called `{}`", model.name)));
        }
        models.push(model);
    }
    Ok(models)
}

/// A model with all its settings; `above` are those that it may start from.
fn complete(entry: Entry, above: &[Model]) -> Result<Model> {
    let Entry { name, like, preset: from, image, settings, penalties, pytorch } = entry;
    let base = match (&like, &from) {
        (None, None) => Settings::default(),
        (None, Some(from)) => preset(from)?,
        (Some(like), None) => {
            let found = above.iter().find(|model| model.name == *like);
            let missing = || Error::Usage(format!("model `{name}` is like `{like}`, and there is none above it"));
            found.ok_or_else(missing)?.settings.clone()
        }
        (Some(_), Some(_)) => return Err(Error::Usage(format!("model `{name}` has both `like` and `preset`"))),
    };
    let mut overrides = Vec::new();
    for (section, values) in &settings {
        let Value::Table(values) = values else {
            return Err(Error::Usage(format!("model `{name}`: settings.{section} is no section")));
        };
        for (key, value) in values {
            overrides.push(Override::parse(&format!("{section}.{key}={value}"))?);
        }
    }
    let image = image.map(|[h, w, c]| ImageShape { h, w, c });
    Ok(Model { settings: apply(&base, &overrides)?, name, image, penalties, pytorch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loss;

    #[test]
    fn a_model_starts_from_another_from_a_preset_or_from_the_defaults() {
        let text = "[[model]]\nname = 'a'\nsettings.objective.loss = 'hinge'\nsettings.generator.hidden = []\n\
                    [[model]]\nname = 'b'\nlike = 'a'\nimage = [4, 6, 3]\nsettings.bottleneck.beta = 1e-3\n\
                    [[model]]\nname = 'c'\npreset = 'gan-mnist'\npenalties = ['r1']\n";
        let models = read(text).expect("models");
        assert_eq!(models[0].image, None);
        let b = &models[1];
        assert_eq!(b.image, Some(ImageShape { h: 4, w: 6, c: 3 }));
        assert_eq!((b.settings.objective.loss, b.settings.bottleneck.beta), (Loss::Hinge, 1e-3));
        assert!(b.settings.generator.hidden.is_empty());
        assert_eq!(b.settings.train, Settings::default().train);
        assert_eq!(models[2].settings, preset("gan-mnist").expect("a preset"));
        assert_eq!(models[2].penalties, [Penalty::R1]);
    }

    #[test]
    fn a_loss_that_no_model_has_gets_one() {
        let hinge = |model: &Model| model.image.is_some() && model.settings.objective.loss == Loss::Hinge;
        let mut models = of_gradients().expect("models");
        let all = models.len();
        assert_eq!(models.iter().filter(|model| hinge(model)).count(), 1);
        models.retain(|model| !hinge(model));
        let models = with_every_loss(models).expect("models");
        assert!(models.len() == all && hinge(&models[all - 1]), "{:?}", models[all - 1]);
        assert_eq!(models[all - 1].name, "vgan, hinge");
    }

    #[test]
    fn what_is_no_file_of_models_is_refused() {
        for (text, said) in [
            ("[[model]]\nname = 'a'\nsettings.objective.los = 'hinge'\n", "objective.loss"),
            ("[[model]]\nname = 'a'\nlike = 'b'\n[[model]]\nname = 'b'\n", "none above"),
            ("[[model]]\nname = 'a'\n[[model]]\nname = 'a'\n", "two models"),
            ("[[model]]\nname = 'a'\nimages = [1, 1, 1]\n", "images"),
            ("[[model]]\nname = 'a'\nlike = 'a'\npreset = 'quick'\n", "both"),
            ("[[model]]\nname = 'a'\nsettings.batch = 3\n", "no section"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
