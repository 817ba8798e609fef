//! Counts the work of a kernel's first blocks, as `docs/results/plan-model.md` needs it.
//!
//! `cargo run --release --example count -- file.ptx KERNEL GRID_X GRID_Y THREADS_X THREADS_Y ARGUMENT…`
//!
//! A part of a kernel's name is enough. Arguments: `i4096` 32-bit integer, `f1.5` 32-bit float, `p1024` an allocation of so many
//! bytes. It runs so many blocks, whatever the arguments say: for kernels whose blocks all do the same, and do not ask how many they
//! are, a few stand for all.

use std::process::ExitCode;
use std::sync::Arc;

use ptx_machine::machine::{Counters, Launch, Machine, Options};
use ptx_machine::memory::{Kind, Memory};

/// The bytes of an argument.
fn argument(text: &str, memory: &Memory) -> Result<Vec<u8>, String> {
    let (kind, value) = text.split_at_checked(1).ok_or("an empty argument")?;
    let wrong = || format!("{text} is no argument");
    match kind {
        "i" => Ok(value.parse::<i32>().map_err(|_| wrong())?.to_le_bytes().into()),
        "f" => Ok(value.parse::<f32>().map_err(|_| wrong())?.to_le_bytes().into()),
        "p" => {
            let bytes = value.parse().map_err(|_| wrong())?;
            let address = memory.allocate(bytes, Kind::Device).ok_or("no memory left")?;
            Ok(address.to_le_bytes().into())
        }
        _ => Err(wrong()),
    }
}

fn count(arguments: &[String]) -> Result<Counters, String> {
    let [file, name, x, y, threads_x, threads_y, rest @ ..] = arguments else {
        return Err("count file.ptx KERNEL GRID_X GRID_Y THREADS_X THREADS_Y ARGUMENT…".into());
    };
    let number = |text: &String| text.parse::<u32>().map_err(|error| format!("{text}: {error}"));
    let image = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let memory = Arc::new(Memory::new(16 << 30).map_err(|error| error.to_string())?);
    let machine = Machine::new(memory.clone(), Options { count_every: 1, ..Options::default() });
    let module = machine.load(&image, (9, 0)).map_err(|error| error.to_string())?;
    let kernel = module.kernels().iter().find(|kernel| kernel.name.contains(name.as_str()));
    let kernel = kernel.ok_or_else(|| format!("{file} has no kernel {name}"))?;
    let mut parameters = vec![0; kernel.parameters.last().map_or(0, |&(offset, bytes)| (offset + bytes) as usize)];
    if rest.len() != kernel.parameters.len() {
        return Err(format!("{} arguments; the kernel takes {}", rest.len(), kernel.parameters.len()));
    }
    for (text, &(offset, _)) in rest.iter().zip(&kernel.parameters) {
        let bytes = argument(text, &memory)?;
        parameters[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    let (grid, block) = ([number(x)?, number(y)?, 1], [number(threads_x)?, number(threads_y)?, 1]);
    let launch = Launch { grid, block, cluster: [1; 3], dynamic_shared: 0, parameters };
    let outcome = machine.launch(kernel, &launch).map_err(|fault| fault.finding.what)?;
    outcome.counters.ok_or_else(|| "nothing was counted".into())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match count(&arguments) {
        Ok(counters) => {
            let Counters { global_loads, global_stores, shared_loads, shared_stores, .. } = &counters;
            println!("blocks {}", counters.blocks);
            println!("warp instructions {:?}", counters.warp_instructions);
            println!("global loads {global_loads:?}\nglobal stores {global_stores:?}");
            println!("shared loads {shared_loads:?}\nshared stores {shared_stores:?}");
            println!("float operations {}", counters.float_operations);
            println!("tensor operations {}\nbarriers {}", counters.tensor_operations, counters.barriers);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
