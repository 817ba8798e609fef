//! The labelled images that a classifier learns from, and those that it is tested on.

use crate::data::Labels;

/// Of each class every tenth image, in the order of the data set, is held out for the test.
const EVERY: usize = 10;

/// The numbers of the images of either part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// To learn from.
    pub(super) training: Vec<u32>,
    /// To be tested on.
    pub(super) held_out: Vec<u32>,
}

impl Split {
    pub(super) fn of(labels: &Labels) -> Split {
        let mut seen = vec![0usize; labels.names.len()];
        let mut split = Split::default();
        for (image, &class) in (0u32..).zip(&labels.classes) {
            let count = &mut seen[usize::from(class)];
            *count += 1;
            if count.is_multiple_of(EVERY) { &mut split.held_out } else { &mut split.training }.push(image);
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_each_class_is_held_out() {
        // Sorted by class, as folders are, and a class that is too small.
        let classes = [vec![0; 40], vec![1; 25], vec![2; 9]].concat();
        let names = ["a", "b", "c"].map(String::from).into();
        let split = Split::of(&Labels { names, classes });
        assert_eq!(split.held_out, [9, 19, 29, 39, 49, 59]);
        assert_eq!(split.training.len(), 74 - 6);
        assert!(split.training.iter().all(|image| !split.held_out.contains(image)));
    }
}
