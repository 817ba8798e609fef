//! The arithmetic of collectives. Sums are in the order of the ranks, which NCCL does not promise.

use crate::code::{Code, Failure, Result};

/// Bytes of an element (`ncclDataType_t`).
pub(crate) fn size_of_element(data_type: u32) -> Result<usize> {
    match data_type {
        0 | 1 | 10 | 11 => Ok(1),
        6 | 9 => Ok(2),
        2 | 3 | 7 => Ok(4),
        4 | 5 | 8 => Ok(8),
        _ => Err(Failure::new(Code::INVALID_ARGUMENT, format!("Reduce: invalid type {data_type}"))),
    }
}

/// The name of a type.
pub(crate) fn name_of_type(data_type: u32) -> &'static str {
    const NAMES: [&str; 12] = [
        "int8",
        "uint8",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "bfloat16",
        "float8e4m3",
        "float8e5m2",
    ];
    NAMES.get(data_type as usize).copied().unwrap_or("unknown")
}

/// `ncclRedOp_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    Sum,
    Product,
    Max,
    Min,
    Average,
}

impl Reduction {
    pub(crate) fn new(number: u32) -> Result<Reduction> {
        use Reduction::{Average, Max, Min, Product, Sum};
        let known = [Sum, Product, Max, Min, Average].get(number as usize).copied();
        known.ok_or_else(|| {
            Failure::new(Code::INVALID_ARGUMENT, format!("Reduce: invalid reduction operation {number}"))
        })
    }
}

/// The reduction of parts of one length, the first rank's first.
pub(crate) fn reduce(data_type: u32, reduction: Reduction, parts: &[&[u8]]) -> Result<Vec<u8>> {
    macro_rules! integers {
        ($type:ty) => {
            fold::<$type, { size_of::<$type>() }>(
                parts,
                <$type>::from_le_bytes,
                <$type>::to_le_bytes,
                |a, b| match reduction {
                    Reduction::Sum | Reduction::Average => a.wrapping_add(b),
                    Reduction::Product => a.wrapping_mul(b),
                    Reduction::Max => a.max(b),
                    Reduction::Min => a.min(b),
                },
                |sum| if reduction == Reduction::Average { sum / parts.len() as $type } else { sum },
            )
        };
    }
    macro_rules! reals {
        ($type:ty) => {
            fold::<$type, { size_of::<$type>() }>(
                parts,
                <$type>::from_le_bytes,
                <$type>::to_le_bytes,
                |a, b| match reduction {
                    Reduction::Sum | Reduction::Average => a + b,
                    Reduction::Product => a * b,
                    Reduction::Max => a.max(b),
                    Reduction::Min => a.min(b),
                },
                |sum| if reduction == Reduction::Average { sum / parts.len() as $type } else { sum },
            )
        };
    }
    Ok(match data_type {
        0 => integers!(i8),
        1 => integers!(u8),
        2 => integers!(i32),
        3 => integers!(u32),
        4 => integers!(i64),
        5 => integers!(u64),
        7 => reals!(f32),
        8 => reals!(f64),
        _ => {
            let text = format!("this stand-in reduces no {}", name_of_type(data_type));
            return Err(Failure::new(Code::INVALID_ARGUMENT, text));
        }
    })
}

fn fold<T: Copy, const N: usize>(
    parts: &[&[u8]],
    read: impl Fn([u8; N]) -> T,
    write: impl Fn(T) -> [u8; N],
    reduce: impl Fn(T, T) -> T,
    finish: impl Fn(T) -> T,
) -> Vec<u8> {
    let element = |part: &[u8], index: usize| {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&part[index * N..(index + 1) * N]);
        read(bytes)
    };
    let count = parts.first().map_or(0, |part| part.len() / N);
    let reduced = (0..count).map(|index| {
        let first = element(parts[0], index);
        finish(parts[1..].iter().fold(first, |sum, part| reduce(sum, element(part, index))))
    });
    reduced.flat_map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn sums_are_in_the_order_of_the_ranks() {
        // 1e8 + 1 is 1e8 in f32: only in this order the sum is 0.
        let parts = [floats(&[1e8, 1.0]), floats(&[1.0, 2.0]), floats(&[-1e8, 3.0])];
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        assert_eq!(reduce(7, Reduction::Sum, &parts).expect("a sum"), floats(&[0.0, 6.0]));
        assert_eq!(reduce(7, Reduction::Max, &parts).expect("a maximum"), floats(&[1e8, 3.0]));
        assert_eq!(reduce(7, Reduction::Average, &parts[1..2]).expect("an average"), floats(&[1.0, 2.0]));
    }

    #[test]
    fn integers_wrap() {
        let parts: [&[u8]; 2] = [&[200, 3], &[100, 4]];
        assert_eq!(reduce(1, Reduction::Sum, &parts).expect("a sum"), [44, 7]);
        assert_eq!(reduce(1, Reduction::Min, &parts).expect("a minimum"), [100, 3]);
        assert_eq!(reduce(1, Reduction::Product, &parts).expect("a product"), [(200u8).wrapping_mul(100), 12]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(reduce(9, Reduction::Sum, &[&[0, 0]]).is_err());
        assert!(Reduction::new(5).is_err());
        assert!(size_of_element(12).is_err());
    }
}
