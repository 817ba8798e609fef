//! README and CONTRIBUTING say what is so: the paths, functions, commands and error texts that they name are there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backticks, code blocks left out.
fn quoted(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let prose = prose.replace("``", "`");
    prose.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// All Rust sources as one text, with string literals that go on in the next line joined.
fn sources() -> String {
    let (mut folders, mut text): (Vec<PathBuf>, _) = (vec![root().join("src")], String::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => text += &fs::read_to_string(path).expect("a source file"),
            }
        }
    }
    let lines = text.split("\\\n").enumerate();
    lines.map(|(i, part)| if i == 0 { part } else { part.trim_start() }).collect()
}

/// The rows of the table whose head begins with `| {first_column} |`, cell by cell.
fn table(text: &str, first_column: &str) -> Vec<Vec<String>> {
    let head = format!("| {first_column} |");
    let rows = text.lines().skip_while(|line| !line.starts_with(&head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> =
        rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_string()).collect()).collect();
    assert!(!rows.is_empty(), "no table under {head}");
    rows
}

#[test]
fn the_paths_and_functions_that_are_named_exist() {
    let mut seen = 0;
    for document in ["README.md", "CONTRIBUTING.md", "tests/oracle/README.md"] {
        for name in quoted(&read(document)) {
            let rooms = ["src/", "tests/", "benches/", "experiments/"];
            if !rooms.iter().any(|room| name.starts_with(room)) || name.contains(['<', '*', ' ']) {
                continue;
            }
            let (path, item) = name.split_once("::").map_or((name.as_str(), None), |(path, item)| (path, Some(item)));
            assert!(root().join(path).exists(), "{document} names {path}, which is not there");
            if let Some(item) = item {
                let text = read(path);
                let there = ["fn", "trait", "struct"].iter().any(|kind| text.contains(&format!("{kind} {item}")));
                assert!(there, "{document} names {name}, and {path} has no such item");
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} names found");
}

#[test]
fn the_error_texts_under_troubleshooting_are_real() {
    let sources = sources();
    let rows = table(&read("README.md"), "message");
    assert!(rows.len() > 15);
    for row in rows.iter().filter(|row| row[0].starts_with('`') && !row[0].contains("while building")) {
        let text = row[0].trim_matches('`');
        assert!(sources.contains(text), "no source says: {text}");
    }
}

#[test]
fn every_command_and_preset_is_listed() {
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_vgan-cuda")).arg("--help").output().expect("it runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let commands: Vec<&str> = commands.into_iter().filter(|name| !["", "help"].contains(name)).collect();
    let rows = table(&read("README.md"), "command");
    let listed = |name: &str| rows.iter().any(|row| row[0].trim_matches('`').split(' ').next() == Some(name));
    assert!(commands.len() >= 9, "{help}");
    assert_eq!(commands.iter().find(|name| !listed(name)), None);
    assert_eq!(rows.iter().find(|row| !commands.contains(&row[0].trim_matches('`').split(' ').next().unwrap())), None);
    let presets = table(&read("README.md"), "preset");
    for (name, _) in vgan_cuda::config::PRESETS {
        assert!(presets.iter().any(|row| row[0].starts_with(&format!("`{name}`"))), "{name} is not listed");
    }
}
