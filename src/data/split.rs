//! Splits of a data set by name, and the one to train on.

/// A part of a data set, by its name; the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Split {
    /// `train`, `training`.
    Training,
    /// No word of a split is in the name, or several that contradict each other.
    Unnamed,
    /// `val`, `valid`, `validation`, `dev`.
    Validation,
    /// `test`, `t10k`.
    Test,
}

/// The words of each split, longer ones before their own beginnings.
const WORDS: [(&str, Split); 11] = [
    ("training", Split::Training),
    ("train", Split::Training),
    ("validation", Split::Validation),
    ("valid", Split::Validation),
    ("val", Split::Validation),
    ("dev", Split::Validation),
    ("evaluation", Split::Validation),
    ("eval", Split::Validation),
    ("testing", Split::Test),
    ("test", Split::Test),
    ("t10k", Split::Test),
];

/// Endings that may follow such a word without a gap: `trainset`, `testA`, `train2017`, `test10k`.
const ENDS: [&str; 8] = ["", "set", "images", "imgs", "image", "data", "a", "b"];

impl Split {
    /// By the words in the name of a file or folder, wherever in it they stand and in whatever case.
    pub(crate) fn of(name: &str) -> Split {
        let name = name.to_lowercase();
        let mut splits: Vec<Split> = name.split(|c: char| !c.is_alphanumeric()).filter_map(Split::of_word).collect();
        splits.dedup();
        if let [only] = splits[..] { only } else { Split::Unnamed }
    }

    fn of_word(word: &str) -> Option<Split> {
        let number = |end: &str| {
            let digits = end.trim_start_matches(|c: char| c.is_ascii_digit());
            digits.is_empty() || digits == "k"
        };
        let ends = |end: &str| ENDS.iter().any(|known| end.strip_prefix(known).is_some_and(number));
        WORDS.iter().find(|(known, _)| word.strip_prefix(known).is_some_and(ends)).map(|(_, split)| *split)
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Split::Training => "training",
            Split::Unnamed => "unnamed",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

/// The part to train on: the training split; without one what has no split's name; without that too the only other one.
///
/// # Errors
/// The parts among which only the user can choose, where there are several of the kind.
pub(crate) fn choose(splits: &[Split]) -> Result<usize, Vec<usize>> {
    let of = |wanted: &[Split]| -> Vec<usize> {
        (0..splits.len()).filter(|&index| wanted.contains(&splits[index])).collect()
    };
    for wanted in [&[Split::Training][..], &[Split::Unnamed], &[Split::Validation, Split::Test]] {
        match of(wanted)[..] {
            [] => {}
            [only] => return Ok(only),
            _ => return Err(of(wanted)),
        }
    }
    Err(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_anywhere_in_a_name() {
        for (name, split) in [
            ("train-images-idx3-ubyte", Split::Training),
            ("train-images.idx3-ubyte", Split::Training),
            ("TRAIN-IMAGES-IDX3-UBYTE.GZ", Split::Training),
            ("t10k-images-idx3-ubyte.gz", Split::Test),
            ("qmnist-train-images-idx3-ubyte.gz", Split::Training),
            ("qmnist-test-images-idx3-ubyte.gz", Split::Test),
            ("emnist-digits-train-images-idx3-ubyte.gz", Split::Training),
            ("emnist-digits-test-images-idx3-ubyte.gz", Split::Test),
            ("qmnist-test10k-images-idx3-ubyte", Split::Test),
            ("xnist-images-idx3-ubyte", Split::Unnamed),
            ("images-idx3-ubyte", Split::Unnamed),
            ("my_validation_images-idx3-ubyte", Split::Validation),
            ("val-idx3-ubyte", Split::Validation),
            ("valid", Split::Validation),
            ("Train", Split::Training),
            ("training_set", Split::Training),
            ("trainset", Split::Training),
            ("train2017", Split::Training),
            ("testA", Split::Test),
            ("trainB", Split::Training),
            ("test_batch.bin", Split::Test),
            ("latest", Split::Unnamed),
            ("contest-images-idx3-ubyte", Split::Unnamed),
            ("trains", Split::Unnamed),
            ("values", Split::Unnamed),
            ("testimony", Split::Unnamed),
            ("device", Split::Unnamed),
            ("train-test", Split::Unnamed),
            ("train_training-set", Split::Training),
        ] {
            assert_eq!(Split::of(name), split, "{name}");
        }
    }

    #[test]
    fn the_training_split_goes_before_all_others() {
        use Split::{Test, Training, Unnamed, Validation};
        for (splits, chosen) in [
            (&[Test, Training][..], Ok(1)),
            (&[Unnamed, Validation, Training, Test], Ok(2)),
            (&[Test, Unnamed], Ok(1)),
            (&[Test], Ok(0)),
            (&[Training, Test, Training], Err(vec![0, 2])),
            (&[Unnamed, Test, Unnamed], Err(vec![0, 2])),
            (&[Validation, Test], Err(vec![0, 1])),
            (&[], Err(vec![])),
        ] {
            assert_eq!(choose(splits), chosen, "{splits:?}");
        }
    }
}
