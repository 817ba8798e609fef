//! A test that runs in a process of its own: the driver reads its environment once, and a lasting error stays.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Tells the child which test it is.
const CHILD: &str = "CUDA_STANDIN_TEST_CHILD";

/// A test in a process of its own, with these variables: `CUDA_STANDIN_ORDER` is written `ORDER`.
macro_rules! on_driver {
    ($(#[$doc:meta])* fn $name:ident($($variable:ident = $value:expr),*) $body:block) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let variables: &[(&str, &str)] = &[$((stringify!($variable), $value)),*];
            crate::child::run(concat!(module_path!(), "::", stringify!($name)), variables, || $body);
        }
    };
}
pub(crate) use on_driver;

/// The library under test, beside the test's own program.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a program");
    program.parent().expect("a folder").join("libcuda_standin.so")
}

/// Whether this process is the child of that test.
fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == test)
}

/// Runs `work` in a child with these variables, and checks that it succeeds there.
pub(crate) fn run(test: &str, variables: &[(&str, &str)], work: impl FnOnce()) {
    if is_child(test) {
        return work();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = start(test, variables, folder.path());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{test}:\n{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{test} did not run:\n{}", text(&output.stdout));
}

/// The same; returns what the child wrote to stderr and to its file, whose variable is named.
pub(crate) fn run_and_read(
    test: &str,
    variables: &[(&str, &str)],
    file: &str,
    work: impl FnOnce(),
) -> Option<[String; 2]> {
    if is_child(test) {
        work();
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let mut variables = variables.to_vec();
    variables.push((file, path.to_str().expect("a name")));
    let output = start(test, &variables, folder.path());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{test}:\n{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    Some([stderr, std::fs::read_to_string(path).unwrap_or_default()])
}

fn start(test: &str, variables: &[(&str, &str)], folder: &Path) -> Output {
    std::os::unix::fs::symlink(library(), folder.join("libcuda.so.1")).expect("a link");
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    let (_, path) = test.split_once("::").expect("a path");
    command.args(["--exact", path, "--nocapture", "--test-threads", "1"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CUDA_")) {
        command.env_remove(name);
    }
    for (name, value) in variables {
        let name = if name.starts_with("CUDA_") { (*name).to_string() } else { format!("CUDA_STANDIN_{name}") };
        command.env(name, value);
    }
    command.env(CHILD, test).env("LD_LIBRARY_PATH", folder).output().expect("a child")
}
