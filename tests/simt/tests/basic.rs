//! Compiling, memory, launches, and the errors of the host's calls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simt::{Emulator, Kind, Options, Order, Program, Sources};

fn kernel_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(name)
}

fn program() -> Program {
    Program::compile(&Sources { files: vec![kernel_file("basic.cu")], ..Sources::default() }).expect("it compiles")
}

fn emulator(detection: bool) -> Emulator {
    Emulator::new(&program(), Options { detection, ..Options::default() }).expect("an emulator")
}

fn floats(emulator: &Emulator, values: impl Iterator<Item = f32>) -> u64 {
    let bytes: Vec<u8> = values.flat_map(f32::to_ne_bytes).collect();
    let address = emulator.alloc(bytes.len()).expect("room");
    emulator.upload(&bytes, address).expect("it fits");
    address
}

fn read(emulator: &Emulator, address: u64, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * count];
    emulator.download(address, &mut bytes).expect("it fits");
    bytes.chunks_exact(4).map(|chunk| f32::from_ne_bytes(chunk.try_into().expect("four bytes"))).collect()
}

#[test]
fn a_kernel_runs_on_every_element() {
    for detection in [false, true] {
        let emulator = emulator(detection);
        let x = floats(&emulator, (0..1000).map(|i| i as f32));
        let arguments: [&[u8]; 3] = [&x.to_ne_bytes(), &2f32.to_ne_bytes(), &999i32.to_ne_bytes()];
        emulator.launch("scale", [4, 1, 1], [256, 1, 1], 0, &arguments).expect("a clean run");
        let expected: Vec<f32> = (0..1000).map(|i| if i < 999 { 2.0 * i as f32 } else { i as f32 }).collect();
        assert_eq!(read(&emulator, x, 1000), expected);
    }
}

#[test]
fn threads_share_memory_across_a_barrier() {
    for threads in [Order::Ascending, Order::Descending, Order::Random(9)] {
        for detection in [false, true] {
            let options = Options { threads, blocks: threads, detection, ..Options::default() };
            let emulator = Emulator::new(&program(), options).expect("an emulator");
            let x = floats(&emulator, (0..500).map(|i| i as f32));
            let out = emulator.alloc(2000).expect("room");
            let arguments: [&[u8]; 2] = [&x.to_ne_bytes(), &out.to_ne_bytes()];
            emulator.launch("reverse", [5, 1, 1], [100, 1, 1], 0, &arguments).expect("a clean run");
            let expected: Vec<f32> = (0..500).map(|i| (i / 100 * 100 + 99 - i % 100) as f32).collect();
            assert_eq!(read(&emulator, out, 500), expected);
        }
    }
}

#[test]
fn a_report_reads_well() {
    let emulator = emulator(true);
    let x = floats(&emulator, (0..256).map(|i| i as f32));
    let out = emulator.alloc(1024).expect("room");
    let arguments: [&[u8]; 2] = [&x.to_ne_bytes(), &out.to_ne_bytes()];
    let result = emulator.launch("reverse_unsynchronised", [1, 1, 1], [256, 1, 1], 0, &arguments);
    let report = result.expect_err("a race").to_string();
    for expected in [
        "reverse_unsynchronised: race in shared memory, 4 bytes: shared tile + 512 (of 1024 bytes)",
        "block (0, 0, 0) thread 128 writes at ",
        "block (0, 0, 0) thread 127 reads at ",
        "basic.cu:21",
    ] {
        assert!(report.contains(expected), "{expected:?} in\n{report}");
    }
}

#[test]
fn the_host_is_told_its_mistakes() {
    let emulator = emulator(true);
    let x = emulator.alloc(100).expect("room");
    emulator.name(x, "weights").expect("a buffer");
    for message in [
        emulator.upload(&[0; 101], x).expect_err("too long"),
        emulator.download(x + 50, &mut [0; 51]).expect_err("too long"),
        emulator.copy(x, x + 50, 51).expect_err("too long"),
        emulator.fill_zero(x + 101, 1).expect_err("beyond"),
        emulator.free(x + 1).expect_err("not the start"),
    ] {
        assert!(message.contains("weights + "), "{message}");
    }
    assert!(
        emulator.upload(&[0], 0).is_err() && emulator.alloc(usize::MAX).is_err() && emulator.alloc(1 << 40).is_err()
    );
    emulator.free(x).expect("a buffer");
    assert!(emulator.free(x).expect_err("twice").contains("freed"));

    let one: [&[u8]; 1] = [&[0; 8]];
    let report = emulator.launch("scael", [1, 1, 1], [1, 1, 1], 0, &one).expect_err("no such kernel");
    assert!(report.has(Kind::UnknownKernel) && report.to_string().contains("`scale`"), "{report}");
    let report = emulator.launch("scale", [1, 1, 1], [1, 1, 1], 0, &one).expect_err("too few");
    assert!(report.has(Kind::Arguments) && report.to_string().contains("float* x, float factor, int n"), "{report}");
    let three: [&[u8]; 3] = [&[0; 8], &[0; 8], &[0; 4]];
    let report = emulator.launch("scale", [1, 1, 1], [1, 1, 1], 0, &three).expect_err("wrong size");
    assert!(report.has(Kind::Arguments) && report.to_string().contains("number 1 has 8 bytes, 4 in"), "{report}");
}

#[test]
fn impossible_launches_are_refused() {
    let emulator = emulator(true);
    let x = emulator.alloc(4).expect("room");
    let arguments: [&[u8]; 2] = [&x.to_ne_bytes(), &x.to_ne_bytes()];
    for (grid, block, dynamic_shared, kind) in [
        ([1, 1, 1], [257, 1, 1], 0, Kind::BlockLimit),
        ([1, 1, 1], [32, 33, 1], 0, Kind::BlockLimit),
        ([1, 1, 1], [1, 1, 65], 0, Kind::BlockLimit),
        ([1, 70000, 1], [1, 1, 1], 0, Kind::BlockLimit),
        ([0, 1, 1], [1, 1, 1], 0, Kind::BlockLimit),
        ([1, 1, 1], [1 << 31, 1 << 31, 4], 0, Kind::BlockLimit),
        ([u32::MAX, u32::MAX, 1], [u32::MAX, u32::MAX, 1], 0, Kind::BlockLimit),
        ([1, 1, 1], [1, 1, 1], (227 << 10) + 1, Kind::SharedLimit),
    ] {
        let report = emulator.launch("reverse", grid, block, dynamic_shared, &arguments).expect_err("impossible");
        assert!(report.has(kind), "{report}");
    }
}

#[test]
fn a_kernel_may_have_no_parameters() {
    for detection in [false, true] {
        emulator(detection).launch("nothing", [2, 1, 1], [33, 1, 1], 0, &[]).expect("a clean run");
    }
}

#[test]
fn a_freed_buffer_is_named_when_it_is_used() {
    let emulator = emulator(true);
    let x = floats(&emulator, (0..10).map(|i| i as f32));
    emulator.name(x, "gone").expect("a buffer");
    emulator.free(x).expect("a buffer");
    let arguments: [&[u8]; 3] = [&x.to_ne_bytes(), &2f32.to_ne_bytes(), &10i32.to_ne_bytes()];
    let report = emulator.launch("scale", [1, 1, 1], [32, 1, 1], 0, &arguments).expect_err("freed");
    assert!(report.has(Kind::OutOfBoundsGlobal) && report.to_string().contains("gone (freed)"), "{report}");
}

#[test]
fn copies_carry_what_was_written_and_what_was_not() {
    let emulator = emulator(true);
    let from = emulator.alloc(80).expect("room");
    emulator.fill_zero(from, 40).expect("it fits");
    let to = emulator.alloc(80).expect("room");
    emulator.copy(from, to, 80).expect("they fit");
    let launch = |n: i32| {
        let arguments: [&[u8]; 3] = [&to.to_ne_bytes(), &2f32.to_ne_bytes(), &n.to_ne_bytes()];
        emulator.launch("scale", [1, 1, 1], [32, 1, 1], 0, &arguments)
    };
    launch(10).expect("all of it written");
    let report = launch(11).expect_err("the eleventh was not");
    assert!(
        report.has(Kind::UninitialisedGlobal) && report.findings[0].address.as_ref().is_some_and(|at| at.offset == 40)
    );
    let at_the_end = emulator.alloc(0).expect("room for nothing");
    emulator.upload(&[], at_the_end).expect("nothing fits");
}

#[test]
fn files_are_programs_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("twin.h"), "constexpr int VALUE = 5;\n").expect("written");
    let sources = Sources {
        files: vec![kernel_file("twin_a.cu"), kernel_file("twin_b.cu")],
        include_dirs: vec![folder.path().into()],
        defines: vec!["OFFSET=1000".into()],
        cache: Some(folder.path().join("cache")),
        ..Sources::default()
    };
    let results = |sources: &Sources| {
        let program = Program::compile(sources).expect("it compiles");
        [false, true].map(|detection| {
            let emulator = Emulator::new(&program, Options { detection, ..Options::default() }).expect("an emulator");
            let out = emulator.alloc(4).expect("room");
            ["twin_a", "twin_b"].map(|kernel| {
                emulator.launch(kernel, [1, 1, 1], [1, 1, 1], 0, &[&out.to_ne_bytes()]).expect("a clean run");
                let mut bytes = [0; 4];
                emulator.download(out, &mut bytes).expect("it fits");
                i32::from_ne_bytes(bytes)
            })
        })
    };
    let entries = || std::fs::read_dir(folder.path().join("cache")).expect("the cache").count();
    assert_eq!(results(&sources), [[1016, 1125]; 2]);
    let before = entries();
    assert_eq!(results(&sources), [[1016, 1125]; 2]);
    assert_eq!(entries(), before, "the second time nothing is compiled");
    // A header that changes, or a macro, makes it another program.
    std::fs::write(folder.path().join("twin.h"), "constexpr int VALUE = 6;\n").expect("written");
    assert_eq!(results(&sources), [[1017, 1126]; 2]);
    let other = Sources { defines: vec!["OFFSET=0".into()], ..sources };
    assert_eq!(results(&other), [[17, 126]; 2]);
    assert!(entries() > before);
    let names: Vec<_> = std::fs::read_dir(folder.path().join("cache")).expect("the cache").flatten().collect();
    assert!(names.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("unfinished")), "{names:?}");
}

#[test]
fn the_compilers_message_comes_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.cu");
    std::fs::write(&file, "KERNEL(wrong, int* out) {\n    out[0] = nothing;\n}\n").expect("written");
    let message = Program::compile(&Sources { files: vec![file], ..Sources::default() }).expect_err("it is wrong");
    assert!(message.contains("wrong.cu:2") && message.contains("nothing"), "{message}");
    let missing = Program::compile(&Sources { files: vec!["/missing.cu".into()], ..Sources::default() });
    assert!(missing.expect_err("it is missing").contains("/missing.cu"));
}

#[test]
fn emulators_work_side_by_side() {
    let program = Arc::new(program());
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let program = Arc::clone(&program);
            scope.spawn(move || {
                let options =
                    Options { detection: worker % 2 == 0, threads: Order::Random(worker), ..Options::default() };
                let emulator = Emulator::new(&program, options).expect("an emulator");
                let x = floats(&emulator, (0..256).map(|i| i as f32));
                let out = emulator.alloc(1024).expect("room");
                for _ in 0..50 {
                    let arguments: [&[u8]; 2] = [&x.to_ne_bytes(), &out.to_ne_bytes()];
                    emulator.launch("reverse", [1, 1, 1], [256, 1, 1], 0, &arguments).expect("a clean run");
                    let arguments: [&[u8]; 2] = [&x.to_ne_bytes(), &(out + (1 << 20)).to_ne_bytes()];
                    emulator.launch("reverse", [1, 1, 1], [256, 1, 1], 0, &arguments).expect_err("out of bounds");
                }
                assert!(read(&emulator, out, 256).into_iter().eq((0..256).rev().map(|i| i as f32)));
            });
        }
    });
}
