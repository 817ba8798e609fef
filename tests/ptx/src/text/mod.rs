//! From PTX text to typed instructions.

pub mod ast;
