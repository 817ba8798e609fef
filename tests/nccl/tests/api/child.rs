//! A test that runs in a process of its own: both libraries read their environment once.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Tells the child which test it is.
const CHILD: &str = "NCCL_STANDIN_TEST_CHILD";

/// A test in a process of its own, with these variables of the environment.
macro_rules! on_devices {
    ($(#[$doc:meta])* fn $name:ident($($variable:ident = $value:expr),*) $body:block) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let variables: &[(&str, &str)] = &[$((stringify!($variable), $value)),*];
            crate::child::run(concat!(module_path!(), "::", stringify!($name)), variables, || $body);
        }
    };
}
pub(crate) use on_devices;

/// The driver's library lies beside this program, where cargo puts those of dependencies; the one under test a folder higher, where it
/// puts those of the package itself.
fn link(library: &str, name: &str, folder: &Path) {
    let program = std::env::current_exe().expect("a program");
    let beside = program.with_file_name(library);
    let above = program.parent().and_then(Path::parent).map(|above| above.join(library));
    let found = [Some(beside), above].into_iter().flatten().find(|path| path.is_file());
    let found = found.unwrap_or_else(|| panic!("cargo has put no {library} near {}", program.display()));
    std::os::unix::fs::symlink(found, folder.join(name)).expect("a link");
}

/// Runs `work` in a child with these variables, and checks that it succeeds there.
pub(crate) fn run(test: &str, variables: &[(&str, &str)], work: impl FnOnce()) {
    if std::env::var(CHILD).is_ok_and(|child| child == test) {
        return work();
    }
    let folder = tempfile::tempdir().expect("a folder");
    link("libcuda_standin.so", "libcuda.so.1", folder.path());
    link("libnccl_standin.so", "libnccl.so.2", folder.path());
    let (_, path) = test.split_once("::").expect("a path");
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    command.args(["--exact", path, "--nocapture", "--test-threads", "1"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CUDA_") || name.starts_with("NCCL_")) {
        command.env_remove(name);
    }
    command.env("CUDA_STANDIN_DEVICES", "4").env("NCCL_STANDIN_FOLDER", folder.path()).envs(variables.iter().copied());
    command.env("NCCL_STANDIN_TRACE", folder.path().join("trace"));
    let output = command.env(CHILD, test).env("LD_LIBRARY_PATH", folder.path()).output().expect("a child");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let trace = std::fs::read_to_string(folder.path().join("trace")).unwrap_or_default();
    assert!(output.status.success(), "{test}:\n{stdout}\n{stderr}\n{trace}");
    assert!(stdout.contains("1 passed"), "{test} did not run:\n{stdout}");
}

/// The trace that this child's library writes.
pub(crate) fn trace() -> String {
    std::fs::read_to_string(std::env::var("NCCL_STANDIN_TRACE").expect("a trace")).expect("a trace")
}

/// Starts this child's program once more, as another rank of the same test.
pub(crate) fn again(variables: &[(&str, &str)]) -> impl FnOnce() -> Output + use<> {
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    command.args(std::env::args_os().skip(1)).envs(variables.iter().copied());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child");
    || child.wait_with_output().expect("its end")
}
