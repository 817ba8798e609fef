//! Planted bugs: a kernel of one buffer, and what must be found in it, in every order.

use super::{machine, module_text, orders, run, shape, upload};
use ptx_machine::machine::{Checks, FaultKind, Finding, Options};

/// A kernel of one buffer: `%rd1` is its address, `%r5` the thread, `%r6` the block, `%r20` the shared variable `tile`.
pub(crate) fn text(shared: u32, body: &str) -> String {
    module_text(
        ".param .u64 k_param_0",
        &format!(
            ".shared .align 16 .b8 tile[{shared}];\nld.param.u64 %rd1, [k_param_0];\ncvta.to.global.u64 %rd1, %rd1;\n\
             mov.u32 %r5, %tid.x;\nmov.u32 %r6, %ctaid.x;\nmov.u32 %r20, tile;\nshl.b32 %r7, %r5, 2;\n\
             add.u32 %r21, %r20, %r7;\nmul.wide.u32 %rd2, %r7, 1;\nadd.s64 %rd3, %rd1, %rd2;\n{body}\nret;"
        ),
    )
}

/// The findings of the checks in all orders; the same sorts must be found in each.
pub(crate) fn findings(blocks: u32, threads: u32, text: &str) -> Vec<Vec<Finding>> {
    let mut all = Vec::new();
    for options in orders() {
        let machine = machine(Options { checks: Checks::ALL, ..options });
        let address = upload(&machine, &[7; 4096]);
        let outcome = run(&machine, text, &shape(blocks, threads, &[address]));
        all.push(outcome.unwrap_or_else(|fault| panic!("{fault:?}\n{text}")).findings);
    }
    all
}

/// The line of the PTX that holds a marker.
pub(crate) fn line_of(text: &str, marker: &str) -> u32 {
    text.lines().position(|line| line.contains(marker)).expect("the marker") as u32 + 1
}

/// The bug `with` is found at the line marked `// BUG` in every order, with these words; without it nothing is.
pub(crate) fn planted(blocks: u32, threads: u32, shared: u32, bug: &str, clean: &str, words: &str) {
    let bug = text(shared, bug);
    let line = line_of(&bug, "// BUG");
    for found in findings(blocks, threads, &bug) {
        let on_line = |finding: &Finding| finding.sites.iter().any(|site| site.ptx_line == line);
        assert!(found.iter().any(|finding| finding.what.contains(words) && on_line(finding)), "{line}: {found:#?}");
    }
    for found in findings(blocks, threads, &text(shared, clean)) {
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// The bug ends the launch at the line marked `// BUG` in every order, with and without checks; without it nothing is found.
pub(crate) fn ends(threads: u32, shared: u32, bug: &str, clean: &str, kind: FaultKind, words: &str) {
    let bug = text(shared, bug);
    let line = line_of(&bug, "// BUG");
    for options in orders() {
        for checks in [Checks::NONE, Checks::ALL] {
            let machine = machine(Options { checks, ..options.clone() });
            let address = upload(&machine, &[7; 4096]);
            let fault = run(&machine, &bug, &shape(1, threads, &[address])).expect_err("a fault");
            assert_eq!(fault.kind, kind, "{bug}: {fault:?}");
            assert!(fault.finding.sites.iter().any(|site| site.ptx_line == line), "{line}: {fault:?}");
            assert!(fault.finding.what.contains(words), "{fault:?}");
        }
    }
    for found in findings(1, threads, &text(shared, clean)) {
        assert!(found.is_empty(), "{found:#?}");
    }
}
