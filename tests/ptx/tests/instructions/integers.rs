//! Integers and bits.

use crate::instructions::apply::{compare, pairs32, pairs64};

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
