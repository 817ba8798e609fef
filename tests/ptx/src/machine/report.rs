//! Findings in words: lines of the source, threads of the block.

use super::{Finding, Launch, Site};
use crate::exec::block::RawSite;
use crate::exec::checks::findings::RawFinding;
use crate::text::ast;

/// Puts a fault or a finding into words.
pub(super) fn finding(module: &ast::Module, kernel: &ast::Kernel, launch: &Launch, raw: RawFinding) -> Finding {
    let sites = raw.sites.iter().map(|site| put(module, kernel, launch, site)).collect();
    let what = if raw.count > 1 { format!("{} (seen {} times)", raw.what, raw.count) } else { raw.what };
    Finding { kernel: kernel.name.clone(), what, address: raw.address, sites }
}

fn put(module: &ast::Module, kernel: &ast::Kernel, launch: &Launch, raw: &RawSite) -> Site {
    let instruction = kernel.body.get(raw.site as usize);
    let threads: u32 = launch.block.iter().product();
    Site {
        places: instruction.map(|instruction| places(module, kernel, instruction.place)).unwrap_or_default(),
        ptx_line: instruction.map_or(0, |instruction| instruction.line),
        instruction: instruction.map(|instruction| name(&instruction.op)).unwrap_or_default(),
        block: raw.block,
        threads: (0..32)
            .filter(|lane| raw.lanes >> lane & 1 != 0)
            .map(|lane| raw.warp * 32 + lane)
            .filter(|&thread| thread < threads)
            .collect(),
    }
}

/// File and line, and what they were inlined into.
fn places(module: &ast::Module, kernel: &ast::Kernel, place: Option<u32>) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut next = place;
    while let Some(place) = next.and_then(|at| kernel.places.get(at as usize)) {
        let file = module.files.iter().find(|(number, _)| *number == place.file);
        found.push((file.map(|(_, path)| path.clone()).unwrap_or_default(), place.line));
        // A chain that is longer than the list of places runs in a circle.
        if found.len() > kernel.places.len() {
            break;
        }
        next = place.inlined_at;
    }
    found
}

/// An instruction, nearly as PTX has it.
fn name(op: &ast::Op) -> String {
    let text = format!("{op:?}");
    let end = text.find([' ', '{', '(']).unwrap_or(text.len());
    text[..end].to_lowercase()
}
