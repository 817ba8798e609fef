//! Declaration of settings: once, with their meaning, default, range, and the methods they belong to.
//!
//! [`settings!`] makes of a section a struct with its default, and keeps what stands there for [`validate`](super::validate)
//! and for whoever asks what there is to set (`vgan-cuda settings`, completion). The words that a
//! setting may take are declared by [`choices!`].

use std::fmt;

use super::checker::Checker;
pub use crate::choices::Choice;
use crate::choices::Choices;
pub(super) use crate::choices::choices;

/// A section of the settings: `[data]`, ….
#[derive(Debug)]
pub struct Section {
    /// Its name, without brackets.
    pub name: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
    /// Its settings, in the order of their declaration.
    pub settings: &'static [Setting],
}

/// The declaration of a setting.
#[derive(Debug)]
pub struct Setting {
    /// `section.name`.
    pub key: &'static str,
    /// Its meaning, with units if it has some.
    pub meaning: &'static str,
    /// The numbers or lists that it takes.
    pub range: Range,
    /// The words that it may take; empty where it holds no word of a list.
    pub choices: &'static [Choice],
    /// The methods of docs/methods.md that it belongs to; empty where it belongs to all.
    pub methods: &'static [&'static str],
}

/// The largest whole number that a configuration file can hold.
pub(super) const LARGEST: u64 = i64::MAX as u64;

/// Values that a setting takes. Displayed, it ends a sentence that begins with "must be".
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// All of its kind: text, a word of its choices, true or false.
    Any,
    /// Whole numbers.
    Whole {
        /// The least of them.
        least: u64,
        /// The largest.
        most: u64,
        /// The reason that nothing is below the least; may be empty.
        because: &'static str,
    },
    /// A few whole numbers, each with what it stands for.
    Few(&'static [(u64, &'static str)]),
    /// Numbers. Training computes in f32, so what only f64 can tell from a forbidden bound or from infinity is outside.
    Real {
        /// The lower bound.
        low: f64,
        /// True if the lower bound is excluded.
        above: bool,
        /// The upper bound.
        high: f64,
        /// True if the upper bound is excluded.
        below: bool,
    },
    /// Lists of at most so many widths.
    Widths {
        /// Entries of the longest list.
        longest: usize,
        /// The largest entry; the least is 1.
        widest: usize,
    },
}

impl Range {
    /// Finite numbers above 0.
    pub(super) const ABOVE_0: Range = Range::Real { low: 0.0, above: true, high: f64::INFINITY, below: true };
    /// Finite numbers from 0 on.
    pub(super) const FROM_0: Range = Range::Real { low: 0.0, above: false, high: f64::INFINITY, below: true };
    /// From 0 on and below 1: the decay of a mean.
    pub(super) const DECAY: Range = Range::Real { low: 0.0, above: false, high: 1.0, below: true };
    /// Above 0 and at most 1.
    pub(super) const PART: Range = Range::Real { low: 0.0, above: true, high: 1.0, below: false };

    /// Whole numbers from `least` to `most`.
    pub(super) const fn whole(least: u64, most: u64) -> Range {
        Range::Whole { least, most, because: "" }
    }

    /// Returns true if it contains `value`.
    pub(super) fn holds(&self, value: &Held<'_>) -> bool {
        let inside = |low: f64, above: bool, high: f64, below: bool, value: f64| {
            (if above { value > low } else { value >= low }) && (if below { value < high } else { value <= high })
        };
        match (*self, value) {
            (Range::Any, Held::Other) => true,
            (Range::Whole { least, most, .. }, Held::Whole(number)) => (least..=most).contains(number),
            (Range::Few(numbers), Held::Whole(number)) => numbers.iter().any(|(known, _)| known == number),
            (Range::Real { low, above, high, below }, Held::Real(number)) => {
                [*number, f64::from(*number as f32)].iter().all(|&number| inside(low, above, high, below, number))
            }
            (Range::Widths { longest, widest }, Held::Widths(widths)) => {
                widths.len() <= longest && widths.iter().all(|width| (1..=widest).contains(width))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Range::Any => text.write_str("any"),
            Range::Whole { least, most, because: "" } => write!(text, "from {least} to {most}"),
            Range::Whole { least, most, because } => write!(text, "from {least} ({because}) to {most}"),
            Range::Few(numbers) => {
                let words: Vec<String> =
                    numbers.iter().map(|(number, meaning)| format!("{number} ({meaning})")).collect();
                text.write_str(&words.join(" or "))
            }
            Range::Real { low, above: true, high: f64::INFINITY, .. } => write!(text, "a finite number above {low}"),
            Range::Real { low, high: f64::INFINITY, .. } => write!(text, "a finite number, {low} or more"),
            Range::Real { low, above: false, high, below: false } => write!(text, "from {low} to {high}"),
            Range::Real { low, above, high, below } => {
                let (from, to) = (if above { "above" } else { "at least" }, if below { "below" } else { "at most" });
                write!(text, "{from} {low} and {to} {high}")
            }
            Range::Widths { longest, widest } => write!(text, "a list of at most {longest} widths from 1 to {widest}"),
        }
    }
}

/// A value of a setting, by what ranges can be told of.
#[derive(Debug)]
pub(super) enum Held<'a> {
    Whole(u64),
    Real(f64),
    Widths(&'a [usize]),
    /// Text, a word, true or false.
    Other,
}

impl fmt::Display for Held<'_> {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Whole(number) => write!(text, "{number}"),
            Held::Real(number) => write!(text, "{number}"),
            Held::Widths(widths) => write!(text, "{widths:?}"),
            Held::Other => text.write_str("another"),
        }
    }
}

/// Types of settings.
pub(super) trait Field {
    /// The words that it may be.
    const CHOICES: &'static [Choice] = &[];

    fn held(&self) -> Held<'_> {
        Held::Other
    }
}

impl<T: Choices> Field for T {
    const CHOICES: &'static [Choice] = T::CHOICES;
}

impl Field for bool {}
impl Field for String {}

impl Field for usize {
    fn held(&self) -> Held<'_> {
        Held::Whole(*self as u64)
    }
}

impl Field for u32 {
    fn held(&self) -> Held<'_> {
        Held::Whole(u64::from(*self))
    }
}

impl Field for u64 {
    fn held(&self) -> Held<'_> {
        Held::Whole(*self)
    }
}

impl Field for f64 {
    fn held(&self) -> Held<'_> {
        Held::Real(*self)
    }
}

impl Field for Vec<usize> {
    fn held(&self) -> Held<'_> {
        Held::Widths(self)
    }
}

/// A section: `meaning: name: type = default => range, of methods;` for each of its settings. Range and methods may be left
/// out.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $struct:ident: $section:literal {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $default:expr $(=> $range:expr)? $(, of $methods:expr)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $struct {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for $struct {
            fn default() -> Self {
                $struct { $($field: $default,)+ }
            }
        }

        impl $crate::config::declare::Declared for $struct {
            const SECTION: $crate::config::declare::Section = $crate::config::declare::Section {
                name: $section,
                meaning: concat!($($about),+),
                settings: &[$($crate::config::declare::Setting {
                    key: concat!($section, ".", stringify!($field)),
                    meaning: concat!($($doc),+),
                    range: $crate::config::declare::or_any!($($range)?),
                    choices: <$type as $crate::config::declare::Field>::CHOICES,
                    methods: $crate::config::declare::or_none!($($methods)?),
                }),+],
            };

            fn values(&self) -> Vec<$crate::config::declare::Held<'_>> {
                vec![$($crate::config::declare::Field::held(&self.$field)),+]
            }
        }
    };
}
pub(super) use settings;

/// The range that was declared, or else any value.
macro_rules! or_any {
    () => {
        $crate::config::declare::Range::Any
    };
    ($range:expr) => {
        $range
    };
}
pub(super) use or_any;

/// The methods that were declared, or else none.
macro_rules! or_none {
    () => {
        &[]
    };
    ($methods:expr) => {
        &$methods
    };
}
pub(super) use or_none;

/// A section's struct.
pub(super) trait Declared {
    /// Its declaration.
    const SECTION: Section;

    /// The values of its settings, in the order of their declaration.
    fn values(&self) -> Vec<Held<'_>>;

    /// Names each setting that is out of its range.
    fn check_ranges(&self, checker: &mut Checker) {
        for (setting, value) in Self::SECTION.settings.iter().zip(self.values()) {
            checker.require(setting.range.holds(&value), setting.key, setting.range.to_string(), value);
        }
    }
}

/// All sections of the settings in one struct.
macro_rules! sections {
    (
        $(#[$attribute:meta])*
        pub struct $struct:ident {
            $($(#[doc = $doc:literal])+ pub $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$attribute])*
        pub struct $struct {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        /// Everything there is to set, section by section.
        pub const SECTIONS: &[$crate::config::declare::Section] =
            &[$(<$type as $crate::config::declare::Declared>::SECTION),+];

        impl $struct {
            /// Names each setting that is out of its range.
            pub(super) fn check_ranges(&self, checker: &mut $crate::config::checker::Checker) {
                $($crate::config::declare::Declared::check_ranges(&self.$field, checker);)+
            }
        }
    };
}
pub(super) use sections;

impl Setting {
    /// The name without its section.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SECTIONS, known_keys};

    #[test]
    fn ranges_hold_what_they_say() {
        let whole = |number| Held::Whole(number);
        for (range, text, inside, outside) in [
            (Range::whole(1, 3), "from 1 to 3", vec![whole(1), whole(3)], vec![whole(0), whole(4)]),
            (Range::Few(&[(1, "a"), (3, "b")]), "1 (a) or 3 (b)", vec![whole(3)], vec![whole(2), Held::Other]),
            (
                Range::ABOVE_0,
                "a finite number above 0",
                vec![Held::Real(1e-30)],
                [0.0, 1e-60, 1e60, f64::NAN, f64::INFINITY].map(Held::Real).into(),
            ),
            (
                Range::FROM_0,
                "a finite number, 0 or more",
                vec![Held::Real(0.0), Held::Real(1e-60)],
                [-1e-60, 1e60, f64::NAN].map(Held::Real).into(),
            ),
            (
                Range::DECAY,
                "at least 0 and below 1",
                vec![Held::Real(0.0), Held::Real(0.999)],
                [-0.1, 1.0, 0.999_999_999_99, f64::NAN].map(Held::Real).into(),
            ),
            (Range::PART, "above 0 and at most 1", vec![Held::Real(1.0)], [0.0, 1.1].map(Held::Real).into()),
            (
                Range::Widths { longest: 2, widest: 9 },
                "a list of at most 2 widths from 1 to 9",
                vec![Held::Widths(&[]), Held::Widths(&[1, 9])],
                vec![Held::Widths(&[0]), Held::Widths(&[10]), Held::Widths(&[1, 1, 1])],
            ),
        ] {
            assert_eq!(range.to_string(), text);
            assert!(inside.iter().all(|value| range.holds(value)), "{text}");
            assert_eq!(outside.iter().find(|value| range.holds(value)).map(ToString::to_string), None, "{text}");
        }
    }

    /// A setting can't be without any of this, and its range is of the kind of its value: a wrong one would refuse the default.
    #[test]
    fn every_setting_has_a_meaning_a_default_and_a_range_or_choices() {
        let mut declared: Vec<&str> = SECTIONS.iter().flat_map(|section| section.settings).map(|one| one.key).collect();
        declared.sort_unstable();
        let mut known = known_keys();
        known.sort_unstable();
        assert_eq!(declared, known);
        for section in SECTIONS {
            let about = format!("`[{}]`: ", section.name);
            assert!(section.meaning.trim().starts_with(&about) && section.meaning.trim().ends_with('.'), "{about}");
            for setting in section.settings {
                let sentence = |text: &str| text.trim().len() > 10 && text.trim().ends_with('.');
                assert!(sentence(setting.meaning), "{}: {}", setting.key, setting.meaning);
                assert!(setting.choices.iter().all(|choice| !choice.meaning.trim().is_empty()), "{}", setting.key);
                assert_eq!(setting.key.split_once('.'), Some((section.name, setting.name())));
            }
        }
        let mut checker = Checker::default();
        crate::config::Settings::default().check_ranges(&mut checker);
        assert_eq!(checker.violations(), []);
    }
}
