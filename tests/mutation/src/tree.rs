//! The changed copy of the repository, and its builds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::site::{Site, changed};
use crate::{Outcome, collect};

/// The rooms that mutants are put into.
pub const ROOMS: [&str; 5] = ["ops", "nn", "train", "data", "run"];

/// What src/ops declares for tests and benchmarks: no code that trains.
const SCAFFOLDING: [&str; 3] = ["src/ops/case.rs", "src/ops/models.rs", "src/ops/pass.rs"];

/// Where everything is.
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// target/mutation in it: plan, notes and results.
    pub folder: PathBuf,
    /// The copy.
    pub tree: PathBuf,
}

impl Places {
    /// # Errors
    /// If the folder can't be made.
    pub fn new() -> io::Result<Places> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let folder = root.join("target/mutation");
        let tree = folder.join("tree");
        fs::create_dir_all(&tree)?;
        Ok(Places { root, folder, tree })
    }
}

/// Where mutants stand in the copy: by file, their numbers and bytes.
type Standing = BTreeMap<String, Vec<(usize, Range<usize>)>>;

/// A test binary of the copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Binary {
    pub name: String,
    pub path: PathBuf,
}

/// Writes where the text is another: what is unchanged is not compiled again.
fn write_if_changed(path: &Path, text: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fs::write(path, text)
}

/// Paths of all files of the repository that git tracks or would track.
fn files(root: &Path) -> Outcome<Vec<String>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let output = Command::new("git").args(list).current_dir(root).output()?;
    let names = String::from_utf8(output.stdout)?;
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty() && !name.starts_with("tests/mutation/"))
        .map(str::to_owned)
        .collect())
}

/// The places of all rooms, by file.
pub fn all_sites(root: &Path) -> Outcome<BTreeMap<String, Vec<Site>>> {
    let mut found = BTreeMap::new();
    for name in files(root)? {
        let room = name.strip_prefix("src/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let is_left_out = name.ends_with("tests.rs") || SCAFFOLDING.contains(&&*name);
        if ROOMS.contains(&room) && name.ends_with(".rs") && !is_left_out {
            let source = fs::read_to_string(root.join(&name))?;
            found.insert(name.clone(), collect::collect(&name, &source).map_err(|error| format!("{name}: {error}"))?);
        }
    }
    Ok(found)
}

/// Writes the copy with these mutants, numbered from 1 in their order. Returns where each stands: by file, the number and its bytes.
pub fn write(places: &Places, mutants: &[Site]) -> Outcome<Standing> {
    let mut standing = BTreeMap::new();
    for name in files(&places.root)? {
        let (from, to) = (places.root.join(&name), places.tree.join(&name));
        if fs::symlink_metadata(&from).map_or(true, |data| data.is_symlink()) {
            continue;
        }
        let mut own: Vec<(usize, &Site)> = (1..).zip(mutants).filter(|(_, site)| site.file == name).collect();
        let mut text = fs::read(&from)?;
        if !own.is_empty() {
            let (new, ranges) = changed(&String::from_utf8(text)?, &mut own);
            standing.insert(name.clone(), ranges);
            text = new.into_bytes();
        }
        if name == "src/lib.rs" {
            text.extend_from_slice(b"\n#[doc(hidden)]\npub mod mutants;\n");
        }
        write_if_changed(&to, &text)?;
    }
    write_if_changed(&places.tree.join("src/mutants.rs"), include_bytes!("switch.rs"))?;
    // What .ci/run puts beside the sources and git ignores: nvcc.
    let (nvcc, link) = (places.root.join(".cuda/nvidia"), places.tree.join(".cuda/nvidia"));
    if nvcc.exists() && !link.exists() {
        std::os::unix::fs::symlink(nvcc.canonicalize()?, link)?;
    }
    Ok(standing)
}

/// cargo in the copy, as .ci/run calls it.
pub fn cargo(places: &Places) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&places.tree).stdin(Stdio::null()).envs(variables(places));
    command
}

/// The variables of builds and tests.
pub fn variables(places: &Places) -> Vec<(&'static str, String)> {
    vec![
        ("CUDA_COMPUTE_CAP", "80,90".to_owned()),
        ("CARGO_PROFILE_RELEASE_LTO", "off".to_owned()),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "4".to_owned()),
        ("SIMT_CACHE", places.tree.join("target/simt-cache").to_string_lossy().into_owned()),
        ("OMPI_ALLOW_RUN_AS_ROOT", "1".to_owned()),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1".to_owned()),
    ]
}

/// The features that the copy is built with: ranks of MPI, where there is an MPI.
fn features() -> &'static [&'static str] {
    let found = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    if found("mpicc") { &["--features", "mpi"] } else { &[] }
}

/// Writes the copy and checks it until all mutants that are left compile. Returns these.
pub fn checked(places: &Places, mut mutants: Vec<Site>) -> Outcome<Vec<Site>> {
    loop {
        let standing = write(places, &mutants)?;
        let mut command = cargo(places);
        let flags = ["check", "--release", "--locked", "--lib", "--message-format", "json"];
        let output = command.args(flags).args(features()).stderr(Stdio::inherit()).output()?;
        if output.status.success() {
            return Ok(mutants);
        }
        let dropped: BTreeSet<usize> =
            messages(&output.stdout).iter().filter_map(|message| blamed(message, &standing)).collect();
        if dropped.is_empty() {
            return Err(
                "the copy doesn't compile, and no error is at a mutant: see cargo check in target/mutation/tree".into(),
            );
        }
        println!("{} of {} mutants don't compile", dropped.len(), mutants.len());
        let numbered = (1..).zip(mutants);
        mutants = numbered.filter(|(id, _)| !dropped.contains(id)).map(|(_, site)| site).collect();
    }
}

fn messages(stdout: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stdout);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The mutant that an error of the compiler is at, or the one that is nearest in the file.
fn blamed(message: &Value, standing: &Standing) -> Option<usize> {
    let error = message.get("message").filter(|inner| inner["level"] == "error")?;
    let spans = error["spans"].as_array()?;
    let main = spans.iter().find(|span| span["is_primary"] == true)?;
    let ranges = standing.get(main["file_name"].as_str()?)?;
    let at = |name: &str| main[name].as_u64().and_then(|at| usize::try_from(at).ok());
    let (start, end) = (at("byte_start")?, at("byte_end")?);
    let distance = |range: &Range<usize>| range.start.saturating_sub(end) + start.saturating_sub(range.end);
    ranges.iter().min_by_key(|(_, range)| distance(range)).map(|(id, _)| *id)
}

/// Builds the copy's tests and program.
pub fn build(places: &Places) -> Outcome<Vec<Binary>> {
    let mut command = cargo(places);
    let flags = ["test", "--release", "--locked", "--no-run", "-p", "vgan-cuda", "--message-format", "json"];
    let output = command.args(flags).args(features()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the copy's tests don't compile".into());
    }
    let mut binaries = Vec::new();
    for message in messages(&output.stdout) {
        let of_tests = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
        if let (true, Some(path), Some(name)) =
            (of_tests, message["executable"].as_str(), message["target"]["name"].as_str())
        {
            binaries.push(Binary { name: name.to_owned(), path: PathBuf::from(path) });
        }
    }
    fs::write(places.folder.join("binaries.json"), serde_json::to_vec_pretty(&binaries)?)?;
    Ok(binaries)
}
