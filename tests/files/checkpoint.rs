//! Checkpoints: what goes in comes out, bit for bit, and what was there survives crashes, kills and full disks.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use vgan_cuda::Error;
use vgan_cuda::run::checkpoint::{self, Checkpoint};
use vgan_cuda::run::{DataPosition, Files, ImageShape, RngPosition, State, Tensor, Updates, tensors};

/// Set in the child processes that the tests start of this same program.
const CHILD: &str = "VGAN_TEST_CHILD_FOLDER";

fn tensor(name: &str, shape: &[usize], first: f32) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor { name: name.into(), shape: shape.into(), values: (0..count).map(|i| first + i as f32 * 0.37).collect() }
}

/// A checkpoint whose every part differs from that of any other `step` and `seed`.
fn sample(step: u64, seed: u64) -> Checkpoint {
    let first = step as f32 + seed as f32 * 1e-3;
    Checkpoint {
        model: vec![
            tensor("d.conv.weight", &[3, 4, 4, 1], first),
            tensor("g.bias", &[7], -first),
            tensor("x", &[], 1.5),
        ],
        optim: vec![tensor("d.conv.weight.moment1", &[3, 4, 4, 1], first * 1e-9), tensor("empty", &[0, 5], 0.0)],
        state: State {
            format: 1,
            version: "0.1.0".into(),
            preset: "quick".into(),
            image: ImageShape { h: 28, w: 24, c: 3 },
            seed,
            step,
            batch: 128,
            samples_seen: step * 128,
            epoch: step as f64 / 468.0,
            beta: 0.1 + 0.2,
            balance: 0.3 * 0.1,
            updates: Updates { discriminator: u64::MAX, generator: 7, encoder: 8 },
            rng: RngPosition { step },
            data: DataPosition { position: step * 128, count: (1 << 53) + 1, sha256: "7".repeat(64) },
            settings: BTreeMap::new(),
            classes: None,
            changes: Vec::new(),
            origin: None,
            files: Files::default(),
        },
    }
}

/// Bits, since -0.0 equals 0.0.
fn bits(tensors: &[Tensor]) -> Vec<(&str, &[usize], Vec<u32>)> {
    let bits = |t: &Tensor| t.values.iter().map(|v| v.to_bits()).collect();
    let mut all: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice(), bits(t))).collect();
    all.sort();
    all
}

fn assert_same(saved: &Checkpoint, loaded: &Checkpoint) {
    assert_eq!(bits(&saved.model), bits(&loaded.model));
    assert_eq!(bits(&saved.optim), bits(&loaded.optim));
    let numbers = |s: &State| [s.epoch, s.beta].map(f64::to_bits);
    assert_eq!(numbers(&saved.state), numbers(&loaded.state));
    assert_eq!(State { files: Files::default(), ..loaded.state.clone() }, saved.state);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

fn newest(checkpoints: &Path) -> (Checkpoint, Vec<String>) {
    let (_, checkpoint, passed_over) = checkpoint::newest_valid(checkpoints).unwrap();
    (checkpoint, passed_over)
}

#[test]
fn a_checkpoint_comes_back_and_lies_where_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = folder.path().join("checkpoints");
    let saved = sample(200, 25_600);
    let path = checkpoint::save(&checkpoints, &saved, 2).unwrap();
    assert_eq!(path, checkpoints.join("000200"));
    assert_eq!(names(&path), ["model.safetensors", "optim.safetensors", "state.json"]);
    assert_eq!(names(&checkpoints), ["000200", "latest"]);
    assert_eq!(fs::read_to_string(checkpoints.join("latest")).unwrap(), "000200\n");
    assert_same(&saved, &checkpoint::load(&path).unwrap());
    let (found, loaded, passed_over) = checkpoint::newest_valid(&checkpoints).unwrap();
    assert_eq!((found, passed_over), (path.clone(), vec![]));
    assert_same(&saved, &loaded);
    // The modes are the usual ones (0644 and 0755 under umask 022), not those of a private temporary.
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let (plain_file, plain_folder) = (folder.path().join("plain"), folder.path().join("folder"));
    fs::write(&plain_file, b"").unwrap();
    fs::create_dir(&plain_folder).unwrap();
    assert_eq!(mode(&path), mode(&plain_folder));
    for name in names(&path) {
        assert_eq!(mode(&path.join(name)), mode(&plain_file));
    }
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes_whatever_the_order_of_the_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = sample(7, 7);
    other.model.reverse();
    other.state.files.model.bytes = 99;
    let one = checkpoint::save(&folder.path().join("a"), &sample(7, 7), 0).unwrap();
    let two = checkpoint::save(&folder.path().join("b"), &other, 0).unwrap();
    assert_eq!(contents(&one), contents(&two));
    let reloaded = checkpoint::load(&two).unwrap();
    let three = checkpoint::save(&folder.path().join("c"), &reloaded, 0).unwrap();
    assert_eq!(contents(&one), contents(&three));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any finite bits of f32 and f64: denormals, -0.0, the largest.
    #[test]
    fn any_finite_bits_survive(
        words in prop::collection::vec(any::<u32>(), 0..60),
        columns in 1_usize..7,
        epoch in any::<u64>(), beta in any::<u64>(),
        counts in any::<[u64; 5]>(), batch in 1_u64..1 << 16,
        preset in "[ -~äβ\u{1F600}]{1,40}",
    ) {
        let finite32 = |bits: u32| Some(f32::from_bits(bits)).filter(|v| v.is_finite()).unwrap_or(-0.0);
        let positive64 = |bits: u64| Some(f64::from_bits(bits).abs()).filter(|v| v.is_finite()).unwrap_or(5e-324);
        let mut saved = sample(0, 0);
        let rows = words.len() / columns;
        let values = words[..rows * columns].iter().map(|&w| finite32(w)).collect();
        saved.model.push(Tensor { name: "ß \"quoted\" \\ \u{7}".into(), shape: vec![rows, 1, columns], values });
        let [seed, step, more, discriminator, generator] = counts;
        let step = step >> 16;
        let position = step * batch;
        saved.state = State {
            preset, seed, step, batch,
            samples_seen: position,
            epoch: positive64(epoch),
            beta: positive64(beta),
            balance: positive64(beta) % 1.0,
            updates: Updates { discriminator, generator, encoder: generator / 2 },
            rng: RngPosition { step },
            data: DataPosition { position, count: batch.saturating_add(more), sha256: "0f".repeat(32) },
            ..saved.state
        };
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint::save(folder.path(), &saved, 1).unwrap();
        assert_same(&saved, &checkpoint::load(&path).unwrap());
    }
}

#[test]
fn the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    for step in 1..=5 {
        checkpoint::save(folder.path(), &sample(step, 0), 2).unwrap();
    }
    assert_eq!(names(folder.path()), ["000004", "000005", "latest"]);
    for step in 6..=8 {
        checkpoint::save(folder.path(), &sample(step, 0), 0).unwrap();
    }
    assert_eq!(names(folder.path()), ["000004", "000005", "000006", "000007", "000008", "latest"]);
    fs::create_dir(folder.path().join("9-mine")).unwrap();
    checkpoint::save(folder.path(), &sample(1_000_000, 0), 1).unwrap();
    assert_eq!(names(folder.path()), ["1000000", "9-mine", "latest"]);
}

/// A run that went back, since its newest checkpoint was damaged, must not remove what it has just saved.
#[test]
fn what_was_just_saved_is_kept_even_below_a_later_step() {
    let folder = tempfile::tempdir().unwrap();
    for step in [100, 400] {
        checkpoint::save(folder.path(), &sample(step, 0), 0).unwrap();
    }
    fs::write(folder.path().join("000400/state.json"), b"{").unwrap();
    checkpoint::save(folder.path(), &sample(300, 0), 1).unwrap();
    assert_eq!(names(folder.path()), ["000300", "000400", "latest"]);
    let (loaded, passed_over) = newest(folder.path());
    assert_eq!((loaded.state.step, passed_over.len()), (300, 1));
    checkpoint::save(folder.path(), &sample(400, 1), 1).unwrap();
    assert_eq!(names(folder.path()), ["000400", "latest"]);
    assert_eq!(newest(folder.path()).0.state.seed, 1);
}

#[test]
fn broken_ones_are_passed_over_and_it_says_why() {
    let folder = tempfile::tempdir().unwrap();
    for step in 1..=6 {
        checkpoint::save(folder.path(), &sample(step, 0), 0).unwrap();
    }
    let at = |name: &str| folder.path().join(name);
    fs::remove_file(at("000006/optim.safetensors")).unwrap();
    let mut bytes = fs::read(at("000005/model.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(at("000005/model.safetensors"), &bytes).unwrap();
    fs::write(at("000004/model.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    fs::rename(at("000002"), at("000009")).unwrap();
    fs::write(at("000008"), b"a file").unwrap();
    fs::write(at("latest"), b"000005\n").unwrap();
    let (loaded, passed_over) = newest(folder.path());
    assert_eq!(loaded.state.step, 3);
    let reasons = [
        "000009/state.json: expected step 9, as the folder's name says, found step 2",
        "000008/state.json: expected a file of a checkpoint, found no such file",
        "000006/optim.safetensors: expected a file of a checkpoint, found no such file",
        "000005/model.safetensors: expected sha256 ",
        "000004/model.safetensors: expected ",
    ];
    assert_eq!(passed_over.len(), reasons.len(), "{passed_over:#?}");
    for (line, reason) in passed_over.iter().zip(reasons) {
        assert!(line.contains(reason), "{line}");
    }
}

#[test]
fn without_a_valid_one_every_reason_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        let error = checkpoint::newest_valid(path).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        error.to_string()
    };
    assert!(message(&folder.path().join("absent")).contains("found no such folder"));
    assert!(message(folder.path()).contains("found none"));
    for step in [1, 2] {
        let path = checkpoint::save(folder.path(), &sample(step, 0), 0).unwrap();
        fs::write(path.join("state.json"), b"[]").unwrap();
    }
    let message = message(folder.path());
    assert!(message.contains("000001/state.json") && message.contains("000002/state.json"), "{message}");
}

/// The states that a crash can leave, made by hand.
#[test]
fn a_crash_between_any_two_steps_of_an_overwrite_leaves_one_that_loads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    checkpoint::save(folder.path(), &sample(200, 1), 1).unwrap();
    // The new one is half written; the old one is aside.
    fs::rename(at("000200"), at(".old-000200-123456789-0")).unwrap();
    fs::create_dir(at(".tmp-000200-123456789-1")).unwrap();
    fs::write(at(".tmp-000200-123456789-1/model.safetensors"), b"half").unwrap();
    let (path, loaded, passed_over) = checkpoint::newest_valid(folder.path()).unwrap();
    assert_eq!((path, passed_over), (at(".old-000200-123456789-0"), vec![]));
    assert_same(&sample(200, 1), &loaded);
    // The next save of another step puts it back, and sweeps the rest.
    checkpoint::save(folder.path(), &sample(300, 2), 0).unwrap();
    assert_eq!(names(folder.path()), ["000200", "000300", "latest"]);
    // The new one is in place; the old one is still aside.
    let copy = at(".old-000300-123456789-7");
    fs::create_dir(&copy).unwrap();
    for (name, bytes) in contents(&checkpoint::save(&at("elsewhere"), &sample(300, 1), 0).unwrap()) {
        fs::write(copy.join(name), bytes).unwrap();
    }
    assert_eq!(newest(folder.path()).0.state.seed, 2);
    checkpoint::save(folder.path(), &sample(400, 3), 0).unwrap();
    assert_eq!(names(folder.path()), ["000200", "000300", "000400", "elsewhere", "latest"]);
    assert_eq!(checkpoint::load(&at("000300")).unwrap().state.seed, 2);
}

#[test]
fn a_checkpoint_that_could_not_be_loaded_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(folder.path(), &sample(1, 0), 1).unwrap();
    let before = names(folder.path());
    let with = |change: fn(&mut Checkpoint)| {
        let mut changed = sample(2, 0);
        change(&mut changed);
        checkpoint::save(folder.path(), &changed, 1).unwrap_err()
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut changed = sample(2, 0);
        changed.optim[0].values[5] = bad;
        let error = checkpoint::save(folder.path(), &changed, 1).unwrap_err();
        assert!(
            matches!(&error, Error::Diverged { tensor, step: 2, .. } if tensor == "d.conv.weight.moment1"),
            "{error}"
        );
    }
    with(|c| c.model[0].shape[0] = 4);
    with(|c| c.model[1].name = c.model[0].name.clone());
    with(|c| c.model[1].name = "__metadata__".into());
    with(|c| c.model[1].name.clear());
    with(|c| c.state.beta = f64::NAN);
    with(|c| c.state.epoch = -1.0);
    with(|c| c.state.preset = "two\nlines".into());
    assert_eq!(names(folder.path()), before);
    assert_eq!(newest(folder.path()).0.state.step, 1);
}

/// This module as the names of tests have it: without the crate's.
fn module() -> &'static str {
    module_path!().split_once("::").expect("a module of the test binary").1
}

/// This test again as a child process, through `sh` where `setup` is not empty.
fn child(test: &str, folder: &Path, setup: &str) -> Command {
    let program: PathBuf = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    let exec = if setup.starts_with("exec ") { "" } else { "exec" };
    command.arg("-c").arg(format!("{setup} {exec} \"$0\" \"$@\"")).arg(program).args([
        "--exact",
        &format!("{}::{test}", module()),
        "--nocapture",
    ]);
    command.env(CHILD, folder).stdin(Stdio::null());
    command
}

/// A limit on the size of files stands in for a full disk: both make the write fail midway, after a part of it.
#[test]
fn a_full_disk_keeps_the_old_checkpoint_and_says_what_is_needed() {
    let large = || Checkpoint { model: vec![tensor("large", &[100_000], 1.0)], ..sample(2, 2) };
    if let Some(folder) = std::env::var_os(CHILD) {
        let error = checkpoint::save(Path::new(&folder), &large(), 1).unwrap_err();
        std::io::stdout().write_all(format!("\nERROR {} {error}\n", error.exit_code()).as_bytes()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let old = checkpoint::save(folder.path(), &sample(1, 1), 1).unwrap();
    let before = (names(folder.path()), contents(&old));
    let test = "a_full_disk_keeps_the_old_checkpoint_and_says_what_is_needed";
    // 64 blocks are at most 64 KiB; the signal would kill the process before the write could fail.
    let output = child(test, folder.path(), "trap '' XFSZ; ulimit -f 64;").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("ERROR ")).unwrap_or_else(|| panic!("no error: {text}"));
    assert!(line.starts_with("ERROR 1 "), "{line}");
    assert!(line.contains("000002/model.safetensors: can't write: "), "{line}");
    assert!(line.contains("what was there before is untouched"), "{line}");
    let needed: u64 = line.split(" bytes are needed").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((400_000..410_000).contains(&needed), "{line}");
    assert_eq!((names(folder.path()), contents(&old)), before);
    assert_same(&sample(1, 1), &newest(folder.path()).0);
}

/// A child saves in a loop and reports each save; it is killed at 50 random moments. Whatever it reported must be
/// there, or the one save that it was in the middle of.
#[test]
fn kill_9_loses_nothing_that_was_saved() {
    if let Some(folder) = std::env::var_os(CHILD) {
        save_forever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut during_a_save = 0;
    for round in 0..50 {
        let mut child = child("kill_9_loses_nothing_that_was_saved", folder.path(), "")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: &str| line.strip_prefix("SAVED ").map(|n| n.parse::<u64>().unwrap());
        let mut reported = lines.by_ref().find_map(|line| number(&line.unwrap())).expect("a first save");
        // xorshift64 (Marsaglia 2003): the moments differ from each other, and not from one run to the next.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 30_000));
        child.kill().unwrap();
        child.wait().unwrap();
        reported = lines.filter_map(|line| number(&line.unwrap())).last().unwrap_or(reported);

        let (path, loaded, passed_over) = checkpoint::newest_valid(folder.path()).unwrap();
        let found = loaded.state.seed;
        assert!(found == reported || found == reported + 1, "round {round}: reported {reported}, found {found}");
        assert_eq!(passed_over, Vec::<String>::new(), "round {round}: no half a checkpoint under a step's name");
        assert_same(&sample(loaded.state.step, found), &loaded);
        let leftovers = names(folder.path()).iter().filter(|name| name.starts_with('.')).count();
        during_a_save += usize::from(leftovers > 0 || found > reported);
        assert!(path.starts_with(folder.path()) && leftovers <= 3, "round {round}: {:?}", names(folder.path()));
    }
    assert!(during_a_save >= 10, "only {during_a_save} of 50 kills came during a save: the test proves little");
    let last = newest(folder.path()).0.state.step;
    checkpoint::save(folder.path(), &sample(last + 1, 0), 1).unwrap();
    assert_eq!(names(folder.path()), [format!("{:06}", last + 1), "latest".into()]);
}

/// No kill can show a missing fsync, since the system keeps what a killed process wrote; only a loss of power would.
/// So the order of the calls is read from the system, where `strace` is installed.
#[test]
fn everything_is_on_the_disk_before_it_gets_its_name() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let folder = Path::new(&folder);
        checkpoint::save(folder, &sample(200, 1), 1).unwrap();
        checkpoint::save(folder, &sample(200, 2), 1).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (trace, checkpoints) = (folder.path().join("trace"), folder.path().join("checkpoints"));
    let setup = "exec strace -f -y -e trace=fsync,rename,renameat,renameat2 -o ../trace --";
    fs::create_dir(&checkpoints).unwrap();
    let test = "everything_is_on_the_disk_before_it_gets_its_name";
    child(test, &checkpoints, setup).current_dir(&checkpoints).output().unwrap();
    let trace = fs::read_to_string(trace).unwrap_or_default();
    if !trace.contains("+++ exited with") {
        eprintln!("SKIPPED: strace is not installed, or may not trace here");
        return;
    }
    // "fsync <last part of the path>" or "rename <its new name>", temporaries without their numbers.
    let calls: Vec<String> = trace
        .lines()
        .filter(|line| line.contains("fsync(") || line.contains("rename"))
        .map(|line| {
            let (call, path) = if line.contains("fsync(") {
                ("fsync", line.split(['<', '>']).nth(1).unwrap())
            } else {
                ("rename", line.rsplit('"').nth(1).unwrap())
            };
            let name = path.rsplit('/').next().unwrap();
            let end = ["000200", "latest"].iter().find_map(|target| Some(name.find(target)? + target.len()));
            format!("{call} {}", &name[..end.unwrap_or(name.len())])
        })
        .collect();
    let written = ["fsync model.safetensors", "fsync optim.safetensors", "fsync state.json", "fsync .tmp-000200"];
    let in_place = ["rename 000200", "fsync checkpoints"];
    let latest = ["fsync .tmp-latest", "rename latest", "fsync checkpoints", "fsync checkpoints"];
    let first = [written.as_slice(), &in_place, &latest].concat();
    let aside = ["rename .old-000200"];
    let second = [written.as_slice(), &aside, &in_place, &["rename .tmp-.old-000200"], &latest].concat();
    assert_eq!(calls, [first, second].concat(), "{trace}");
}

/// Goes on where the folder ends. Each step is saved three times, so that overwriting is killed too.
fn save_forever(checkpoints: &Path) -> ! {
    let mut samples = checkpoint::newest_valid(checkpoints).map_or(0, |(_, last, _)| last.state.seed);
    loop {
        samples += 1;
        checkpoint::save(checkpoints, &sample(samples / 3, samples), 2).unwrap();
        std::io::stdout().write_all(format!("\nSAVED {samples}\n").as_bytes()).unwrap();
    }
}

#[test]
fn tensors_can_be_kept_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.safetensors");
    let saved = sample(1, 1).model;
    tensors::write(&path, &saved).unwrap();
    assert_eq!(bits(&tensors::read(&path).unwrap()), bits(&saved));
    assert_eq!(tensors::read(&folder.path().join("absent")).unwrap_err().exit_code(), 3);
}
