//! The time of the products of the tensor cores on this host: `cargo run --release -p ptx-machine --example products`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ptx_machine::tensor::mma::{Kind, mma};
use ptx_machine::tensor::wgmma::{self, A, Immediates};
use ptx_machine::text::ast::{Shape, Type};

fn main() {
    for (k, ty) in [(8, Type::Tf32), (16, Type::Bf16), (16, Type::F16), (32, Type::E4m3)] {
        let shape = Shape { m: 16, n: 8, k };
        let kind = Kind::new(shape, Type::F32, ty, ty, Type::F32, false).expect("a form that the ISA has");
        let a = vec![[0x3C00_3C00; 32]; kind.a_registers()];
        let b = vec![[0x3C00_3C00; 32]; kind.b_registers()];
        let mut d = [[0; 32]; 4];
        let each = best_of(20, 1000, || {
            let c = d;
            mma(black_box(&kind), black_box(&a), &b, &c, &mut d);
        });
        println!("mma m16n8k{k} {ty:?}: {each:?}");
    }
    let shape = Shape { m: 64, n: 256, k: 16 };
    let kind = wgmma::Kind::new(shape, Type::F32, Type::Bf16, Type::Bf16, false, Immediates::default());
    let kind = kind.expect("a form that the ISA has");
    let mut d: [Vec<[u32; 32]>; 4] = std::array::from_fn(|_| vec![[0; 32]; 128]);
    let each = best_of(5, 40, || {
        let d = d.each_mut().map(Vec::as_mut_slice);
        let mut ones = |_: u32, bytes: &mut [u8]| bytes.fill(0x3C);
        wgmma::wgmma(&kind, d, A::Descriptor(0), 0, true, &mut ones).expect("operands that are allowed");
    });
    println!("wgmma m64n256k16 Bf16: {each:?}");
}

/// The time of one call in the fastest of several batches: other work runs beside this.
fn best_of(batches: u32, calls: u32, mut work: impl FnMut()) -> Duration {
    let mut batch = || {
        let begun = Instant::now();
        (0..calls).for_each(|_| work());
        begun.elapsed() / calls
    };
    (0..batches).map(|_| batch()).min().expect("at least one batch")
}
