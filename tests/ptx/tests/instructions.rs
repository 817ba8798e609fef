//! Instructions against the ISA's text: expectations are computed here, by other means than the machine's.

mod common;

use common::{load, machine, options, shape};
use ptx_machine::machine::Options;
use ptx_machine::memory::Kind;

/// Runs `op %d, %a, %b, %c;` on each of the inputs: `%d`, `%a`, `%b`, `%c` are of these register types (`b32`, `f64`, `pred`). Once with
/// all lanes of a warp, and once under a mask of every third.
fn apply(op: &str, d: &str, sources: &[&str], inputs: &[[u64; 3]]) -> Vec<u64> {
    let names = ["%a", "%b", "%c"];
    let mut text = format!(
        ".version 8.8\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 input, .param .u64 output, .param .u32 n)\n\
         {{\n.reg .pred %p<4>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n"
    );
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
        "b32" | "f32" => text += &format!("\nmov.b32 %r5, %d;\ncvt.u64.u32 %rd5, %r5;\nst.global.u64 [%rd2], %rd5;\n"),
        _ => text += "\nst.global.b64 [%rd2], %d;\n",
    }
    text += "END:\nret;\n}\n";
    let first = run(&text, inputs, 32);
    // Blocks of 11 threads: a partial warp.
    assert_eq!(run(&text, inputs, 11), first, "{op}: partial masks");
    first
}

fn run(text: &str, inputs: &[[u64; 3]], threads: u32) -> Vec<u64> {
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
fn words() -> Vec<u32> {
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

fn doubles() -> Vec<u64> {
    let mut all =
        vec![0, 1, 2, 3, 63, 64, u64::MAX, 1 << 63, (1 << 63) - 1, 0xFFFF_FFFF, 1 << 32, 0x0123_4567_89AB_CDEF];
    all.extend(
        [1.0f64, -1.0, 0.1, 2.5, -3.5, 1e300, -1e300, 5e-324, 2.3e-308, 1e18, 1e19, -1e19, 4294967296.0]
            .map(f64::to_bits),
    );
    all.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.3, 1e-7].map(f64::to_bits));
    all
}

fn pairs32() -> Vec<[u64; 3]> {
    let words = words();
    words
        .iter()
        .flat_map(|&a| words.iter().map(move |&b| [u64::from(a), u64::from(b), u64::from(a ^ b.rotate_left(7))]))
        .collect()
}

fn pairs64() -> Vec<[u64; 3]> {
    let doubles = doubles();
    doubles.iter().flat_map(|&a| doubles.iter().map(move |&b| [a, b, a ^ b.rotate_left(9)])).collect()
}

/// Compares with a function of the inputs; `None` leaves a result open.
fn compare(op: &str, d: &str, sources: &[&str], inputs: &[[u64; 3]], expected: impl Fn([u64; 3]) -> Option<u64>) {
    let found = apply(op, d, sources, inputs);
    for (input, found) in inputs.iter().zip(found) {
        if let Some(expected) = expected(*input) {
            assert_eq!(found, expected, "{op} of {input:x?}: {found:x}, not {expected:x}");
        }
    }
}

fn binary32(op: &str, f: impl Fn(u32, u32) -> Option<u32>) {
    let text = format!("{op} %d, %a, %b;");
    compare(&text, "b32", &["b32", "b32"], &pairs32(), |[a, b, _]| f(a as u32, b as u32).map(u64::from));
}

fn binary64(op: &str, f: impl Fn(u64, u64) -> Option<u64>) {
    let text = format!("{op} %d, %a, %b;");
    compare(&text, "b64", &["b64", "b64"], &pairs64(), |[a, b, _]| f(a, b));
}

#[test]
fn integers_of_32_bits() {
    binary32("add.s32", |a, b| Some((u64::from(a) + u64::from(b)) as u32));
    binary32("sub.u32", |a, b| Some((i64::from(a) - i64::from(b)) as u32));
    binary32("mul.lo.s32", |a, b| Some((u64::from(a) * u64::from(b)) as u32));
    binary32("mul.hi.s32", |a, b| Some(((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32));
    binary32("mul.hi.u32", |a, b| Some(((u64::from(a) * u64::from(b)) >> 32) as u32));
    binary32("min.s32", |a, b| Some((a as i32).min(b as i32) as u32));
    binary32("max.u32", |a, b| Some(a.max(b)));
    // A division by zero is unspecified.
    binary32("div.s32", |a, b| (b != 0).then(|| (i64::from(a as i32) / i64::from(b as i32)) as u32));
    binary32("div.u32", |a, b| a.checked_div(b));
    binary32("rem.s32", |a, b| (b != 0).then(|| (i64::from(a as i32) % i64::from(b as i32)) as u32));
    binary32("rem.u32", |a, b| a.checked_rem(b));
    binary32("and.b32", |a, b| Some(a & b));
    binary32("or.b32", |a, b| Some(a | b));
    binary32("xor.b32", |a, b| Some(a ^ b));
    // §9.7.8.7: amounts beyond the width are clamped to it.
    binary32("shl.b32", |a, b| Some(if b > 31 { 0 } else { a << b }));
    binary32("shr.u32", |a, b| Some(if b > 31 { 0 } else { a >> b }));
    binary32("shr.s32", |a, b| Some(((i64::from(a as i32)) >> b.min(40)) as u32));
    binary32("add.sat.s32", |a, b| Some((a as i32).saturating_add(b as i32) as u32));
    binary32("sub.sat.s32", |a, b| Some((a as i32).saturating_sub(b as i32) as u32));
    binary32("mul24.lo.u32", |a, b| Some((u64::from(a & 0xFF_FFFF) * u64::from(b & 0xFF_FFFF)) as u32));
}

#[test]
fn integers_of_64_bits() {
    binary64("add.s64", |a, b| Some((u128::from(a) + u128::from(b)) as u64));
    binary64("sub.s64", |a, b| Some((i128::from(a) - i128::from(b)) as u64));
    binary64("mul.lo.s64", |a, b| Some((u128::from(a) * u128::from(b)) as u64));
    binary64("mul.hi.s64", |a, b| Some(((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64));
    binary64("mul.hi.u64", |a, b| Some(((u128::from(a) * u128::from(b)) >> 64) as u64));
    binary64("div.s64", |a, b| (b != 0).then(|| (i128::from(a as i64) / i128::from(b as i64)) as u64));
    binary64("div.u64", |a, b| a.checked_div(b));
    binary64("rem.s64", |a, b| (b != 0).then(|| (i128::from(a as i64) % i128::from(b as i64)) as u64));
    binary64("rem.u64", |a, b| a.checked_rem(b));
    binary64("min.u64", |a, b| Some(a.min(b)));
    binary64("max.s64", |a, b| Some((a as i64).max(b as i64) as u64));
    let mixed = |op: &str, f: &dyn Fn(u64, u32) -> u64| {
        compare(&format!("{op} %d, %a, %b;"), "b64", &["b64", "b32"], &pairs64(), |[a, b, _]| Some(f(a, b as u32)));
    };
    mixed("shl.b64", &|a, b| if b > 63 { 0 } else { a << b });
    mixed("shr.u64", &|a, b| if b > 63 { 0 } else { a >> b });
    mixed("shr.s64", &|a, b| (i128::from(a as i64) >> b.min(100)) as u64);
}

#[test]
fn integers_of_16_bits() {
    let inputs: Vec<[u64; 3]> = pairs32().into_iter().map(|input| input.map(|value| value & 0xFFFF)).collect();
    let check = |op: &str, f: &dyn Fn(u16, u16) -> Option<u16>| {
        compare(&format!("{op} %d, %a, %b;"), "b16", &["b16", "b16"], &inputs, |[a, b, _]| {
            f(a as u16, b as u16).map(u64::from)
        });
    };
    check("add.s16", &|a, b| Some((u32::from(a) + u32::from(b)) as u16));
    check("mul.lo.u16", &|a, b| Some((u32::from(a) * u32::from(b)) as u16));
    check("mul.hi.s16", &|a, b| Some(((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u16));
    check("min.s16", &|a, b| Some((a as i16).min(b as i16) as u16));
    check("rem.s16", &|a, b| (b != 0).then(|| (i32::from(a as i16) % i32::from(b as i16)) as u16));
    check("xor.b16", &|a, b| Some(a ^ b));
    compare("mul.wide.s16 %d, %a, %b;", "b32", &["b16", "b16"], &inputs, |[a, b, _]| {
        Some(u64::from((i32::from(a as i16) * i32::from(b as i16)) as u32))
    });
    compare("shr.s16 %d, %a, %b;", "b16", &["b16", "b32"], &pairs32(), |[a, b, _]| {
        Some(u64::from((i64::from(a as i16) >> (b as u32).min(40)) as u16))
    });
}

#[test]
fn products_with_a_sum() {
    let three = |op: &str, d: &str, sources: [&str; 3], f: &dyn Fn([u64; 3]) -> u64| {
        compare(&format!("{op} %d, %a, %b, %c;"), d, &sources, &pairs32(), |input| Some(f(input)));
    };
    let w = |value: u64| value as u32;
    let s = |value: u64| i64::from(value as u32 as i32);
    three("mad.lo.s32", "b32", ["b32"; 3], &|[a, b, c]| u64::from(w(a).wrapping_mul(w(b)).wrapping_add(w(c))));
    three("mad.hi.u32", "b32", ["b32"; 3], &|[a, b, c]| {
        u64::from(((a * b) >> 32) as u32).wrapping_add(c) & 0xFFFF_FFFF
    });
    three("mad.hi.s32", "b32", ["b32"; 3], &|[a, b, c]| (((s(a) * s(b)) >> 32) as u64).wrapping_add(c) & 0xFFFF_FFFF);
    three("mad.wide.s32", "b64", ["b32", "b32", "b64"], &|[a, b, c]| ((s(a) * s(b)) as u64).wrapping_add(c));
    three("mad.wide.u32", "b64", ["b32", "b32", "b64"], &|[a, b, c]| (a * b).wrapping_add(c));
    three("sad.s32", "b32", ["b32"; 3], &|[a, b, c]| (s(a) - s(b)).unsigned_abs().wrapping_add(c) & 0xFFFF_FFFF);
    three("sad.u32", "b32", ["b32"; 3], &|[a, b, c]| a.abs_diff(b).wrapping_add(c) & 0xFFFF_FFFF);
    compare("mad.lo.s64 %d, %a, %b, %c;", "b64", &["b64"; 3], &pairs64(), |[a, b, c]| {
        Some(a.wrapping_mul(b).wrapping_add(c))
    });
    // A chain with carries is a sum of 64 bits; so is one of products of 64.
    compare(
        ".reg .b32 %x<9>;mov.b64 {%x1, %x2}, %a;mov.b64 {%x3, %x4}, %b;add.cc.u32 %x5, %x1, %x3;addc.u32 %x6, %x2, %x4;\
         mov.b64 %d, {%x5, %x6};",
        "b64",
        &["b64", "b64"],
        &pairs64(),
        |[a, b, _]| Some(a.wrapping_add(b)),
    );
    compare(
        ".reg .b32 %x<9>;mov.b64 {%x1, %x2}, %a;mov.b64 {%x3, %x4}, %b;sub.cc.u32 %x5, %x1, %x3;subc.u32 %x6, %x2, %x4;\
         mov.b64 %d, {%x5, %x6};",
        "b64",
        &["b64", "b64"],
        &pairs64(),
        |[a, b, _]| Some(a.wrapping_sub(b)),
    );
    compare(
        ".reg .b32 %x<9>;mov.b64 {%x1, %x2}, %a;mov.b64 {%x3, %x4}, %b;mul.lo.u32 %x5, %x1, %x3;mul.hi.u32 %x6, %x1, %x3;\
         mad.lo.cc.u32 %x6, %x1, %x4, %x6;madc.lo.u32 %x7, 0, 0, 0;mad.lo.u32 %x6, %x2, %x3, %x6;mov.b64 %d, {%x5, %x6};",
        "b64",
        &["b64", "b64"],
        &pairs64(),
        |[a, b, _]| Some(a.wrapping_mul(b)),
    );
}

#[test]
fn bits_of_a_word() {
    let one = |op: &str, d: &str, a: &str, f: &dyn Fn(u64) -> u64| {
        let inputs = if a == "b64" { pairs64() } else { pairs32() };
        compare(&format!("{op} %d, %a;"), d, &[a], &inputs, |[a, ..]| Some(f(a)));
    };
    let digits = |value: u64, bits: usize| format!("{value:0bits$b}");
    one("popc.b32", "b32", "b32", &|a| digits(a, 32).matches('1').count() as u64);
    one("popc.b64", "b32", "b64", &|a| digits(a, 64).matches('1').count() as u64);
    one("clz.b32", "b32", "b32", &|a| digits(a, 32).find('1').unwrap_or(32) as u64);
    one("clz.b64", "b32", "b64", &|a| digits(a, 64).find('1').unwrap_or(64) as u64);
    one("brev.b32", "b32", "b32", &|a| {
        u64::from_str_radix(&digits(a, 32).chars().rev().collect::<String>(), 2).expect("bits")
    });
    one("brev.b64", "b64", "b64", &|a| {
        u64::from_str_radix(&digits(a, 64).chars().rev().collect::<String>(), 2).expect("bits")
    });
    one("not.b32", "b32", "b32", &|a| a ^ 0xFFFF_FFFF);
    one("not.b64", "b64", "b64", &|a| u64::MAX - a);
    one("cnot.b32", "b32", "b32", &|a| u64::from(a == 0));
    one("neg.s32", "b32", "b32", &|a| (0x1_0000_0000 - a) & 0xFFFF_FFFF);
    one("abs.s32", "b32", "b32", &|a| u64::from((a as u32 as i32).unsigned_abs()));
    one("abs.s64", "b64", "b64", &|a| (a as i64).unsigned_abs());
    one("bfind.u32", "b32", "b32", &|a| digits(a, 32).find('1').map_or(0xFFFF_FFFF, |at| 31 - at as u64));
    one("bfind.s32", "b32", "b32", &|a| {
        let other = if a >> 31 & 1 == 1 { '0' } else { '1' };
        digits(a, 32).find(other).map_or(0xFFFF_FFFF, |at| 31 - at as u64)
    });
    one("bfind.shiftamt.u32", "b32", "b32", &|a| digits(a, 32).find('1').map_or(0xFFFF_FFFF, |at| at as u64));
}

#[test]
fn fields_bytes_and_tables() {
    let inputs = pairs32();
    let field = |op: &str, position: u32, length: u32, f: &dyn Fn(u32) -> u32| {
        let text = format!("{op} %d, %a, {position}, {length};");
        compare(&text, "b32", &["b32"], &inputs, |[a, ..]| Some(u64::from(f(a as u32))));
    };
    field("bfe.u32", 4, 8, &|a| a >> 4 & 0xFF);
    field("bfe.u32", 28, 8, &|a| a >> 28);
    field("bfe.u32", 3, 0, &|_| 0);
    field("bfe.s32", 4, 8, &|a| (a >> 4 & 0xFF) as i8 as i32 as u32);
    field("bfe.s32", 28, 8, &|a| (a as i32 >> 28) as u32);
    field("bfe.s32", 40, 8, &|a| (a as i32 >> 31) as u32);
    compare("bfi.b32 %d, %a, %b, 8, 12;", "b32", &["b32", "b32"], &inputs, |[a, b, _]| {
        Some(b & !0xF_FF00 | (a & 0xFFF) << 8)
    });
    compare("prmt.b32 %d, %a, %b, 0x7051;", "b32", &["b32", "b32"], &inputs, |[a, b, _]| {
        let byte = |value: u64, at: u32| value >> (8 * at) & 0xFF;
        Some(byte(a, 1) | byte(b, 1) << 8 | byte(a, 0) << 16 | byte(b, 3) << 24)
    });
    compare("prmt.b32 %d, %a, %b, 0x8B9F;", "b32", &["b32", "b32"], &inputs, |[a, b, _]| {
        let sign = |value: u64, at: u32| if value >> (8 * at + 7) & 1 == 1 { 0xFF } else { 0 };
        Some(sign(b, 3) | sign(a, 1) << 8 | sign(a, 3) << 16 | sign(a, 0) << 24)
    });
    // 0xF0 is a, 0xCC b, 0xAA c: the table is the function applied to them.
    compare("lop3.b32 %d, %a, %b, %c, 0x96;", "b32", &["b32"; 3], &inputs, |[a, b, c]| Some((a ^ b ^ c) & 0xFFFF_FFFF));
    compare("lop3.b32 %d, %a, %b, %c, 0xEA;", "b32", &["b32"; 3], &inputs, |[a, b, c]| Some((a & b | c) & 0xFFFF_FFFF));
    let funnel = |op: &str, f: &dyn Fn(u64, u32) -> u64| {
        compare(&format!("{op} %d, %a, %b, %c;"), "b32", &["b32"; 3], &inputs, |[a, b, c]| {
            Some(f(b << 32 | a, c as u32) & 0xFFFF_FFFF)
        });
    };
    funnel("shf.l.clamp.b32", &|value, n| (u128::from(value) << n.min(32) >> 32) as u64);
    funnel("shf.l.wrap.b32", &|value, n| (u128::from(value) << (n % 32) >> 32) as u64);
    funnel("shf.r.clamp.b32", &|value, n| (u128::from(value) >> n.min(32)) as u64);
    funnel("shf.r.wrap.b32", &|value, n| (u128::from(value) >> (n % 32)) as u64);
    compare("slct.b32.s32 %d, %a, %b, %c;", "b32", &["b32"; 3], &inputs, |[a, b, c]| {
        Some(if (c as u32) < 0x8000_0000 { a } else { b })
    });
}

fn f(value: u64) -> f32 {
    f32::from_bits(value as u32)
}

fn g(value: u64) -> f64 {
    f64::from_bits(value)
}

/// Whether two results are the same float; NaN's payload is left open.
fn float32(value: f32) -> impl Fn(u64) -> bool {
    move |found| f(found).to_bits() == value.to_bits() || f(found).is_nan() && value.is_nan()
}

fn floats32(op: &str, sources: usize, expected: impl Fn(f32, f32, f32) -> f32) {
    let names = ["%a", "%b", "%c"][..sources].join(", ");
    let inputs = pairs32();
    for (input, found) in
        inputs.iter().zip(apply(&format!("{op} %d, {names};"), "f32", &["f32"; 3][..sources], &inputs))
    {
        let expected = expected(f(input[0]), f(input[1]), f(input[2]));
        assert!(float32(expected)(found), "{op} of {input:x?}: {} not {expected}", f(found));
    }
}

fn floats64(op: &str, sources: usize, expected: impl Fn(f64, f64, f64) -> f64) {
    let names = ["%a", "%b", "%c"][..sources].join(", ");
    let inputs = pairs64();
    for (input, found) in
        inputs.iter().zip(apply(&format!("{op} %d, {names};"), "f64", &["f64"; 3][..sources], &inputs))
    {
        let expected = expected(g(input[0]), g(input[1]), g(input[2]));
        let same = found == expected.to_bits() || g(found).is_nan() && expected.is_nan();
        assert!(same, "{op} of {input:x?}: {} not {expected}", g(found));
    }
}

/// f32 by way of f64, in any direction: `exact` is the result rounded to odd, which `f64` arithmetic gives where it is exact.
fn directed(value: f64, up: bool) -> f32 {
    let near = value as f32;
    if f64::from(near) == value || value.is_nan() {
        return near;
    }
    match (up, f64::from(near) > value) {
        (true, true) | (false, false) => near,
        (true, false) => near.next_up(),
        (false, true) => near.next_down(),
    }
}

fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

#[test]
fn floats_of_32_bits() {
    floats32("add.rn.f32", 2, |a, b, _| a + b);
    floats32("sub.rn.f32", 2, |a, b, _| a - b);
    floats32("mul.rn.f32", 2, |a, b, _| a * b);
    floats32("div.rn.f32", 2, |a, b, _| a / b);
    floats32("fma.rn.f32", 3, |a, b, c| a.mul_add(b, c));
    floats32("sqrt.rn.f32", 1, |a, _, _| a.sqrt());
    floats32("rcp.rn.f32", 1, |a, _, _| 1.0 / a);
    floats32("neg.f32", 1, |a, _, _| -a);
    floats32("abs.f32", 1, |a, _, _| a.abs());
    // copysign: the sign of the first, the magnitude of the second.
    floats32("copysign.f32", 2, |a, b, _| f32::from_bits(a.to_bits() & 1 << 31 | b.to_bits() & !(1 << 31)));
    floats32("add.ftz.f32", 2, |a, b, _| flush(flush(a) + flush(b)));
    floats32("mul.rn.ftz.f32", 2, |a, b, _| flush(flush(a) * flush(b)));
    floats32("add.sat.f32", 2, |a, b, _| if (a + b).is_nan() { 0.0 } else { (a + b).clamp(0.0, 1.0) + 0.0 });
    // A product of two f32 is exact in f64.
    floats32("mul.rp.f32", 2, |a, b, _| directed(f64::from(a) * f64::from(b), true));
    floats32("mul.rm.f32", 2, |a, b, _| directed(f64::from(a) * f64::from(b), false));
    floats32("mul.rz.f32", 2, |a, b, _| directed(f64::from(a) * f64::from(b), (a < 0.0) != (b < 0.0)));
    // NaN loses against a number; -0 is below +0.
    floats32("min.f32", 2, |a, b, _| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == b => f32::from_bits(a.to_bits() | b.to_bits()),
        _ => a.min(b),
    });
    floats32("max.NaN.f32", 2, |a, b, _| match a == b {
        _ if a.is_nan() || b.is_nan() => f32::NAN,
        true => f32::from_bits(a.to_bits() & b.to_bits()),
        false => a.max(b),
    });
}

#[test]
fn floats_of_64_bits() {
    floats64("add.rn.f64", 2, |a, b, _| a + b);
    floats64("sub.rn.f64", 2, |a, b, _| a - b);
    floats64("mul.rn.f64", 2, |a, b, _| a * b);
    floats64("div.rn.f64", 2, |a, b, _| a / b);
    floats64("fma.rn.f64", 3, f64::mul_add);
    floats64("sqrt.rn.f64", 1, |a, _, _| a.sqrt());
    floats64("rcp.rn.f64", 1, |a, _, _| 1.0 / a);
    floats64("neg.f64", 1, |a, _, _| -a);
    floats64("max.f64", 2, |a, b, _| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ => {
            if a == b {
                f64::from_bits(a.to_bits() & b.to_bits())
            } else {
                a.max(b)
            }
        }
    });
}

#[test]
fn sums_in_every_direction() {
    // Whole multiples of 2^-60, so that sums are exact in i128.
    let scale = 2f64.powi(60);
    let inputs: Vec<[u64; 3]> = (0..400u32)
        .map(|i| {
            let a = (i.wrapping_mul(2_654_435_761) as i32) as f32;
            let b = f32::from_bits(0x3000_0000 + i * 0x0003_4567);
            [u64::from(a.to_bits()), u64::from(b.to_bits()), 0]
        })
        .collect();
    for (op, up) in [("add.rp.f32", Some(true)), ("add.rm.f32", Some(false)), ("add.rz.f32", None)] {
        for (input, found) in inputs.iter().zip(apply(&format!("{op} %d, %a, %b;"), "f32", &["f32"; 2], &inputs)) {
            let [a, b] = [f(input[0]), f(input[1])].map(|value| (f64::from(value) * scale) as i128);
            let near = (a + b) as f32;
            // A neighbour on the other side, where the nearest is not on the wanted one.
            let expected = match (near as i128).cmp(&(a + b)) {
                std::cmp::Ordering::Equal => near,
                std::cmp::Ordering::Less if up.unwrap_or(a + b < 0) => near.next_up(),
                std::cmp::Ordering::Greater if !up.unwrap_or(a + b < 0) => near.next_down(),
                _ => near,
            };
            assert_eq!(f64::from(f(found)), f64::from(expected) / scale, "{op} of {} and {}", f(input[0]), f(input[1]));
        }
    }
}

#[test]
fn approximations_keep_their_error() {
    // The greatest errors that §9.7.3 states: relative ones, or absolute.
    let inputs: Vec<[u64; 3]> = (0..2000)
        .map(|i| [u64::from(((i as f32 - 1000.0) / 37.3).to_bits()), 0, 0])
        .filter(|input| f(input[0]) != 0.0)
        .collect();
    let check = |op: &str, domain: &dyn Fn(f32) -> bool, exact: &dyn Fn(f64) -> f64, relative: f64, absolute: f64| {
        for (input, found) in inputs.iter().zip(apply(&format!("{op} %d, %a;"), "f32", &["f32"], &inputs)) {
            let (x, found) = (f(input[0]), f64::from(f(found)));
            if domain(x) {
                let expected = exact(f64::from(x));
                let error = (found - expected).abs();
                assert!(error <= relative * expected.abs() + absolute, "{op} of {x}: {found}, not {expected}");
            }
        }
    };
    let two = |power: i32| 2f64.powi(power);
    check("ex2.approx.f32", &|_| true, &|x| 2f64.powf(x), two(-22), 0.0);
    check("ex2.approx.ftz.f32", &|_| true, &|x| 2f64.powf(x), two(-22), 0.0);
    check("lg2.approx.f32", &|x| x > 0.0, &|x| x.ln() / 2f64.ln(), two(-22), two(-22));
    check("sin.approx.f32", &|x| x.abs() < 3.1, &|x| x.sin(), 0.0, two(-20));
    check("cos.approx.f32", &|x| x.abs() < 3.1, &|x| x.cos(), 0.0, two(-20));
    check("tanh.approx.f32", &|_| true, &|x| (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()), two(-10), 0.0);
    check("rcp.approx.ftz.f32", &|_| true, &|x| 1.0 / x, two(-23), 0.0);
    check("rsqrt.approx.f32", &|x| x > 0.0, &|x| 1.0 / x.sqrt(), two(-22), 0.0);
    check("sqrt.approx.f32", &|x| x > 0.0, &|x| x.sqrt(), two(-22), 0.0);
    // §9.7.3.14: the upper half of the bits alone, to a relative error of 2^-20.
    let inputs: Vec<[u64; 3]> = (1..500).map(|i| [(f64::from(i) * 1.37 - 300.0).to_bits(), 0, 0]).collect();
    for (input, found) in inputs.iter().zip(apply("rcp.approx.ftz.f64 %d, %a;", "f64", &["f64"], &inputs)) {
        assert_eq!(found & 0xFFFF_FFFF, 0);
        assert!((g(found) * g(input[0]) - 1.0).abs() < two(-19), "{} {}", g(input[0]), g(found));
    }
}

#[test]
fn comparisons() {
    use std::cmp::Ordering;
    type Holds = fn(Option<Ordering>) -> bool;
    let ordered: [(&str, Holds); 6] = [
        ("eq", |o| o == Some(Ordering::Equal)),
        ("ne", |o| matches!(o, Some(Ordering::Less | Ordering::Greater))),
        ("lt", |o| o == Some(Ordering::Less)),
        ("le", |o| matches!(o, Some(Ordering::Less | Ordering::Equal))),
        ("gt", |o| o == Some(Ordering::Greater)),
        ("ge", |o| matches!(o, Some(Ordering::Greater | Ordering::Equal))),
    ];
    for (name, holds) in ordered {
        let result = |ordering| Some(u64::from(holds(ordering)));
        let test = |ty: &str| format!("setp.{name}.{ty} %d, %a, %b;");
        compare(&test("s32"), "pred", &["b32"; 2], &pairs32(), |[a, b, _]| result(Some((a as i32).cmp(&(b as i32)))));
        compare(&test("u32"), "pred", &["b32"; 2], &pairs32(), |[a, b, _]| result(Some((a as u32).cmp(&(b as u32)))));
        compare(&test("s64"), "pred", &["b64"; 2], &pairs64(), |[a, b, _]| result(Some((a as i64).cmp(&(b as i64)))));
        compare(&test("u64"), "pred", &["b64"; 2], &pairs64(), |[a, b, _]| result(Some(a.cmp(&b))));
        compare(&test("s16"), "pred", &["b16"; 2], &pairs32(), |[a, b, _]| result(Some((a as i16).cmp(&(b as i16)))));
        compare(&test("f32"), "pred", &["f32"; 2], &pairs32(), |[a, b, _]| result(f(a).partial_cmp(&f(b))));
        compare(&test("f64"), "pred", &["f64"; 2], &pairs64(), |[a, b, _]| result(g(a).partial_cmp(&g(b))));
        // With u: true where one is NaN.
        let or_nan = |o: Option<Ordering>| Some(u64::from(o.is_none() || holds(o)));
        let test = |ty: &str| format!("setp.{name}u.{ty} %d, %a, %b;");
        compare(&test("f32"), "pred", &["f32"; 2], &pairs32(), |[a, b, _]| or_nan(f(a).partial_cmp(&f(b))));
        compare(&test("f64"), "pred", &["f64"; 2], &pairs64(), |[a, b, _]| or_nan(g(a).partial_cmp(&g(b))));
        // Joined with a predicate; the second result is the negated comparison joined with it.
        let text = format!(
            ".reg .pred %x, %y, %z;setp.ne.s32 %x, %c, %a;setp.{name}.and.s32 %y|%z, %a, %b, !%x;xor.pred %d, %y, %z;             @%y mov.b32 %a, 0;"
        );
        compare(&text, "pred", &["b32"; 3], &pairs32(), |[a, _, c]| Some(u64::from(a == c & 0xFFFF_FFFF)));
    }
    compare("setp.nan.f32 %d, %a, %b;", "pred", &["f32"; 2], &pairs32(), |[a, b, _]| {
        Some(u64::from(f(a).is_nan() || f(b).is_nan()))
    });
    compare("setp.num.f64 %d, %a, %b;", "pred", &["f64"; 2], &pairs64(), |[a, b, _]| {
        Some(u64::from(!g(a).is_nan() && !g(b).is_nan()))
    });
    compare("set.lt.u32.s32 %d, %a, %b;", "b32", &["b32"; 2], &pairs32(), |[a, b, _]| {
        Some(if (a as i32) < b as i32 { 0xFFFF_FFFF } else { 0 })
    });
    compare("set.gt.f32.f32 %d, %a, %b;", "f32", &["f32"; 2], &pairs32(), |[a, b, _]| {
        Some(if f(a) > f(b) { u64::from(1f32.to_bits()) } else { 0 })
    });
}

#[test]
fn conversions() {
    let i128_of = |value: f64| value as i128;
    // From floats: rounded, clamped to the range, NaN as §9.7.9.22 says.
    let to_integer = |d: &str, bits: u32, signed: bool, from: &str, round: &str, rounded: &dyn Fn(f64) -> f64| {
        let inputs = if from == "f32" { pairs32() } else { pairs64() };
        let register = if bits == 64 { "b64" } else { "b32" };
        compare(&format!("cvt.{round}.{d}.{from} %d, %a;"), register, &[from], &inputs, |[a, ..]| {
            let value = if from == "f32" { f64::from(f(a)) } else { g(a) };
            let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            if value.is_nan() {
                return Some(if from == "f64" || bits == 64 { 1 << (bits - 1) } else { 0 });
            }
            let (low, high) =
                if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
            Some(i128_of(rounded(value)).clamp(low, high) as u64 & mask)
        });
    };
    for (round, rounded) in [
        ("rzi", &f64::trunc as &dyn Fn(f64) -> f64),
        ("rni", &f64::round_ties_even),
        ("rmi", &f64::floor),
        ("rpi", &f64::ceil),
    ] {
        for from in ["f32", "f64"] {
            to_integer("s32", 32, true, from, round, rounded);
            to_integer("u32", 32, false, from, round, rounded);
            to_integer("s64", 64, true, from, round, rounded);
            to_integer("u64", 64, false, from, round, rounded);
        }
    }
    // From integers.
    compare("cvt.rn.f32.s32 %d, %a;", "f32", &["b32"], &pairs32(), |[a, ..]| {
        // The nearest of both neighbours in f64, where each is exact.
        let exact = f64::from(a as i32);
        Some(u64::from((exact as f32).to_bits()))
    });
    compare("cvt.rz.f32.u32 %d, %a;", "f32", &["b32"], &pairs32(), |[a, ..]| {
        Some(u64::from(directed(f64::from(a as u32), false).to_bits()))
    });
    compare("cvt.rp.f32.s32 %d, %a;", "f32", &["b32"], &pairs32(), |[a, ..]| {
        Some(u64::from(directed(f64::from(a as i32), true).to_bits()))
    });
    compare("cvt.rn.f64.u64 %d, %a;", "f64", &["b64"], &pairs64(), |[a, ..]| {
        // The upper and the lower half apart: their sum rounds once.
        Some(((a >> 32) as f64 * 4294967296.0 + (a & 0xFFFF_FFFF) as f64).to_bits())
    });
    compare("cvt.rn.f64.s32 %d, %a;", "f64", &["b32"], &pairs32(), |[a, ..]| Some(f64::from(a as i32).to_bits()));
    // Between floats.
    compare("cvt.f64.f32 %d, %a;", "f64", &["f32"], &pairs32(), |[a, ..]| {
        (!f(a).is_nan()).then(|| f64::from(f(a)).to_bits())
    });
    compare("cvt.rm.f32.f64 %d, %a;", "f32", &["f64"], &pairs64(), |[a, ..]| {
        let value = g(a);
        let expected = if value > f64::from(f32::MAX) && value.is_finite() { f32::MAX } else { directed(value, false) };
        (!value.is_nan()).then(|| u64::from(expected.to_bits()))
    });
    compare("cvt.rni.f32.f32 %d, %a;", "f32", &["f32"], &pairs32(), |[a, ..]| {
        (!f(a).is_nan()).then(|| u64::from((f64::from(f(a)).round_ties_even() as f32).to_bits()))
    });
    compare("cvt.sat.f32.f32 %d, %a;", "f32", &["f32"], &pairs32(), |[a, ..]| {
        Some(u64::from(if f(a) > 0.0 { f(a).min(1.0) } else { 0.0 }.to_bits()))
    });
    // Between integers: sign or zeros, low bits, saturation.
    compare("cvt.s64.s32 %d, %a;", "b64", &["b32"], &pairs32(), |[a, ..]| Some(a as i32 as i64 as u64));
    compare("cvt.u64.u32 %d, %a;", "b64", &["b32"], &pairs32(), |[a, ..]| Some(a & 0xFFFF_FFFF));
    compare("cvt.u32.u64 %d, %a;", "b32", &["b64"], &pairs64(), |[a, ..]| Some(a & 0xFFFF_FFFF));
    compare("cvt.s32.s8 %d, %a;", "b32", &["b32"], &pairs32(), |[a, ..]| Some(u64::from(a as i8 as i32 as u32)));
    compare("cvt.u32.u16 %d, %a;", "b32", &["b16"], &pairs32(), |[a, ..]| Some(a & 0xFFFF));
    compare("cvt.s16.s8 %d, %a;", "b16", &["b32"], &pairs32(), |[a, ..]| Some(u64::from(a as i8 as i16 as u16)));
    compare("cvt.s64.s16 %d, %a;", "b64", &["b16"], &pairs32(), |[a, ..]| Some(a as i16 as i64 as u64));
    compare("cvt.sat.s16.s32 %d, %a;", "b16", &["b32"], &pairs32(), |[a, ..]| {
        Some(u64::from(i64::from(a as i32).clamp(-32768, 32767) as u16))
    });
    compare("cvt.sat.u8.s32 %d, %a;", "b32", &["b32"], &pairs32(), |[a, ..]| {
        Some(i64::from(a as i32).clamp(0, 255) as u64)
    });
    // A register that is wider than the type: the low bits of the source, and the result widened by its own type's sign.
    compare("cvt.s64.s32 %d, %a;", "b64", &["b64"], &pairs64(), |[a, ..]| Some(a as u32 as i32 as i64 as u64));
    compare("cvt.s32.s64 %d, %a;", "b64", &["b64"], &pairs64(), |[a, ..]| Some(a as u32 as i32 as i64 as u64));
    compare("cvt.u32.s64 %d, %a;", "b64", &["b64"], &pairs64(), |[a, ..]| Some(a & 0xFFFF_FFFF));
}

#[test]
fn narrow_floats() {
    // bf16 is the upper half of f32, to the nearest, ties to even.
    let bf16 = |value: f32| -> u64 {
        let bits = value.to_bits();
        let (upper, lower) = (bits >> 16, bits & 0xFFFF);
        u64::from(upper + u32::from(lower > 0x8000 || lower == 0x8000 && upper & 1 == 1)) & 0xFFFF
    };
    let finite: Vec<[u64; 3]> =
        pairs32().into_iter().filter(|input| !f(input[0]).is_nan() && !f(input[1]).is_nan()).collect();
    compare("cvt.rn.bf16.f32 %d, %a;", "b16", &["f32"], &finite, |[a, ..]| Some(bf16(f(a))));
    compare("cvt.rn.bf16x2.f32 %d, %a, %b;", "b32", &["f32"; 2], &finite, |[a, b, _]| {
        Some(bf16(f(a)) << 16 | bf16(f(b)))
    });
    compare("cvt.f32.bf16 %d, %a;", "f32", &["b16"], &finite, |[a, ..]| {
        (!f(a << 16).is_nan()).then_some(a << 16 & 0xFFFF_FFFF)
    });
    // f16: all of its values, by their definition; back again they are the same.
    let halves: Vec<[u64; 3]> =
        (0..0x10000u64).filter(|bits| bits & 0x7FFF <= 0x7C00).map(|bits| [bits, 0, 0]).collect();
    let value = |bits: u64| -> f64 {
        let (sign, exponent, mantissa) = (bits >> 15 & 1, (bits >> 10 & 31) as i32, (bits & 0x3FF) as f64);
        let magnitude = match exponent {
            31 => f64::INFINITY,
            0 => mantissa * 2f64.powi(-24),
            _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
        };
        if sign == 1 { -magnitude } else { magnitude }
    };
    compare("cvt.f32.f16 %d, %a;", "f32", &["b16"], &halves, |[a, ..]| Some(u64::from((value(a) as f32).to_bits())));
    compare(".reg .f32 %x;cvt.f32.f16 %x, %a;cvt.rn.f16.f32 %d, %x;", "b16", &["b16"], &halves, |[a, ..]| Some(a));
    // Packed arithmetic: each half apart, rounded once. Products and sums of f16 are exact in f64.
    let nearest = |exact: f64| -> Option<u64> {
        // By search among all values: the nearest, ties to an even mantissa.
        if exact.abs() >= 65520.0 {
            return Some(if exact < 0.0 { 0xFC00 } else { 0x7C00 });
        }
        let below = (0..0x7C00u64).rev().find(|&bits| value(bits) <= exact.abs())?;
        let (low, high) =
            (exact.abs() - value(below), (if below == 0x7BFF { 65536.0 } else { value(below + 1) }) - exact.abs());
        let magnitude = below + u64::from(high < low || high == low && below & 1 == 1);
        Some(magnitude | if exact.is_sign_negative() { 0x8000 } else { 0 })
    };
    let some: Vec<[u64; 3]> = (0..300u64)
        .map(|i| {
            let half = |n: u64| (n * 2654435761 >> 7) & 0x7BFF | (n & 1) << 15;
            [half(i) | half(i + 1000) << 16, half(i + 7) | half(i * 3) << 16, half(i + 5) & 0x3FFF | half(i * 5) << 16]
        })
        .collect();
    let part = |value: u64, at: u32| value >> (16 * at) & 0xFFFF;
    let valid = |input: &[u64; 3]| (0..2).all(|at| input.iter().all(|&value| part(value, at) & 0x7FFF < 0x7C00));
    assert!(some.iter().all(valid));
    compare("add.rn.f16x2 %d, %a, %b;", "b32", &["b32"; 2], &some, |[a, b, _]| {
        Some(nearest(value(part(a, 0)) + value(part(b, 0)))? | nearest(value(part(a, 1)) + value(part(b, 1)))? << 16)
    });
    compare("mul.rn.f16x2 %d, %a, %b;", "b32", &["b32"; 2], &some, |[a, b, _]| {
        Some(nearest(value(part(a, 0)) * value(part(b, 0)))? | nearest(value(part(a, 1)) * value(part(b, 1)))? << 16)
    });
    // bf16's fma: a case where rounding twice would be wrong. 1 + 2^-8 is a tie that the tiny summand breaks.
    let one = 0x3F80u64;
    let cases = [[0x3C00, 0x3F00, one], [one, one, 0x3B80], [0x3F81, 0x3F80, 0x3380]];
    let expected = [0x3F80, 0x3F80, 0x3F81];
    for (case, expected) in cases.iter().zip(expected) {
        let found = apply("fma.rn.bf16 %d, %a, %b, %c;", "b16", &["b16"; 3], &[*case]);
        let exact = f64::from(f(case[0] << 16)) * f64::from(f(case[1] << 16)) + f64::from(f(case[2] << 16));
        assert_eq!(found, [expected], "{exact}");
    }
    // tf32: ten bits of mantissa, ties away from zero.
    compare("cvt.rna.tf32.f32 %d, %a;", "b32", &["f32"], &finite, |[a, ..]| {
        let bits = a as u32;
        let (kept, rest) = (bits & !0x1FFF, bits & 0x1FFF);
        Some(u64::from(kept + if rest >= 0x1000 { 0x2000 } else { 0 }))
    });
}
