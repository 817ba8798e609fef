//! Whatever the bytes are: an answer, and no panic.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use ptx_machine::fatbin::{images, length};
use ptx_machine::machine::{Checks, FaultKind, Launch, Machine, Module, Options};
use ptx_machine::memory::Memory;
use ptx_machine::text::flow::Flow;
use ptx_machine::text::parse;

use crate::front::{HEAD, sample};

/// Put at a kernel's beginning, it ends the launch there, while the rest can be reached as far as control flow tells.
const ENDS: &str = "{\n.reg .pred %ends;\nsetp.eq.u32 %ends, 0, 0;\n@%ends trap;\n}\n";

fn machine() -> Machine {
    let options = Options { threads: 1, checks: Checks::ALL, count_every: 1, ..Options::default() };
    Machine::new(Arc::new(Memory::new(1 << 26).expect("address space")), options)
}

/// Reads a text and loads it; an accepted module has blocks.
fn read(text: &str) {
    if let Ok(module) = parse(text) {
        for kernel in &module.kernels {
            assert_eq!(Flow::new(kernel).block_of.len(), kernel.body.len());
        }
    }
    let _ = machine().load(text.as_bytes(), (9, 0));
}

/// Launches the kernels of a module that begin with [`ENDS`]: what can be lowered can be lowered with all checks and counts, too.
fn launch(machine: &Machine, module: &Module) {
    for kernel in module.kernels() {
        let bytes = kernel.parameters.last().map_or(0, |&(offset, bytes)| (offset + bytes) as usize);
        let (one, parameters) = ([1; 3], vec![0; bytes]);
        let launch = Launch { grid: one, block: one, cluster: one, dynamic_shared: 0, parameters };
        let fault = machine.launch(kernel, &launch).expect_err("the kernel ends at once");
        assert!(fault.kind == FaultKind::Trap || kernel.max_threads == 0, "{fault:?}");
    }
}

/// Loads a text, with each kernel as it is and with [`ENDS`] at its beginning, and launches the latter.
fn run(text: &str) {
    read(text);
    let mut ended = String::new();
    let (mut rest, mut count) = (text, 0);
    while let Some(at) = rest.find(".entry").and_then(|entry| Some(entry + rest[entry..].find('{')? + 1)) {
        ended += &rest[..at];
        ended += ENDS;
        (rest, count) = (&rest[at..], count + 1);
    }
    ended += rest;
    let machine = machine();
    // Where a change has made a comment of a kernel's beginning, it would run.
    if let Ok(module) = machine.load(ended.as_bytes(), (9, 0))
        && module.kernels().len() == count
    {
        launch(&machine, &module);
    }
}

/// The text of a kernel with this body.
fn with_body(body: &str) -> String {
    format!("{HEAD}{body}\nret;\n}}\n")
}

/// The lines of accepted.txt that can be lowered as well.
fn lowered_lines() -> &'static [&'static str] {
    static LINES: OnceLock<Vec<&str>> = OnceLock::new();
    LINES.get_or_init(|| {
        let loads = |line: &&str| machine().load(with_body(line).as_bytes(), (9, 0)).is_ok();
        include_str!("accepted.txt").lines().filter(loads).collect()
    })
}

/// The words that a mutation puts in: words that mean something in PTX, so that it gets deep into the parser.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ";",
    ":",
    ",",
    "|",
    "!",
    "@",
    "<",
    "<<",
    "+",
    "-",
    "-1",
    "_",
    "0",
    "0f3F800000",
    "0d",
    "1.5",
    "4294967295",
    "18446744073709551615",
    "%r1",
    "%p1",
    "%rd1",
    "%tid.x",
    "$L__BB0_1",
    ".loc",
    ".reg",
    ".b32",
    ".v4",
    ".pred",
    ".shared",
    ".entry",
    ".section",
    ".align",
    "bra",
    "brx.idx",
    "ld.global.v4.f32",
    "mov.b64",
    "setp.eq.and.s32",
    "cvt.rn.f32.s32",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
    "cp.async.bulk.tensor.5d",
    "[4294967296]",
    ".local",
    ".param",
    "@%p1",
    "exit",
    "trap",
    "bar.sync",
    "((((((((",
    "{{{{{{{{",
    "/*",
    "\"",
    "\u{e4}",
];

#[derive(Debug, Clone)]
enum Change {
    Byte(usize, u8),
    Remove(usize, usize),
    Insert(usize, &'static str),
    Copy(usize, usize, usize),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (at(), 1usize..60).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), prop::sample::select(WORDS)).prop_map(|(at, word)| Change::Insert(at, word)),
        (at(), at(), 1usize..200).prop_map(|(from, to, count)| Change::Copy(from, to, count)),
        at().prop_map(Change::Cut),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len() + 1;
        match *change {
            Change::Byte(at, byte) => {
                if let Some(old) = bytes.get_mut(at % length) {
                    *old = byte;
                }
            }
            Change::Remove(at, count) => {
                let at = at % length;
                bytes.drain(at..(at + count).min(length - 1));
            }
            Change::Insert(at, word) => {
                let at = at % length;
                bytes.splice(at..at, word.bytes());
            }
            Change::Copy(from, to, count) => {
                let (from, to) = (from % length, to % length);
                let part = bytes[from..(from + count).min(length - 1)].to_vec();
                bytes.splice(to..to, part);
            }
            // The beginning is kept, so that the rest is reached.
            Change::Cut(at) => bytes.truncate((at % length).max(length / 2)),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_samples(
        name in prop::sample::select(vec!["reduce.ptx", "halves.ptx", "hopper.ptx"]),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        run(&String::from_utf8_lossy(&changed(sample(name), &changes)));
    }

    #[test]
    fn changed_lines(
        line in prop::sample::select(include_str!("accepted.txt").lines().collect::<Vec<_>>()),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let line = changed(line.into(), &changes);
        run(&with_body(&String::from_utf8_lossy(&line)));
    }

    /// Instructions that the machine knows, with branches between them: control flow, lowering, and the facts that checks need.
    #[test]
    fn lines_with_branches(
        lines in prop::collection::vec((any::<prop::sample::Index>(), 0usize..24, 0u32..6), 1..24),
        changes in prop::collection::vec(change(), 0..2),
    ) {
        let mut body = String::new();
        for (at, &(line, target, kind)) in lines.iter().enumerate() {
            let line = line.get(lowered_lines());
            let target = target % lines.len();
            let branch = match kind {
                0 => format!("@%p1 bra L{target};"),
                1 => format!("@!%p2 bra L{target};"),
                2 if at % 3 == 0 => format!("bra L{target};"),
                3 => format!("LIST{at}: .branchtargets L{target}, L{}, L{at};\nbrx.idx %r1, LIST{at};", lines.len() / 2),
                // Where a line has no guard of its own, one.
                4 if !line.starts_with(['@', '{', '.']) && !line.contains(':') => format!("@%p3 {line}"),
                _ => String::new(),
            };
            body += &format!("L{at}:\n{{\n{line}\n}}\n{branch}\n");
        }
        run(&with_body(&String::from_utf8_lossy(&changed(body.into_bytes(), &changes))));
    }

    #[test]
    fn random_text(text in "\\PC{0,200}") {
        read(&text);
        run(&format!("{HEAD}{text}\n}}"));
    }

    #[test]
    fn random_words(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        let text = words.join(" ");
        read(&format!(".version 9.0 .target sm_90 {text}"));
        run(&with_body(&format!("{text};")));
    }

    #[test]
    fn changed_fatbins(
        name in prop::sample::select(vec!["reduce.zstd.fatbin", "reduce.lz4.fatbin"]),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let bytes = changed(sample(name), &changes);
        let _ = length(&bytes);
        for image in images(&bytes).unwrap_or_default() {
            read(&String::from_utf8_lossy(&image.bytes));
        }
    }

    #[test]
    fn random_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = images(&bytes);
        bytes.splice(0..0, [0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0]);
        let _ = images(&bytes);
    }
}

/// Depths at which a parser that recurses would end its stack.
#[test]
fn deep_nesting_is_refused() {
    for text in ["(", "{", "-", "~", "{ {", "!("] {
        let deep = text.repeat(200_000);
        read(&format!("{HEAD}add.s32 %r1, %r2, {deep}"));
        read(&format!("{HEAD}{deep}"));
        read(&format!(".version 9.0 .target sm_90 .global .b8 x{} = {deep}", "[1]".repeat(10_000)));
    }
}
