//! Conditions on the settings of section `objective`, and on the nets for them.

use super::checker::Checker;
use super::objective::{Loss, ObjectiveSettings, Penalty};
use super::settings::{Family, Norm, Settings};

impl Checker {
    pub(super) fn objective(&mut self, objective: &ObjectiveSettings) {
        let target = objective.real_target;
        let odds = Loss::words_where(Loss::is_log_odds);
        let expected = format!("1 where objective.loss is not {odds}: only they have a target to smooth");
        self.require(objective.loss.is_log_odds() || target == 1.0, "objective.real_target", expected, target);
        let repelling = objective.repelling;
        let expected = "0 where objective.loss is not ebgan: it is a term of that loss";
        self.require(objective.loss == Loss::Ebgan || repelling == 0.0, "objective.repelling", expected, repelling);
        let fall = objective.instance_noise_steps;
        let expected = "0 where objective.instance_noise is 0";
        self.require(fall == 0 || objective.instance_noise > 0.0, "objective.instance_noise_steps", expected, fall);
        if objective.feature_matching > 0.0 {
            self.feature_matching(objective);
        }
    }

    /// Rejects settings that feature matching excludes: those that need the energies of G's images in its step, or add
    /// to the loss that features take the place of.
    fn feature_matching(&mut self, objective: &ObjectiveSettings) {
        let expected = "0 where objective.loss is began: its k follows the energies of the images of G's step, and \
                        feature matching runs no decoder there";
        self.require(objective.loss != Loss::Began, "objective.feature_matching", expected, objective.feature_matching);
        let expected = "0 where objective.feature_matching is not 0: it is a term of G's own loss, which feature \
                        matching replaces";
        self.require(objective.repelling == 0.0, "objective.repelling", expected, objective.repelling);
    }

    /// Rejects settings that an autoencoder as discriminator excludes.
    pub(super) fn autoencoder(&mut self, settings: &Settings) {
        let expected = "dcgan where objective.loss is ebgan or began: their discriminator is an autoencoder, and its decoder \
                        mirrors the convolutions of that family alone";
        self.require(settings.nets.family == Family::Dcgan, "nets.family", expected, "resnet");
        let expected = "none where objective.loss is ebgan or began: a penalty needs the gradient of a logit, and an \
                        autoencoder has an energy instead";
        self.require(
            settings.objective.penalty == Penalty::None,
            "objective.penalty",
            expected,
            settings.objective.penalty.word(),
        );
        let expected = "false where objective.loss is ebgan or began: the rows of a weight are its outputs in a convolution, \
                        its inputs in a transposed one of the decoder, and only the former are normalised";
        let spectral_norm = settings.discriminator.spectral_norm;
        self.require(!spectral_norm, "discriminator.spectral_norm", expected, spectral_norm);
    }

    /// Rejects settings that minibatch discrimination excludes; each error names the setting to change.
    pub(super) fn minibatch(&mut self, settings: &Settings) {
        let Settings { nets, discriminator, objective, .. } = settings;
        let kernels = discriminator.minibatch_kernels;
        let key = "discriminator.minibatch_kernels";
        let expected = "0 where nets.family is resnet: it follows a hidden layer of D, and a residual D has none";
        self.require(nets.family != Family::Resnet, key, expected, kernels);
        let expected = "0 where objective.loss is ebgan or began: it precedes D's logit, and an autoencoder has none";
        self.require(!objective.loss.is_energy(), key, expected, kernels);
        if nets.family == Family::Dcgan {
            let expected = "a list with a width where discriminator.minibatch_kernels is not 0: images are compared by the \
                            features of D's last hidden layer (pass --set discriminator.hidden=1024)";
            self.require(!discriminator.hidden.is_empty(), "discriminator.hidden", expected, "[]");
        }
        let expected = "none where discriminator.minibatch_kernels is not 0: a penalty needs the gradient of each \
                        image alone, and minibatch discrimination mixes the images of a batch";
        self.require(objective.penalty == Penalty::None, "objective.penalty", expected, objective.penalty.word());
    }

    /// Rejects settings that need all images of a batch at once, where its parts come one after the other or pass on several ranks.
    pub(super) fn parts(&mut self, settings: &Settings, ranks: usize) {
        let Settings { train, objective, discriminator, .. } = settings;
        let fits = train.batch.is_multiple_of(train.accumulate) && settings.micro_batch() >= 2;
        let expected = format!("a divisor of train.batch ({}) that leaves parts of at least 2 images", train.batch);
        self.require(fits, "train.accumulate", expected, train.accumulate);
        // Statistics of its own need two images, as anywhere.
        let least = if train.sync_batch_norm { 1 } else { 2 };
        let shared = settings.micro_batch().is_multiple_of(ranks) && settings.micro_batch() / ranks >= least;
        let (parts, images) = (train.accumulate * ranks, if least == 1 { "an image" } else { "two images" });
        let expected = format!(
            "a multiple of {parts} where {ranks} ranks train{}, with {images} for each at least",
            if train.accumulate > 1 { format!(" and train.accumulate is {}", train.accumulate) } else { String::new() }
        );
        self.require(ranks == 1 || shared, "train.batch", expected, train.batch);
        let parted = if ranks > 1 { format!("with {ranks} ranks") } else { "where train.accumulate is not 1".into() };
        let alone = |what: &str| format!("{what} {parted}: it looks at all images of a batch at once");
        self.require(
            objective.feature_matching == 0.0,
            "objective.feature_matching",
            alone("0"),
            objective.feature_matching,
        );
        self.require(objective.repelling == 0.0, "objective.repelling", alone("0"), objective.repelling);
        self.require(objective.reconstruction == 0.0, "objective.reconstruction", alone("0"), objective.reconstruction);
        self.require(objective.mode == 0.0, "objective.mode", alone("0"), objective.mode);
        let kernels = discriminator.minibatch_kernels;
        self.require(kernels == 0, "discriminator.minibatch_kernels", alone("0"), kernels);
        let dragan = objective.penalty == Penalty::Dragan;
        self.require(!dragan, "objective.penalty", alone("none, r1, r2 or wgan-gp"), objective.penalty.word());
    }

    /// Rejects settings that a gradient penalty excludes.
    pub(super) fn penalty(&mut self, settings: &Settings) {
        let expected = "`none` where objective.penalty is not `none`: the penalty needs the gradient of each image \
                        alone, and batch normalisation mixes the images of a batch (pass --set discriminator.norm=none)";
        self.require(settings.discriminator.norm == Norm::None, "discriminator.norm", expected, "`batch`");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Override, apply, preset, validate, validate_for_images};
    use super::Loss;
    use crate::image::ImageShape;

    #[test]
    fn a_penalty_refuses_batch_normalisation_and_says_what_to_set() {
        let set = |words: &[&str]| {
            let overrides: Vec<Override> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
            validate(&apply(&preset("vgan-mnist").unwrap(), &overrides).unwrap())
        };
        for penalty in ["penalty=r1", "penalty=r2", "penalty=wgan-gp", "penalty=dragan"] {
            let message = set(&[penalty]).unwrap_err().to_string();
            assert!(message.contains("`discriminator.norm`") && message.contains("mixes the images"), "{message}");
            // The message, taken at its word.
            let advice = message.split("--set ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
            set(&[penalty, advice]).unwrap();
        }
        set(&["penalty=none"]).unwrap();
    }

    #[test]
    fn accumulation_refuses_what_looks_at_the_whole_batch() {
        let set = |words: &[&str]| {
            let overrides: Vec<Override> =
                words.iter().chain(&["train.accumulate=2"]).map(|word| Override::parse(word).unwrap()).collect();
            validate(&apply(&preset("vgan-cifar10-resnet").unwrap(), &overrides).unwrap())
        };
        set(&["penalty=wgan-gp", "instance_noise=0.1", "augment=color,cutout"]).unwrap();
        for word in ["feature_matching=1", "reconstruction=0.2", "mode=0.4", "penalty=dragan"] {
            let message = set(&[word]).unwrap_err().to_string();
            let key = word.split('=').next().unwrap();
            assert!(
                message.contains(&format!("`objective.{key}` must be")) && message.contains("accumulate"),
                "{message}"
            );
        }
        let message = set(&["train.batch=9"]).unwrap_err().to_string();
        assert!(message.starts_with("`train.accumulate` must be a divisor of train.batch (9)"), "{message}");
    }

    #[test]
    fn minibatch_discrimination_refuses_what_it_does_not_go_with() {
        let set = |name: &str, words: &[&str]| {
            let overrides: Vec<Override> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
            validate(&apply(&preset(name).unwrap(), &overrides).unwrap())
        };
        let kernels = "minibatch_kernels=10";
        let message = set("quick", &[kernels, "discriminator.hidden=[]"]).unwrap_err().to_string();
        assert!(message.starts_with("`discriminator.hidden` must be a list with a width"), "{message}");
        // The message, taken at its word.
        let advice = message.split("--set ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
        set("quick", &[kernels, advice, "discriminator.spectral_norm=true", "feature_matching=1"]).unwrap();
        let message = set("quick", &[kernels, "penalty=r1", "discriminator.norm=none"]).unwrap_err().to_string();
        assert!(
            message.starts_with("`objective.penalty` must be none") && message.contains("mixes the images"),
            "{message}"
        );
        let message = set("vgan-cifar10-resnet", &[kernels]).unwrap_err().to_string();
        assert!(
            message.starts_with("`discriminator.minibatch_kernels` must be 0 where nets.family is resnet"),
            "{message}"
        );
        for loss in ["loss=ebgan", "loss=began"] {
            let message = set("quick", &[kernels, loss]).unwrap_err().to_string();
            assert!(message.contains("must be 0 where objective.loss is ebgan or began"), "{message}");
        }
    }

    #[test]
    fn only_losses_of_log_odds_have_a_target_to_smooth() {
        let smoothed = |loss: &str| {
            let words = [format!("loss={loss}"), "real_target=0.9".into()];
            let overrides: Vec<Override> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
            validate(&apply(&preset("quick").unwrap(), &overrides).unwrap())
        };
        for loss in Loss::ALL.iter().filter(|loss| loss.is_log_odds()) {
            smoothed(loss.word()).unwrap();
        }
        for loss in Loss::ALL.iter().filter(|loss| !loss.is_log_odds()) {
            let error = smoothed(loss.word()).unwrap_err().to_string();
            assert!(error.contains("only they have a target to smooth") && error.contains("is 0.9"), "{error}");
        }
    }

    #[test]
    fn an_autoencoder_refuses_what_it_does_not_go_with() {
        let set = |name: &str, words: &[&str]| {
            let overrides: Vec<Override> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
            let settings = apply(&preset(name).unwrap(), &overrides).unwrap();
            validate(&settings).map(|()| settings)
        };
        for loss in ["loss=ebgan", "loss=began"] {
            let message = set("quick", &[loss, "penalty=r1", "discriminator.norm=none"]).unwrap_err().to_string();
            assert!(message.contains("`objective.penalty` must be none where objective.loss is ebgan"), "{message}");
            assert!(message.contains("is r1"), "{message}");
            let message = set("quick", &[loss, "spectral_norm=true"]).unwrap_err().to_string();
            assert!(message.contains("`discriminator.spectral_norm` must be false"), "{message}");
            let message = set("vgan-cifar10-resnet", &[loss]).unwrap_err().to_string();
            assert!(message.starts_with("`nets.family` must be dcgan"), "{message}");
            let message = set("quick", &[loss, "real_target=0.9"]).unwrap_err().to_string();
            assert!(message.contains("only they have a target to smooth"), "{message}");
            let settings = set("vgan-mnist", &[loss, "bottleneck.enabled=false"]).unwrap();
            validate_for_images(&settings, ImageShape { h: 28, w: 12, c: 1 }).unwrap();
        }
        assert!(set("quick", &["loss=began", "repelling=0.1"]).is_err());
        let message = set("quick", &["loss=began", "feature_matching=1"]).unwrap_err().to_string();
        assert!(message.contains("`objective.feature_matching` must be 0 where objective.loss is began"), "{message}");
        let message = set("quick", &["loss=ebgan", "repelling=0.1", "feature_matching=1"]).unwrap_err().to_string();
        assert!(
            message.starts_with("`objective.repelling` must be 0 where objective.feature_matching is not"),
            "{message}"
        );
        set("quick", &["loss=ebgan", "feature_matching=1"]).unwrap();
        set("quick", &["loss=ebgan", "repelling=0.1"]).unwrap();
    }
}
