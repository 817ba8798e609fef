//! Prints the kernels of fatbins and PTX files, and how often each instruction stands in them.
//!
//! `cargo run --release -p ptx-machine --example histogram -- file.fatbin other.ptx`

use std::collections::BTreeMap;
use std::io::Write;
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

/// The printed report, and the counts.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    histogram: BTreeMap<String, u64>,
}

impl Report {
    fn module(&mut self, module: &Module) {
        for kernel in &module.kernels {
            let (count, blocks) = (kernel.body.len(), Flow::new(kernel).blocks.len());
            self.lines
                .push(format!("  {} for {}: {count} instructions in {blocks} blocks", kernel.name, module.target));
            for instruction in &kernel.body {
                *self.histogram.entry(name(&instruction.op)).or_default() += 1;
            }
        }
    }

    fn file(&mut self, path: &str) -> Result<(), String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        self.lines.push(path.into());
        for image in fatbin::images(&bytes).map_err(|error| error.to_string())? {
            let suffix = image.suffix.map(String::from).unwrap_or_default();
            if image.kind != Kind::Ptx {
                let (kind, architecture, bytes) = (image.kind, image.architecture, image.bytes.len());
                self.lines.push(format!("  {kind:?} for sm_{architecture}{suffix}: {bytes} bytes"));
                continue;
            }
            let text = String::from_utf8(image.bytes).map_err(|error| error.to_string())?;
            self.module(&parse(&text).map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut report = Report::default();
    let mut code = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        if let Err(error) = report.file(&path) {
            eprintln!("{path}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    let mut counts: Vec<_> = report.histogram.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    report.lines.extend(counts.into_iter().map(|(name, count)| format!("{count:>9} {name}")));
    report.lines.push(String::new());
    // Whoever reads only the beginning closes the pipe, which is no error.
    match std::io::stdout().write_all(report.lines.join("\n").as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => code,
    }
}
