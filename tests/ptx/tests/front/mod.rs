//! Tests of the way from fatbins and PTX text to typed instructions and basic blocks.

mod fatbins;
mod flow;
mod fuzz;
mod lines;
mod modules;
mod operations;

use ptx_machine::text::ast::{Kernel, Module, Op};
use ptx_machine::text::{ParseError, parse};

/// A sample by its name: what nvcc 13.0.88 makes of the source beside it, as the source's second line says.
fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sample_module(name: &str) -> Module {
    let text = String::from_utf8(sample(name)).expect("PTX is ASCII");
    parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text before each tested line: registers of every type, and a variable in every state space.
///
/// tests/front/check.sh has ptxas read the same.
const HEAD: &str = include_str!("head.ptx");

/// The kernel with a body of this line and `ret`.
fn kernel(line: &str) -> Result<Kernel, ParseError> {
    let mut module = parse(&format!("{HEAD}{line}\nret;\n}}\n"))?;
    Ok(module.kernels.remove(0))
}

/// The instruction that a line has.
fn op(line: &str) -> Op {
    let mut kernel = kernel(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    kernel.body.swap_remove(0).op
}

/// Why a line is refused.
fn refusal(line: &str) -> String {
    match kernel(line) {
        Ok(kernel) => panic!("{line} is accepted: {:?}", kernel.body[0].op),
        Err(error) => error.to_string(),
    }
}
