//! Every barrier and every wait in programs.cu is needed: without any one of them the detector speaks up, in that kernel.

use std::path::{Path, PathBuf};

use simt::{CopyMode, Emulator, Kind, Options, Order, Program, Report, Sources};

const NEEDED: [&str; 2] = ["__syncthreads();", "cp_async_wait<STAGES - 2>();"];

/// The file without one of its barriers, where cargo keeps what tests write: it has the same path, and so is found in
/// the cache, each time.
fn mutant(text: &str, line: usize) -> PathBuf {
    let lines = text.lines().enumerate().map(|(number, found)| {
        let removed = NEEDED.iter().fold(found.to_string(), |found, needed| found.replace(needed, ""));
        if number == line { removed } else { found.into() }
    });
    let mutant = lines.collect::<Vec<String>>().join("\n");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutant-{line}.cu"));
    std::fs::write(&path, mutant).expect("cargo's folder for tests can be written to");
    path
}

/// Launches every kernel on zeros.
fn reports(emulator: &Emulator) -> Vec<Report> {
    let buffer = |bytes| {
        let address = emulator.alloc(bytes).expect("room");
        emulator.fill_zero(address, bytes).expect("it fits");
        address.to_ne_bytes()
    };
    let (input, second, out) = (buffer(1 << 16), buffer(1 << 16), buffer(1 << 16));
    let number = |value: i32| value.to_ne_bytes();
    let (n32, n64, n77, n100) = (number(32), number(64), number(77), number(100));
    let launches = [
        ("product_bf16", [1, 1, 1], [128, 1, 1], 0, vec![&input[..], &second, &out, &n32, &n32, &n64]),
        ("softmax", [2, 1, 1], [96, 1, 1], 0, vec![&input, &out, &n77]),
        ("transpose_2", [2, 1, 1], [32, 8, 1], 0, vec![&input, &out, &n32, &n64]),
        ("transpose_8", [2, 1, 1], [32, 8, 1], 0, vec![&input, &out, &n32, &n64]),
        ("histogram", [2, 1, 1], [64, 1, 1], 1024, vec![&input, &out, &n100]),
        ("scan", [1, 1, 1], [256, 1, 1], 0, vec![&input, &out]),
    ];
    let results = launches.into_iter().map(|(kernel, grid, block, dynamic_shared, arguments)| {
        emulator.launch(kernel, grid, block, dynamic_shared, &arguments)
    });
    results.filter_map(Result::err).collect()
}

#[test]
fn no_barrier_and_no_wait_can_be_left_out() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels/programs.cu");
    let text = std::fs::read_to_string(file).expect("the kernels");
    let lines: Vec<usize> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| NEEDED.iter().any(|needed| line.contains(needed)))
        .map(|(number, _)| number)
        .collect();
    assert!(lines.len() >= 9, "only {} barriers found", lines.len());
    for line in lines {
        let program = Program::compile(&Sources { files: vec![mutant(&text, line)], ..Sources::default() });
        let program = program.unwrap_or_else(|message| panic!("line {}: {message}", line + 1));
        for threads in [Order::Ascending, Order::Descending, Order::Random(11)] {
            for copies in [CopyMode::Early, CopyMode::Late] {
                let emulator = Emulator::new(&program, Options { threads, copies, ..Options::default() });
                let reports = reports(&emulator.expect("an emulator"));
                let found = reports.iter().any(|report| {
                    [Kind::SharedRace, Kind::PendingCopy, Kind::UninitialisedShared]
                        .iter()
                        .any(|&kind| report.has(kind))
                });
                assert!(found, "nothing is missed without line {} with {threads:?}, {copies:?}", line + 1);
            }
        }
    }
}
