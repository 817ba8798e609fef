//! Loads fatbins or PTX files and says what each kernel needs, or why it is refused: `… --example load FILES`.

use std::sync::Arc;

use ptx_machine::machine::{Machine, Options};
use ptx_machine::memory::Memory;

fn main() {
    let machine = Machine::new(Arc::new(Memory::new(1 << 30).expect("address space")), Options::default());
    let mut refused = 0;
    for path in std::env::args().skip(1) {
        let image = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        match machine.load(&image, (9, 0)) {
            Ok(module) => {
                for kernel in module.kernels() {
                    println!(
                        "{path}: {}: {} parameters, at most {} threads, {} bytes of shared memory, {} local",
                        kernel.name,
                        kernel.parameters.len(),
                        kernel.max_threads,
                        kernel.static_shared,
                        kernel.local
                    );
                }
            }
            Err(error) => {
                println!("{path}: {error}");
                refused += 1;
            }
        }
    }
    std::process::exit(i32::from(refused > 0));
}
