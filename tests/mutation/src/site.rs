//! A place in the source, and the change that a mutant makes there.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What sort of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `+` for `-`, `*` for `+`, and so on; also `+=` and shifts.
    Arithmetic,
    /// `<` for `<=`, `==` for `!=`, and so on.
    Comparison,
    /// `&&` for `||` and the reverse.
    Logic,
    /// The condition of an `if`, a `while` or a match arm is turned round.
    Condition,
    /// A `!` or a minus sign is left out.
    Sign,
    /// An integer, an index among them, is one more; `true` is `false`.
    Integer,
    /// A float is one more.
    Float,
    /// An assignment, or a call whose result nothing uses, is left out.
    Statement,
    /// A function returns at once.
    Body,
    /// Two neighbouring arguments change places.
    Arguments,
}

impl Kind {
    /// In the order of the table.
    pub const ALL: [Kind; 10] = [
        Kind::Arithmetic,
        Kind::Comparison,
        Kind::Logic,
        Kind::Condition,
        Kind::Sign,
        Kind::Integer,
        Kind::Float,
        Kind::Statement,
        Kind::Body,
        Kind::Arguments,
    ];

    /// For the table.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Arithmetic => "another arithmetic operator",
            Kind::Comparison => "another comparison (`<` for `<=`, `==` for `!=`)",
            Kind::Logic => "“and” for “or” and the reverse",
            Kind::Condition => "a condition turned round",
            Kind::Sign => "a `!` or a minus sign left out",
            Kind::Integer => "an integer or an index one more, `true` for `false`",
            Kind::Float => "a float one more",
            Kind::Statement => "an assignment or a call left out",
            Kind::Body => "a function that returns at once",
            Kind::Arguments => "two neighbouring arguments in each other's place",
        }
    }
}

/// A place, and the change there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// From the root of the repository: `src/ops/…`.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes of the source that are replaced; empty where something is put in.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    pub kind: Kind,
    /// The function around it.
    pub function: String,
    /// What stands there, for people; on one line.
    pub before: String,
    /// What the mutant has instead, for people.
    pub after: String,
    /// The text that replaces the bytes; `is(#)` stands for the switch.
    pub text: String,
}

impl Site {
    /// The same place and change in every plan, as long as the lines above it are the same.
    pub fn key(&self) -> String {
        format!("{}:{}:{} {:?} {} => {}", self.file, self.line, self.column, self.kind, self.before, self.after)
    }

    /// The room of src/ that it is in.
    pub fn room(&self) -> &str {
        self.file.split('/').nth(1).unwrap_or_default()
    }

    /// Whether both can't be in one tree, because one replaces what the other stands in.
    pub fn overlaps(&self, other: &Site) -> bool {
        self.file == other.file
            && self.start < other.end.max(other.start + 1)
            && other.start < self.end.max(self.start + 1)
    }
}

/// The file with these mutants in it, numbered; and the bytes that each takes in the new text.
pub fn changed(source: &str, sites: &mut [(usize, &Site)]) -> (String, Vec<(usize, Range<usize>)>) {
    sites.sort_by_key(|(_, site)| (site.start, site.end));
    let (mut text, mut places, mut done) = (String::new(), Vec::new(), 0);
    for (id, site) in sites {
        text.push_str(&source[done..site.start]);
        let start = text.len();
        text.push_str(&site.text.replace("is(#)", &format!("crate::mutants::is({id})")));
        places.push((*id, start..text.len()));
        done = site.end;
    }
    text.push_str(&source[done..]);
    (text, places)
}
