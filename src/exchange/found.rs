//! The content that a reader of weights found in a file, before it is checked.

use super::element::Element;
use crate::run::Tensor;

/// Something in a file that is no weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Its kind: `i64`, `a number`, `text`.
    pub what: String,
}

/// The content that a reader found.
pub(super) struct Found {
    pub(super) format: &'static str,
    pub(super) tensors: Vec<Tensor>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Adds a tensor of little-endian elements to what was found, or to what was left out.
pub(super) fn add(found: &mut Found, name: String, element: Element, shape: Vec<usize>, bytes: &[u8]) {
    match element.to_f32(bytes) {
        Some(values) => found.tensors.push(Tensor { name, shape, values }),
        None => found.left_out.push(LeftOut { name, what: element.name() }),
    }
}
