//! Prints the kernels of fatbins and PTX files, and how often each instruction stands in them.
//!
//! `cargo run --release --example histogram -- file.fatbin other.ptx`

use std::collections::BTreeMap;
use std::process::ExitCode;

use ptx_machine::fatbin::{self, Kind};
use ptx_machine::text::ast::{Module, Op};
use ptx_machine::text::flow::Flow;
use ptx_machine::text::parse;

/// The name of an operation without its operands.
fn name(op: &Op) -> String {
    let text = format!("{op:?}");
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    let kind = match op {
        Op::Unary { op, ty, .. } => format!(" {op:?} {ty:?}"),
        Op::Binary { op, ty, .. } => format!(" {op:?} {ty:?}"),
        Op::Ternary { op, ty, .. } => format!(" {op:?} {ty:?}"),
        Op::Setp { ty, .. } => format!(" {ty:?}"),
        Op::Cvt { d_ty, a_ty, .. } => format!(" {d_ty:?} {a_ty:?}"),
        Op::Ld { space, ty, .. } | Op::St { space, ty, .. } => format!(" {space:?} {ty:?}"),
        _ => String::new(),
    };
    format!("{}{kind}", &text[..end])
}

fn print(module: &Module, histogram: &mut BTreeMap<String, u64>) {
    for kernel in &module.kernels {
        let blocks = Flow::new(kernel).blocks.len();
        let instructions = kernel.body.len();
        println!("  {} for {}: {instructions} instructions in {blocks} blocks", kernel.name, module.target);
        for instruction in &kernel.body {
            *histogram.entry(name(&instruction.op)).or_default() += 1;
        }
    }
}

fn read(path: &str, histogram: &mut BTreeMap<String, u64>) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    println!("{path}");
    for image in fatbin::images(&bytes).map_err(|error| error.to_string())? {
        let suffix = image.suffix.map(String::from).unwrap_or_default();
        if image.kind != Kind::Ptx {
            println!("  {:?} for sm_{}{suffix}: {} bytes", image.kind, image.architecture, image.bytes.len());
            continue;
        }
        let text = String::from_utf8(image.bytes).map_err(|error| error.to_string())?;
        print(&parse(&text).map_err(|error| error.to_string())?, histogram);
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut histogram = BTreeMap::new();
    let mut code = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        if let Err(error) = read(&path, &mut histogram) {
            eprintln!("{path}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    let mut counts: Vec<_> = histogram.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (name, count) in counts {
        println!("{count:>9} {name}");
    }
    code
}
