//! The stand-in for the CUDA driver, tests/driver, under the names by which programs look for a driver: what is run with
//! `LD_LIBRARY_PATH` at its folder takes it for a GPU.

// Each test takes what it needs of this, and none is a library.
#![allow(dead_code, unreachable_pub)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Whether nvcc was there when the program was built: without the PTX that it makes there is nothing to run.
pub fn has_kernels() -> bool {
    let found = !vgan_cuda::device::kernels::BINARIES.is_empty();
    if !found {
        eprintln!("SKIPPED: the program was built without nvcc, so it has no PTX to run");
    }
    found
}

/// The folder with the driver in it: one for all tests of a build, since they may run at the same time.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    // The name without a version is the first that cudarc looks for: a driver that is installed has both.
    FOLDER.get_or_init(|| linked("standin", "libcuda_standin.so", &["libcuda.so", "libcuda.so.1"]))
}

/// The folder with the stand-in for NCCL, tests/nccl, in it: apart, so that most tests find none.
pub fn nccl_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| linked("standin-nccl", "libnccl_standin.so", &["libnccl.so.2"]))
}

/// A folder beside the test, with a library under these names.
fn linked(folder: &str, library: &str, names: &[&str]) -> PathBuf {
    // Cargo builds the library of a dependency beside the test that depends on it.
    let test = std::env::current_exe().expect("the test's own path");
    let built = test.with_file_name(library);
    assert!(built.is_file(), "cargo has put no library at {}", built.display());
    let folder = test.with_file_name(folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    for name in names {
        match std::os::unix::fs::symlink(Path::new("..").join(library), folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{name}: {error}"),
            _ => {}
        }
    }
    folder
}

/// A command that finds the stand-in where it looks for a driver, with nothing set of what the stand-in reads.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    command_with(program, &[folder()])
}

/// The same with two devices and the stand-in for NCCL; `place` is where its ranks meet.
pub fn command_of_ranks(program: impl AsRef<OsStr>, place: &Path) -> Command {
    let mut command = command_with(program, &[folder(), nccl_folder()]);
    command.env("CUDA_STANDIN_DEVICES", "2").env("NCCL_STANDIN_FOLDER", place);
    command
}

fn command_with(program: impl AsRef<OsStr>, folders: &[&Path]) -> Command {
    let mut command = Command::new(program);
    let paths = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let paths = folders.iter().map(|folder| folder.to_path_buf()).chain(std::env::split_paths(&paths));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(paths).expect("no colon in the folder's name"));
    for (name, _) in std::env::vars_os() {
        if ["CUDA_", "NCCL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
