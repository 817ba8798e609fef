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
    FOLDER.get_or_init(|| {
        // Cargo builds the library of a dependency beside the test that depends on it.
        let test = std::env::current_exe().expect("the test's own path");
        let built = test.with_file_name("libcuda_standin.so");
        assert!(built.is_file(), "cargo has put no library at {}", built.display());
        let folder = test.with_file_name("standin");
        std::fs::create_dir_all(&folder).expect("a folder");
        // The name without a version is the first that cudarc looks for: a driver that is installed has both.
        for name in ["libcuda.so", "libcuda.so.1"] {
            match std::os::unix::fs::symlink("../libcuda_standin.so", folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{name}: {error}"),
                _ => {}
            }
        }
        folder
    })
}

/// A command that finds the stand-in where it looks for a driver, with nothing set of what the stand-in reads.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let paths = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let paths = std::iter::once(folder().to_path_buf()).chain(std::env::split_paths(&paths));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(paths).expect("no colon in the folder's name"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CUDA_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
