//! Formats against values that are computed from their definition, and against rounding by a search over all values.

use proptest::prelude::*;

use ptx_machine::tensor::numbers::*;

/// A format by its definition: bits, exponent bits, mantissa bits, and whether the highest exponent is infinity and NaN.
struct Definition {
    format: Format,
    exponent_bits: i32,
    mantissa_bits: i32,
    ieee: bool,
    shift: u32,
}

fn definitions() -> [Definition; 5] {
    let define = |format, exponent_bits, mantissa_bits, ieee, shift| Definition {
        format,
        exponent_bits,
        mantissa_bits,
        ieee,
        shift,
    };
    [
        define(BF16, 8, 7, true, 0),
        define(F16, 5, 10, true, 0),
        define(TF32, 8, 10, true, 13),
        define(E4M3, 4, 3, false, 0),
        define(E5M2, 5, 2, true, 0),
    ]
}

impl Definition {
    /// All finite values that are not negative, in ascending order, with their bits.
    fn values(&self) -> Vec<(f64, u32)> {
        let (exponents, mantissas) = (1 << self.exponent_bits, 1 << self.mantissa_bits);
        let bias = exponents / 2 - 1;
        let mut values = Vec::new();
        for exponent in 0..exponents - i32::from(self.ieee) {
            for mantissa in 0..mantissas {
                if !self.ieee && exponent == exponents - 1 && mantissa == mantissas - 1 {
                    continue;
                }
                let fraction = f64::from(mantissa) / f64::from(mantissas);
                let value = match exponent {
                    0 => 2f64.powi(1 - bias) * fraction,
                    _ => 2f64.powi(exponent - bias) * (1.0 + fraction),
                };
                values.push((value, ((exponent * mantissas + mantissa) as u32) << self.shift));
            }
        }
        values
    }

    fn sign(&self) -> u32 {
        1 << (self.exponent_bits + self.mantissa_bits) << self.shift
    }
}

#[test]
fn every_value_is_decoded_and_encoded_as_itself() {
    for definition in definitions() {
        for (value, bits) in definition.values() {
            assert_eq!(f64::from(definition.format.decode(bits)), value, "{:?} {bits:#x}", definition.format);
            assert_eq!(f64::from(definition.format.decode(bits | definition.sign())), -value);
            for rounding in [Round::NearestEven, Round::NearestAway, Round::Zero, Round::Down, Round::Up] {
                assert_eq!(definition.format.encode(value, rounding, true), bits, "{value} {rounding:?}");
                assert_eq!(definition.format.encode(-value, rounding, true), bits | definition.sign());
            }
        }
    }
}

/// Midpoints and their neighbours go where each rounding says, found from the two values beside them.
#[test]
fn between_two_values_each_rounding_chooses_its_own() {
    for definition in definitions() {
        for pair in definition.values().windows(2) {
            let [(low, low_bits), (high, high_bits)] = [pair[0], pair[1]];
            let middle = (low + high) / 2.0;
            let even = if low_bits >> definition.shift & 1 == 0 { low_bits } else { high_bits };
            let encode = |value, rounding| definition.format.encode(value, rounding, false);
            assert_eq!(encode(middle, Round::NearestEven), even, "{middle}");
            assert_eq!(encode(middle, Round::NearestAway), high_bits, "{middle}");
            assert_eq!(encode(-middle, Round::NearestAway), high_bits | definition.sign(), "{middle}");
            for (value, nearest) in [(middle.next_down(), low_bits), (middle.next_up(), high_bits)] {
                assert_eq!(encode(value, Round::NearestEven), nearest, "{value}");
                assert_eq!(encode(value, Round::NearestAway), nearest, "{value}");
                assert_eq!(encode(value, Round::Zero), low_bits, "{value}");
                assert_eq!(encode(value, Round::Down), low_bits, "{value}");
                assert_eq!(encode(value, Round::Up), high_bits, "{value}");
                assert_eq!(encode(-value, Round::Down), high_bits | definition.sign(), "{value}");
                assert_eq!(encode(-value, Round::Up), low_bits | definition.sign(), "{value}");
            }
        }
    }
}

#[test]
fn overflow_goes_to_infinity_or_to_the_greatest_value() {
    // Half a step above the greatest value is where rounding to nearest overflows: 448 + 16, 57344 + 4096, 65504 + 16.
    assert_eq!(F16.encode(65519.99, Round::NearestEven, false), 0x7BFF);
    assert_eq!(F16.encode(65520.0, Round::NearestEven, false), 0x7C00);
    assert_eq!(F16.encode(65520.0, Round::NearestEven, true), 0x7BFF);
    assert_eq!(F16.encode(1e9, Round::Zero, false), 0x7BFF);
    assert_eq!(F16.encode(1e9, Round::Down, false), 0x7BFF);
    assert_eq!(F16.encode(1e9, Round::Up, false), 0x7C00);
    assert_eq!(F16.encode(-1e9, Round::Down, false), 0xFC00);
    assert_eq!(F16.encode(-1e9, Round::Up, false), 0xFBFF);
    assert_eq!(E4M3.encode(464.0, Round::NearestEven, true), 0x7E);
    assert_eq!(E4M3.encode(-1e30, Round::NearestEven, true), 0xFE);
    assert_eq!(E4M3.encode(f64::INFINITY, Round::NearestEven, true), 0x7E);
    assert_eq!(E5M2.encode(f64::NEG_INFINITY, Round::NearestEven, true), 0xFB);
    assert_eq!(E5M2.encode(61440.0, Round::NearestEven, false), 0x7C);
    assert_eq!(BF16.encode(f64::INFINITY, Round::Zero, false), 0x7F80);
    assert_eq!(TF32.encode(3.4028235e38, Round::NearestAway, false), 0x7F80_0000);
    assert_eq!(TF32.encode(3.4028235e38, Round::NearestAway, true), 0x7F7F_E000);
}

#[test]
fn nan_is_the_canonical_one() {
    let bits = |format: Format| format.encode(-f64::NAN, Round::NearestEven, true);
    assert_eq!([bits(BF16), bits(F16), bits(E4M3), bits(E5M2)], [0x7FFF, 0x7FFF, 0x7F, 0x7F]);
    assert_eq!([bits(TF32), bits(F32)], [0x7FFF_FFFF; 2]);
    assert!(F16.decode(0x7C01).is_nan() && E4M3.decode(0xFF).is_nan() && E5M2.decode(0x7D).is_nan());
    assert!(from_f16(0xFE00).is_nan() && from_e4m3(0x7F).is_nan() && from_e5m2(0xFF).is_nan());
    assert_eq!([to_bf16(f32::NAN), to_f16(-f32::NAN)], [0x7FFF; 2]);
    assert_eq!([to_tf32_rna(-f32::NAN), canonical(-f32::NAN)], [0x7FFF_FFFF; 2]);
}

/// An integer that f32 can't hold is rounded once: by way of f32 it would first become the midpoint, and then go to the even side.
#[test]
fn integers_are_rounded_once() {
    let above_middle = (1u64 << 40) + (1 << 32) + 1; // bf16 has eight bits: the midpoint is 2^40 + 2^32
    let even = BF16.encode(2f64.powi(40), Round::NearestEven, false);
    assert_eq!(BF16.encode_integer(false, above_middle - 1, Round::NearestEven, false), even);
    assert_eq!(BF16.encode_integer(false, above_middle, Round::NearestEven, false), even + 1);
    assert_eq!(BF16.encode_integer(true, above_middle, Round::NearestEven, false), (even + 1) | 0x8000);
    assert_eq!(F32.encode_integer(false, u64::MAX, Round::Zero, false), (2f32.powi(64)).to_bits() - 1);
    assert_eq!(F16.encode_integer(true, 0, Round::NearestEven, false), 0);
}

#[test]
fn the_quick_decoders_agree_with_the_definition() {
    for definition in definitions() {
        for (value, bits) in definition.values() {
            let (plus, minus) = (bits, bits | definition.sign());
            let quick = |bits: u32| match definition.format {
                BF16 => from_bf16(bits as u16),
                F16 => from_f16(bits as u16),
                TF32 => from_tf32(bits | 0x1ABC),
                E4M3 => from_e4m3(bits as u8),
                _ => from_e5m2(bits as u8),
            };
            assert_eq!(quick(plus).to_bits(), (value as f32).to_bits(), "{:?} {bits:#x}", definition.format);
            assert_eq!(quick(minus).to_bits(), (-value as f32).to_bits(), "{:?} {bits:#x}", definition.format);
        }
    }
    assert_eq!([from_f16(0x7C00), from_f16(0xFC00)], [f32::INFINITY, f32::NEG_INFINITY]);
    assert_eq!([from_e5m2(0x7C), from_e5m2(0xFC)], [f32::INFINITY, f32::NEG_INFINITY]);
}

#[test]
fn halves_lie_low_and_high() {
    assert_eq!(pack(0x1234, 0xABCD), 0xABCD_1234);
    assert_eq!(unpack(0xABCD_1234), (0x1234, 0xABCD));
    assert_eq!(relu(-0.0).to_bits(), 0);
    assert_eq!([relu(-3.0), relu(2.0)], [0.0, 2.0]);
    assert!(relu(f64::NAN).is_nan());
}

proptest! {
    /// The quick encoders against the slow one, which the tests above hold to the definition. Ties and their neighbours are rare among
    /// random bits, so they are made: the lower bits are those around the middle between two values of bf16, or of tf32.
    #[test]
    fn the_quick_encoders_agree_with_the_slow_one(
        bits: u32,
        (mask, lower) in prop::sample::select(vec![
            (0u32, 0u32), (0xFFFF, 0x8000), (0xFFFF, 0x7FFF), (0xFFFF, 0x8001), (0x1FFF, 0x1000), (0x1FFF, 0xFFF),
        ]),
    ) {
        let value = f32::from_bits(bits & !mask | lower);
        let encode = |format: Format, rounding| format.encode(f64::from(value), rounding, false);
        prop_assert_eq!(u32::from(to_bf16(value)), encode(BF16, Round::NearestEven));
        prop_assert_eq!(u32::from(to_f16(value)), encode(F16, Round::NearestEven));
        prop_assert_eq!(to_tf32_rna(value), encode(TF32, Round::NearestAway));
    }

    /// f64 to f32 is what the host's own conversion gives.
    #[test]
    fn f64_becomes_f32_as_the_host_does_it(bits: u64, exponent in 860u64..1160) {
        let value = f64::from_bits(bits & !(0x7FF << 52) | exponent << 52);
        prop_assert_eq!(F32.encode(value, Round::NearestEven, false), (value as f32).to_bits());
    }
}
