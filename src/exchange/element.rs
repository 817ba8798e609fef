//! The types of a tensor's elements under the names of each format, and their values as f32.

use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    /// Truth values, a byte each.
    Bool,
}

/// The names of a type, and its size.
struct Names {
    element: Element,
    /// PyTorch's name of such a storage.
    storage: &'static str,
    /// The name in a safetensors header.
    safetensors: &'static str,
    /// NumPy's `descr`; none for bf16, which NumPy does not have.
    numpy: &'static str,
    bytes: usize,
}

const fn names(
    element: Element,
    storage: &'static str,
    safetensors: &'static str,
    numpy: &'static str,
    bytes: usize,
) -> Names {
    Names { element, storage, safetensors, numpy, bytes }
}

const ALL: [Names; 10] = [
    names(Element::F64, "DoubleStorage", "F64", "<f8", 8),
    names(Element::F32, "FloatStorage", "F32", "<f4", 4),
    names(Element::F16, "HalfStorage", "F16", "<f2", 2),
    names(Element::Bf16, "BFloat16Storage", "BF16", "", 2),
    names(Element::I64, "LongStorage", "I64", "<i8", 8),
    names(Element::I32, "IntStorage", "I32", "<i4", 4),
    names(Element::I16, "ShortStorage", "I16", "<i2", 2),
    names(Element::I8, "CharStorage", "I8", "|i1", 1),
    names(Element::U8, "ByteStorage", "U8", "|u1", 1),
    names(Element::Bool, "BoolStorage", "BOOL", "|b1", 1),
];

impl Element {
    fn find(is: impl Fn(&Names) -> bool) -> Option<Element> {
        ALL.iter().find(|names| is(names)).map(|names| names.element)
    }

    fn names(self) -> &'static Names {
        // Every type is in the table: a test says so.
        ALL.iter().find(|names| names.element == self).unwrap_or(&ALL[0])
    }

    /// By PyTorch's name of a storage.
    pub(crate) fn of_storage(name: &str) -> Option<Element> {
        Element::find(|names| names.storage == name)
    }

    /// By the name in a safetensors header.
    pub(crate) fn of_safetensors(name: &str) -> Option<Element> {
        Element::find(|names| names.safetensors == name)
    }

    /// By NumPy's `descr`, which is empty for no type.
    pub(crate) fn of_numpy(name: &str) -> Option<Element> {
        Element::find(|names| names.numpy == name && !name.is_empty())
    }

    /// Bytes of an element.
    pub(crate) fn bytes(self) -> usize {
        self.names().bytes
    }

    /// The name for people: `f16`.
    pub(crate) fn name(self) -> String {
        self.names().safetensors.to_lowercase()
    }

    /// The values of little-endian `bytes` as f32: f16 and bf16 exactly, f64 rounded to nearest. `None` for whole numbers and truth
    /// values, which no weight is.
    #[expect(clippy::cast_possible_truncation)]
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)).collect()
        }
        match self {
            Element::F64 => Some(each(bytes, |bytes| f64::from_le_bytes(bytes) as f32)),
            Element::F32 => Some(each(bytes, f32::from_le_bytes)),
            Element::F16 => Some(each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32())),
            Element::Bf16 => Some(each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32())),
            Element::I64 | Element::I32 | Element::I16 | Element::I8 | Element::U8 | Element::Bool => None,
        }
    }

    /// [`Element::to_f32`] without rounding.
    pub(crate) fn to_f64(self, bytes: &[u8]) -> Option<Vec<f64>> {
        match self {
            Element::F64 => Some(bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()),
            _ => self.to_f32(bytes).map(|values| values.into_iter().map(f64::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_names_and_known_values() {
        let all = ALL.map(|names| names.element);
        for element in all {
            assert_eq!(element.names().element, element);
            assert_eq!(Element::of_storage(element.names().storage), Some(element));
            assert_eq!(Element::of_safetensors(&element.name().to_uppercase()), Some(element));
        }
        assert_eq!((Element::of_numpy(""), Element::of_numpy("<f2")), (None, Some(Element::F16)));
        // 1.5 is 0x3e00 in f16 and 0x3fc0 in bf16; 0.1 in f64 rounds to the f32 that is written 0.1.
        assert_eq!(Element::F16.to_f32(&[0x00, 0x3e]), Some(vec![1.5]));
        assert_eq!(Element::Bf16.to_f32(&[0xc0, 0x3f]), Some(vec![1.5]));
        assert_eq!(Element::F64.to_f32(&0.1f64.to_le_bytes()), Some(vec![0.1]));
        assert_eq!(Element::I64.to_f32(&[0; 8]), None);
    }
}
