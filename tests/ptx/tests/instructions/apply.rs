//! Runs one instruction on many values.

use ptx_machine::machine::Options;
use ptx_machine::memory::Kind;

use crate::common::{load, machine, options, shape};

/// Runs `op %d, %a, %b, %c;` on each of the inputs: `%d`, `%a`, `%b`, `%c` are of these register types (`b32`, `f64`, `pred`). Once with
/// all lanes of a warp, and once under a mask of every third.
pub(crate) fn apply(op: &str, d: &str, sources: &[&str], inputs: &[[u64; 3]]) -> Vec<u64> {
    let names = ["%a", "%b", "%c"];
    let mut text = ".version 8.8\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 input, .param .u64 output, .param .u32 n)\n\
         {\n.reg .pred %p<4>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n".to_string();
    for (name, ty) in names.iter().zip(sources) {
        text += &format!(".reg .{ty} {name};\n");
    }
    if d == "pred" {
        text += ".reg .pred %d;\n";
    } else {
        text += &format!(".reg .{d} %d;\n");
    }
    text += "ld.param.u64 %rd1, [input];\nld.param.u64 %rd2, [output];\nld.param.u32 %r4, [n];\nmov.u32 %r1, %tid.x;\n\
             mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmad.lo.u32 %r1, %r2, %r3, %r1;\nsetp.ge.u32 %p1, %r1, %r4;\n@%p1 bra END;\n\
             mul.wide.u32 %rd3, %r1, 24;\nadd.s64 %rd1, %rd1, %rd3;\nmul.wide.u32 %rd3, %r1, 8;\nadd.s64 %rd2, %rd2, %rd3;\n";
    for (at, (name, ty)) in names.iter().zip(sources).enumerate() {
        let offset = 8 * at;
        match *ty {
            "b16" => text += &format!("ld.global.u16 {name}, [%rd1+{offset}];\n"),
            _ => text += &format!("ld.global.{ty} {name}, [%rd1+{offset}];\n"),
        }
    }
    text += &op.replace(';', ";\n");
    match d {
        "pred" => text += "\nselp.u64 %rd5, 1, 0, %d;\nst.global.u64 [%rd2], %rd5;\n",
        "b16" => text += "\ncvt.u32.u16 %r5, %d;\ncvt.u64.u32 %rd5, %r5;\nst.global.u64 [%rd2], %rd5;\n",
        "b32" | "f32" => text += "\nmov.b32 %r5, %d;\ncvt.u64.u32 %rd5, %r5;\nst.global.u64 [%rd2], %rd5;\n",
        _ => text += "\nst.global.b64 [%rd2], %d;\n",
    }
    text += "END:\nret;\n}\n";
    let first = run(&text, inputs, 32);
    // Blocks of 11 threads: a partial warp.
    assert_eq!(run(&text, inputs, 11), first, "{op}: partial masks");
    first
}

pub(crate) fn run(text: &str, inputs: &[[u64; 3]], threads: u32) -> Vec<u64> {
    let machine = machine(Options { threads: 1, ..options() });
    let module = load(&machine, text);
    let (input, output) = (
        machine.memory.allocate(24 * inputs.len() as u64, Kind::Device).expect("memory"),
        machine.memory.allocate(8 * inputs.len() as u64, Kind::Device).expect("memory"),
    );
    let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    machine.memory.write(input, &bytes).expect("the allocation");
    let launch = shape((inputs.len() as u32).div_ceil(threads), threads, &[input, output, inputs.len() as u64]);
    machine
        .launch(&module.kernel("k").expect("the kernel"), &launch)
        .unwrap_or_else(|fault| panic!("{fault:?}\n{text}"));
    let mut bytes = vec![0; 8 * inputs.len()];
    machine.memory.read(output, &mut bytes).expect("the allocation");
    bytes.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect()
}

/// Values of 32 bits that are worth a look, as integers and as floats.
pub(crate) fn words() -> Vec<u32> {
    let mut all = vec![
        0,
        1,
        2,
        3,
        5,
        7,
        31,
        32,
        33,
        63,
        64,
        255,
        256,
        0x7FFF,
        0x8000,
        0xFFFF,
        0x10000,
        0x7FFF_FFFF,
        0x8000_0000,
        0x8000_0001,
        0xFFFF_FFFF,
        0xFFFF_FFFE,
        0x1234_5678,
        0xDEAD_BEEF,
    ];
    all.extend(
        [1.0f32, -1.0, 0.5, 1.5, 2.5, -2.5, 3.4e38, -3.4e38, 1e-40, -1e-40, 1.1754944e-38, 16777217.0]
            .map(f32::to_bits),
    );
    all.extend([0.1f32, 3.0, 1e10, -1e10, 4.3e9, 1e-20, f32::INFINITY, f32::NEG_INFINITY, f32::NAN].map(f32::to_bits));
    all
}

pub(crate) fn doubles() -> Vec<u64> {
    let mut all =
        vec![0, 1, 2, 3, 63, 64, u64::MAX, 1 << 63, (1 << 63) - 1, 0xFFFF_FFFF, 1 << 32, 0x0123_4567_89AB_CDEF];
    all.extend(
        [1.0f64, -1.0, 0.1, 2.5, -3.5, 1e300, -1e300, 5e-324, 2.3e-308, 1e18, 1e19, -1e19, 4294967296.0]
            .map(f64::to_bits),
    );
    all.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.3, 1e-7].map(f64::to_bits));
    all
}

pub(crate) fn pairs32() -> Vec<[u64; 3]> {
    let words = words();
    words
        .iter()
        .flat_map(|&a| words.iter().map(move |&b| [u64::from(a), u64::from(b), u64::from(a ^ b.rotate_left(7))]))
        .collect()
}

pub(crate) fn pairs64() -> Vec<[u64; 3]> {
    let doubles = doubles();
    doubles.iter().flat_map(|&a| doubles.iter().map(move |&b| [a, b, a ^ b.rotate_left(9)])).collect()
}

/// Compares with a function of the inputs; `None` leaves a result open.
pub(crate) fn compare(
    op: &str,
    d: &str,
    sources: &[&str],
    inputs: &[[u64; 3]],
    expected: impl Fn([u64; 3]) -> Option<u64>,
) {
    let found = apply(op, d, sources, inputs);
    for (input, found) in inputs.iter().zip(found) {
        if let Some(expected) = expected(*input) {
            assert_eq!(found, expected, "{op} of {input:x?}: {found:x}, not {expected:x}");
        }
    }
}
