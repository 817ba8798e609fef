//! A pickle of tensors, read by a machine that executes nothing.
//!
//! Python's pickle is a program for a stack machine, and the real machine calls whatever function the file names. This one
//! has no calls at all: it knows the opcodes that a `state_dict` needs, and of functions the few names in [`Global`], each
//! of which builds a value of [`Node`]. Any other opcode or name is refused, and the message says which.
//!
//! Memory is bounded by the file's length and by [`MOST_NODES`]: a value lies in one list and is referred to by its
//! position there, so a file can neither make values that are nested too deeply to be dropped, nor copies of copies.

mod machine;
mod value;

pub(crate) use machine::read;
pub(crate) use value::{Id, Node, StorageRef, TensorRef, Values};

/// The most bytes that a pickle may have; a network of 10,000 tensors has about 2 MiB.
pub(crate) const MOST_BYTES: u64 = 32 << 20;

/// The most values that a pickle may make; a tensor takes about 20.
const MOST_NODES: usize = 1 << 20;

/// A fault of a pickle, for the message: where, what was expected, what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The offset in the pickle of the opcode.
    pub(crate) offset: usize,
    /// The expected content.
    pub(crate) expected: String,
    /// The content that is there.
    pub(crate) found: String,
}
