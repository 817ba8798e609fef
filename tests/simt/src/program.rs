//! From .cu files to a loaded program, through g++, with a cache.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::library::Loaded;

/// The sources of a program.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The .cu files, each compiled by itself as nvcc does it.
    pub files: Vec<PathBuf>,
    /// The folders in which `#include` looks.
    pub include_dirs: Vec<PathBuf>,
    /// Macros, as `NAME` or `NAME=VALUE`. `SIMT` is always defined.
    pub defines: Vec<String>,
    /// More options for the compiler, behind all others.
    pub flags: Vec<String>,
    /// The folder in which compiled objects are kept: by default `$SIMT_CACHE`, else `simt` in cargo's target folder, else in the
    /// folder for temporary files.
    pub cache: Option<PathBuf>,
}

/// Compiled kernels, with and without the detector.
#[derive(Debug)]
pub struct Program {
    build: Build,
    plain: Arc<Loaded>,
    detecting: Mutex<Option<Arc<Loaded>>>,
}

impl Program {
    /// Compiles the sources, or takes what an earlier run of any process has compiled of them. The variant that checks
    /// accesses is compiled when an emulator first needs it. The compiler is `$CXX`, by default g++; it has to be gcc.
    ///
    /// # Errors
    ///
    /// The compiler's messages, or what could not be read or written.
    pub fn compile(sources: &Sources) -> Result<Program, String> {
        let build = Build::new(sources)?;
        let plain = Arc::new(Loaded::open(&build.library(false)?)?);
        Ok(Program { build, plain, detecting: Mutex::new(None) })
    }

    pub(crate) fn loaded(&self, detection: bool) -> Result<Arc<Loaded>, String> {
        if !detection {
            return Ok(Arc::clone(&self.plain));
        }
        let mut detecting = self.detecting.lock().unwrap_or_else(PoisonError::into_inner);
        if detecting.is_none() {
            *detecting = Some(Arc::new(Loaded::open(&self.build.library(true)?)?));
        }
        Ok(Arc::clone(detecting.as_ref().expect("just filled")))
    }
}

/// The folder of this crate, where headers and runtime lie.
pub(crate) fn crate_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[derive(Debug)]
struct Build {
    sources: Sources,
    compiler: OsString,
    version: String,
    cache: PathBuf,
}

/// One compilation.
struct Job<'a> {
    file: &'a Path,
    /// Of kernels, not of the runtime.
    kernels: bool,
    detection: bool,
}

/// Options of every compilation. No contraction: a * b + c rounds twice, as the kernels' comments say; no errno, so that
/// sqrtf is one instruction; no tail calls, so that a return address lies in the line that called; of what a debugger wants, the
/// lines alone.
const COMMON: &[&str] = &[
    "-x",
    "c++",
    "-std=gnu++17",
    "-g1",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-gnu-unique",
    "-fno-threadsafe-statics",
    "-fno-strict-aliasing",
    "-fno-optimize-sibling-calls",
    "-fno-math-errno",
    "-ffp-contract=off",
    "-w",
    "-DSIMT",
];

/// Hooks before every access, and a check of what a pointer is aligned to. Two lines that do the same stay two places,
/// lest a report name the wrong one.
const DETECTION: &[&str] = &[
    "-O2",
    "-fsanitize=thread",
    "--param",
    "tsan-instrument-func-entry-exit=0",
    "-fsanitize=alignment",
    "-fno-crossjumping",
    "-fno-tree-tail-merge",
];

/// Calls of the C library that a kernel must not make unseen.
const REDIRECTED: &[&str] = &["__assert_fail=simt_assert_failed", "abort=simt_trap"];
const REDIRECTED_DETECTING: &[&str] = &["memcpy=simt_memcpy", "memmove=simt_memmove", "memset=simt_memset"];

impl Build {
    fn new(sources: &Sources) -> Result<Build, String> {
        let mut sources = sources.clone();
        for path in sources.files.iter_mut().chain(&mut sources.include_dirs) {
            *path = std::path::absolute(&*path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let compiler = std::env::var_os("CXX").filter(|name| !name.is_empty()).unwrap_or_else(|| "g++".into());
        let version = run(Command::new(&compiler).arg("--version"))?;
        let cache = sources.cache.clone().unwrap_or_else(default_cache);
        fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
        Ok(Build { sources, compiler, version, cache })
    }

    /// The shared object of one variant: found in the cache or made. Of several who need the same at once, in this
    /// process or another, one makes it, and the others wait.
    fn library(&self, detection: bool) -> Result<PathBuf, String> {
        // In this order: by it the runtime tells its own code from the kernels'.
        let runtime = ["runtime/all.cpp", "runtime/end.cpp"].map(|file| crate_root().join(file));
        let mut jobs: Vec<Job<'_>> = runtime.iter().map(|file| Job { file, kernels: false, detection }).collect();
        jobs.extend(self.sources.files.iter().map(|file| Job { file, kernels: true, detection }));
        let named = |objects: &[PathBuf]| self.cache.join(format!("{}.so", digest(&[&objects])));
        let cached = || -> Result<Option<PathBuf>, String> {
            let objects: Result<Vec<Option<PathBuf>>, String> = jobs.iter().map(|job| self.cached(job)).collect();
            let objects: Option<Vec<PathBuf>> = objects?.into_iter().collect();
            Ok(objects.map(|objects| named(&objects)).filter(|library| library.exists()))
        };
        if let Some(library) = cached()? {
            return Ok(library);
        }
        let lock = self.cache.join("lock");
        let wrong = |error| format!("{}: {error}", lock.display());
        let held = fs::File::create(&lock).map_err(wrong)?;
        held.lock().map_err(wrong)?;
        let objects = self.objects(&jobs)?;
        let library = named(&objects);
        if !library.exists() {
            let written = self.temporary("so");
            // -z now: no symbol is looked up on a kernel's small stack.
            let mut link = Command::new(&self.compiler);
            link.args(["-shared", "-Wl,-z,now", "-Wl,-z,noexecstack", "-o"]).arg(&written).args(&objects);
            run(&mut link)?;
            publish(&written, &library)?;
        }
        Ok(library)
    }

    /// Compiles on as many processors as there are.
    fn objects(&self, jobs: &[Job<'_>]) -> Result<Vec<PathBuf>, String> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<PathBuf, String>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = jobs.get(index) else { break };
                        let result = self.object(job);
                        *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                });
            }
        });
        let results = results.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        results.collect()
    }

    fn flags(&self, &Job { kernels, detection, .. }: &Job<'_>) -> Vec<OsString> {
        let mut flags: Vec<OsString> = COMMON.iter().map(OsString::from).collect();
        flags.push(format!("-DSIMT_DETECT={}", u8::from(detection)).into());
        let own = crate_root().join("include");
        flags.extend(["-I".into(), own.clone().into_os_string()]);
        flags.extend(processor_flags().iter().map(OsString::from));
        if !kernels {
            flags.push("-O3".into());
            return flags;
        }
        flags.extend(["-include".into(), own.join("simt.h").into_os_string()]);
        // -O3 makes kernels little faster here, and takes three times as long to compile them.
        flags.extend(if detection { DETECTION } else { &["-O2"] }.iter().map(OsString::from));
        for folder in &self.sources.include_dirs {
            flags.extend(["-I".into(), folder.clone().into_os_string()]);
        }
        flags.extend(self.sources.defines.iter().map(|define| format!("-D{define}").into()));
        flags.extend(self.sources.flags.iter().map(OsString::from));
        flags
    }

    /// The digest of a source before its headers are known: of itself and of the compiler's arguments.
    fn source_digest(&self, job: &Job<'_>) -> Result<String, String> {
        let text = fs::read(job.file).map_err(|error| format!("{}: {error}", job.file.display()))?;
        Ok(digest(&[&self.compiler, &self.version, &self.flags(job), &job.file, &text]))
    }

    /// An object is named by all that goes into it.
    fn object_path(&self, source: &str, headers: &str) -> Option<PathBuf> {
        let contents: Option<Vec<Vec<u8>>> = headers.lines().map(|header| fs::read(header).ok()).collect();
        Some(self.cache.join(format!("{}.o", digest(&[&source, &contents?]))))
    }

    /// The object of an earlier run. Which headers go in, the compiler told when it last compiled this very source.
    fn cached(&self, job: &Job<'_>) -> Result<Option<PathBuf>, String> {
        let source = self.source_digest(job)?;
        let headers = fs::read_to_string(self.cache.join(format!("{source}.headers"))).ok();
        Ok(headers.and_then(|headers| self.object_path(&source, &headers)).filter(|object| object.exists()))
    }

    fn object(&self, job: &Job<'_>) -> Result<PathBuf, String> {
        if let Some(object) = self.cached(job)? {
            return Ok(object);
        }
        let source = self.source_digest(job)?;
        let written = self.temporary("o");
        let dependencies = self.temporary("d");
        let mut compile = Command::new(&self.compiler);
        compile.args(self.flags(job)).arg("-MMD").arg("-MF").arg(&dependencies);
        let compiled = run(compile.arg("-c").arg(job.file).arg("-o").arg(&written));
        let rule = fs::read_to_string(&dependencies);
        let _ = fs::remove_file(&dependencies);
        compiled?;
        if job.kernels {
            self.isolate(&written, job.detection)?;
        }
        let rule = rule.map_err(|error| format!("{}: {error}", dependencies.display()))?;
        let headers = parse_rule(&rule).join("\n");
        let target = self.object_path(&source, &headers);
        let target = target.ok_or_else(|| format!("a header of {} is gone", job.file.display()))?;
        publish(&written, &target)?;
        let list = self.temporary("headers");
        fs::write(&list, headers).map_err(|error| format!("{}: {error}", list.display()))?;
        publish(&list, &self.cache.join(format!("{source}.headers")))?;
        Ok(target)
    }

    /// Makes everything in an object local to it, templates included: to nvcc, too, each file is a program of its own,
    /// and two files may give one name to different things.
    fn isolate(&self, object: &Path, detection: bool) -> Result<(), String> {
        let joined = self.temporary("o");
        let mut join = Command::new(&self.compiler);
        run(join.args(["-r", "-nostdlib", "-Wl,--force-group-allocation", "-o"]).arg(&joined).arg(object))?;
        let mut rename = Command::new("objcopy");
        rename.arg("--localize-hidden");
        let detecting = if detection { REDIRECTED_DETECTING } else { &[] };
        for pair in REDIRECTED.iter().chain(detecting) {
            rename.arg("--redefine-sym").arg(pair);
        }
        run(rename.arg(&joined).arg(object))?;
        let _ = fs::remove_file(&joined);
        Ok(())
    }

    /// A name beside the cache's entries that nobody else uses.
    fn temporary(&self, extension: &str) -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        self.cache.join(format!("unfinished-{}-{count}.{extension}", std::process::id()))
    }
}

/// Puts a finished file under its name; whoever was quicker has put the same there.
fn publish(written: &Path, target: &Path) -> Result<(), String> {
    fs::rename(written, target).map_err(|error| format!("{}: {error}", target.display()))
}

/// fmaf is a function call of the C library unless the compiler may use the processor's own.
fn processor_flags() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        return &["-mavx2", "-mfma"];
    }
    &[]
}

/// The prerequisites of the make rule that gcc writes.
fn parse_rule(rule: &str) -> Vec<String> {
    let joined = rule.replace("\\\n", " ");
    let prerequisites = joined.split_once(": ").map_or("", |(_, rest)| rest);
    let mut words = vec![String::new()];
    let mut characters = prerequisites.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&' ') => {
                characters.next();
                words.last_mut().expect("never empty").push(' ');
            }
            '$' if characters.peek() == Some(&'$') => {}
            space if space.is_whitespace() => words.push(String::new()),
            other => words.last_mut().expect("never empty").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn default_cache() -> PathBuf {
    if let Some(cache) = std::env::var_os("SIMT_CACHE").filter(|path| !path.is_empty()) {
        return cache.into();
    }
    let executable = std::env::current_exe().unwrap_or_default();
    // cargo marks its target folder so.
    let target = executable.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.map_or_else(|| std::env::temp_dir().join("simt"), |target| target.join("simt"))
}

/// The output of a command, or the reason of its failure.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// 128 bits of these things; two runs of one compiler give the same.
fn digest(things: &[&dyn HashBytes]) -> String {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        for thing in things {
            thing.feed(&mut hasher);
        }
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(1), half(2))
}

/// `Hash`, usable behind a reference to different types.
trait HashBytes {
    fn feed(&self, hasher: &mut DefaultHasher);
}

impl<T: Hash> HashBytes for T {
    fn feed(&self, hasher: &mut DefaultHasher) {
        self.hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_taken_apart() {
        let rule = "a.o: /x/b.cu /x/with\\ space.h \\\n /y/c.h\n";
        assert_eq!(parse_rule(rule), ["/x/b.cu", "/x/with space.h", "/y/c.h"]);
        assert!(parse_rule("a.o:").is_empty());
    }
}
