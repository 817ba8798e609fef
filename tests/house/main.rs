//! The rules of the source tree, the documents, and what the compiler makes of each kernel.

mod readme;
mod resources;
mod rules;
