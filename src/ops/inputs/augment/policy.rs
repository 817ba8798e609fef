//! The policies of differentiable augmentation, under the names that the authors' code gives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::choices::{Choice, Choices};

/// The policies that are on. As text their names with commas between them, such as `color,translation,cutout`; empty for none.
/// Whatever the order of the names, the policies are applied in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AugmentPolicy {
    /// Brightness, saturation and contrast.
    pub color: bool,
    /// A shift by up to an eighth of the image.
    pub translation: bool,
    /// A rectangle of half the image's sides, set to grey.
    pub cutout: bool,
}

impl AugmentPolicy {
    /// All of them.
    pub const ALL: AugmentPolicy = AugmentPolicy { color: true, translation: true, cutout: true };

    /// True where an image stays as it is.
    pub fn is_none(self) -> bool {
        self == AugmentPolicy::default()
    }

    /// The field of a name.
    fn named(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "color" => Some(&mut self.color),
            "translation" => Some(&mut self.translation),
            "cutout" => Some(&mut self.cutout),
            _ => None,
        }
    }
}

impl Choices for AugmentPolicy {
    const CHOICES: &'static [Choice] = &[
        Choice { word: "color", meaning: "Brightness, saturation and contrast." },
        Choice { word: "translation", meaning: "A shift by up to an eighth of height and width." },
        Choice { word: "cutout", meaning: "A rectangle of half the height and width, set to grey." },
    ];
}

impl FromStr for AugmentPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut policy = AugmentPolicy::default();
        for name in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            match policy.named(name) {
                Some(on) if !*on => *on = true,
                _ => {
                    return Err(
                        "unknown or repeated policy, expected names from `color`, `translation` and `cutout`, \
                                each once at most, with commas between them"
                            .into(),
                    );
                }
            }
        }
        Ok(policy)
    }
}

impl fmt::Display for AugmentPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.color, "color"), (self.translation, "translation"), (self.cutout, "cutout")];
        let names: Vec<&str> = all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        f.write_str(&names.join(","))
    }
}

impl TryFrom<String> for AugmentPolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AugmentPolicy> for String {
    fn from(policy: AugmentPolicy) -> String {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_order_each_once() {
        let policy = |color, translation, cutout| AugmentPolicy { color, translation, cutout };
        for (text, expected, shown) in [
            ("", policy(false, false, false), ""),
            (" ", policy(false, false, false), ""),
            ("color", policy(true, false, false), "color"),
            ("cutout, translation", policy(false, true, true), "translation,cutout"),
            ("color,translation,cutout", AugmentPolicy::ALL, "color,translation,cutout"),
        ] {
            let parsed: AugmentPolicy = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (expected, shown), "{text}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
            assert_eq!(parsed.is_none(), shown.is_empty());
        }
        for text in ["colour", "Color", ",", "color,", "color,color", "color translation", "flip", "none"] {
            assert!(text.parse::<AugmentPolicy>().unwrap_err().contains(", expected names from `color`"), "{text}");
        }
        // The words that completion offers are those that are understood, alone and together.
        let words: Vec<&str> = AugmentPolicy::CHOICES.iter().map(|choice| choice.word).collect();
        assert_eq!(words.join(",").parse(), Ok(AugmentPolicy::ALL));
    }
}
