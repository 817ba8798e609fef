//! A page: its data, and the file that shows them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::panels::Panel;
use super::records::Series;
use super::snapshots::Snapshot;
use crate::error::{Error, Result};

/// Stands in the head of each page, by which a file is known as one that may be written over.
pub const MARK: &str = "vgan-cuda report";

/// The content of a page.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// The program's version.
    pub version: &'static str,
    /// The time at which it was made, in UTC: `2026-01-31T12:00:00Z`.
    pub made: String,
    /// True if the page asks its server for news.
    pub live: bool,
    /// One run is shown whole; several are laid over each other.
    pub runs: Vec<Run>,
    /// Of several runs, the settings in which they differ.
    pub differences: Vec<Differing>,
}

/// A run in a page.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its name on the page.
    pub name: String,
    /// The preset that it started from, where that is known.
    pub preset: Option<String>,
    /// Its state in a word: running, done, stopped, diverged, failed, empty.
    pub state: String,
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run, where they are known.
    pub steps: Option<u64>,
    /// The message at its end, if that was an error.
    pub message: Option<String>,
    /// Notes for the reader: files that could not be read, and the parts that are left out for this reason.
    pub notes: Vec<String>,
    /// The panels of the curves.
    pub panels: Vec<Panel>,
    /// Every figure of its records, by name.
    pub series: BTreeMap<String, Series>,
    /// True if a series has fewer points than there are records.
    pub thinned: bool,
    /// Figures at its end: means over the last records, or the last one's.
    pub last: BTreeMap<String, f64>,
    /// The grids of samples that the page has, in the order of their steps.
    pub snapshots: Vec<Snapshot>,
    /// The number of snapshots in the run's folder.
    pub snapshot_count: usize,
    /// The place of the picture of real images: a data URI, or a path on the server.
    pub reals: Option<String>,
    /// Samples and the training images nearest to them.
    pub nearest: Option<Nearest>,
    /// The settings that are not as in the preset; `None` where they can't be read.
    pub settings: Option<Vec<Changed>>,
    /// The entries of env.json, one a start.
    pub starts: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// A setting that differs from the preset's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// `section.key`.
    pub key: String,
    /// As `--set` takes it.
    pub value: String,
    /// The preset's.
    pub preset: String,
}

/// A setting in which runs differ, with a value for each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// `section.key`.
    pub key: String,
    /// In the order of the runs.
    pub values: Vec<Option<String>>,
}

/// Samples beside the training images that are nearest to them. Distances are root mean squared differences of the pixels'
/// values, 0 to 255.
#[derive(Debug, Clone, Serialize)]
pub struct Nearest {
    /// The step of the samples.
    pub step: u64,
    /// The number of training images.
    pub images: usize,
    /// True if training shows mirrored images too, and they were searched as well.
    pub mirrored: bool,
    /// Samples, each with the nearest images, the nearest one first.
    pub rows: Vec<NearestRow>,
    /// The median over the samples of the distance to the nearest image.
    pub sample_median: f64,
    /// Distances between training images; `None` where there are too few.
    pub reference: Option<Reference>,
    /// The number of training images that the reference is taken over.
    pub reference_count: usize,
}

/// Distances of training images to the nearest other one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reference {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
}

/// A sample and what is nearest to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearestRow {
    /// A data URI.
    pub sample: String,
    /// The nearest one first.
    pub nearest: Vec<Near>,
}

/// A training image near a sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Near {
    /// A data URI.
    pub src: String,
    /// The distance.
    pub distance: f64,
    /// True if its mirror image is what is near.
    pub mirrored: bool,
}

const SCRIPT: &str = concat!(include_str!("charts.js"), include_str!("sections.js"));
const STYLE: &str = include_str!("page.css");
const SHELL: &str = include_str!("page.html");

impl Page {
    /// The data as JSON, in which nothing ends the element of HTML around it.
    ///
    /// # Errors
    /// [`Error::Internal`] for what JSON can't hold.
    pub fn json(&self) -> Result<String> {
        let text = serde_json::to_string(self).map_err(|e| Error::Internal(format!("the report: {e}")))?;
        // These stand in strings alone, where JSON may write them so.
        let escapes =
            [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")];
        Ok(escapes.into_iter().fold(text, |text, (from, to)| text.replace(from, to)))
    }

    /// The whole file.
    ///
    /// # Errors
    /// Those of [`Page::json`].
    pub fn html(&self) -> Result<String> {
        let title = match &self.runs[..] {
            [run] => run.name.clone(),
            runs => format!("{} runs", runs.len()),
        };
        let parts = [
            ("{{policy}}", policy(self.live)),
            ("{{title}}", escaped(&title)),
            ("{{style}}", STYLE.into()),
            ("{{data}}", self.json()?),
            ("{{script}}", SCRIPT.into()),
        ];
        let mut page = String::new();
        let mut rest = SHELL;
        // Each once and in order, so that nothing in one part is taken for the place of another.
        for (place, text) in parts {
            let (before, after) =
                rest.split_once(place).ok_or_else(|| Error::Internal(format!("no {place} in the page")))?;
            page += before;
            page += &text;
            rest = after;
        }
        Ok(page + rest)
    }
}

/// The content security policy: the page may run its own script and style, known by their hashes, and load pictures that are in it; a live
/// page may also load from its server.
pub fn policy(live: bool) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    let own = if live { " 'self'" } else { "" };
    let connect = if live { "'self'" } else { "'none'" };
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:{own}; connect-src {connect}; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// Text for an element of HTML or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_live_page_may_ask_its_server() {
        let (live, still) = (policy(true), policy(false));
        assert!(live.contains("img-src data: 'self'; connect-src 'self';"), "{live}");
        assert!(still.contains("img-src data:; connect-src 'none';"), "{still}");
        assert!([live, still].iter().all(|policy| policy.starts_with("default-src 'none'; script-src 'sha256-")));
    }
}
