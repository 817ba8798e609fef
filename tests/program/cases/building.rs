//! Building with nvcc and without: what is installed after a build is found by the next one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A package with this project's build script and one kernel.
struct Package {
    folder: tempfile::TempDir,
}

impl Package {
    fn new() -> Package {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (root, here) = (Path::new(env!("CARGO_MANIFEST_DIR")), folder.path());
        for name in ["build", "kernels/lib", "src", ".cuda"] {
            fs::create_dir_all(here.join(name)).expect("a folder");
        }
        for name in [
            "build.rs",
            "build/figures.rs",
            "build/nvcc.rs",
            "src/figures.rs",
            "kernels/lib/launch.h",
            ".cuda/README.md",
        ] {
            fs::copy(root.join(name), here.join(name)).expect(name);
        }
        let write = |name: &str, text: &str| fs::write(here.join(name), text).expect(name);
        write("Cargo.toml", "[package]\nname = \"package\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n");
        write("src/lib.rs", "include!(concat!(env!(\"OUT_DIR\"), \"/kernels.rs\"));\n");
        write("kernels/some.cu", "KERNEL(some_forward, int n) {}\n");
        Package { folder }
    }

    /// Builds, and returns what cargo said.
    fn build(&self) -> String {
        // Cargo compares times of files, and some file systems keep them to the nearest hundredth of a second.
        std::thread::sleep(Duration::from_millis(50));
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--offline", "--verbose"]).current_dir(self.folder.path());
        for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "CUDA_COMPUTE_CAP", "VIRTUAL_ENV", "RUSTFLAGS"] {
            cargo.env_remove(variable);
        }
        let output = cargo.env("CARGO_TARGET_DIR", self.folder.path().join("target")).output().expect("cargo");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        text
    }

    /// Puts a program into the place of nvcc that says it is of this version and writes down each file that it compiles.
    fn install(&self, version: &str) {
        let path = self.folder.path().join(".cuda/nvidia/cu13/bin/nvcc");
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let log = self.folder.path().join("compiled");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'Cuda compilation tools, release, V{version}'; exit; fi\n\
             while [ $# -gt 1 ]; do [ \"$1\" = -o ] && : > \"$2\"; shift; done\necho \"$1\" >> '{}'\n",
            log.display()
        );
        fs::write(&path, script).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    fn compiled(&self) -> usize {
        fs::read_to_string(self.folder.path().join("compiled")).map_or(0, |text| text.lines().count())
    }

    /// The table of kernels that the last build made.
    fn table(&self) -> String {
        let builds = fs::read_dir(self.folder.path().join("target/debug/build")).expect("build products");
        let tables = builds.flatten().map(|entry| entry.path().join("out/kernels.rs"));
        let found: Vec<PathBuf> = tables.filter(|path| path.is_file()).collect();
        let [table] = &found[..] else { panic!("{found:?}") };
        fs::read_to_string(table).expect("a table")
    }
}

#[test]
fn a_compiler_that_is_installed_later_is_found_by_the_next_build() {
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("nvcc").is_file()));
    if on_path || Path::new("/usr/local/cuda/bin/nvcc").is_file() {
        eprintln!("SKIPPED: this machine has an nvcc that each build finds");
        return;
    }
    let package = Package::new();
    let first = package.build();
    assert!(first.contains("no nvcc found") && first.contains("--target .cuda nvidia-cuda-nvcc=="), "{first}");
    assert!(package.table().contains("COMPILER: &str = \"\""));
    let again = package.build();
    assert!(again.contains("Fresh package"), "nothing has changed: {again}");

    package.install("13.0.88");
    let found = package.build();
    assert!(!found.contains("no nvcc found"), "{found}");
    let table = package.table();
    assert!(table.contains("COMPILER: &str = \"nvcc 13.0.88\"") && table.contains("\"some\", \"f64\""), "{table}");
    assert_eq!(package.compiled(), 3, "one file, in three forms");
    assert!(package.build().contains("Fresh package"));

    // Another version in the same place: nothing of the old one's work is used.
    package.install("13.1.10");
    package.build();
    assert!(package.table().contains("nvcc 13.1.10"));
    assert_eq!(package.compiled(), 6);

    fs::remove_dir_all(package.folder.path().join(".cuda/nvidia")).expect("removing");
    assert!(package.build().contains("no nvcc found"));
}
