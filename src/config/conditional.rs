//! Conditions on the settings of class-conditional nets.

use super::checker::Checker;
use super::settings::{Conditional, Family, Settings};

impl Checker {
    /// Rejects settings that telling the nets a class excludes; each error names the setting to change.
    pub(super) fn conditional(&mut self, settings: &Settings) {
        let Settings { nets, discriminator, objective, .. } = settings;
        if !nets.is_conditional() {
            let expected = "0 where nets.conditional is none: these nets know no classes";
            return self.require(nets.classes == 0, "nets.classes", expected, nets.classes);
        }
        let word = nets.conditional.word();
        let expected = "none where objective.loss is ebgan or began: their discriminator is an autoencoder, and has no logit for \
                        the class to have a part in";
        self.require(!objective.loss.is_energy(), "nets.conditional", expected, word);
        let expected = "none where objective.feature_matching is not 0: G then learns from the mean features of all images, which do \
                        not tell it whether an image is of its class";
        self.require(objective.feature_matching == 0.0, "nets.conditional", expected, word);
        let hidden = nets.family == Family::Dcgan && !discriminator.hidden.is_empty();
        let expected = "projection or selection where D has no hidden layer between code and logit (nets.family = resnet, or \
                        discriminator.hidden = []): the class would add a number to the logit, whatever the image";
        self.require(hidden || nets.conditional != Conditional::Concatenation, "nets.conditional", expected, word);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Override, apply, preset, validate};

    #[test]
    fn conditional_nets_refuse_what_they_do_not_go_with() {
        let set = |name: &str, words: &[&str]| {
            let overrides: Vec<Override> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
            validate(&apply(&preset(name).unwrap(), &overrides).unwrap())
        };
        for word in ["conditional=projection", "conditional=selection", "conditional=concatenation"] {
            set("quick", &[word]).unwrap();
            set("quick", &[word, "nets.classes=10", "penalty=r1", "discriminator.norm=none", "mode=0.1"]).unwrap();
            for loss in ["loss=ebgan", "loss=began"] {
                let message = set("quick", &[word, loss]).unwrap_err().to_string();
                assert!(message.contains("`nets.conditional` must be none where objective.loss is ebgan"), "{message}");
            }
            let message = set("quick", &[word, "feature_matching=1"]).unwrap_err().to_string();
            assert!(message.contains("`nets.conditional` must be none where objective.feature_matching"), "{message}");
            let without = [set("vgan-cifar10-resnet", &[word]), set("quick", &[word, "discriminator.hidden=[]"])];
            for found in without {
                assert_eq!(found.is_err(), word.ends_with("concatenation"), "{word}: {found:?}");
            }
        }
        let message = set("quick", &["nets.classes=10"]).unwrap_err().to_string();
        assert!(message.contains("`nets.classes` must be 0 where nets.conditional is none"), "{message}");
        for wrong in ["nets.classes=65536", "class_embedding=0"] {
            assert!(set("quick", &["conditional=projection", wrong]).is_err(), "{wrong}");
        }
    }
}
