//! The classes of a data set's images, where the data set says them: by a file of labels beside MNIST's images, by the first byte of a
//! record of CIFAR-10, by the folder of a picture, or as the digit that is drawn. Training doesn't need them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::readable_path;

/// The class of each image. A data set without classes has none of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The names of the classes, by their numbers.
    pub names: Vec<String>,
    /// The number of each image's class, in the order of the images.
    pub classes: Vec<u16>,
}

/// The classes of CIFAR-10 (Krizhevsky 2009), by their numbers.
const CIFAR: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

impl Labels {
    /// The digits 0 to 9, again and again.
    pub(super) fn of_digits(count: usize) -> Labels {
        Labels { names: numbers(10), classes: (0..10).cycle().take(count).collect() }
    }

    /// CIFAR-10's, from the first bytes of its records.
    pub(super) fn of_cifar(classes: impl Iterator<Item = u8>) -> Labels {
        Labels { names: CIFAR.map(String::from).into(), classes: classes.map(u16::from).collect() }
    }

    /// The folders of pictures, where each picture lies in a folder for its class: in the deepest folder that holds all pictures there
    /// are two folders or more, and no picture beside them. `None` otherwise.
    pub(super) fn of_folders(pictures: &[PathBuf]) -> Option<Labels> {
        let first: Vec<_> = pictures.first()?.parent()?.components().collect();
        let common = pictures.iter().fold(first.len(), |common, path| {
            let folder = path.parent().map(Path::components);
            folder.map_or(0, |folder| folder.zip(&first).take(common).take_while(|(a, b)| a == *b).count())
        });
        let class_of = |path: &PathBuf| {
            let class = path.parent()?.components().nth(common)?;
            Some(readable_path(class.as_os_str()))
        };
        let names: Vec<String> = pictures.iter().map(class_of).collect::<Option<_>>()?;
        let numbers: BTreeMap<&str, u16> = {
            let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
            all.sort_unstable();
            all.dedup();
            if all.len() < 2 || all.len() > usize::from(u16::MAX) {
                return None;
            }
            all.into_iter().zip(0..).collect()
        };
        let classes = names.iter().map(|name| numbers[name.as_str()]).collect();
        Some(Labels { names: numbers.into_keys().map(String::from).collect(), classes })
    }

    /// Classes that have no other names than their numbers.
    pub(super) fn numbered(classes: Vec<u8>) -> Labels {
        let most = classes.iter().max().copied().unwrap_or_default();
        Labels { names: numbers(usize::from(most) + 1), classes: classes.into_iter().map(u16::from).collect() }
    }

    /// The number of images of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        self.classes.iter().for_each(|&class| counts[usize::from(class)] += 1);
        counts
    }
}

/// Numbers as names.
fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(paths: &[&str]) -> Option<Labels> {
        Labels::of_folders(&paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_folder_for_each_class() {
        let found = folders(&["d/cat/1.png", "d/cat/old/2.png", "d/dog/1.png"]).unwrap();
        assert_eq!((found.names, found.classes), (vec!["cat".into(), "dog".into()], vec![0, 0, 1]));
        // The split is above the classes, or below them.
        assert_eq!(folders(&["d/train/b/1.png", "d/train/a/1.png"]).unwrap().classes, [1, 0]);
        assert_eq!(folders(&["d/b/train/1.png", "d/a/train/1.png"]).unwrap().names, ["a", "b"]);
        for without in [&["d/1.png", "d/2.png"][..], &["d/a/1.png"], &["d/1.png", "d/a/1.png", "d/b/1.png"], &[]] {
            assert_eq!(folders(without), None, "{without:?}");
        }
    }

    #[test]
    fn counts_are_by_class() {
        assert_eq!(Labels::of_digits(12).counts(), [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(Labels::of_cifar([9, 0, 9].into_iter()).counts()[9], 2);
    }
}
