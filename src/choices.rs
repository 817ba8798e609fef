//! The words of the settings that choose: each declared once, with what it means, where the program does what it chooses.
//!
//! [`choices!`] makes an enum of them. `--set`, files, `vgan-cuda settings` and completion have their words and meanings from
//! there.

/// A word that a setting may take.
#[derive(Debug)]
pub struct Choice {
    /// As `--set` and a file have it.
    pub word: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
}

/// A type each of whose values has a word.
pub(crate) trait Choices {
    /// The words, in the order of the values.
    const CHOICES: &'static [Choice];
}

/// An enum of words: `meaning: Variant = "word",` for each.
macro_rules! choices {
    (
        $(#[doc = $about:literal])+
        pub enum $enum:ident {
            $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $enum {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $variant,)+
        }

        impl $enum {
            /// All of them.
            pub const ALL: &'static [$enum] = &[$($enum::$variant),+];

            /// The word for it, as `--set` and a file have it.
            pub fn word(self) -> &'static str {
                match self {
                    $($enum::$variant => $word,)+
                }
            }
        }

        impl $crate::choices::Choices for $enum {
            const CHOICES: &'static [$crate::choices::Choice] = &[
                $($crate::choices::Choice { word: $word, meaning: concat!($($doc),+) },)+
            ];
        }
    };
}
pub(crate) use choices;
