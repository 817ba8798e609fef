//! The tests that use a GPU, on the stand-in for one: this binary runs itself, where it finds tests/driver in place of a
//! driver and runs the embedded PTX. The script for machines with a GPU runs in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use vgan_cuda::device::kernels::{ARCHITECTURES, BINARIES, Kernel};

use crate::executors::DIGEST;
use crate::standin;

/// A GPU that runs what is embedded. `CUDA_PTX=100 CUDA_COMPUTE_CAP=100` embeds what one of 9.0 does not run.
fn gpu() -> &'static str {
    if ARCHITECTURES.first() == Some(&"100") { "b200" } else { "h200" }
}

/// Runs the tests with one of these in their name, and returns what they wrote.
fn pass(filters: &[&str], settings: &[(&str, &str)]) -> String {
    let mut command = standin::command(std::env::current_exe().expect("the test's own path"));
    command.args(filters).args(["--nocapture", "--test-threads", "1"]).env("CUDA_STANDIN_GPU", gpu());
    command.envs(settings.iter().copied());
    let output = command.output().expect("this binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{settings:?}\n{text}");
    assert!(!text.contains("SKIPPED"), "{settings:?}\n{text}");
    let passed = text.split(" passed;").next().and_then(|before| before.rsplit(' ').next());
    let passed: usize = passed.and_then(|number| number.parse().ok()).expect("a number of tests");
    assert!(passed >= filters.len(), "{filters:?}: {passed} tests have these names\n{text}");
    text
}

/// What was said of the bits of results: what of, and their SHA-256.
fn digests(text: &str) -> BTreeMap<&str, &str> {
    // The name of the test may stand before it in the same line.
    let said = text.lines().filter_map(|line| line.split_once(DIGEST)?.1.rsplit_once(' '));
    said.collect()
}

/// The forms that kernels are compiled in, with the tests of a GPU that launch each kernel of a form, and its launches of no
/// other.
const FORMS: [(&str, &[&str]); 3] = [
    (
        "f32",
        &[
            "parity::a_gpu_agrees",
            "products::a_gpu_gives",
            "tensor_cores::a_gpu_gives",
            "a_gpu_adds_product_chains_exactly_in_tf32",
            "a_gpu_takes_every_kind_of_step_in_f32",
        ],
    ),
    (
        "bf16",
        &[
            "storage::a_gpu_is_off",
            "a_gpu_adds_product_chains_exactly_in_bf16",
            "a_gpu_takes_every_kind_of_step_in_bf16",
        ],
    ),
    ("f64", &["gradients::a_gpu_gives"]),
];

/// Every test of a GPU passes, with work as late as can be. In the cases and in whole steps of each form every access is then checked,
/// in another order of blocks, warps, copies and calls: nothing is found, every kernel of the form has run, and all results are the
/// same bits.
#[test]
fn every_test_of_a_gpu_passes_and_nothing_is_found_in_any_kernel_of_any_form() {
    if !standin::has_kernels() {
        return;
    }
    let late = pass(&["::a_gpu_"], &[]);
    let late = digests(&late);
    let place = tempfile::tempdir().expect("a folder");
    let mut compared = 0;
    for (form, filters) in FORMS {
        let trace = place.path().join(form);
        let checked = pass(
            filters,
            &[
                ("CUDA_STANDIN_CHECKS", "all"),
                ("CUDA_STANDIN_SCHEDULE", "shuffled:7"),
                ("CUDA_STANDIN_ASYNC", "earliest"),
                ("CUDA_STANDIN_ORDER", "eager"),
                ("CUDA_STANDIN_TRACE", trace.to_str().expect("UTF-8")),
            ],
        );
        for (of, digest) in digests(&checked) {
            assert_eq!(late.get(of), Some(&digest), "{of}: other bits in another order");
            compared += 1;
        }
        let trace = fs::read_to_string(trace).expect("a trace");
        let ran: BTreeSet<&str> =
            trace.lines().filter_map(|line| line.strip_prefix("run ")?.split(' ').next()).collect();
        let of_form = |kernel: &&Kernel| BINARIES.iter().any(|(file, of, _)| *of == form && *file == kernel.file());
        let missing: Vec<_> =
            Kernel::ALL.iter().filter(of_form).filter(|kernel| !ran.contains(kernel.name())).collect();
        assert!(missing.is_empty(), "kernels of which no case in {form} was checked: {missing:?}");
    }
    assert_eq!(
        compared, 10,
        "cases in f32, bf16, f64; products in both tiles in f32, tf32, bf16, and plain in bf16: {late:?}"
    );
}

/// tests/gpu.sh in its short form, so that the first machine with a GPU finds a script that has run.
#[test]
fn the_script_for_a_machine_with_a_gpu_runs_to_its_end() {
    if !standin::has_kernels() {
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let [binaries, data, out] = ["bin", "data", "out"].map(|name| place.path().join(name));
    for folder in [&binaries, &data] {
        fs::create_dir(folder).expect("a folder");
    }
    symlink(env!("CARGO_BIN_EXE_vgan-cuda"), binaries.join("vgan-cuda")).expect("a link");
    symlink(std::env::current_exe().expect("the test's own path"), binaries.join("test-kernels")).expect("a link");
    // 24 images of 8×8 of no content.
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 24, 0, 0, 0, 8, 0, 0, 0, 8];
    images.extend((0..24 * 8 * 8).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    fs::write(data.join("train-images-idx3-ubyte"), images).expect("a file");

    let meeting = place.path().join("meeting");
    fs::create_dir(&meeting).expect("a folder");
    let mut script = standin::command_of_ranks("bash", &meeting);
    script.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu.sh")).arg(&binaries).arg(&data);
    script.env("CUDA_STANDIN_GPU", gpu());
    let output = script.env("SHORT", "1").env("OUT", &out).output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Nothing but compute-sanitizer is missing, which does not know the stand-in.
    let table = fs::read_to_string(out.join("gpu.md")).unwrap_or_else(|error| panic!("{error}\n{said}"));
    let results = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| check"));
    for line in results.clone() {
        let done = line.contains("| passed |") || line.contains("compute-sanitizer is not on the path");
        assert!(done, "{line}\n{table}\n{said}");
    }
    assert!(results.count() >= 15, "{table}\n{said}");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}\n{said}", output.status);
}
