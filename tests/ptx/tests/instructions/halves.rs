//! Arithmetic of f16, packed and alone (§9.7.4), against whole numbers: every finite f16 is a multiple of 2^-24.

use crate::instructions::apply::compare;

/// A finite value in units of 2^-24.
fn units(bits: u64) -> i128 {
    let (exponent, mantissa) = (bits >> 10 & 31, i128::from(bits & 0x3FF));
    let magnitude = if exponent == 0 { mantissa } else { (1024 + mantissa) << (exponent - 1) };
    if bits >> 15 & 1 == 1 { -magnitude } else { magnitude }
}

fn is_nan(bits: u64) -> bool {
    bits & 0x7FFF > 0x7C00
}

const NAN: u64 = 0x7FFF;
const INFINITY: u64 = 0x7C00;

/// The f16 nearest to a number of units of 2^-48, ties to even; `zero` is the result where that is 0.
fn nearest(exact: i128, zero: u64) -> u64 {
    let (sign, magnitude) = (u64::from(exact < 0) << 15, exact.unsigned_abs());
    if magnitude == 0 {
        return zero;
    }
    // The last of eleven places, which is no lower than 2^-24.
    let last = (magnitude.ilog2() as i32 - 10).max(24) as u32;
    let (kept, rest, half) = (magnitude >> last, magnitude & ((1 << last) - 1), 1 << (last - 1));
    let rounded = kept + u128::from(rest > half || rest == half && kept & 1 == 1);
    // A mantissa that has grown to 2048 carries into the exponent by itself.
    sign | (u64::from(last - 24) * 1024 + rounded as u64).min(INFINITY)
}

/// a b + c, rounded once; the operands may be infinite or NaN.
fn fma(a: u64, b: u64, c: u64) -> u64 {
    let sign = (a ^ b) & 0x8000;
    let infinite = |bits: u64| bits & 0x7FFF == INFINITY;
    let zero = |bits: u64| bits & 0x7FFF == 0;
    if [a, b, c].into_iter().any(is_nan) || infinite(a) && zero(b) || zero(a) && infinite(b) {
        return NAN;
    }
    if infinite(a) || infinite(b) {
        return if infinite(c) && c & 0x8000 != sign { NAN } else { sign | INFINITY };
    }
    if infinite(c) {
        return c;
    }
    // Zeros of one sign add to a zero of it; all other sums of 0 are +0. A product can't vanish, as f16 products are exact here.
    let both = if (zero(a) || zero(b)) && zero(c) { sign & c } else { 0 };
    nearest(units(a) * units(b) + (units(c) << 24), both)
}

const ONE: u64 = 0x3C00;

fn add(a: u64, b: u64) -> u64 {
    fma(a, ONE, b)
}

/// A product alone: -0 is what is added to it, so that the sign of 0 is its own.
fn mul(a: u64, b: u64) -> u64 {
    fma(a, b, (a ^ b) & 0x8000)
}

fn negated(a: u64) -> u64 {
    a ^ 0x8000
}

/// A subnormal becomes a zero of its sign.
fn flush(a: u64) -> u64 {
    if a & 0x7C00 == 0 { a & 0x8000 } else { a }
}

/// `.sat`: into 0 to 1, where NaN is 0.
fn saturated(a: u64) -> u64 {
    if is_nan(a) || a & 0x8000 != 0 { 0 } else { a.min(ONE) }
}

/// `.relu`: 0 for what is below it; NaN stays.
fn rectified(a: u64) -> u64 {
    if is_nan(a) {
        NAN
    } else if a & 0x8000 != 0 {
        0
    } else {
        a
    }
}

/// `min` and `max`: a number wins against NaN, and -0 is below +0.
fn extreme(greatest: bool, a: u64, b: u64) -> u64 {
    let place = |bits: u64| if bits & 0x8000 != 0 { -((bits & 0x7FFF) as i64) - 1 } else { bits as i64 };
    match (is_nan(a), is_nan(b)) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if (place(a) > place(b)) == greatest => a,
        _ => b,
    }
}

/// With `.NaN`, NaN wins.
fn extreme_or_nan(greatest: bool, a: u64, b: u64) -> u64 {
    if is_nan(a) || is_nan(b) { NAN } else { extreme(greatest, a, b) }
}

/// Values at the ends of each range, infinities, a NaN, and some between.
const VALUES: [u64; 24] = [
    0x0000, 0x8000, 0x0001, 0x8001, 0x0200, 0x03FF, 0x83FF, 0x0400, 0x8401, 0x1234, 0x9ABC, 0x3555, 0x3BFF, 0x3C00,
    0xBC00, 0x3C01, 0x4248, 0x6400, 0xE401, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00,
];

fn inputs() -> Vec<[u64; 3]> {
    let value = |at: usize| VALUES[at % VALUES.len()];
    let pair = |low: usize, high: usize| value(low) | value(high) << 16;
    let all = (0..VALUES.len()).flat_map(|i| (0..VALUES.len()).map(move |j| (i, j)));
    all.map(|(i, j)| [pair(i, j), pair(j, i + 7), pair(5 * i + 3 * j, i + 11 * j + 2)]).collect()
}

type Expected = fn(u64, u64, u64) -> u64;

#[test]
fn packed_and_single_arithmetic() {
    let operations: [(&str, usize, Expected); 22] = [
        ("add", 2, |a, b, _| add(a, b)),
        ("add.rn.ftz", 2, |a, b, _| flush(add(flush(a), flush(b)))),
        ("sub", 2, |a, b, _| add(a, negated(b))),
        ("sub.rn.sat", 2, |a, b, _| saturated(add(a, negated(b)))),
        ("mul.rn", 2, |a, b, _| mul(a, b)),
        ("mul.ftz.sat", 2, |a, b, _| saturated(flush(mul(flush(a), flush(b))))),
        ("fma.rn", 3, fma),
        ("fma.rn.ftz", 3, |a, b, c| flush(fma(flush(a), flush(b), flush(c)))),
        ("fma.rn.sat", 3, |a, b, c| saturated(fma(a, b, c))),
        ("fma.rn.relu", 3, |a, b, c| rectified(fma(a, b, c))),
        ("min", 2, |a, b, _| extreme(false, a, b)),
        ("max", 2, |a, b, _| extreme(true, a, b)),
        ("min.ftz", 2, |a, b, _| extreme(false, flush(a), flush(b))),
        ("max.ftz.NaN", 2, |a, b, _| extreme_or_nan(true, flush(a), flush(b))),
        ("min.NaN", 2, |a, b, _| extreme_or_nan(false, a, b)),
        ("max.NaN", 2, |a, b, _| extreme_or_nan(true, a, b)),
        // The magnitude of the extreme of both magnitudes, with the product's sign.
        ("min.xorsign.abs", 2, |a, b, _| with_sign(a, b, extreme(false, a & 0x7FFF, b & 0x7FFF))),
        ("max.xorsign.abs", 2, |a, b, _| with_sign(a, b, extreme(true, a & 0x7FFF, b & 0x7FFF))),
        ("neg", 1, |a, _, _| negated(a)),
        ("neg.ftz", 1, |a, _, _| negated(flush(a))),
        ("abs", 1, |a, _, _| a & 0x7FFF),
        ("abs.ftz", 1, |a, _, _| flush(a) & 0x7FFF),
    ];
    for (op, sources, expected) in operations {
        let names = ["%a", "%b", "%c"][..sources].join(", ");
        let half = |[a, b, c]: [u64; 3], shift: u32| {
            let part = |value: u64| value >> shift & 0xFFFF;
            expected(part(a), part(b), part(c))
        };
        // The payload of a NaN that `neg` and `abs` give is left open.
        let open = |input: [u64; 3]| sources == 1 && (is_nan(input[0] & 0xFFFF) || is_nan(input[0] >> 16 & 0xFFFF));
        compare(&format!("{op}.f16x2 %d, {names};"), "b32", &["b32"; 3][..sources], &inputs(), |input| {
            (!open(input)).then(|| half(input, 16) << 16 | half(input, 0))
        });
        compare(&format!("{op}.f16 %d, {names};"), "b16", &["b16"; 3][..sources], &inputs(), |input| {
            (!open(input)).then(|| half(input, 0))
        });
    }
}

/// The sign of a product of both, but of a NaN.
fn with_sign(a: u64, b: u64, magnitude: u64) -> u64 {
    if is_nan(magnitude) { magnitude } else { magnitude & 0x7FFF | (a ^ b) & 0x8000 }
}
