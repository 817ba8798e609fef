//! Every planted bug is caught, where it stands; its clean twin raises nothing and gives the same bits whatever the order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use simt::{CopyMode, Emulator, Kind, Options, Order, Place, Program, Report, Sources};

const FILES: [&str; 2] = ["tests/kernels/bugs_memory.cu", "tests/kernels/bugs_waits.cu"];
/// Odd, so that buffers end beside every alignment.
const N: usize = 4097;

/// Kernel, what is wrong with it, blocks, bytes of dynamic shared memory.
const BUGS: &[(&str, Kind, u32, usize)] = &[
    ("shared_race", Kind::SharedRace, 1, 0),
    ("bytes_race", Kind::SharedRace, 1, 0),
    ("syncwarp", Kind::SharedRace, 1, 256),
    ("half_warp", Kind::SharedRace, 1, 0),
    ("uninitialised_shared", Kind::UninitialisedShared, 1, 0),
    ("uninitialised_dynamic", Kind::UninitialisedShared, 3, 256),
    ("shared_bounds", Kind::OutOfBoundsShared, 1, 0),
    ("dynamic_bounds", Kind::OutOfBoundsShared, 1, 256),
    ("shared_limit", Kind::SharedLimit, 1, 0),
    ("uninitialised_global", Kind::UninitialisedGlobal, 1, 0),
    ("global_bounds", Kind::OutOfBoundsGlobal, 64, 0),
    ("misaligned", Kind::Misaligned, 1, 0),
    ("global_race", Kind::GlobalRace, 1, 0),
    ("block_write", Kind::BlockRace, 3, 0),
    ("block_read", Kind::BlockRace, 3, 0),
    ("atomic_race", Kind::SharedRace, 1, 0),
    ("misaligned_shared", Kind::Misaligned, 1, 1024),
    ("misaligned_copy", Kind::Misaligned, 1, 0),
    ("float_atomic", Kind::FloatAtomic, 1, 0),
    ("barrier", Kind::DivergentBarrier, 1, 0),
    ("two_barriers", Kind::DivergentBarrier, 1, 0),
    ("barrier_and_shuffle", Kind::DivergentBarrier, 1, 0),
    ("shuffle", Kind::DivergentCollective, 1, 0),
    ("mismatch", Kind::MismatchedCollective, 1, 0),
    ("inactive_lane", Kind::InactiveLane, 1, 0),
    ("copy_wait", Kind::PendingCopy, 1, 0),
    ("copy_stages", Kind::PendingCopy, 1, 0),
    ("copy_target", Kind::PendingCopy, 1, 0),
    ("copy_space", Kind::OutOfBoundsShared, 1, 0),
    ("copy_bounds", Kind::OutOfBoundsGlobal, 1, 0),
    ("assert", Kind::AssertFailed, 1, 0),
    ("trap", Kind::Trap, 1, 0),
    ("division", Kind::Fault, 1, 0),
    ("recursion", Kind::Fault, 1, 0),
];

const ORDERS: [Order; 4] = [Order::Ascending, Order::Descending, Order::Random(1), Order::Random(2)];

fn every_mode(detection: bool) -> impl Iterator<Item = Options> {
    ORDERS.into_iter().flat_map(move |order| {
        [CopyMode::Early, CopyMode::Late].map(|copies| Options {
            threads: order,
            blocks: order,
            copies,
            detection,
            ..Options::default()
        })
    })
}

fn files() -> [PathBuf; 2] {
    FILES.map(|file| Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
}

fn program() -> Program {
    Program::compile(&Sources { files: files().into(), ..Sources::default() }).expect("the kernels compile")
}

/// The bits that a kernel leaves in `out`.
fn run(emulator: &Emulator, kernel: &str, blocks: u32, dynamic_shared: usize) -> Result<Vec<u8>, Report> {
    let (input, output) = (emulator.alloc(4 * N).expect("room"), emulator.alloc(4 * N).expect("room"));
    emulator.name(input, "in").expect("a buffer");
    emulator.name(output, "out").expect("a buffer");
    let values: Vec<u8> = (0..N).flat_map(|i| (i as f32).to_ne_bytes()).collect();
    emulator.upload(&values, input).expect("fits");
    if kernel.starts_with("block_read") {
        emulator.fill_zero(output + 4 * (N as u64 - 1), 4).expect("fits");
    }
    let arguments: [&[u8]; 3] = [&input.to_ne_bytes(), &output.to_ne_bytes(), &(N as i32).to_ne_bytes()];
    let result = emulator.launch(kernel, [blocks, 1, 1], [64, 1, 1], dynamic_shared, &arguments);
    let mut bytes = vec![0; 4 * N];
    emulator.download(output, &mut bytes).expect("fits");
    emulator.free(input).expect("a buffer");
    emulator.free(output).expect("a buffer");
    result.map(|()| bytes)
}

/// The lines that a kernel's BUG comments mark.
fn marked(kernel: &str) -> Vec<Place> {
    let mark = format!("// BUG {kernel}");
    let mut places = Vec::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("the kernels");
        let lines = (1..).zip(text.lines()).filter(|(_, line)| line.ends_with(&mark));
        places.extend(lines.map(|(line, _)| Place { file: file.clone(), line }));
    }
    places
}

#[test]
fn every_bug_is_caught_where_it_stands() {
    let program = program();
    let emulators: Vec<Emulator> =
        every_mode(true).map(|options| Emulator::new(&program, options).expect("an emulator")).collect();
    let mut missed = Vec::new();
    for &(name, kind, blocks, dynamic_shared) in BUGS {
        let kernel = format!("{name}_bug");
        let lines = marked(&kernel);
        assert!(!lines.is_empty() || name == "recursion", "{kernel} marks no line");
        for emulator in &emulators {
            let Err(report) = run(emulator, &kernel, blocks, dynamic_shared) else {
                missed.push(format!("{kernel} raises nothing with {:?}", emulator.options()));
                continue;
            };
            let caught = report.findings.iter().any(|finding| {
                let there = finding.place().is_some_and(|place| lines.contains(place)) || lines.is_empty();
                finding.kind == kind && finding.kernel == kernel && there
            });
            if !caught {
                missed.push(format!("{kernel} with {:?}, line {lines:?} expected:\n{report}", emulator.options()));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

#[test]
fn clean_twins_raise_nothing_and_give_the_same_bits() {
    let program = program();
    let emulators: Vec<Emulator> = [true, false]
        .into_iter()
        .flat_map(every_mode)
        .map(|options| Emulator::new(&program, options).expect("an emulator"))
        .collect();
    for &(name, _, blocks, dynamic_shared) in BUGS {
        let kernel = format!("{name}_clean");
        let mut first: Option<Vec<u8>> = None;
        for emulator in &emulators {
            let bits = run(emulator, &kernel, blocks, dynamic_shared)
                .unwrap_or_else(|report| panic!("{:?}:\n{report}", emulator.options()));
            let first = first.get_or_insert_with(|| bits.clone());
            assert!(*first == bits, "{kernel} gives other bits with {:?}", emulator.options());
        }
    }
}

/// Without detection a kernel may compute nonsense, but it neither hangs nor takes the process along.
#[test]
fn without_detection_no_bug_hangs_or_crashes() {
    let program = program();
    for options in every_mode(false) {
        let emulator = Emulator::new(&program, options).expect("an emulator");
        for &(name, kind, blocks, dynamic_shared) in BUGS {
            let result = run(&emulator, &format!("{name}_bug"), blocks, dynamic_shared);
            let always = matches!(
                kind,
                Kind::DivergentCollective
                    | Kind::MismatchedCollective
                    | Kind::InactiveLane
                    | Kind::FloatAtomic
                    | Kind::SharedLimit
                    | Kind::AssertFailed
                    | Kind::Trap
                    | Kind::Fault
            );
            if always {
                assert!(result.is_err_and(|report| report.has(kind)), "{name} with {options:?}");
            }
        }
    }
}

#[test]
fn a_kernel_that_does_not_end_is_stopped() {
    let program = program();
    for detection in [false, true] {
        let options = Options { detection, time_limit: Duration::from_millis(100), ..Options::default() };
        let emulator = Emulator::new(&program, options).expect("an emulator");
        let report = run(&emulator, "endless", 2, 0).expect_err("it does not end");
        let finding = report.findings.iter().find(|finding| finding.kind == Kind::TimeLimit).expect("stopped");
        if detection {
            assert!(finding.place().is_some_and(|place| marked("endless").contains(place)), "{report}");
        }
        run(&emulator, "barrier_clean", 1, 0).expect("what follows is not disturbed");
    }
}
