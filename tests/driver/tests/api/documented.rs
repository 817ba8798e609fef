//! The comments of the driver's functions, against their code: each has its name in the documentation and its codes, as README.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a body calls, and the code that comes of it where it fails. Of helpers in other places the code is not looked for.
const FAILS: &[(&str, u32)] = &[
    (".check()?", 1),
    (".get()?", 1),
    (".set(", 1),
    (".set_all(", 1),
    (".set_text(", 1),
    (".device(device)?", 101),
    (".device_mut(device)?", 101),
    (".current()?", 201),
    (".current().map(", 201),
    (".current_device()?", 201),
    (".current_whatever_failed()?", 201),
    (".known_context(", 201),
    (".context_or_current(", 201),
    (".stream(stream)?", 400),
    (".events.get(event)?", 400),
    (".functions.get(function)?", 400),
    (".modules.get(module)?", 400),
    (".libraries.get(library)?", 400),
    (".kernels.get(kernel)?", 400),
    (".allowed_while_recording()?", 900),
];

/// A function as its file has it.
struct Function {
    name: String,
    /// Its comment, in one line.
    comment: String,
    body: String,
}

/// The functions of a file, in its order; none where it has no `driver_api!`.
fn functions(source: &str) -> Vec<Function> {
    let Some(start) = source.find("driver_api! { SYMBOLS;\n") else { return Vec::new() };
    let (mut found, mut comment) = (Vec::new(), Vec::new());
    let mut lines = source[start..].lines().take_while(|line| *line != "}");
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("    ///") {
            comment.push(text.trim());
        } else if let Some(rest) = line.strip_prefix("    fn ") {
            let name = rest.split('(').next().expect("a name").to_string();
            // rustfmt leaves these macros alone; a body ends where its function began, or in a line of its own.
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "    }").collect();
            found.push(Function { name, comment: std::mem::take(&mut comment).join(" "), body: body.join("\n") });
        }
    }
    found
}

/// The numbers of all codes, by their names in code.rs.
fn codes(source: &str) -> BTreeMap<String, u32> {
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("    ")?.split_once(" = ")?;
        let (number, _) = rest.split_once(", \"CUDA_")?;
        Some((name.to_string(), number.parse().ok()?))
    };
    source.lines().filter_map(row).collect()
}

/// The codes that a body names or that its calls fail with.
fn returned(body: &str, codes: &BTreeMap<String, u32>) -> BTreeSet<u32> {
    let named = body.match_indices("Code::").filter_map(|(at, prefix)| {
        let rest = &body[at + prefix.len()..];
        let end = rest.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_').unwrap_or(rest.len());
        // A body that asks whether it was a certain code does not return it.
        let compared = body[..at].trim_end().ends_with("== Some(");
        codes.get(&rest[..end]).copied().filter(|_| !compared)
    });
    let called = FAILS.iter().filter(|(call, _)| body.contains(call)).map(|(_, code)| *code);
    named.chain(called).collect()
}

/// What is wrong with a function's comment, and the codes that it has.
fn judge(
    function: &Function,
    before: &BTreeSet<u32>,
    codes: &BTreeMap<String, u32>,
) -> (Option<String>, BTreeSet<u32>) {
    let Function { name, comment, body } = function;
    let wrong = |what: &str, found| (Some(format!("{name}: {what}: {comment}")), found);
    let Some((named, text)) = comment.split_once(": ") else { return wrong("no codes", BTreeSet::new()) };
    let official = named.strip_prefix('`').and_then(|rest| rest.split_once('`')).map_or("", |(official, _)| official);
    if official.is_empty() || !name.starts_with(official) {
        return wrong("another name", BTreeSet::new());
    }
    let number = |word: &str| word.parse().ok().filter(|number| codes.values().any(|code| code == number));
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    let mut found: BTreeSet<u32> = words.clone().filter_map(number).collect();
    match words.clone().next() {
        Some("likewise") => found.extend(before),
        Some(first) if number(first).is_some() => {}
        _ => return wrong("it does not begin with a code", found),
    }
    let missing: Vec<u32> = returned(body, codes).difference(&found).copied().collect();
    if missing.is_empty() { (None, found) } else { wrong(&format!("lacks {missing:?}"), found) }
}

#[test]
fn the_comment_of_each_function_has_its_codes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read =
        |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let codes = codes(&read(&folder.join("code.rs")));
    let files = std::fs::read_dir(&folder).expect("the sources").map(|entry| entry.expect("an entry").path());
    let (mut wrong, mut known) = (Vec::new(), 0);
    for file in files.filter(|file| !file.ends_with("unsupported.rs")) {
        let source = read(&file);
        let functions = functions(&source);
        known += functions.len();
        let mut before = BTreeSet::new();
        for function in &functions {
            let (error, found) = judge(function, &before, &codes);
            wrong.extend(error);
            before = found;
        }
        let head: String = source.lines().take_while(|line| line.starts_with("//!")).collect();
        // What only stand-ins call is in no documentation.
        let documented = functions.iter().any(|function| !function.name.starts_with("cuStandin"));
        if documented && !head.contains("CUDA Driver API, \"") {
            wrong.push(format!("{}: its head names no section of the CUDA Driver API", file.display()));
        }
    }
    assert!(known > 150, "{known} functions were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The judge knows each fault.
#[test]
fn comments_that_are_wrong_are_told() {
    let codes = codes(&std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/code.rs")).expect("it"));
    assert_eq!((codes["INVALID_VALUE"], codes["UNKNOWN"]), (1, 999));
    let judged = |comment: &str, body: &str| {
        let source =
            format!("driver_api! {{ SYMBOLS;\n    /// {comment}\n    fn cuMemFree_v2(driver) {{\n{body}\n    }}\n}}\n");
        let [function] = &functions(&source)[..] else { panic!("{source}") };
        judge(function, &BTreeSet::from([2, 900]), &codes)
    };
    let right = |comment: &str, body: &str, expected: &[u32]| {
        let (error, found) = judged(comment, body);
        assert_eq!((error, found), (None, expected.iter().copied().collect()));
    };
    right("`cuMemFree`: 1, 201. Of 12 words.", "driver.current()?;\nErr(Code::INVALID_VALUE)", &[1, 201]);
    right(
        "`cuMemFree` (version 2): likewise; 1 for null.",
        "address.check()?; driver.allowed_while_recording()?",
        &[1, 2, 900],
    );
    right("`cuMemFree`: 46", "if error == Some(Code::UNKNOWN) { Err(Code::DEVICE_UNAVAILABLE) }", &[46]);
    for (comment, body, expected) in [
        ("", "Ok(())", "no codes"),
        ("`cuMemFree` frees.", "Ok(())", "no codes"),
        ("`cuMemAlloc`: 1.", "Ok(())", "another name"),
        ("`cuMemFree`: as above.", "Ok(())", "does not begin with a code"),
        ("`cuMemFree`: 12.", "Ok(())", "does not begin with a code"),
        ("`cuMemFree`: 1.", "driver.current()?;", "lacks [201]"),
        ("`cuMemFree`: likewise.", "Err(Code::NOT_SUPPORTED)", "lacks [801]"),
    ] {
        let error = judged(comment, body).0;
        assert!(error.as_ref().is_some_and(|error| error.contains(expected)), "{comment}: {error:?}");
    }
}
