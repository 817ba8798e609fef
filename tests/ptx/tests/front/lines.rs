//! Lines that ptxas 13.0.88 accepts or refuses for sm_90a, and what the parser says to them.
//!
//! The expectations are ptxas's: check.sh beside this file asks it again.

use crate::front::{kernel, refusal};

const ACCEPTED: &str = include_str!("accepted.txt");
const REFUSED: &str = include_str!("refused.txt");
const UNKNOWN: &str = include_str!("unknown.txt");
/// The line of the text that a tested line is: head.ptx has one less.
const LINE: u32 = 25;

#[test]
fn what_ptxas_accepts_and_the_machine_knows_is_accepted() {
    let wrong: Vec<String> =
        ACCEPTED.lines().filter_map(|line| Some(format!("{line}: {}", kernel(line).err()?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ACCEPTED.lines().count() > 500);
}

#[test]
fn what_ptxas_refuses_is_refused() {
    let wrong: Vec<&str> = REFUSED.lines().filter(|line| kernel(line).is_ok()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(REFUSED.lines().count() > 200);
}

/// PTX that is not known here is refused, and the error names a word of the line.
#[test]
fn what_the_machine_does_not_know_is_refused_by_its_name() {
    for line in UNKNOWN.lines() {
        let error = refusal(line);
        let found =
            error.split("found ").nth(1).and_then(|rest| rest.split(", expected ").next()).expect("a found part");
        let names = |word: &str| word.len() > 1 && line.contains(word) || matches!(word, ">" | "?" | "256");
        let words = found.split(|c: char| c == '`' || c.is_whitespace() || c == '"');
        assert!(words.into_iter().any(names) || found.contains("floating-point"), "{line}: {error}");
        assert!(error.starts_with(&format!("line {LINE} of the PTX: ")), "{error}");
    }
}

/// The texts of errors, as a user reads them.
#[test]
fn errors_say_line_what_was_found_and_what_was_expected() {
    let texts = [
        ("dp4a.u32.u32 %r1, %r2, %r3, %r4;", "found `dp4a.u32.u32`, expected an instruction that this machine knows"),
        (
            "add.sat.u32 %r1, %r2, 1;",
            "found `.sat` in `add.sat.u32`, expected modifiers that this instruction has with this type",
        ),
        (
            "ld.shared.u64 %r1, [sm];",
            "found the register `%r1` of .b32 in `ld.shared.u64`, expected a register that fits .u64 or wider",
        ),
        ("add.s32 %r1, %r2, %zz;", "found `%zz`, expected a declared register of .s32"),
        (
            "ld.global.u32 %r1, [sm];",
            "found `sm` of Shared memory in `ld.global.u32`, expected a variable in Global memory",
        ),
        ("add.s32 %r1, %r2, 1.5;", "found the double 1.5 in `add.s32`, expected a register or a constant of .s32"),
        ("cvt.f32.s32 %f1, %r1;", "found `cvt.f32.s32`, expected one of the roundings .rn .rz .rm .rp"),
        (
            "bra NOWHERE;",
            "found a branch to `NOWHERE`, expected a label of this kernel, in this scope or one around it",
        ),
        (
            "add.u32 %r1, %tid.x, 1;",
            "found the special register `%tid` in `add.u32`, expected `mov`, or `cvt` between integers, which alone read these",
        ),
        ("@%r1 exit;", "found the register `%r1` of .b32 in `@`, expected a register that fits .pred"),
    ];
    for (line, text) in texts {
        assert_eq!(refusal(line), format!("line {LINE} of the PTX: {text}"), "{line}");
    }
}
