//! The documents tell the truth: the paths, functions, links, commands, code and error texts that they show exist. The Docker
//! files build with the pinned compiler.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts between backticks, without code blocks.
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

/// README, CONTRIBUTING, SECURITY, everything in docs/, and the pages of the browser, the PyTorch oracle, the models and the three crates.
fn documents() -> Vec<String> {
    let pages = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_string);
    let below =
        ["browser", "driver", "models", "oracle", "ptx", "simt"].map(|folder| format!("tests/{folder}/README.md"));
    let mut documents: Vec<String> = pages.into_iter().chain(below).collect();
    for folder in ["docs", "docs/results"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder").flatten() {
            let name = entry.file_name().into_string().expect("UTF-8");
            // A table of the compiler's, without paths.
            if name.ends_with(".md") && name != "resources.md" {
                documents.push(format!("{folder}/{name}"));
            }
        }
    }
    assert!(documents.len() > 12, "{documents:?}");
    documents
}

/// The text of a file, or of all files below a folder.
fn text_below(path: &Path) -> String {
    if !path.is_dir() {
        return read(path);
    }
    let paths = fs::read_dir(path).expect("a folder").flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rs"))
        .map(|p| text_below(&p))
        .collect()
}

fn defines(text: &str, item: &str) -> bool {
    ["fn", "trait", "struct", "enum"].iter().any(|kind| {
        let definition = format!("{kind} {item}");
        text.match_indices(&definition).any(|(at, found)| {
            let next = text[at + found.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn the_paths_and_functions_that_are_named_exist() {
    let mut seen = 0;
    for document in documents() {
        let text = read(&document);
        for name in quoted(&text) {
            let rooms = ["src/", "tests/", "benches/", "experiments/", "kernels/", "docs/"];
            if !rooms.iter().any(|room| name.starts_with(room)) || name.contains(['<', '*', ' ', '…']) {
                continue;
            }
            let (path, item) = name.split_once("::").map_or((name.as_str(), None), |(path, item)| (path, Some(item)));
            // The page of a crate names the crate's own files.
            let own = Path::new(&document).with_file_name(path);
            let path = if root().join(&own).exists() { own } else { path.into() };
            assert!(root().join(&path).exists(), "{document} names {name}, which is not there");
            if let Some(item) = item {
                assert!(defines(&read(&path), item), "{document} names {name}, and the file has no such item");
            }
            seen += 1;
        }
        // `item` in `src/room/`
        for (at, _) in text.match_indices("` in `src/") {
            let item = text[..at].rsplit('`').next().unwrap_or_default();
            let folder = text[at + "` in `".len()..].split('`').next().unwrap_or_default();
            let is_item = item.chars().all(|c| c.is_alphanumeric() || c == '_');
            if is_item && folder.ends_with('/') {
                let found = defines(&text_below(&root().join(folder)), item);
                assert!(found, "{document} names `{item}` in {folder}, which has no such item");
                seen += 1;
            }
        }
    }
    assert!(seen > 80, "only {seen} names found");
}

/// The heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for document in documents() {
        let text = read(&document);
        let here = Path::new(&document).parent().expect("a folder");
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            if target.contains("://") || target.contains(' ') {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { PathBuf::from(&document) } else { here.join(path) };
            assert!(root().join(&path).exists(), "{document} links to {target}, which is not there");
            if !heading.is_empty() {
                let there =
                    read(&path).lines().filter_map(|line| line.split_once("# ")).any(|(_, h)| anchor(h) == heading);
                assert!(there, "{document} links to {target}, which has no such heading");
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} links found");
}

/// A block of CUDA or Rust in the README is copied from the file that is named last before it.
#[test]
fn the_code_that_is_shown_is_real() {
    let readme = read("README.md");
    let blocks: Vec<&str> = readme.split("```").collect();
    let mut seen = 0;
    for (i, block) in blocks.iter().enumerate().skip(1).step_by(2) {
        let Some(code) = block.strip_prefix("cuda\n").or_else(|| block.strip_prefix("rust\n")) else { continue };
        let names = blocks[i - 1].split('`').skip(1).step_by(2);
        let path = names.filter(|name| name.starts_with("src/") || name.starts_with("kernels/")).last();
        let path = path.expect("the file that the code is from");
        assert!(read(path).contains(code), "README.md shows code that {path} does not have");
        seen += 1;
    }
    assert_eq!(seen, 2, "a kernel and its twin");
    let library = read("docs/library.md");
    let shown = library.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Rust");
    assert!(read("examples/own_nets.rs").contains(shown), "docs/library.md shows code that the example does not have");
}

#[test]
fn the_error_texts_under_troubleshooting_are_real() {
    let sources = sources();
    let rows = table(&read("docs/troubleshooting.md"), "message");
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
    let presets = table(&read("docs/settings.md"), "preset");
    for (name, _) in vgan_cuda::config::PRESETS {
        assert!(presets.iter().any(|row| row[0].starts_with(&format!("`{name}`"))), "{name} is not listed");
    }
}

/// A path dependency or a member of the workspace that is left out makes `cargo build` fail before it begins.
#[test]
fn docker_gets_every_crate_of_the_workspace() {
    let ignore = read(".dockerignore");
    let sent: Vec<&Path> = ignore.lines().filter_map(|line| line.strip_prefix('!')).map(Path::new).collect();
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("a list").iter();
    let mut needed: Vec<&str> = members.map(|member| member.as_str().expect("a path")).collect();
    for dependencies in ["dependencies", "dev-dependencies"] {
        let tables = manifest[dependencies].as_table().expect("a table").values();
        needed.extend(tables.filter_map(|dependency| dependency.get("path")?.as_str()));
    }
    assert!(needed.len() >= 5, "{needed:?}");
    for path in needed {
        assert!(sent.iter().any(|sent| Path::new(path).starts_with(sent)), ".dockerignore leaves out {path}");
    }
}

#[test]
fn docker_builds_with_the_pinned_compiler() {
    let toolchain = read("rust-toolchain.toml");
    let version =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).expect("a channel").trim_matches('"');
    for file in ["Dockerfile", "Dockerfile.cuda"] {
        let text = read(file);
        for line in [format!("--default-toolchain {version}\n"), format!("RUSTUP_TOOLCHAIN={version}\n")] {
            assert!(text.contains(&line), "{file} lacks {line:?}");
        }
    }
}
