//! The colour that transparent pictures are laid on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::declare::{Choice, Field};

/// A colour by name (`black`, `white`, `grey`) or as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Background {
    /// Red, green, blue, 0..=255.
    pub rgb: [u8; 3],
}

/// Colours with a name of their own; `grey` is half of white.
const NAMED: [(&str, [u8; 3]); 4] = [("black", [0; 3]), ("white", [255; 3]), ("grey", [128; 3]), ("gray", [128; 3])];

impl FromStr for Background {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMED.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|&(_, rgb)| rgb);
        let rgb = named.or_else(|| six_digits(text));
        rgb.map(|rgb| Background { rgb })
            .ok_or_else(|| "unknown colour, expected `black`, `white`, `grey` or a colour such as `#ff8000`".into())
    }
}

/// `#rrggbb`, in hexadecimal digits of either case.
fn six_digits(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some([red, green, blue])
}

impl Field for Background {
    const CHOICES: &'static [Choice] = &[
        Choice { word: "black", meaning: "0 in every channel." },
        Choice { word: "white", meaning: "255 in every channel." },
        Choice { word: "grey", meaning: "128 in every channel." },
        Choice { word: "#rrggbb", meaning: "Any other colour: red, green and blue in two hexadecimal digits each." },
    ];
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, rgb)| *rgb == self.rgb) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "#{:02x}{:02x}{:02x}", self.rgb[0], self.rgb[1], self.rgb[2]),
        }
    }
}

impl TryFrom<String> for Background {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Background> for String {
    fn from(background: Background) -> String {
        background.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_digits() {
        for (text, rgb, shown) in [
            ("black", [0, 0, 0], "black"),
            ("White", [255, 255, 255], "white"),
            ("gray", [128, 128, 128], "grey"),
            ("#ff8000", [255, 128, 0], "#ff8000"),
            ("#0A0b0C", [10, 11, 12], "#0a0b0c"),
            ("#000000", [0, 0, 0], "black"),
        ] {
            let background: Background = text.parse().unwrap();
            assert_eq!((background.rgb, background.to_string().as_str()), (rgb, shown));
            assert_eq!(background.to_string().parse(), Ok(background), "{text}");
        }
        for text in ["", "#", "#fff", "ffffff", "#gggggg", "#+00000", "#ff80000", "#ff800", "purple", "#ß0000", "0,0,0"]
        {
            assert!(text.parse::<Background>().unwrap_err().contains("expected `black`"), "{text}");
        }
    }
}
