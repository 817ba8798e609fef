//! The compiler's result for every kernel: registers, shared memory, spills, stack, tensor-core instructions. The table
//! docs/results/resources.md holds it, and this test holds the table against what is embedded in the program.
//!
//! Nothing is compiled here: build.rs keeps ptxas's report beside each compiled file, and cuobjdump takes the embedded code
//! apart. `RENEW=1 cargo test --release --test house resources` rewrites the table; that needs nvcc at the build and cuobjdump
//! (DISASSEMBLER says how to install it).

// The build script uses all of it.
#[allow(dead_code)]
#[path = "../../build/nvcc.rs"]
mod nvcc;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs};

use vgan_cuda::device::kernels::{ARCHITECTURES, BINARIES, COMPILER, GENERATED_HEADERS, Kernel, REPORTS};

const TABLE: &str = "docs/results/resources.md";
const RENEW: &str = "RENEW=1 cargo test --release --test house resources";
const DISASSEMBLER: &str = "pip install --no-deps --target .cudadisasm nvidia-cuda-cuobjdump==13.2.78 \
                            nvidia-cuda-nvdisasm==13.2.78";

/// A kernel, the form that it was compiled in, and an architecture.
type Key = (String, String, String);
/// The forms of kernels that train. Those in f64 check gradients, and are embedded as PTX alone.
const TRAINED: [&str; 2] = ["f32", "bf16"];

/// The values that ptxas reports for it, in bytes but for the registers.
#[derive(Debug, Clone, Default, PartialEq)]
struct Resources {
    registers: u32,
    shared: u32,
    stack: u32,
    spill_stores: u32,
    spill_loads: u32,
    /// The tensor-core instruction in its code; `None` where nobody looked.
    tensor: Option<String>,
}

type Table = BTreeMap<Key, Resources>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The first number that stands before `unit`.
fn number_before(line: &str, unit: &str) -> Option<u32> {
    line.split(unit).next().filter(|before| before.len() < line.len())?.trim().rsplit(' ').next()?.parse().ok()
}

/// Reads `ptxas -v` of a file that was compiled in a form. A function that was not inlined reports for itself, behind the kernel that it serves: the kernel
/// answers for the worst.
fn parse_report(form: &str, report: &str) -> Table {
    let (mut table, mut current) = (Table::new(), None);
    for line in report.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut quoted = rest.split('\'');
            let (kernel, sm) = (quoted.next().unwrap_or_default(), quoted.nth(1).unwrap_or_default());
            let key = (kernel.to_string(), form.to_string(), sm.to_string());
            table.insert(key.clone(), Resources::default());
            current = Some(key);
        }
        let Some(found) = current.as_ref().and_then(|key| table.get_mut(key)) else { continue };
        if let Some(stack) = number_before(line, " bytes stack frame") {
            found.stack = found.stack.max(stack);
            found.spill_stores = found.spill_stores.max(number_before(line, " bytes spill stores").unwrap_or(0));
            found.spill_loads = found.spill_loads.max(number_before(line, " bytes spill loads").unwrap_or(0));
        }
        if let Some(registers) = number_before(line, " registers") {
            found.registers = registers;
            found.shared = number_before(line, " bytes smem").unwrap_or(0);
        }
    }
    table
}

/// Notes in `table` which kernels of a disassembly, of a file in a form, use tensor cores.
fn parse_disassembly(form: &str, text: &str, table: &mut Table) {
    let (mut architecture, mut current) = (String::new(), None);
    for line in text.lines() {
        if let Some(found) = line.trim().strip_prefix("arch = ") {
            architecture = found.trim().to_string();
        } else if let Some(name) = line.trim().strip_prefix("Function : ") {
            let key = (name.trim().to_string(), form.to_string(), architecture.clone());
            current = table.contains_key(&key).then_some(key);
        }
        let Some(found) = current.as_ref().and_then(|key| table.get_mut(key)) else { continue };
        let opcode = ["HGMMA", "HMMA"].into_iter().find(|opcode| line.contains(&format!(" {opcode}.")));
        if let Some(opcode) = opcode {
            found.tensor = Some(opcode.into());
        } else if found.tensor.is_none() {
            found.tensor = Some("no".into());
        }
    }
}

fn text_of(table: &Table, version: &str) -> String {
    let files: BTreeMap<&str, &str> = Kernel::ALL.iter().map(|kernel| (kernel.name(), kernel.file())).collect();
    let mut text = format!(
        "# What the compiler makes of each kernel\n\nFrom `ptxas -v` and `cuobjdump -sass`, in f32 and with activations \
         stored as bf16, for every architecture that is compiled for. Shared memory, stack and spills in\nbytes a block or a thread; nothing here was measured on \
         a GPU. `tests/house/resources.rs` holds this table against the program wherever\nnvcc was there when it was built, \
         and no kernel may spill or keep an array in local memory. A kernel that is not in the\ntable yet is held to these \
         rules alone.\n\nCompiled by nvcc {version}. Renewed by `{RENEW}`.\n\n\
         | file | kernel | form | for | registers | shared | stack | spill stores | spill loads | tensor cores |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
    );
    let mut rows: Vec<_> = table.iter().collect();
    let age = |sm: &str| sm.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0);
    rows.sort_by_key(|((kernel, form, sm), _)| {
        (files.get(kernel.as_str()), kernel.clone(), TRAINED.iter().position(|trained| trained == form), age(sm))
    });
    for ((kernel, form, sm), r) in rows {
        let file = files.get(kernel.as_str()).copied().unwrap_or("?");
        let tensor = r.tensor.as_deref().unwrap_or("?");
        let Resources { registers, shared, stack, spill_stores, spill_loads, .. } = r;
        writeln!(
            text,
            "| {file} | {kernel} | {form} | {sm} | {registers} | {shared} | {stack} | {spill_stores} | {spill_loads} | {tensor} |"
        )
        .expect("a string");
    }
    text
}

/// The table as the file has it, and the compiler that it came from.
fn parse_table(text: &str) -> (Table, String) {
    let version = text.split("Compiled by nvcc ").nth(1).and_then(|rest| rest.split(". ").next()).unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, kernel, form, sm, numbers @ .., tensor] = cells.as_slice() else { return None };
        let numbers: Vec<u32> = numbers.iter().map(|cell| cell.parse().ok()).collect::<Option<_>>()?;
        let [registers, shared, stack, spill_stores, spill_loads] = numbers[..] else { return None };
        let tensor = Some((*tensor).to_string());
        let resources = Resources { registers, shared, stack, spill_stores, spill_loads, tensor };
        Some(((kernel.to_string(), form.to_string(), sm.to_string()), resources))
    };
    (text.lines().filter_map(row).collect(), version.to_string())
}

/// Whether a kernel's name says that it multiplies on tensor cores. What is in their files for a single column, `…_tensor_single`,
/// does not.
fn on_tensor_cores(kernel: &str) -> bool {
    kernel.ends_with("_tensor")
}

/// The faults of the compiled code; `same_compiler` says whether registers can be compared at all.
fn complaints(compiled: &Table, written: &Table, same_compiler: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, now) in compiled {
        let (kernel, form, sm) = key;
        let name = format!("{kernel} in {form} on {sm}");
        if now.spill_stores + now.spill_loads > 0 {
            wrong.push(format!("{name} spills: {} bytes stored, {} loaded", now.spill_stores, now.spill_loads));
        }
        if now.stack > 0 {
            wrong.push(format!("{name} keeps {} bytes in local memory", now.stack));
        }
        // Whatever the table says.
        if on_tensor_cores(kernel) && now.tensor.as_deref() == Some("no") {
            wrong.push(format!("{name} has no tensor-core instruction"));
        }
        match written.get(key) {
            Some(then) if same_compiler && (then.registers, then.shared) != (now.registers, now.shared) => {
                wrong.push(format!(
                    "{name} takes {} registers and {} bytes of shared memory; {TABLE} says {} and {}",
                    now.registers, now.shared, then.registers, then.shared
                ));
            }
            Some(then) if now.tensor.is_some() && now.tensor != then.tensor => {
                wrong.push(format!("{name}: tensor cores {:?}; {TABLE} says {:?}", now.tensor, then.tensor));
            }
            Some(_) | None => {}
        }
    }
    // CUDA_COMPUTE_CAP may leave architectures out; a kernel that is gone is gone for all.
    let kernels: BTreeSet<&String> = compiled.keys().map(|(kernel, ..)| kernel).collect();
    let gone: BTreeSet<&String> = written.keys().map(|(kernel, ..)| kernel).collect();
    wrong.extend(gone.difference(&kernels).map(|kernel| format!("{TABLE} has {kernel}, which there is not")));
    wrong
}

/// Kernels that the table lacks, of those that are compiled for an architecture that it has.
fn unlisted(compiled: &Table, written: &Table) -> Vec<String> {
    let architectures: BTreeSet<&String> = written.keys().map(|(.., sm)| sm).collect();
    let known = compiled.keys().filter(|key| architectures.contains(&key.2) && !written.contains_key(key));
    let names: BTreeSet<String> = known.map(|(kernel, ..)| kernel.clone()).collect();
    names.into_iter().collect()
}

/// cuobjdump: on the path, beside nvcc, or where DISASSEMBLER puts it.
pub(crate) fn find_disassembler() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(nvcc::find_nvcc(root()).iter().filter_map(|nvcc| Some(nvcc.parent()?.to_path_buf())));
    folders.extend([PathBuf::from("/usr/local/cuda/bin"), root().join(".cudadisasm/nvidia/cu13/bin")]);
    folders.into_iter().map(|folder| folder.join("cuobjdump")).find(|path| path.is_file())
}

/// The output of a command.
fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The output of cuobjdump for the code, in either form that trains, of every file that is `wanted`: (file, form, text), as many at once
/// as there are cores.
fn dumped(disassembler: &Path, what: &str, wanted: fn(&str) -> bool) -> Vec<(&'static str, &'static str, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let files = BINARIES.iter().filter(|(file, form, _)| TRAINED.contains(form) && wanted(file));
    let (queue, texts) = (Mutex::new(files), Mutex::new(Vec::new()));
    let work = || {
        while let Some(&(file, form, code)) = { queue.lock().expect("no panics").next() } {
            let path = folder.path().join(format!("{}-{form}.fatbin", file.replace('/', "-")));
            fs::write(&path, code).expect("writing");
            let text = output_of(Command::new(disassembler).arg(what).arg(&path));
            texts.lock().expect("no panics").push((file, form, text));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    texts.into_inner().expect("no panics")
}

#[test]
fn no_kernel_spills_and_the_table_tells_the_truth() {
    if BINARIES.is_empty() {
        eprintln!("SKIPPED: built without nvcc, so nothing is known of the kernels' registers");
        return;
    }
    let mut compiled: Table = REPORTS.iter().flat_map(|(_, form, report)| parse_report(form, report)).collect();
    let in_a_form = |kernel: &Kernel, form| BINARIES.iter().any(|(file, of, _)| *of == form && *file == kernel.file());
    let kernels: usize = TRAINED.iter().map(|form| Kernel::ALL.iter().filter(|k| in_a_form(k, *form)).count()).sum();
    let expected = kernels * ARCHITECTURES.len();
    assert_eq!(compiled.len(), expected, "kernels, forms and architectures");
    let (disassembler, renew) = (find_disassembler(), env::var_os("RENEW").is_some());
    // Code of the other files is taken apart only where the table is renewed: it takes a minute, and their sources ask for no
    // tensor cores (below).
    let wanted: fn(&str) -> bool = if renew { |_| true } else { |file| file.contains("_tensor") };
    match &disassembler {
        Some(path) => dumped(path, "-sass", wanted)
            .iter()
            .for_each(|(_, form, text)| parse_disassembly(form, text, &mut compiled)),
        None => eprintln!("SKIPPED: no cuobjdump, so nothing is known of tensor-core instructions; {DISASSEMBLER}"),
    }
    let version = COMPILER.replace("nvcc ", "V");
    let path = root().join(TABLE);
    if renew {
        assert!(disassembler.is_some(), "to renew the table cuobjdump is needed: {DISASSEMBLER}");
        fs::write(&path, text_of(&compiled, &version)).expect("writing the table");
    }
    let (written, written_by) = parse_table(&fs::read_to_string(&path).unwrap_or_default());
    if version != written_by {
        eprintln!("SKIPPED: {TABLE} is of nvcc {written_by}, and this is {version}: registers are not compared");
    }
    let new = unlisted(&compiled, &written);
    if !new.is_empty() {
        eprintln!("not in {TABLE} yet: {}; `{RENEW}` renews it", new.join(", "));
    }
    let wrong = complaints(&compiled, &written, version == written_by);
    assert!(wrong.is_empty(), "{wrong:#?}\nwhere the change is meant, `{RENEW}` renews the table");
}

/// The code of a file of kernels and of all that it includes of ours, but for the wrappers of PTX and what the build writes;
/// without comments.
fn code_of(file: &Path, seen: &mut BTreeSet<PathBuf>) -> String {
    let written_by_the_build = file.file_name().is_some_and(|name| Path::new(GENERATED_HEADERS).join(name).is_file());
    if !seen.insert(file.to_path_buf()) || file.ends_with("ptx.cuh") || written_by_the_build {
        return String::new();
    }
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        match line.trim().strip_prefix("#include \"") {
            Some(name) => code += &code_of(&root().join("kernels").join(name.trim_end_matches('"')), seen),
            None => code += line,
        }
        code.push('\n');
    }
    code
}

/// The instructions of tensor cores and their operands that code asks for, by the names of its wrappers.
fn instructions_of(code: &str) -> Vec<&'static str> {
    let asked = [("mma_m16n8k", "mma.sync"), ("ldmatrix_x", "ldmatrix.sync"), ("cp_async_", "cp.async")];
    asked.into_iter().filter(|(wrapper, _)| code.contains(wrapper)).map(|(_, instruction)| instruction).collect()
}

/// Instructions that a file's PTX lacks: mma in a kernel whose name promises it, and others that the code asks for in any kernel (which
/// of them loads how depends on how its operands lie). f32 is rounded on its way, and so not copied.
fn missing_in_ptx(ptx: &str, form: &str, kernels: &[&str], code: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for kernel in kernels.iter().filter(|kernel| on_tensor_cores(kernel)) {
        match ptx.split(".entry ").find(|part| part.starts_with(&format!("{kernel}("))) {
            None => wrong.push(format!("{kernel} is not in the PTX")),
            Some(body) if !body.contains("mma.sync") => wrong.push(format!("{kernel} has no mma.sync in its PTX")),
            Some(_) => {}
        }
    }
    let asked = instructions_of(code).into_iter().filter(|instruction| form == "bf16" || *instruction != "cp.async");
    let missing = asked.filter(|instruction| !ptx.contains(instruction));
    wrong.extend(missing.map(|instruction| format!("no kernel has the {instruction} that the code asks for")));
    wrong
}

/// The PTX that is embedded for GPUs of later years: the compiler of their driver makes code of it.
#[test]
fn kernels_on_tensor_cores_ask_for_them_in_ptx() {
    let files: BTreeSet<&str> = Kernel::ALL.iter().filter(|k| on_tensor_cores(k.name())).map(|k| k.file()).collect();
    assert!(files.len() >= 3 && files.iter().all(|file| file.contains("_tensor")), "{files:?}");
    for other in Kernel::ALL.iter().map(|kernel| kernel.file()).filter(|file| !file.contains("_tensor")) {
        let source = root().join("kernels").join(other).with_extension("cu");
        let asked = instructions_of(&code_of(&source, &mut BTreeSet::new()));
        assert!(!asked.contains(&"mma.sync"), "{other} multiplies on tensor cores, and its name does not say so");
    }
    let Some(disassembler) = find_disassembler().filter(|_| !BINARIES.is_empty()) else {
        eprintln!(
            "SKIPPED: no nvcc at the build or no cuobjdump, so nothing is known of the kernels' PTX; {DISASSEMBLER}"
        );
        return;
    };
    let texts = dumped(&disassembler, "-ptx", |file| file.contains("_tensor"));
    assert_eq!(texts.iter().map(|(file, ..)| *file).collect::<BTreeSet<_>>(), files);
    for (file, form, ptx) in texts {
        let source = root().join("kernels").join(file).with_extension("cu");
        let kernels: Vec<&str> = Kernel::ALL.iter().filter(|k| k.file() == file).map(|k| k.name()).collect();
        let wrong = missing_in_ptx(&ptx, form, &kernels, &code_of(&source, &mut BTreeSet::new()));
        assert!(wrong.is_empty(), "{file} in {form}: {wrong:#?}");
    }
}

#[test]
fn what_ptx_lacks_is_found() {
    let ptx = ".visible .entry a_tensor(\n.param .u64 p\n)\n{ ldmatrix.sync.aligned mma.sync.aligned }\n\
               .visible .entry b_tensor(\n)\n{ ldmatrix.sync.aligned fma.rn.f32 }\n.visible .entry add(\n)\n{ }\n";
    let found_in = |form, code: &str| missing_in_ptx(ptx, form, &["a_tensor", "b_tensor", "add"], code);
    let found = |code: &str| found_in("bf16", code);
    assert_eq!(found(""), ["b_tensor has no mma.sync in its PTX"], "by the name alone");
    assert_eq!(found("ldmatrix_x4(r, p);"), ["b_tensor has no mma.sync in its PTX"]);
    let expected = ["b_tensor has no mma.sync in its PTX", "no kernel has the cp.async that the code asks for"];
    assert_eq!(found("cp_async_16(s, g, true);"), expected);
    assert_eq!(found_in("f32", "cp_async_16(s, g, true);"), expected[..1]);
    assert_eq!(missing_in_ptx(ptx, "bf16", &["c_tensor"], ""), ["c_tensor is not in the PTX"]);
    let code = code_of(&root().join("kernels/layers/linear_tensor.cu"), &mut BTreeSet::new());
    let instructions = instructions_of(&code);
    assert!(instructions.contains(&"mma.sync") && instructions.contains(&"ldmatrix.sync"), "{instructions:?}");
}

/// The pinned parts are named a second time in .ci/run, which installs them, so that it always has them to check with.
#[test]
fn ci_installs_the_disassembler_that_is_named_here() {
    let script = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    for part in DISASSEMBLER.split_whitespace().filter(|part| part.contains("==") || part.starts_with(".cuda")) {
        assert!(script.contains(part), ".ci/run does not install {part}");
    }
}

const REPORT: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 2096 bytes smem, 432 bytes cmem[0], 224 bytes cmem[2]
ptxas info    : Compiling entry function 'second' for 'sm_90a'
ptxas info    : Function properties for second
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Function properties for helper
    24 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 24 bytes cumulative stack size
";

#[test]
fn reports_are_read_and_faults_are_found() {
    let mut compiled = parse_report("f32", REPORT);
    let first = Resources { registers: 40, shared: 2096, ..Resources::default() };
    let second = Resources { registers: 8, stack: 24, spill_stores: 8, spill_loads: 16, ..Resources::default() };
    let key = |kernel: &str, sm: &str| (kernel.to_string(), "f32".to_string(), sm.to_string());
    assert_eq!(compiled, Table::from([(key("first", "sm_80"), first), (key("second", "sm_90a"), second)]));

    let disassembly = "arch = sm_80\n\tFunction : first\n  /*0010*/  HMMA.16816.F32 R4, R8 ;\n  /*0020*/  EXIT ;\n\
                       arch = sm_90a\n\tFunction : second\n  /*0010*/  FFMA R4, R8 ;\n";
    parse_disassembly("f32", disassembly, &mut compiled);
    assert_eq!(compiled[&key("first", "sm_80")].tensor.as_deref(), Some("HMMA"));
    assert_eq!(compiled[&key("second", "sm_90a")].tensor.as_deref(), Some("no"));

    let (mut written, version) = parse_table(&text_of(&compiled, "V13.0.88"));
    assert_eq!((&written, version.as_str()), (&compiled, "V13.0.88"));
    let found = |written: &Table, same| complaints(&compiled, written, same).join("\n");
    assert_eq!(found(&written, true).matches("second in f32 on sm_90a").count(), 2, "a spill and a stack frame");
    written.get_mut(&key("first", "sm_80")).expect("a row").registers = 39;
    assert!(found(&written, true).contains("first in f32 on sm_80 takes 40 registers"));
    assert!(!found(&written, false).contains("first"), "another compiler's registers are no fault");
    let mut without = Table::from([(key("first_tensor", "sm_80"), compiled[&key("second", "sm_90a")].clone())]);
    assert!(found(&without, true).contains("has first_tensor, which there is not"));
    without.values_mut().for_each(|resources| resources.stack = 0);
    let promised = complaints(&without, &without, true).join("\n");
    assert!(
        promised.contains("first_tensor in f32 on sm_80 has no tensor-core instruction"),
        "whatever the table says: {promised}"
    );
    // The second's rows for an architecture that is not compiled for now are no fault, nor is a new kernel.
    written.insert(key("second", "sm_120"), Resources::default());
    assert_eq!(found(&written, true).matches("second").count(), 2);
    written.remove(&key("first", "sm_80"));
    assert_eq!(unlisted(&compiled, &written), [] as [&str; 0], "no row of sm_80 is left");
    written.insert(key("second", "sm_80"), Resources::default());
    assert_eq!(unlisted(&compiled, &written), ["first"]);
    assert!(!found(&written, true).contains("first"));
    written.insert(key("third", "sm_80"), Resources::default());
    assert!(found(&written, true).contains("has third, which there is not"));
}
