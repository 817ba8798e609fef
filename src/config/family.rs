//! Conditions of the families of nets on the settings.

use super::checker::Checker;
use super::settings::{Family, MOST_LAYERS, Norm, OutputLayer, Settings, WIDEST};

impl Checker {
    /// The widths of the nets. Each family has its own settings; settings that the chosen family does not use are rejected.
    pub(super) fn family(&mut self, settings: &Settings) {
        let Settings { generator, discriminator, .. } = settings;
        let channels =
            [("generator.channels", &generator.channels), ("discriminator.channels", &discriminator.channels)];
        let hidden = [("generator.hidden", &generator.hidden), ("discriminator.hidden", &discriminator.hidden)];
        let widths = [
            ("generator.width", "generator.max_width", generator.width, generator.max_width),
            ("discriminator.width", "discriminator.max_width", discriminator.width, discriminator.max_width),
        ];
        match settings.nets.family {
            Family::Dcgan => {
                for (key, list) in channels {
                    let expected = format!("a list of 1 to {MOST_LAYERS} widths where nets.family is dcgan");
                    self.require(!list.is_empty(), key, expected, "[]");
                }
                for (key, max_key, width, max_width) in widths {
                    let expected = "0 where nets.family is dcgan (its widths are the lists `channels` and `hidden`)";
                    self.require(width == 0, key, expected, width);
                    self.require(max_width == 0, max_key, expected, max_width);
                }
            }
            Family::Resnet => {
                for (key, list) in channels.into_iter().chain(hidden) {
                    let expected = "[] where nets.family is resnet (its widths follow from `width` and `max_width`)";
                    self.require(list.is_empty(), key, expected, format!("{list:?}"));
                }
                for (key, max_key, width, max_width) in widths {
                    let expected = format!("from 1 to {WIDEST} where nets.family is resnet");
                    self.require(width > 0, key, expected, width);
                    let expected = format!("from `{key}`, {width}, to {WIDEST}");
                    self.require(max_width >= width, max_key, expected, max_width);
                }
                let expected = "stride1 where nets.family is resnet (its last convolution keeps the size)";
                let output = generator.output;
                self.require(output == OutputLayer::Stride1, "generator.output", expected, output.word());
                let expected = "false where nets.family is resnet (it has no batch normalisation)";
                let norm_first = discriminator.norm_first;
                self.require(!norm_first, "discriminator.norm_first", expected, norm_first);
                let expected = "`none` where nets.family is resnet (it has no normalisation)";
                self.require(discriminator.norm == Norm::None, "discriminator.norm", expected, "`batch`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Override, apply, preset, validate};

    /// A setting of the other family is an error, and so is one that a residual net lacks.
    #[test]
    fn each_family_has_settings_of_its_own() {
        let dcgan = ["generator.width=32", "discriminator.max_width=256", "generator.channels=[]"];
        let resnet = [
            "generator.channels=64,32",
            "generator.hidden=1024",
            "discriminator.channels=64",
            "discriminator.hidden=1024",
            "discriminator.norm_first=true",
            "discriminator.norm=batch",
            "generator.output=stride2",
            "generator.width=0",
            "discriminator.width=70000",
            "generator.max_width=31",
            "discriminator.max_width=0",
        ];
        let words = dcgan.map(|word| ("vgan-cifar10", word)).into_iter();
        for (name, word) in words.chain(resnet.map(|word| ("vgan-cifar10-resnet", word))) {
            let settings = apply(&preset(name).unwrap(), &[Override::parse(word).unwrap()]).unwrap();
            let message = validate(&settings).unwrap_err().to_string();
            let key = word.split_once('=').unwrap().0;
            assert!(message.starts_with(&format!("`{key}` must be ")), "{word}: {message}");
        }
        let changed = [Override::parse("nets.family=resnet").unwrap()];
        let message = validate(&apply(&preset("vgan-mnist").unwrap(), &changed).unwrap()).unwrap_err().to_string();
        for key in ["generator.channels", "discriminator.hidden", "generator.output", "discriminator.norm_first"] {
            assert!(message.contains(&format!("`{key}` must be ")), "{message}");
        }
    }
}
