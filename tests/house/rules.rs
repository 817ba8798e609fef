//! Rules of the source tree that the compiler does not check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use vgan_cuda::config::{image_shape, preset};
use vgan_cuda::data::Extent;
use vgan_cuda::device::Cpu;
use vgan_cuda::ops::Case;
use vgan_cuda::ops::layers::model_cases;
use vgan_cuda::ops::models::{CIFAR, MNIST, PAPER};
use vgan_cuda::train::predict::predict;

/// No file is longer: beyond that it holds more than one thing.
const MOST_LINES: usize = 500;

/// Every Rust file under src, as (path relative to src, text).
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                files.push((path.strip_prefix(&root).expect("inside src").to_path_buf(), text));
            }
        }
    }
    assert!(files.len() > 50, "only {} files found", files.len());
    files
}

/// Whether a line of code, its comment aside, holds this word whole.
fn has_word(line: &str, word: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn unsafe_lives_in_one_room() {
    assert!(has_word("    unsafe { f() }", "unsafe") && has_word("unsafe impl Send", "unsafe"));
    assert!(!has_word("// unsafe", "unsafe") && !has_word("#[expect(unsafe_code)]", "unsafe"));
    let mut inside = 0;
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if has_word(line, "unsafe") || has_word(line, "unsafe_code") {
                assert!(path.starts_with("device"), "src/{}:{}: {line}", path.display(), number + 1);
                inside += 1;
            }
        }
    }
    assert!(inside > 0, "the search finds what is there");
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    assert!(manifest.contains("unsafe_code = \"deny\"") && manifest.contains("undocumented_unsafe_blocks = \"warn\""));
}

/// Loops of operations are those of src/device/parallel.rs, which says why.
#[test]
fn operations_use_no_parallel_iterators_of_rayon() {
    assert!(has_word("use rayon::prelude::*;", "rayon"));
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("ops")) {
        let found = text.lines().find(|line| has_word(line, "rayon"));
        assert!(found.is_none(), "src/{}: {found:?}; use crate::device::parallel", path.display());
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "src/{} has {lines} lines", path.display());
    }
}

/// A macro that panics when nobody reads, or that was left behind by somebody looking for a mistake.
#[test]
fn nothing_prints_past_the_output_room() {
    for (path, text) in sources() {
        // Tests print what they skip.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            for word in ["println", "print", "eprintln", "eprint", "dbg"] {
                let call = has_word(line, word) && line.contains(&format!("{word}!"));
                assert!(!call, "src/{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}

/// The text of the first line of a doc comment, if this line is one; `before` is the line before it.
fn first_of_doc_comment<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let mark = ["///", "//!"].into_iter().find(|mark| line.trim_start().starts_with(mark))?;
    let goes_on = before.trim_start().starts_with(mark);
    (!goes_on).then(|| line.trim_start()[mark.len()..].trim_start())
}

fn begins_with_a_question(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_alphabetic()).next();
    ["What", "How", "Where", "Which"].map(Some).contains(&word)
}

/// A list of items shows the first line of each comment: it names the thing or begins with a verb. (`Whether` is for a bool.)
#[test]
fn doc_comments_begin_with_the_thing() {
    assert!(begins_with_a_question("What is drawn.") && begins_with_a_question("How: so"));
    assert!(!begins_with_a_question("Whatever fits.") && !begins_with_a_question("The samples. What is drawn."));
    assert_eq!(first_of_doc_comment("    /// The samples.", "    #[test]"), Some("The samples."));
    assert_eq!(first_of_doc_comment("/// What follows.", "/// The samples."), None);
    assert_eq!(first_of_doc_comment("// What follows.", ""), None);
    let mut seen = 0;
    for (path, text) in sources() {
        let mut before = "";
        for (number, line) in text.lines().enumerate() {
            if let Some(first) = first_of_doc_comment(line, before) {
                assert!(!begins_with_a_question(first), "src/{}:{}: {first}", path.display(), number + 1);
                seen += 1;
            }
            before = line;
        }
    }
    assert!(seen > 1000, "only {seen} comments found");
}

/// `model_sizes` in src/ops/layers and src/ops/models.rs type the sizes of the models once more, because operations know no nets.
#[test]
fn the_benchmarks_shapes_are_the_presets() {
    let mut expected = BTreeSet::new();
    for (name, lengths) in [("vgan-mnist", MNIST), ("vgan-cifar10", CIFAR), ("vgan-cifar10-resnet", PAPER)] {
        let images = Extent { count: 1000, shape: image_shape(name).expect("a size") };
        let prediction = predict(&preset(name).expect("a preset"), &images).expect("a prediction");
        let found = [&prediction.generator, &prediction.discriminator].map(|parts| parts.params.len());
        assert_eq!(lengths, found, "parameters of {name}");
        let entries = [&prediction.generator, &prediction.discriminator].map(|parts| parts.params.entries());
        for entry in entries.concat().iter().filter(|entry| entry.shape.len() > 1) {
            // μ and log σ² are computed as one layer of twice the width.
            let bottleneck = entry.name.starts_with("conv_mean") || entry.name.starts_with("conv_logvar");
            let layers = if bottleneck { 2 } else { 1 };
            expected.insert(layers * entry.len());
        }
    }
    let weight = |case: Case<Cpu<f32>>| case.inputs()[1].len;
    let found: BTreeSet<usize> = model_cases().into_iter().map(weight).collect();
    assert_eq!(found, expected, "elements of the weights");
}
