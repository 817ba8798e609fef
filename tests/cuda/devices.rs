//! The program's view of a driver and its devices.

use std::process::Command;

use cuda_standin::gpus::GPUS;

use crate::standin;
use crate::whole_runs::{PROGRAM, TINY, TestFolder, exit_with, stderr, stdout, succeed};
use vgan_cuda::device::kernels::ARCHITECTURES;

/// The lines on GPUs that `doctor` prints.
fn gpus(settings: &[(&str, &str)]) -> Vec<String> {
    let mut command = standin::command(PROGRAM);
    command.arg("doctor").envs(settings.iter().copied());
    let text = stdout(&exit_with(command, 0));
    text.lines().filter(|line| line.starts_with("GPU ")).map(Into::into).collect()
}

/// Each GPU of the table with its name, its memory, and the code of its own architecture, or the PTX where there is none.
#[test]
fn doctor_reports_the_gpu_and_the_code_that_it_runs() {
    if !standin::has_kernels() {
        return;
    }
    // CUDA_COMPUTE_CAP may have left an architecture out of the build.
    let or_ptx = |architecture: &str, code| if ARCHITECTURES.contains(&architecture) { code } else { "runs PTX" };
    let (b200, rtx5090, none) =
        (or_ptx("100", "runs sm_100"), or_ptx("120", "runs sm_120"), "no embedded code runs on it");
    let known = [
        ("h200", "H200", "sm_90, 140 GiB", "runs sm_90"),
        ("h100", "H100", "sm_90, 79.6 GiB", "runs sm_90"),
        ("a100", "A100", "sm_80, 80.0 GiB", "runs sm_80"),
        ("b200", "B200", "sm_100, 179 GiB", b200),
        ("rtx5090", "RTX 5090", "sm_120, 31.8 GiB", rtx5090),
        ("rtx4090", "RTX 4090", "sm_89, 24.0 GiB", "runs sm_80"),
        ("rtx3090", "RTX 3090", "sm_86, 24.0 GiB", "runs sm_80"),
        ("l40s", "L40S", "sm_89, 45.0 GiB", "runs sm_80"),
        ("l4", "L4", "sm_89, 22.5 GiB", "runs sm_80"),
        ("a40", "A40", "sm_86, 45.0 GiB", "runs sm_80"),
        ("rtxa6000", "RTX A6000", "sm_86, 48.0 GiB", "runs sm_80"),
        ("t4", "T4", "sm_75, 15.0 GiB", none),
        ("v100", "V100", "sm_70, 32.0 GiB", none),
    ];
    assert_eq!(known.map(|known| known.0).to_vec(), GPUS.iter().map(|gpu| gpu.key).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for half in [&known[..7], &known[7..]] {
            scope.spawn(move || {
                for (key, name, architecture, code) in half {
                    let lines = gpus(&[("CUDA_STANDIN_GPU", key)]);
                    for part in [name, architecture, code, "stand-in"] {
                        assert!(lines[0].contains(part), "{key}: {lines:?}\n\nlacks: {part}");
                    }
                }
            });
        }
    });
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

/// Training of the tiny model in `place` with these settings of the stand-in; the batch is among the words.
fn train(place: &TestFolder, device: &str, words: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = standin::command(PROGRAM);
    command.args(["train", "quick"]).args(TINY.split_whitespace().skip(2)).args(words.split_whitespace());
    command.args(["--device", device, "--no-selfcheck", "--outdir"]).arg(place.path("runs"));
    command.arg("--data").arg(place.path("images-idx3-ubyte")).envs(settings.iter().copied());
    command
}

/// A model that does not fit is refused before the run has a folder, with the largest batch that does; and that one runs.
#[test]
fn the_largest_batch_that_fits_a_small_device_is_told_and_runs() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let small = [("CUDA_STANDIN_MEMORY", "450000")];
    let text = stderr(&exit_with(train(&place, "cuda", "--batch 32 --steps 2", &small), 4));
    let batch = text.split("the largest batch that fits is ").nth(1);
    let batch: String = batch.unwrap_or_else(|| panic!("{text}")).chars().take_while(char::is_ascii_digit).collect();
    assert!((2..32).contains(&batch.parse::<usize>().expect("a number")), "{text}");
    assert!(!place.path("runs").exists(), "a refused run has left a folder");
    succeed(train(&place, "cuda", &format!("--batch {batch} --steps 2"), &small));
}

/// What fits is a matter of the GPU's memory, however little the host has: the largest batch grows with it.
#[test]
fn the_largest_batch_is_that_of_each_gpu() {
    if !standin::has_kernels() {
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let mut gpus: Vec<_> = GPUS.iter().filter(|gpu| gpu.capability >= (8, 0)).collect();
    gpus.sort_by_key(|gpu| gpu.memory_mib);
    let batches = gpus.iter().map(|gpu| {
        let mut command = standin::command(PROGRAM);
        // Twice as much as the largest of them has.
        command.args(["train", "vgan-cifar10-resnet", "--data", "glyphs", "--batch", "60000"]);
        command.args(["--device", "cuda", "--no-selfcheck", "--outdir"]).arg(place.path().join("runs"));
        command.env("CUDA_STANDIN_GPU", gpu.key);
        let text = stderr(&exit_with(command, 4));
        let batch =
            text.split("the largest batch that fits is ").nth(1).unwrap_or_else(|| panic!("{}: {text}", gpu.key));
        (gpu.memory_mib, batch.split(':').next().and_then(|digits| digits.parse().ok()).expect("a number"))
    });
    let batches: Vec<(u64, u64)> = batches.collect();
    // Weights aside, which are the same for all, a batch takes memory in proportion.
    for pair in batches.windows(2) {
        let [(less, smaller), (more, larger)] = pair[..] else { unreachable!() };
        let [by_memory, by_batch] = [more as f64 / less as f64, larger as f64 / smaller as f64];
        assert!((by_batch / by_memory - 1.0).abs() < 0.1, "{batches:?}");
    }
}

/// The second of two devices trains, and the first has nothing to do.
#[test]
fn the_device_that_is_named_trains() {
    if !standin::has_kernels() {
        return;
    }
    let (place, two) = (TestFolder::new(), ("CUDA_STANDIN_DEVICES", "2"));
    let trace = place.path("trace");
    let settings = [two, ("CUDA_STANDIN_TRACE", trace.to_str().expect("UTF-8"))];
    succeed(train(&place, "cuda:1", "--batch 8 --steps 2", &settings));
    let environment = String::from_utf8(place.run("runs").bytes("env.json")).expect("UTF-8");
    assert!(environment.contains("cuda:1 NVIDIA"), "{environment}");
    let trace = std::fs::read_to_string(trace).expect("a trace");
    let retained: Vec<&str> = trace.lines().filter(|line| line.starts_with("cuDevicePrimaryCtxRetain")).collect();
    assert!(!retained.is_empty() && retained.iter().all(|line| line.contains(", 1) -> CUDA_SUCCESS")), "{retained:?}");
    let text = stderr(&exit_with(train(&place, "cuda:2", "--batch 8 --steps 2", &[two]), 4));
    assert!(text.contains("cuda:2 was asked for, but there is a CUDA driver and 2 GPUs"), "{text}");
}
