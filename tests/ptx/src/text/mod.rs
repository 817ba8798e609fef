//! From PTX text to typed instructions.
//!
//! [`parse`] reads a module: the lexer gives words, the module parser declarations and scopes, and one file for each group of
//! instructions turns an opcode with its modifiers and operands into an [`ast::Op`]. What is not known is refused by its name.

mod arithmetic;
pub mod ast;
mod asynchronous;
mod atomics;
mod body;
mod control;
mod convert;
pub mod flow;
mod lexer;
mod memory;
mod operands;
mod parser;
mod reader;
mod tensor;
mod types;
mod warp;

pub use parser::parse;

/// Why a text is no PTX that this machine runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the PTX: found {found}, expected {expected}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: u32,
    /// The text that is there.
    pub found: String,
    /// The expected text.
    pub expected: String,
}
