//! A kernel that lacks a barrier: what the checks say, what the order of warps changes, what was counted.
//!
//! `cargo run --release -p ptx-machine --example shift`

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use ptx_machine::machine::{Checks, Class, Launch, Machine, Options, Order, Outcome};
use ptx_machine::memory::{Kind, Memory};

/// Two warps exchange their numbers by way of shared memory.
const PTX: &str = include_str!("shift.ptx");

/// Runs the kernel with warps in an order; the findings and counts, and the words that it leaves.
fn run(warps: Order) -> Result<(Outcome, [u8; 256]), Box<dyn Error>> {
    let memory = Arc::new(Memory::new(1 << 30)?);
    let options = Options { checks: Checks::ALL, warps, count_every: 1, ..Options::default() };
    let machine = Machine::new(memory.clone(), options);
    let module = machine.load(PTX.as_bytes(), (8, 0))?;
    let kernel = module.kernel("shift").ok_or("no kernel of this name")?;
    let values = memory.allocate(256, Kind::Device).ok_or("no memory left")?;
    memory.fill(values, 0, 256)?;
    let parameters = values.to_ne_bytes().to_vec();
    let launch = Launch { grid: [1; 3], block: [64, 1, 1], cluster: [1; 3], dynamic_shared: 0, parameters };
    let outcome = machine.launch(&kernel, &launch).map_err(|fault| fault.finding.what)?;
    let mut words = [0; 256];
    memory.read(values, &mut words)?;
    Ok((outcome, words))
}

/// The report that is in the README.
pub(crate) fn report() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for order in [Order::Forward, Order::Backward] {
        let (outcome, words) = run(order)?;
        writeln!(text, "{order:?}: word 1 is {}, word 33 is {}", words[4], words[4 * 33])?;
        if order == Order::Backward {
            continue;
        }
        for finding in &outcome.findings {
            writeln!(text, "{}: {}", finding.kernel, finding.what)?;
            for site in &finding.sites {
                let (line, name, block, threads) = (site.ptx_line, &site.instruction, site.block, &site.threads);
                let ends = threads.first().zip(threads.last());
                let (first, last) = ends.ok_or("a site without threads")?;
                let all = if first == last { format!("thread {first}") } else { format!("threads {first} to {last}") };
                writeln!(text, "    line {line}, {name}, block {block:?}, {all}")?;
            }
        }
        let counters = outcome.counters.ok_or("nothing was counted")?;
        let of = |class| counters.warp_instructions.get(&class).copied().unwrap_or(0);
        let (stores, shared) = (counters.global_stores, counters.shared_loads);
        writeln!(text, "thread instructions: {}", counters.thread_instructions)?;
        writeln!(text, "warp instructions: {} of integers, {} moves", of(Class::Integer), of(Class::Move))?;
        writeln!(text, "global stores: {} bytes in {} sectors", stores.bytes, stores.parts)?;
        writeln!(text, "shared loads: {} passes, at least {}", shared.parts, shared.least)?;
    }
    Ok(text)
}

#[cfg(not(test))]
fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", report()?);
    Ok(())
}
