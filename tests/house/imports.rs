//! Imports go down only: no circle of imports between files, and none from a lower room to a higher one. And an operation is a .rs
//! and a .cu of the same path.
//!
//! The sources are read as text: `use crate::…`, `use super::…`, `use child::…`, and such paths in code. A name that a module
//! re-exports counts as an import of the file that has it; the declaration of a child is no import. What stands under `#[cfg(test)]`
//! is exempt.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, the highest first: a room imports none that stands before it in this list. Files beside the rooms are below all.
const ROOMS: [&str; 11] = ["cli", "bench", "proof", "train", "eval", "exchange", "nn", "data", "config", "ops", "run"];
/// The lowest room. It imports nothing but what lies beside the rooms.
const LOWEST: &str = "device";

/// Files of operations without a file of kernels of the same path, and the reason.
const NO_KERNELS: &[(&str, &str)] = &[];
/// Files of kernels without an operation of the same path, and the reason.
const NO_OPERATION: &[(&str, &str)] = &[];

/// A file of Rust as a module: its path in `crate::…`, its children, its re-exports and imports.
#[derive(Debug, Default)]
struct Module {
    file: String,
    children: BTreeSet<String>,
    /// Every imported name with the path that it stands for, as written; a glob has the name `*`.
    names: Vec<(String, Vec<String>)>,
    /// Paths in code that begin with `crate` or `super`.
    paths: Vec<Vec<String>>,
    /// Names that the file itself gives to something.
    defined: BTreeSet<String>,
    /// Its code but for imports and declarations of children.
    code: String,
}

impl Module {
    /// Whether its code has this name.
    fn reads(&self, name: &str) -> bool {
        self.code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
    }
}

type Modules = BTreeMap<Vec<String>, Module>;

/// The text without comments and without what is compiled for tests alone.
fn code_of(text: &str) -> String {
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut code = String::new();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code += line;
            code.push('\n');
            continue;
        }
        // The item behind it ends with a semicolon, or with a brace as far to the left as it began.
        let indent = line.len() - line.trim_start().len();
        let mut first = true;
        for line in lines.by_ref() {
            let here = line.len() - line.trim_start().len();
            let attribute = first && line.trim_start().starts_with('#');
            let ended = line.trim_end().ends_with(';') && (first || here <= indent);
            let closed = line.trim() == "}" && here == indent;
            let one_line = first && line.trim_end().ends_with('}');
            if !attribute && (ended || closed || one_line) {
                break;
            }
            first = first && attribute;
        }
    }
    code
}

/// Names of a tree of `use`, each with its path.
fn names_of(tree: &str, before: &[String]) -> Vec<(String, Vec<String>)> {
    let tree = tree.trim();
    if let Some((path, rest)) = tree.split_once("::{").or_else(|| tree.strip_prefix('{').map(|rest| ("", rest))) {
        let mut path_before = before.to_vec();
        path_before.extend(path.split("::").filter(|part| !part.is_empty()).map(|part| part.trim().to_string()));
        let (mut depth, mut parts) = (0, vec![String::new()]);
        for character in rest.trim().trim_end_matches(';').trim_end().strip_suffix('}').unwrap_or(rest).chars() {
            depth += i32::from(character == '{') - i32::from(character == '}');
            match character {
                ',' if depth == 0 => parts.push(String::new()),
                other => parts.last_mut().expect("never empty").push(other),
            }
        }
        return parts
            .iter()
            .filter(|part| !part.trim().is_empty())
            .flat_map(|part| names_of(part, &path_before))
            .collect();
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path: Vec<String> = before.iter().cloned().chain(path.split("::").map(|part| part.trim().into())).collect();
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.map(String::from).or_else(|| path.last().cloned()).unwrap_or_default();
    vec![(name, path)]
}

/// The identifiers that a line of code gives a name to.
fn defined_in(line: &str) -> Option<String> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!').filter(|word| !word.is_empty());
    const KINDS: [&str; 9] = ["struct", "enum", "fn", "const", "static", "trait", "type", "macro_rules!", "union"];
    let kind = words.by_ref().find(|word| KINDS.contains(word))?;
    let name = words.next()?;
    // `const fn` names what follows.
    if kind == "const" && name == "fn" { words.next().map(String::from) } else { Some(name.into()) }
}

fn module_of(file: &str, text: &str) -> Module {
    let code = code_of(text);
    let mut module = Module { file: file.into(), ..Module::default() };
    let mut rest = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        let item = match bare.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")) {
            Some((_, item)) => item,
            None => bare.strip_prefix("pub ").unwrap_or(bare),
        };
        if let Some(tree) = item.strip_prefix("use ") {
            let mut tree = tree.to_string();
            while !tree.trim_end().ends_with(';') {
                let Some(more) = lines.next() else { break };
                tree += more.trim();
            }
            module.names.extend(names_of(tree.trim_end().trim_end_matches(';'), &[]));
        } else if let Some(name) = item.strip_prefix("mod ") {
            if let Some(name) = name.trim_end().strip_suffix(';') {
                module.children.insert(name.into());
            }
        } else {
            module.defined.extend(defined_in(item));
            rest += line;
            rest.push('\n');
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in rest.match_indices(start) {
            // `$crate` is whoever uses the macro; `super::super::x` is found at its first `super`.
            let before = rest[..at].chars().next_back().unwrap_or(' ');
            if before == '$' || before == ':' || before == '_' || before.is_alphanumeric() {
                continue;
            }
            let path =
                rest[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next().unwrap_or_default();
            module.paths.push(path.split("::").filter(|part| !part.is_empty()).map(String::from).collect());
        }
    }
    module.code = rest;
    module
}

/// The modules of a tree of files, by the path of each: `device/mod.rs` and `device/cpu.rs` are `device` and `device::cpu`.
fn modules_of(files: &[(String, String)]) -> Modules {
    let mut modules = Modules::new();
    for (file, text) in files {
        let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(String::from).collect();
        if path.last().is_some_and(|last| last == "mod") || file == "lib.rs" {
            path.pop();
        }
        modules.insert(path, module_of(file, text));
    }
    modules
}

/// The module that a path names an item of, as seen from `from`; `None` where it is of another crate.
fn resolve(modules: &Modules, from: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
    let (mut here, mut rest) = match path.first()?.as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (from.to_vec(), &path[1..]),
        "super" => (from[..from.len().checked_sub(1)?].to_vec(), &path[1..]),
        first if modules.get(from)?.children.contains(first) => (from.to_vec(), path),
        _ => return None,
    };
    while let Some(name) = rest.first() {
        let module = modules.get(&here)?;
        if name == "super" {
            here.pop()?;
        } else if module.children.contains(name) {
            here.push(name.clone());
        } else if module.defined.contains(name) || depth == 0 {
            return Some(here);
        } else {
            let named = module.names.iter().filter(|(found, path)| found == name && path.len() > 1);
            let globs = module.names.iter().filter(|(found, _)| found == "*").filter_map(|(_, path)| {
                let target = resolve(modules, &here, &path[..path.len() - 1], depth - 1)?;
                let has = modules.get(&target)?;
                (has.defined.contains(name) || has.children.contains(name)).then_some(path)
            });
            let through = named.map(|(_, path)| path.clone());
            let through =
                through.chain(globs.map(|path| [&path[..path.len() - 1], std::slice::from_ref(name)].concat()));
            let found = through.filter_map(|path| resolve(modules, &here, &path, depth - 1)).next();
            return found.or(Some(here));
        }
        rest = &rest[1..];
    }
    Some(here)
}

/// The files that each file imports.
fn imports_of(modules: &Modules) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (at, module) in modules {
        let found = imports.entry(&module.file).or_default();
        // What a module re-exports of its children is theirs, and no import: who imports the name imports the child.
        let used = |name: &str, path: &[String]| {
            let child = path.first().is_some_and(|first| module.children.contains(first) || first == "self");
            !child || module.reads(name)
        };
        let named = module.names.iter().filter(|(name, path)| used(name, path)).map(|(_, path)| path);
        for path in named.chain(&module.paths) {
            let glob = path.last().is_some_and(|last| last == "*");
            let path = if glob { &path[..path.len() - 1] } else { path };
            let target = resolve(modules, at, path, 8).and_then(|target| modules.get(&target));
            found.extend(target.map(|target| target.file.as_str()).filter(|file| *file != module.file));
        }
    }
    imports
}

/// Every circle: files that each import the others, directly or through one another.
fn circles(imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Vec<String>> {
    let reached = |from: &str| {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![from.to_string()]);
        while let Some(file) = queue.pop() {
            for next in imports.get(file.as_str()).into_iter().flatten() {
                if seen.insert((*next).to_string()) {
                    queue.push((*next).to_string());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<String>> = imports.keys().map(|file| (*file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, seen) in reach.iter().filter(|(file, seen)| seen.contains(**file)) {
        let together = seen.iter().filter(|other| reach[other.as_str()].contains(*file)).cloned();
        circles.insert(together.collect::<Vec<_>>());
    }
    circles.into_iter().collect()
}

/// The height of a file; 0 is beside the rooms, and `None` what is above them all.
fn height(file: &str) -> Option<usize> {
    let Some((room, _)) = file.split_once('/') else { return (file != "lib.rs" && file != "main.rs").then_some(0) };
    if room == LOWEST {
        return Some(1);
    }
    let at =
        ROOMS.iter().position(|name| *name == room).unwrap_or_else(|| panic!("src/{room}/ is no room of {ROOMS:?}"));
    Some(ROOMS.len() + 1 - at)
}

/// Imports from a lower room to a higher one.
fn upward(imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, targets) in imports {
        let Some(from) = height(file) else { continue };
        for target in targets {
            if height(target).is_none_or(|to| to > from) {
                wrong.push(format!("src/{file} imports src/{target}"));
            }
        }
    }
    wrong
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file with this ending below a folder: its path from there, and its text.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let root = root().join(folder);
    let (mut folders, mut files): (Vec<PathBuf>, Vec<_>) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                let text = fs::read_to_string(&path).expect("a source file");
                files.push((path.strip_prefix(&root).expect("inside").to_str().expect("text").to_string(), text));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn no_imports_go_in_a_circle() {
    let modules = modules_of(&files("src", "rs"));
    assert!(modules.len() > 50, "{} modules", modules.len());
    let found = circles(&imports_of(&modules));
    assert!(found.is_empty(), "files that import each other: {found:#?}");
}

#[test]
fn no_room_imports_a_higher_one() {
    let modules = modules_of(&files("src", "rs"));
    let imports = imports_of(&modules);
    let wrong = upward(&imports);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 300, "the search finds what is there");
}

/// A tree with one circle through a re-export, one through a path in code, and much that is none.
fn invented() -> Vec<(String, String)> {
    let file = |name: &str, text: &str| (name.to_string(), text.to_string());
    vec![
        file("lib.rs", "pub mod ops;\npub mod device;\nmod error;\npub use error::Error;\n"),
        file("error.rs", "pub struct Error;\n"),
        file(
            "device/mod.rs",
            "mod cpu;\nmod state;\npub use cpu::Cpu;\npub use state::{\n    State, Other as Renamed,\n};\npub trait Backend {}\n",
        ),
        file("device/cpu.rs", "use super::Backend;\npub struct Cpu;\n// crate::ops::conv2d\n"),
        file(
            "device/state.rs",
            "use crate::Error;\npub struct State;\npub struct Other;\n#[cfg(test)]\nuse crate::ops::clip;\n\n#[cfg(test)]\nmod tests {\n    use crate::ops::linear::LinearOp;\n}\n",
        ),
        file(
            "ops/mod.rs",
            "pub mod linear;\npub mod clip;\npub mod conv2d;\npub use clip::*;\nmacro_rules! m { () => { $crate::ops::conv2d::F } }\n",
        ),
        // Conv2d takes linear's trait, and linear looks at conv2d in its code: a circle.
        file(
            "ops/conv2d.rs",
            "use super::linear::LinearOp as _;\nuse crate::device::{Cpu, Renamed, State};\npub const F: u32 = 1;\n",
        ),
        file("ops/linear.rs", "pub trait LinearOp {}\nfn f() -> u32 { crate::ops::conv2d::F }\n"),
        // By the glob of ops, and by way of nothing else.
        file("ops/clip.rs", "pub struct ClipDims;\n"),
    ]
}

#[test]
fn a_planted_circle_and_an_import_upwards_are_found() {
    let mut files = invented();
    let found = |files: &[(String, String)]| {
        let modules = modules_of(files);
        let imports = imports_of(&modules);
        (circles(&imports), upward(&imports))
    };
    let circle = |files: &[&str]| files.iter().map(|file| (*file).to_string()).collect::<Vec<_>>();
    assert_eq!(found(&files), (vec![circle(&["ops/conv2d.rs", "ops/linear.rs"])], vec![]));
    let modules = modules_of(&files);
    let imports = imports_of(&modules);
    assert_eq!(imports["ops/conv2d.rs"], BTreeSet::from(["device/cpu.rs", "device/state.rs", "ops/linear.rs"]));
    assert_eq!(imports["device/state.rs"], BTreeSet::from(["error.rs"]), "what tests import is exempt");
    assert_eq!(imports["device/mod.rs"], BTreeSet::new(), "a re-export is no import");

    let change = |files: &mut [(String, String)], name: &str, from: &str, to: &str| {
        let file = files.iter_mut().find(|(file, _)| file == name).expect("a file");
        assert!(file.1.contains(from));
        file.1 = file.1.replace(from, to);
    };
    change(&mut files, "ops/linear.rs", "crate::ops::conv2d::F", "1");
    assert_eq!(found(&files), (vec![], vec![]));
    // The module uses what it re-exports, and the child uses the module's trait.
    change(&mut files, "device/mod.rs", "pub trait Backend {}", "pub trait Backend { fn cpu() -> Cpu; }");
    assert_eq!(found(&files).0, [circle(&["device/cpu.rs", "device/mod.rs"])]);
    change(&mut files, "device/mod.rs", "fn cpu() -> Cpu;", "");
    change(&mut files, "device/cpu.rs", "use super::Backend;", "use super::Backend;\nuse crate::ops::ClipDims;");
    assert_eq!(found(&files), (vec![], vec!["src/device/cpu.rs imports src/ops/clip.rs".to_string()]));
}

/// An operation's file launches kernels where it names one.
#[test]
fn an_operation_is_a_rust_file_and_a_file_of_kernels_of_the_same_path() {
    // A folder's operation is its mod.rs with what lies beside it; files on tensor cores belong to the operation without them.
    let stem = |file: &str| file.rsplit_once('.').map_or(file, |(stem, _)| stem).trim_end_matches("/mod").to_string();
    let launches: BTreeSet<String> = files("src/ops", "rs")
        .iter()
        .filter(|(file, text)| file.contains('/') && code_of(text).contains("Kernel::"))
        .map(|(file, _)| stem(file))
        .collect();
    let all: BTreeSet<String> = files("src/ops", "rs").iter().map(|(file, _)| stem(file)).collect();
    let kernels: BTreeSet<String> = files("kernels", "cu").iter().map(|(file, _)| stem(file)).collect();
    let excused = |list: &[(&str, &str)], file: &str| list.iter().any(|(name, _)| *name == file);
    let of_folder = |file: &str| file.rsplit_once('/').is_some_and(|(folder, _)| kernels.contains(folder));
    let lonely: Vec<_> = launches
        .iter()
        .filter(|file| !kernels.contains(*file) && !of_folder(file) && !excused(NO_KERNELS, file))
        .collect();
    assert!(
        lonely.is_empty(),
        "operations that launch kernels without a file of the same path in kernels/: {lonely:#?}"
    );
    let lonely: Vec<_> = kernels
        .iter()
        .filter(|file| {
            let operation = file.trim_end_matches("_bf16").trim_end_matches("_tensor").trim_end_matches("_wide");
            !all.contains(operation) && !excused(NO_OPERATION, file)
        })
        .collect();
    assert!(lonely.is_empty(), "files of kernels without an operation of the same path in src/ops/: {lonely:#?}");
    let listed = NO_KERNELS.iter().map(|one| (one, &launches)).chain(NO_OPERATION.iter().map(|one| (one, &kernels)));
    for ((file, reason), found) in listed {
        assert!(found.contains(*file) && !reason.is_empty(), "{file} is no exception any more");
    }
}
