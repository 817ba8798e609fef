//! The common parts of the tests: a machine, memory with numbers in it, launches.

#![allow(dead_code, missing_docs)]

pub(crate) mod hopper;
pub(crate) mod planted;

use std::sync::Arc;

use ptx_machine::machine::{AsyncCopies, Checks, Fault, Launch, Machine, Module, Options, Order, Outcome};
use ptx_machine::memory::{Kind, Memory};

/// Without checks, on two threads.
pub(crate) fn options() -> Options {
    Options { threads: 2, ..Options::default() }
}

pub(crate) fn machine(options: Options) -> Machine {
    Machine::new(Arc::new(Memory::new(1 << 30).expect("address space")), options)
}

/// A module around a body: one kernel `k` with `parameters` and registers of all kinds.
pub(crate) fn module_text(parameters: &str, body: &str) -> String {
    format!(
        ".version 8.8\n.target sm_90a\n.address_size 64\n.visible .entry k({parameters})\n{{\n\
         .reg .pred %p<40>;\n.reg .b16 %h<40>;\n.reg .b32 %r<80>;\n.reg .f32 %f<80>;\n.reg .b64 %rd<80>;\n\
         .reg .f64 %fd<40>;\n{body}\n}}\n"
    )
}

pub(crate) fn load(machine: &Machine, text: &str) -> Module {
    machine.load(text.as_bytes(), (9, 0)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// One dimension of blocks and threads.
pub(crate) fn shape(blocks: u32, threads: u32, parameters: &[u64]) -> Launch {
    Launch {
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        cluster: [1; 3],
        dynamic_shared: 0,
        parameters: parameters.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

pub(crate) fn run(machine: &Machine, text: &str, launch: &Launch) -> Result<Outcome, Fault> {
    let module = load(machine, text);
    machine.launch(&module.kernel("k").expect("the kernel"), launch)
}

/// Runs a kernel that gets the address of one buffer of words, and gives the words back.
pub(crate) fn words(options: Options, text: &str, blocks: u32, threads: u32, words: &[u32]) -> Result<Vec<u32>, Fault> {
    let machine = machine(options);
    let address = upload(&machine, words);
    run(&machine, text, &shape(blocks, threads, &[address]))?;
    Ok(download(&machine, address, words.len()))
}

pub(crate) fn upload(machine: &Machine, words: &[u32]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let address = machine.memory.allocate(bytes.len() as u64, Kind::Device).expect("memory");
    machine.memory.write(address, &bytes).expect("the allocation");
    address
}

pub(crate) fn download(machine: &Machine, address: u64, count: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * count];
    machine.memory.read(address, &mut bytes).expect("the allocation");
    bytes.chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect()
}

/// All orders that results must not depend on.
pub(crate) fn orders() -> Vec<Options> {
    let mut all = Vec::new();
    for order in [Order::Forward, Order::Backward, Order::Shuffled(1), Order::Shuffled(2), Order::Shuffled(77)] {
        for async_copies in [AsyncCopies::Earliest, AsyncCopies::Latest] {
            for threads in [1, 2] {
                all.push(Options { threads, blocks: order, warps: order, async_copies, ..options() });
            }
        }
    }
    all
}

pub(crate) fn all_checks() -> Options {
    Options { checks: Checks::ALL, ..options() }
}

/// Runs this file's other tests anew with the code for processors that have less: AVX2, and nothing.
pub(crate) fn again_with_each_level(file: &str, skip: &str) {
    let program = std::env::current_exe().expect("the test's own path");
    for level in ["baseline", "avx2"] {
        let mut command = std::process::Command::new(&program);
        let output =
            command.args([file, "--skip", skip]).env("PTX_MACHINE_LEVEL", level).output().expect("the tests run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(" passed"), "{level}: {text}");
        assert!(!text.contains(" 0 passed"), "no test is of {file}: {text}");
    }
}
