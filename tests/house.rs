//! Rules of the source tree that the compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

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
