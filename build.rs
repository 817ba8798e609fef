//! Compiles the .cu files under kernels/ for every architecture, embeds the result, and generates what Rust knows of them: a variant of
//! `Kernel` for each kernel, and the constants of kernels/lib/launch.h. Without nvcc the table is there and no code is.
//!
//! Compiled files are kept under a hash of all that went in, beside the other build products, so that a second profile
//! or a second set of features does not compile them anew. Beside each f32 file lies what ptxas said of its kernels:
//! tests/house/resources.rs reads it, and compiles nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs};

#[path = "build/figures.rs"]
mod figures;
#[path = "build/nvcc.rs"]
mod nvcc;

use nvcc::{ARCHITECTURES, COMPILER_FOLDER, FLAGS, TEXTS, find_nvcc, gencode};

/// A form that each file is compiled in: its name, the type that it computes with, the define of the type in which activations lie
/// in memory where that is another one. f32 and bf16 train, f64 checks gradients.
type Form = (&'static str, &'static str, Option<&'static str>);
const FORMS: [Form; 3] = [("f32", "float", None), ("bf16", "float", Some("STORED_BF16")), ("f64", "double", None)];
/// How the pinned compiler is installed.
const INSTALL: &str = "pip install --no-deps --target .cuda nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 \
                       nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85";

/// A file of kernels, compiled in one form.
struct Compiled {
    /// Its path below kernels/, without the ending.
    file: String,
    /// `f32`, `bf16` or `f64`.
    form: &'static str,
    /// The code.
    fatbin: PathBuf,
    /// ptxas's report of registers and memory, of what is compiled for architectures.
    report: Option<PathBuf>,
}

/// The headers that the build writes.
struct Headers {
    folder: PathBuf,
    text: String,
}

/// A kernel as its declaration says it.
struct Declared {
    name: String,
    file: String,
}

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/figures.rs");
    // A compiler that is installed here later is found by the next build. Cargo takes a missing path for a changed one, and would
    // build anew each time.
    if Path::new(COMPILER_FOLDER).is_dir() {
        println!("cargo::rerun-if-changed={COMPILER_FOLDER}");
    }
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "CUDA_COMPUTE_CAP", "CUDA_PTX", "VIRTUAL_ENV", "DOCS_RS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let folder = root.join("kernels");
    let files = listed(&folder, "cu");
    let kernels: Vec<Declared> = files.iter().flat_map(|file| declared(&folder, file)).collect();
    let mut generated = kernel_table(&kernels);
    generated += &constants(&read(&root.join("kernels/lib/launch.h")));
    let generated_headers = out.join("include");
    let figures = figures::header(&read(&root.join("src/figures.rs")));
    fs::create_dir_all(&generated_headers).expect("a folder in OUT_DIR");
    fs::write(generated_headers.join(figures::HEADER), &figures).expect("writing into OUT_DIR");
    writeln!(generated, "/// The folder of the headers that the build wrote, which the files under kernels/ include.")
        .unwrap();
    writeln!(generated, "pub const GENERATED_HEADERS: &str = {generated_headers:?};").unwrap();
    let architectures = architectures();
    let nvcc = find_nvcc(&root).filter(|_| env::var_os("DOCS_RS").is_none());
    let compiler = nvcc.as_deref().map(version).unwrap_or_default();
    writeln!(generated, "/// The compiler of what is embedded, such as `nvcc 13.0.88`; empty where it was missing.")
        .unwrap();
    writeln!(generated, "pub const COMPILER: &str = {compiler:?};").unwrap();
    let binaries = match nvcc {
        None if env::var_os("DOCS_RS").is_some() => Vec::new(),
        None => {
            println!(
                "cargo::warning=no nvcc found: building without the GPU's kernels. To have them: {INSTALL}; then build again"
            );
            Vec::new()
        }
        Some(nvcc) => {
            let headers = Headers { folder: generated_headers, text: figures };
            compile_all(&nvcc, &compiler, &root, &files, &architectures, &out, &headers)
        }
    };
    let embedded = if binaries.is_empty() { Vec::new() } else { architectures };
    writeln!(generated, "/// The architectures that code is embedded for; none where nvcc was missing.").unwrap();
    writeln!(generated, "pub const ARCHITECTURES: &[&str] = &{embedded:?};").unwrap();
    writeln!(generated, "/// Compiled files: kernel file, form (`f32`, `bf16`, `f64`), fatbin.").unwrap();
    writeln!(generated, "pub const BINARIES: &[(&str, &str, &[u8])] = &[").unwrap();
    for Compiled { file, form, fatbin, .. } in &binaries {
        writeln!(generated, "    ({file:?}, {form:?}, include_bytes!({fatbin:?})),").unwrap();
    }
    writeln!(generated, "];").unwrap();
    writeln!(generated, "/// Reports of `ptxas -v` on what is embedded for architectures: kernel file, form, report.")
        .unwrap();
    writeln!(generated, "pub const REPORTS: &[(&str, &str, &str)] = &[").unwrap();
    for (Compiled { file, form, .. }, report) in binaries.iter().filter_map(|one| Some((one, one.report.as_ref()?))) {
        writeln!(generated, "    ({file:?}, {form:?}, include_str!({report:?})),").unwrap();
    }
    writeln!(generated, "];").unwrap();
    fs::write(out.join("kernels.rs"), generated).expect("writing into OUT_DIR");
}

/// What nvcc calls itself: the last line but one of `nvcc --version` ends in `V13.0.88`.
fn version(nvcc: &Path) -> String {
    let output = Command::new(nvcc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let number =
        text.split(", V").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or("of unknown version");
    format!("nvcc {number}")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files with this ending in a folder and below it, sorted.
fn listed(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A kernel file's path below kernels/, without its ending: `layers/conv2d`.
fn stem(folder: &Path, file: &Path) -> String {
    file.strip_prefix(folder).expect("below kernels/").with_extension("").to_string_lossy().into_owned()
}

/// The kernels of a file: `KERNEL(name, …` and `KERNEL_BOUNDED(threads, name, …` at the beginning of a line.
fn declared(folder: &Path, file: &Path) -> Vec<Declared> {
    let text = read(file);
    let name = |line: &str| {
        let name = match line.strip_prefix("KERNEL(") {
            Some(rest) => rest.split(',').next()?,
            None => line.strip_prefix("KERNEL_BOUNDED(")?.split(',').nth(1)?,
        };
        Some(Declared { name: name.trim().to_string(), file: stem(folder, file) })
    };
    text.lines().filter_map(name).collect()
}

fn kernel_table(kernels: &[Declared]) -> String {
    let camel = |name: &str| -> String {
        name.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect::<String>()
    };
    let mut text = String::from(
        "/// Every kernel of the .cu files under kernels/.\n#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]\n",
    );
    text += "pub enum Kernel {\n";
    for Declared { name, file } in kernels {
        writeln!(text, "    /// `{name}` of kernels/{file}.cu.\n    {},", camel(name)).unwrap();
    }
    text += "}\n\nimpl Kernel {\n    /// All of them.\n    pub const ALL: &'static [Kernel] = &[\n";
    for Declared { name, .. } in kernels {
        writeln!(text, "        Kernel::{},", camel(name)).unwrap();
    }
    text += "    ];\n\n    /// Its name in the file.\n    pub fn name(self) -> &'static str {\n        match self {\n";
    for Declared { name, .. } in kernels {
        writeln!(text, "            Kernel::{} => {name:?},", camel(name)).unwrap();
    }
    text += "        }\n    }\n\n    /// The path of its file below kernels/, without the ending.\n    pub fn file(self) -> &'static str {\n        match self {\n";
    for Declared { name, file } in kernels {
        writeln!(text, "            Kernel::{} => {file:?},", camel(name)).unwrap();
    }
    text + "        }\n    }\n}\n\n"
}

/// `constexpr int NAME = value;` with the comment lines above it.
fn constants(header: &str) -> String {
    let mut text = String::from("/// Block and tile sizes, as kernels/lib/launch.h has them.\npub mod size {\n");
    let mut comment = String::new();
    for line in header.lines() {
        if let Some(rest) = line.strip_prefix("//") {
            writeln!(comment, "    ///{rest}").unwrap();
        } else if let Some((name, value)) = line
            .strip_prefix("constexpr int ")
            .and_then(|rest| rest.strip_suffix(';'))
            .and_then(|rest| rest.split_once(" = "))
        {
            writeln!(text, "{comment}    pub const {name}: u32 = {value};").unwrap();
            comment.clear();
        } else {
            comment.clear();
        }
    }
    text + "}\n\n"
}

fn architectures() -> Vec<String> {
    let chosen = env::var("CUDA_COMPUTE_CAP").unwrap_or_default();
    let wanted: Vec<String> =
        chosen.split([',', ' ', ';']).filter(|part| !part.is_empty()).map(|part| part.replace('.', "")).collect();
    if wanted.is_empty() { ARCHITECTURES.map(String::from).to_vec() } else { wanted }
}

/// The forms that a file is compiled in. Tensor cores know no f64. Wide tiles are those of plain products in f32: the registers hold none of f64,
/// and in bf16 a product is on tensor cores, or in narrow tiles where that kernel is found wrong. What is made for bf16 says so.
fn forms(file: &Path) -> &'static [Form] {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    match name.rsplit('_').next() {
        Some("wide") => &FORMS[..1],
        Some("tensor") => &FORMS[..2],
        Some("bf16") => &FORMS[1..2],
        _ => &FORMS,
    }
}

/// Compiles every file in its forms, as many at once as there are cores.
fn compile_all(
    nvcc: &Path,
    version: &str,
    root: &Path,
    files: &[PathBuf],
    architectures: &[String],
    out: &Path,
    generated: &Headers,
) -> Vec<Compiled> {
    // target/<profile>/build/<package>/out → target/kernels, which all profiles share.
    let cache = out.ancestors().nth(4).unwrap_or(out).join("kernels");
    fs::create_dir_all(&cache).expect("a folder beside the build products");
    let folder = root.join("kernels");
    let headers: Vec<PathBuf> = ["cuh", "h"].iter().flat_map(|kind| listed(&folder, kind)).collect();
    let headers: String = headers.iter().map(|path| read(path)).chain([generated.text.clone()]).collect();
    let mut flags: Vec<String> = FLAGS.iter().chain(&["--compress-mode=size", "-fatbin"]).map(|&f| f.into()).collect();
    // The oldest text, as PTX for any later GPU. `CUDA_PTX=100` embeds the other, for one purpose: to run it on the stand-in
    // (docs/results/standin.md).
    let ptx = env::var("CUDA_PTX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| TEXTS[0].into());
    flags.push(format!("-gencode=arch=compute_{ptx},code=compute_{ptx}"));
    // Kernels in f64 check gradients and do not train: the driver compiles them from PTX, and every build is a third shorter.
    let trained: Vec<String> = architectures.iter().map(|architecture| gencode(architecture)).collect();
    // Where the headers are is no part of the hash: what is in them is. Nor is a report, which changes no code.
    let hashed = flags.iter().chain(&trained).map(String::as_str).collect::<Vec<_>>().join(" ");
    flags.extend([&folder, &generated.folder].map(|folder| format!("-I{}", folder.display())));
    let job = |file: &PathBuf, (form, real, stored): Form| {
        let hash = hash(&[&read(file), &headers, &hashed, &nvcc.display().to_string(), version]);
        let name = stem(&folder, file);
        let kept = |ending: &str| cache.join(format!("{}.{form}.{hash:016x}.{ending}", name.replace('/', "-")));
        let (fatbin, report) = (kept("fatbin"), (form != "f64").then(|| kept("report")));
        let defines: Vec<String> =
            [format!("-DREAL={real}")].into_iter().chain(stored.map(|name| format!("-D{name}"))).collect();
        (file.clone(), defines, Compiled { file: name, form, fatbin, report })
    };
    let jobs: Vec<_> = files.iter().flat_map(|file| forms(file).iter().map(|&form| job(file, form))).collect();
    let queue = Mutex::new(jobs.iter());
    let compile = || {
        while let Some((file, defines, target)) = { queue.lock().expect("no panics").next() } {
            if !target.fatbin.is_file() || target.report.as_ref().is_some_and(|report| !report.is_file()) {
                let native = if target.report.is_some() { &trained[..] } else { &[] };
                compile_one(nvcc, file, &[&flags, native, defines].concat(), target);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(compile))));
    jobs.into_iter().map(|(_, _, target)| target).collect()
}

fn compile_one(nvcc: &Path, file: &Path, flags: &[String], target: &Compiled) {
    let partial = partial(&target.fatbin);
    let mut command = Command::new(nvcc);
    command.args(flags).arg("-o").arg(&partial).arg(file);
    if target.report.is_some() {
        command.args(["-Xptxas", "-v"]);
    }
    let output = command.output().unwrap_or_else(|error| panic!("can't run {}: {error}", nvcc.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} does not compile:\n{said}", file.display());
    let (report, warnings): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| is_report(line));
    warnings.iter().for_each(|line| println!("cargo::warning={line}"));
    if let Some(path) = &target.report {
        let partial = self::partial(path);
        fs::write(&partial, report.join("\n")).expect("writing a report beside a compiled kernel");
        fs::rename(&partial, path).expect("renaming a report");
    }
    fs::rename(&partial, &target.fatbin).expect("renaming a compiled kernel");
}

/// A line of `ptxas -v`, and no warning.
fn is_report(line: &str) -> bool {
    line.starts_with("ptxas info") || line.trim_end().ends_with("bytes spill loads")
}

/// Files are written beside and renamed, so that a build that was cut off leaves nothing that looks whole.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    name.into()
}

/// FNV-1a: names what went into a compiled file; nobody attacks it.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
