//! Comparisons and conversions.

use crate::instructions::apply::{apply, compare, pairs32, pairs64};
use crate::instructions::floats::{directed, f, g};

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
            let half = |n: u64| ((n * 2654435761) >> 7) & 0x7BFF | (n & 1) << 15;
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

/// bf16x2: each half apart, in one rounding to nearest, ties to even (§9.7.4). Sums and products of two bf16 are exact in f64, and so is
/// an fma of numbers of like size.
#[test]
fn packed_arithmetic_of_bf16() {
    let value = |bits: u64| f64::from(f32::from_bits((bits as u32 & 0xFFFF) << 16));
    // 7 bits behind the point and the exponents of f32, whose smallest is -126.
    let nearest = |exact: f64| -> u64 {
        let exponent = if exact == 0.0 { -126 } else { (exact.abs().log2().floor() as i32).max(-126) };
        let place = 2f64.powi(exponent - 7);
        let rounded = (exact / place).round_ties_even() * place;
        u64::from((rounded as f32).to_bits() >> 16)
    };
    let numbers = [0x3F80u64, 0xBF80, 0x3F81, 0x4049, 0xC2F7, 0x3DCD, 0x437F, 0x4380, 0xB9A3, 0x4000, 0x0000, 0x3F7F];
    let all = numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b)));
    let inputs: Vec<[u64; 3]> = all.map(|(a, b)| [a << 16 | b, b << 16 | a, (a ^ 0x8000) << 16 | 0x3F80]).collect();
    type Expected = fn(f64, f64, f64) -> f64;
    let operations: [(&str, usize, Expected); 8] = [
        ("add.rn.bf16x2", 2, |a, b, _| a + b),
        ("sub.rn.bf16x2", 2, |a, b, _| a - b),
        ("mul.rn.bf16x2", 2, |a, b, _| a * b),
        ("fma.rn.bf16x2", 3, |a, b, c| a.mul_add(b, c)),
        ("min.bf16x2", 2, |a, b, _| a.min(b)),
        ("max.bf16x2", 2, |a, b, _| a.max(b)),
        ("neg.bf16x2", 1, |a, _, _| -a),
        ("abs.bf16x2", 1, |a, _, _| a.abs()),
    ];
    for (op, sources, expected) in operations {
        let names = ["%a", "%b", "%c"][..sources].join(", ");
        let half = |[a, b, c]: [u64; 3], shift: u32| {
            nearest(expected(value(a >> shift), value(b >> shift), value(c >> shift)))
        };
        compare(&format!("{op} %d, {names};"), "b32", &["b32"; 3][..sources], &inputs, |input| {
            Some(half(input, 16) << 16 | half(input, 0))
        });
    }
}
