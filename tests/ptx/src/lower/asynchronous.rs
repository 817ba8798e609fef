//! Tensor cores, asynchronous copies and their barriers.

use super::Lowering;
use crate::text::ast::Op;

impl Lowering<'_> {
    pub(super) fn asynchronous(&mut self, op: &Op) -> Result<(), String> {
        Err(format!("{op:?} is not known"))
    }
}
