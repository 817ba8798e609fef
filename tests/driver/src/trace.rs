//! The output about a run: one line a call and a kernel, and a report of findings and leaks.

use std::fs::File;
use std::io::Write;

use ptx_machine::machine::{Accesses, Counters, Finding, Site};

/// A file that lines are appended to, unbuffered, so that a run that is killed leaves what was written.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    file: Option<File>,
}

impl Trace {
    pub(crate) fn open(path: Option<&str>) -> Result<Trace, String> {
        let open = |path: &str| {
            let file = File::options().create(true).append(true).open(path);
            file.map_err(|error| format!("{path} can't be written: {error}"))
        };
        Ok(Trace { file: path.map(open).transpose()? })
    }

    pub(crate) fn wanted(&self) -> bool {
        self.file.is_some()
    }

    pub(crate) fn line(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            // Nothing can be done here about a full disk, and the program under test is not to suffer from it.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// A finding in lines: kernel and fault, then each access with its place in the source.
pub(crate) fn describe(finding: &Finding) -> String {
    let address = finding.address.map_or(String::new(), |address| format!(" at {address:#x}"));
    let mut text = format!("cuda-standin: kernel {}: {}{address}", finding.kernel, finding.what);
    for site in &finding.sites {
        text += "\n  ";
        text += &describe_site(site);
    }
    text
}

/// The work of a launch, as words and numbers for the end of its line.
pub(crate) fn counts(counters: &Counters) -> String {
    let warps: u64 = counters.warp_instructions.values().sum();
    let classes: String =
        counters.warp_instructions.iter().map(|(class, count)| format!(" {class:?}={count}").to_lowercase()).collect();
    let accesses = [
        ("global-loads", counters.global_loads),
        ("global-stores", counters.global_stores),
        ("shared-loads", counters.shared_loads),
        ("shared-stores", counters.shared_stores),
        ("local", counters.local),
    ];
    // Requests, then sectors or passes, then bytes.
    let accesses =
        accesses.map(|(name, Accesses { requests, parts, bytes, .. })| format!(" {name}={requests}/{parts}/{bytes}"));
    format!(
        " counted {}/{} warp-instructions={warps} thread-instructions={} tensor-operations={} barriers={}{}{classes}",
        counters.sampled,
        counters.blocks,
        counters.thread_instructions,
        counters.tensor_operations,
        counters.barriers,
        accesses.concat()
    )
}

fn describe_site(site: &Site) -> String {
    let places: Vec<String> = site.places.iter().map(|(file, line)| format!("{file}:{line}")).collect();
    let [x, y, z] = site.block;
    let threads: Vec<String> = site.threads.iter().map(u32::to_string).collect();
    format!(
        "{}{}PTX line {}: {}, block ({x}, {y}, {z}), threads {}",
        places.join(", inlined into "),
        if places.is_empty() { "" } else { ", " },
        site.ptx_line,
        site.instruction,
        threads.join(" ")
    )
}
