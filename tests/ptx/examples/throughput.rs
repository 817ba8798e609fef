//! The number of thread instructions that the machine runs in a second: `cargo run --release -p ptx-machine --example throughput`.

use std::sync::Arc;
use std::time::Instant;

use ptx_machine::machine::{Checks, Launch, Machine, Options};
use ptx_machine::memory::{Kind, Memory};

/// Sixteen accumulators, two values from shared memory: the inner loop of a product.
fn product(unrolled: usize) -> (String, u64) {
    let mut body = String::new();
    for k in 0..unrolled {
        let at = 272 * k;
        body += &format!("ld.shared.v4.f32 {{%f20, %f21, %f22, %f23}}, [%r10+{at}];\n");
        body += &format!("ld.shared.v4.f32 {{%f24, %f25, %f26, %f27}}, [%r11+{at}];\n");
        for i in 0..4 {
            for j in 0..4 {
                body += &format!("fma.rn.f32 %f{0}, %f{1}, %f{2}, %f{0};\n", 4 * i + j, 20 + i, 24 + j);
            }
        }
    }
    (body, 18 * unrolled as u64)
}

fn element(unrolled: usize) -> (String, u64) {
    let mut body = String::new();
    for k in 0..unrolled {
        let at = 4 * k;
        body += &format!(
            "ld.global.f32 %f20, [%rd2+{at}];\nmul.rn.f32 %f21, %f20, %f20;\nadd.s32 %r20, %r1, {k};\n\
             mul.wide.s32 %rd5, %r20, 4;\nadd.s64 %rd6, %rd5, %rd2;\nsetp.gt.f32 %p2, %f20, %f21;\n\
             selp.f32 %f22, %f20, %f21, %p2;\nst.global.f32 [%rd2+{at}], %f22;\n"
        );
    }
    (body, 8 * unrolled as u64)
}

fn kernel(body: &str) -> String {
    let zeros: String = (0..16).map(|at| format!("mov.f32 %f{at}, 0f00000000;\n")).collect();
    format!(
        ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 n)\n{{\n\
         .reg .pred %p<4>;\n.reg .b32 %r<40>;\n.reg .f32 %f<40>;\n.reg .b64 %rd<10>;\n\
         .shared .align 16 .b8 tile[16384];\n\
         ld.param.u64 %rd1, [p];\nld.param.u32 %r5, [n];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\n\
         mad.lo.u32 %r1, %r2, 256, %r1;\nmul.wide.u32 %rd2, %r1, 64;\nadd.s64 %rd2, %rd2, %rd1;\n\
         mov.u32 %r10, tile;\nmov.u32 %r20, %tid.x;\nshl.b32 %r21, %r20, 6;\nadd.u32 %r22, %r10, %r21;\nmov.u32 %r23, 0;\n\
         FILL:\nst.shared.u32 [%r22], %r23;\nadd.u32 %r22, %r22, 4;\nadd.u32 %r23, %r23, 1;\nsetp.lt.u32 %p1, %r23, 16;\n\
         @%p1 bra FILL;\nbar.sync 0;\nshr.u32 %r21, %r20, 4;\nshl.b32 %r21, %r21, 4;\nand.b32 %r22, %r20, 15;\n\
         shl.b32 %r22, %r22, 4;\nadd.u32 %r11, %r10, %r22;\nadd.u32 %r11, %r11, 8192;\nadd.u32 %r10, %r10, %r21;\nmov.u32 %r3, 0;\n{zeros}\
         LOOP:\n{body}add.u32 %r3, %r3, 1;\nsetp.lt.u32 %p1, %r3, %r5;\n@%p1 bra LOOP;\n\
         st.global.f32 [%rd2], %f0;\nret;\n}}\n"
    )
}

fn main() {
    let options = Options::default();
    println!("{} threads of the host", options.threads);
    for (name, (body, instructions), rounds) in [("product", product(8), 2000u64), ("element", element(8), 1000)] {
        for checks in [Checks::NONE, Checks::ALL] {
            for threads in [1, options.threads] {
                let memory = Arc::new(Memory::new(1 << 30).expect("address space"));
                let machine = Machine::new(memory.clone(), Options { checks, threads, ..options.clone() });
                let module = machine.load(kernel(&body).as_bytes(), (9, 0)).expect("the kernel");
                let blocks = 16u32;
                let address = memory.allocate(u64::from(blocks) * 256 * 64, Kind::Device).expect("memory");
                memory.fill(address, 1, u64::from(blocks) * 256 * 64).expect("memory");
                let mut parameters = address.to_le_bytes().to_vec();
                parameters.extend((rounds as u32).to_le_bytes());
                let launch =
                    Launch { grid: [blocks, 1, 1], block: [256, 1, 1], cluster: [1; 3], dynamic_shared: 0, parameters };
                let start = Instant::now();
                let outcome = machine.launch(&module.kernel("k").expect("the kernel"), &launch).expect("a launch");
                assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
                let seconds = start.elapsed().as_secs_f64();
                let total = (instructions + 3) * rounds * u64::from(blocks) * 256;
                println!(
                    "{name}, {} checks, {threads} threads: {:.2} G thread instructions a second, {:.1} ns a warp instruction",
                    if checks == Checks::NONE { "no" } else { "all" },
                    total as f64 / seconds / 1e9,
                    seconds * 1e9 * threads as f64 / (total as f64 / 32.0)
                );
            }
        }
    }
}
