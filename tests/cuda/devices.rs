//! What the program makes of a driver and its devices.

use crate::standin;
use crate::whole_runs::{PROGRAM, exit_with, stderr, stdout};
use vgan_cuda::device::kernels::ARCHITECTURES;

/// The lines on GPUs that `doctor` prints.
fn gpus(settings: &[(&str, &str)]) -> Vec<String> {
    let mut command = standin::command(PROGRAM);
    command.arg("doctor").envs(settings.iter().copied());
    let text = stdout(&exit_with(command, 0));
    text.lines().filter(|line| line.starts_with("GPU ")).map(Into::into).collect()
}

/// Each GPU takes the embedded code of its own architecture, or the PTX where there is none.
#[test]
fn doctor_reports_the_gpu_and_the_code_that_it_runs() {
    if !standin::has_kernels() {
        return;
    }
    // CUDA_COMPUTE_CAP may have left an architecture out of the build.
    let b200 = if ARCHITECTURES.contains(&"100") { "runs sm_100" } else { "runs PTX" };
    let known = [
        ("h200", "H200", "sm_90,", "runs sm_90a"),
        ("a100", "A100", "sm_80,", "runs sm_80"),
        ("rtx3090", "3090", "sm_86,", "runs sm_80"),
        ("rtx4090", "4090", "sm_89,", "runs sm_80"),
        ("b200", "B200", "sm_100,", b200),
    ];
    for (key, name, architecture, code) in known {
        let lines = gpus(&[("CUDA_STANDIN_GPU", key)]);
        for part in [name, architecture, code, "stand-in"] {
            assert!(lines[0].contains(part), "{key}: {lines:?}\n\nlacks: {part}");
        }
    }
}

#[test]
fn every_device_is_listed_and_can_be_hidden() {
    if !standin::has_kernels() {
        return;
    }
    assert_eq!(gpus(&[("CUDA_STANDIN_DEVICES", "3")]).len(), 3);
    assert_eq!(gpus(&[("CUDA_STANDIN_DEVICES", "3"), ("CUDA_VISIBLE_DEVICES", "1")]).len(), 1);
}

/// A GPU that is too old for all of the code, and no GPU at all.
#[test]
fn what_cannot_run_the_code_is_refused_with_the_reason() {
    if !standin::has_kernels() {
        return;
    }
    let train = |settings: &[(&str, &str)]| {
        let place = tempfile::tempdir().expect("a folder");
        let mut command = standin::command(PROGRAM);
        command.args(["train", "quick", "--data", "glyphs", "--device", "cuda", "--steps", "1", "--outdir"]);
        command.arg(place.path()).envs(settings.iter().copied());
        stderr(&exit_with(command, 4))
    };
    let text = train(&[("CUDA_STANDIN_GPU", "t4")]);
    assert!(text.contains("it is sm_75, and the kernels are compiled for sm_80 and later"), "{text}");
    let text = train(&[("CUDA_STANDIN_DEVICES", "0")]);
    assert!(text.contains("a CUDA driver, and no GPU: pass --device cpu"), "{text}");
}
