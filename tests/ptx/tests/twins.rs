//! Bugs that the emulator with g++ has in its list and that no other test here plants: barriers left out of a kernel that nvcc compiled,
//! lanes that meet at different instructions, too much shared memory. docs/results/planted-bugs.md has both lists.

use crate::common::planted::ends;
use crate::common::{all_checks, load, machine, module_text, orders, run, shape, upload};
use ptx_machine::machine::FaultKind::{Deadlock, IllegalInstruction};
use ptx_machine::machine::{Finding, Launch, LoadError, Options};

const ROWS: u32 = 3;
const COLUMNS: u32 = 300;

/// The findings in `row_sums` of reduce.cu.
fn of_row_sums(text: &str, options: Options) -> Vec<Finding> {
    let machine = machine(options);
    let (input, output) = (upload(&machine, &[0; (ROWS * COLUMNS) as usize]), upload(&machine, &[0; ROWS as usize]));
    let mut parameters: Vec<u8> = [input, output].iter().flat_map(|address| address.to_le_bytes()).collect();
    parameters.extend([COLUMNS, 1].iter().flat_map(|number| number.to_le_bytes()));
    let launch =
        Launch { grid: [ROWS, 1, 1], block: [256, 1, 1], cluster: [1; 3], dynamic_shared: 4 * COLUMNS, parameters };
    let kernel = load(&machine, text).kernel("row_sums").expect("the kernel");
    machine.launch(&kernel, &launch).unwrap_or_else(|fault| panic!("{fault:?}")).findings
}

/// The second of its barriers hands sums from warp to warp. The first stands between a thread's writes and its own reads: without it
/// nothing races, and nothing is found.
#[test]
fn a_barrier_left_out_of_a_compiled_kernel_is_found_where_it_is_needed() {
    let text = include_str!("samples/reduce.ptx");
    let barriers: Vec<usize> = text.match_indices("bar.sync").map(|(at, _)| at).collect();
    let [first, second] = barriers[..] else { panic!("{barriers:?}") };
    let without = |at: usize| format!("{}//{}", &text[..at], &text[at..]);
    for options in orders() {
        let options = Options { checks: all_checks().checks, ..options };
        for clean in [text.to_string(), without(first)] {
            let found = of_row_sums(&clean, options.clone());
            assert!(found.is_empty(), "{options:?}: {found:#?}");
        }
        let found = of_row_sums(&without(second), options.clone());
        let named = |finding: &Finding| {
            finding.what.contains("shared memory") && finding.sites.iter().any(|site| !site.places.is_empty())
        };
        assert!(found.iter().any(named), "{options:?}: {found:#?}");
    }
}

/// Half a warp shuffles and the other half votes, and both masks name the whole warp: each waits for the other.
#[test]
fn a_shuffle_and_a_vote_that_meet() {
    let body = |shuffle: &str, vote: &str| {
        format!(
            "setp.ge.u32 %p1, %r5, 16;\n@%p1 bra VOTE;\nshfl.sync.bfly.b32 %r9|%p2, %r5, 8, 31, {shuffle}; // BUG\nbra END;\n\
             VOTE:\nvote.sync.ballot.b32 %r9, %p1, {vote};\nEND:\nst.global.u32 [%rd3], %r9;"
        )
    };
    ends(32, 256, &body("-1", "-1"), &body("0xffff", "0xffff0000"), Deadlock, "wait for lanes of their own warp");
}

/// Half a warp shuffles, with a mask that names the whole warp, and the other half is at the barrier of the block.
#[test]
fn a_barrier_and_a_shuffle_that_meet() {
    let body = |mask: &str| {
        format!(
            "setp.ge.u32 %p1, %r5, 16;\n@%p1 bra WAIT;\nshfl.sync.bfly.b32 %r9|%p2, %r5, 8, 31, {mask}; // BUG\nbar.sync 0;\nbra END;\n\
             WAIT:\nbar.sync 0;\nEND:\nst.global.u32 [%rd3], %r9;"
        )
    };
    ends(
        32,
        256,
        &body("-1"),
        &body("0xffff")
            .replace("WAIT:\nbar.sync 0;\nEND:", "WAIT:\nmov.u32 %r9, 0;\nEND:")
            .replace("bar.sync 0;\nbra END", "bra END"),
        Deadlock,
        "wait for lanes of their own warp",
    );
}

/// A kernel's own arrays have 48 KiB at most, by ptxas; more must be asked for at the launch.
#[test]
fn more_shared_memory_than_a_kernel_may_declare() {
    let text = |bytes: u32| module_text("", &format!(".shared .align 16 .b8 tile[{bytes}];\nret;"));
    let machine = machine(all_checks());
    assert!(machine.load(text(49_152).as_bytes(), (9, 0)).is_ok());
    let refused = machine.load(text(49_156).as_bytes(), (9, 0));
    assert!(
        matches!(&refused, Err(LoadError::InvalidPtx(what)) if what.contains("49156 bytes of shared memory")),
        "{refused:?}"
    );
}

/// Sizes that no device has are refused by what they are of. Those that 32 bits do not hold would else begin at 0 again.
#[test]
fn sizes_that_no_device_has() {
    let machine = machine(all_checks());
    let refusal = |text: &str| match machine.load(text.as_bytes(), (9, 0)) {
        Err(LoadError::InvalidPtx(what)) => what,
        other => panic!("{other:?}"),
    };
    let wide = 1u64 << 32;
    for bytes in [1 << 31, wide - 16, wide, wide + 64] {
        for (space, what) in [("shared", "shared memory"), ("local", "local memory")] {
            let variable = format!(".{space} .align 16 .b8 first[64];\n.{space} .align 16 .b8 second[{bytes}];\nret;");
            assert!(refusal(&module_text("", &variable)).contains(what), "{bytes}");
        }
        let parameters = format!(".param .align 16 .b8 first[64], .param .align 16 .b8 second[{bytes}]");
        assert!(refusal(&module_text(&parameters, "ret;")).contains("parameters"), "{bytes}");
    }
    let aligned = ".shared .b8 first[64];\n.shared .align 2147483648 .b8 second[64];\nret;";
    assert!(refusal(&module_text("", aligned)).contains("shared memory"));
    assert!(machine.load(module_text(".param .b8 all[32764]", "ret;").as_bytes(), (9, 0)).is_ok());
    assert!(refusal(&module_text(".param .b8 all[32765]", "ret;")).contains("parameters"));
    // The same of a launch.
    let text = module_text("", ".shared .align 16 .b8 tile[256];\nret;");
    let refused = |launch: Launch, what: &str| {
        let fault = run(&machine, &text, &launch).expect_err("a refusal");
        assert!(fault.kind == IllegalInstruction && fault.finding.what.contains(what), "{fault:?}");
    };
    let one = shape(1, 32, &[]);
    for dynamic_shared in [(227 << 10) - 255, u32::MAX - 255, u32::MAX] {
        refused(Launch { dynamic_shared, ..one.clone() }, "shared memory");
    }
    assert!(run(&machine, &text, &Launch { dynamic_shared: (227 << 10) - 256, ..one.clone() }).is_ok());
    refused(Launch { grid: [1, 65_536, 1], ..one.clone() }, "grid");
    refused(Launch { block: [u32::MAX; 3], ..one.clone() }, "threads");
    refused(Launch { grid: [32, 1, 1], cluster: [32, 1, 1], ..one }, "clusters");
}
