//! The place of nvcc, which tests/house/resources.rs looks for too, and the flags that compile the files under kernels/.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// What is compiled where CUDA_COMPUTE_CAP does not say otherwise. Code for 8.0 runs on 8.6 and 8.9 too, which have the same
/// instructions.
pub(crate) const ARCHITECTURES: [&str; 4] = ["80", "90", "100", "120"];

/// The architectures that nvcc writes PTX for; machine code of each is compiled from the latest that it can run. Texts for 9.0 and 12.0
/// would differ from these in a conversion of bf16 or in nothing. That for 10.0 comes from another back end of nvcc, which takes fewer
/// registers there; the first is embedded, for any later GPU. Files are compiled in half the time of a text for each.
pub(crate) const TEXTS: [&str; 2] = ["80", "100"];

/// Where the build's warning installs the compiler, beside Cargo.toml.
pub(crate) const COMPILER_FOLDER: &str = ".cuda";

/// Flags that decide what the compiled code is.
pub(crate) const FLAGS: [&str; 3] = ["-std=c++17", "--fmad=false", "-lineinfo"];

/// nvcc: NVCC, CUDA_HOME or CUDA_PATH, PATH, /usr/local/cuda, .cuda/ beside Cargo.toml, the active virtual environment.
pub(crate) fn find_nvcc(root: &Path) -> Option<PathBuf> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let mut candidates: Vec<PathBuf> = variable("NVCC").into_iter().collect();
    candidates.extend(["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable).map(|home| home.join("bin/nvcc")));
    if let Some(path) = env::var_os("PATH") {
        candidates.extend(env::split_paths(&path).map(|folder| folder.join("nvcc")));
    }
    candidates.push("/usr/local/cuda/bin/nvcc".into());
    candidates.push(root.join(COMPILER_FOLDER).join("nvidia/cu13/bin/nvcc"));
    candidates.extend(variable("VIRTUAL_ENV").into_iter().flat_map(|home| {
        let packages = listed_folders(&home.join("lib"));
        packages.into_iter().map(|python| python.join("site-packages/nvidia/cu13/bin/nvcc"))
    }));
    candidates.into_iter().find(|path| path.is_file())
}

fn listed_folders(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// `-gencode` for code of one architecture. Code with what one architecture alone has (`90a`), or for an older one than the texts are, has
/// a text of its own.
pub(crate) fn gencode(architecture: &str) -> String {
    let number = |name: &str| name.parse::<u32>().ok();
    let runs = |text: &&&str| number(architecture).is_some_and(|architecture| number(text) <= Some(architecture));
    let text = TEXTS.iter().rfind(runs).unwrap_or(&architecture);
    format!("-gencode=arch=compute_{text},code=sm_{architecture}")
}
