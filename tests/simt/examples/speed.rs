//! The cost of a switch, a launch and an arithmetic operation: `cargo run --release --example speed`.

use std::time::Instant;

use simt::{Emulator, Options, Program, Sources};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/speed.cu");
    let start = Instant::now();
    let program = Program::compile(&Sources { files: vec![file.into()], ..Sources::default() })?;
    println!("compile or find in the cache: {:.3} s", start.elapsed().as_secs_f64());
    for detection in [false, true] {
        let emulator = Emulator::new(&program, Options { detection, ..Options::default() })?;
        println!("detection {}:", if detection { "on" } else { "off" });
        measure(&emulator)?;
    }
    Ok(())
}

/// Seconds of the fastest of some runs.
fn fastest(runs: usize, mut run: impl FnMut() -> Result<(), simt::Report>) -> Result<f64, simt::Report> {
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn measure(emulator: &Emulator) -> Result<(), Box<dyn std::error::Error>> {
    let n: usize = 384;
    let [a, b, c] = [emulator.alloc(4 * n * n)?, emulator.alloc(4 * n * n)?, emulator.alloc(4 * n * n)?];
    emulator.fill_zero(a, 4 * n * n)?;
    emulator.fill_zero(b, 4 * n * n)?;
    let side = n as i32;
    let arguments: [&[u8]; 4] = [&a.to_ne_bytes(), &b.to_ne_bytes(), &c.to_ne_bytes(), &side.to_ne_bytes()];
    let flops = 2.0 * (n as f64).powi(3);
    let tiles = n as u32 / 64;
    let seconds = fastest(5, || emulator.launch("matmul", [tiles, tiles, 1], [256, 1, 1], 0, &arguments))?;
    println!("  f32 matmul of {n}: {:.1} ms, {:.0} MFLOP/s", 1e3 * seconds, flops / seconds / 1e6);
    let grid = [n as u32 / 8, n as u32 / 16, 1];
    let seconds = fastest(5, || emulator.launch("matmul_mma", grid, [32, 1, 1], 0, &arguments))?;
    println!("  bf16 mma matmul of {n}: {:.1} ms, {:.0} MFLOP/s", 1e3 * seconds, flops / seconds / 1e6);
    let count = 10_000i32;
    let waits = f64::from(count) * 256.0;
    let seconds = fastest(3, || emulator.launch("barriers", [1, 1, 1], [256, 1, 1], 0, &[&count.to_ne_bytes()]))?;
    println!("  __syncthreads of 256 threads: {:.1} ns a thread", 1e9 * seconds / waits);
    let arguments: [&[u8]; 2] = [&count.to_ne_bytes(), &c.to_ne_bytes()];
    let seconds = fastest(3, || emulator.launch("shuffles", [1, 1, 1], [256, 1, 1], 0, &arguments))?;
    println!("  shuffle: {:.1} ns a thread", 1e9 * seconds / waits);
    let elements = (n * n) as i32;
    let arguments: [&[u8]; 2] = [&a.to_ne_bytes(), &elements.to_ne_bytes()];
    let blocks = (elements as u32).div_ceil(256);
    let seconds = fastest(5, || emulator.launch("add_one", [blocks, 1, 1], [256, 1, 1], 0, &arguments))?;
    println!("  x[i] += 1: {:.1} ns a thread", 1e9 * seconds / f64::from(elements));
    let none = 0i32;
    let arguments: [&[u8]; 2] = [&a.to_ne_bytes(), &none.to_ne_bytes()];
    let launches = 1000;
    let seconds = fastest(3, || {
        (0..launches).try_for_each(|_| emulator.launch("add_one", [1, 1, 1], [32, 1, 1], 0, &arguments))
    })?;
    println!("  launch of one warp: {:.2} us", 1e6 * seconds / f64::from(launches));
    Ok(())
}
