//! The licences of all packages in Cargo.lock, listed in docs/results/licences.md. `cargo deny check` reads their texts and the list of
//! known advisories; this test needs no network, and fails where a package is not in the list, or the list names one that is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const TABLE: &str = "docs/results/licences.md";
const RENEW: &str = "RENEW=1 cargo test --release --test house licences";

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The packages of Cargo.lock that come from elsewhere, with their versions.
fn locked() -> BTreeMap<String, Vec<String>> {
    let (lock, mut packages) = (read("Cargo.lock"), BTreeMap::<String, Vec<String>>::new());
    for package in lock.split("[[package]]").skip(1).filter(|package| package.contains("\nsource = ")) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} in {package}")).trim_matches('"').to_string()
        };
        packages.entry(value("name = ")).or_default().push(value("version = "));
    }
    assert!(packages.len() > 50, "only {} packages found", packages.len());
    packages
}

/// The rows of the table: package, licence.
fn listed() -> BTreeMap<String, String> {
    let rows = read(TABLE);
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    rows.map(|(name, licence)| (name.to_string(), licence.to_string())).collect()
}

/// Writes the rows anew, from what the packages' own manifests say. Downloads those that are not here.
fn renew() {
    let output =
        Command::new(env!("CARGO")).args(["metadata", "--locked", "--all-features", "--format-version", "1"]).output();
    let output = output.expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages =
        metadata["packages"].as_array().expect("packages").iter().filter(|package| !package["source"].is_null());
    let rows: BTreeMap<&str, &str> = packages
        .map(|package| (package["name"].as_str().expect("a name"), package["license"].as_str().unwrap_or("none")))
        .collect();
    let text = read(TABLE);
    let head = text.split("| `").next().expect("what comes before the rows");
    let rows: String = rows.iter().map(|(name, licence)| format!("| `{name}` | {licence} |\n")).collect();
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE), format!("{head}{rows}")).expect("writing");
}

#[test]
fn every_package_is_listed_with_its_licence() {
    if std::env::var_os("RENEW").is_some() {
        renew();
    }
    let (locked, listed) = (locked(), listed());
    let unlisted: Vec<&String> = locked.keys().filter(|name| !listed.contains_key(*name)).collect();
    let gone: Vec<&String> = listed.keys().filter(|name| !locked.contains_key(*name)).collect();
    assert!(
        unlisted.is_empty() && gone.is_empty(),
        "not in {TABLE}: {unlisted:?}; not in Cargo.lock: {gone:?}; `{RENEW}`"
    );
    let rules = read(".cargo/deny.toml");
    for (name, licence) in &listed {
        // Of alternatives one is enough, and of several licences at once each must do.
        let is_allowed = |licence: &str| rules.contains(&format!("\"{}\"", licence.trim_matches(['(', ')', ' '])));
        let alternatives = licence.replace('/', " OR ");
        let alternatives = alternatives.trim_matches(['(', ')']).split(" OR ");
        let is_fine = alternatives.clone().any(|licence| licence.split(" AND ").all(is_allowed))
            || licence.split(" AND ").all(|part| part.split(" OR ").any(is_allowed));
        assert!(is_fine, "{name}: {licence} is not allowed by .cargo/deny.toml");
    }
}
