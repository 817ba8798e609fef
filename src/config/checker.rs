//! Collects settings that are out of their ranges or do not go with others.

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Violation {
    /// `section.key`.
    pub(super) key: &'static str,
    pub(super) expected: String,
    pub(super) found: String,
}

/// Collects what is wrong: first the ranges that are declared with the settings, then what goes with what.
#[derive(Default)]
pub(super) struct Checker {
    violations: Vec<Violation>,
    /// Number of violations of ranges: such a setting is not checked against others, too.
    ranges: usize,
}

impl Checker {
    /// Notes the setting `key` unless `holds`.
    pub(super) fn require(
        &mut self,
        holds: bool,
        key: &'static str,
        expected: impl Into<String>,
        found: impl ToString,
    ) {
        if !holds && self.violations[..self.ranges].iter().all(|known| known.key != key) {
            self.violations.push(Violation { key, expected: expected.into(), found: found.to_string() });
        }
    }

    /// From here on, a setting that is out of its range is not checked against others.
    pub(super) fn ranges_are_checked(&mut self) {
        self.ranges = self.violations.len();
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    #[cfg(test)]
    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }
}
