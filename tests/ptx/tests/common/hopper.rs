//! Kernels with an mbarrier and a buffer, and what must be found in them, in every order.

use super::{all_checks, download, machine, module_text, orders, run, shape, upload};
use ptx_machine::machine::{Finding, Launch, Options};

const PARAMETERS: &str = ".param .u64 k_param_0";

/// `%rd1` is the buffer, `%r5` the thread, `%r20` the shared variable `tile`, `%r30` the mbarrier `bar` for `count` arrivals.
pub(crate) fn text(shared: u32, count: u32, body: &str) -> String {
    module_text(
        PARAMETERS,
        &format!(
            ".shared .align 1024 .b8 tile[{shared}];\n.shared .align 8 .b8 bar[8];\nld.param.u64 %rd1, [k_param_0];\n\
             cvta.to.global.u64 %rd1, %rd1;\nmov.u32 %r5, %tid.x;\nmov.u32 %r20, tile;\nmov.u32 %r30, bar;\nshl.b32 %r7, %r5, 2;\n\
             add.u32 %r21, %r20, %r7;\nmul.wide.u32 %rd2, %r7, 1;\nadd.s64 %rd3, %rd1, %rd2;\nsetp.eq.u32 %p1, %r5, 0;\n\
             @%p1 mbarrier.init.shared::cta.b64 [%r30], {count};\nfence.mbarrier_init.release.cluster;\nbar.sync 0;\n{body}\nret;"
        ),
    )
}

/// A loop that waits for a phase.
pub(crate) fn wait(label: &str, parity: u32) -> String {
    format!("{label}:\nmbarrier.try_wait.parity.shared::cta.b64 %p9, [%r30], {parity};\n@!%p9 bra {label};\n")
}

/// The findings and the buffer's content, in all orders with all checks.
pub(crate) fn in_all_orders(
    launch: &dyn Fn(u64) -> Launch,
    text: &str,
    start: &[u32],
    check: impl Fn(&Options, &[Finding], Vec<u32>),
) {
    for options in orders() {
        let options = Options { checks: all_checks().checks, ..options };
        let machine = machine(options.clone());
        let address = upload(&machine, start);
        let outcome =
            run(&machine, text, &launch(address)).unwrap_or_else(|fault| panic!("{options:?} {fault:?}\n{text}"));
        check(&options, &outcome.findings, download(&machine, address, start.len()));
    }
}

pub(crate) fn clean(threads: u32, text: &str, start: &[u32], expected: &[u32]) {
    in_all_orders(&|address| shape(1, threads, &[address]), text, start, |options, findings, found| {
        assert!(findings.is_empty(), "{options:?} {findings:#?}");
        assert_eq!(found, expected, "{options:?}");
    });
}

pub(crate) fn buggy(threads: u32, text: &str, start: &[u32], words: &str) {
    let line = text.lines().position(|line| line.contains("// BUG")).expect("the marker") as u32 + 1;
    in_all_orders(&|address| shape(1, threads, &[address]), text, start, |options, findings, _| {
        let on_line = |finding: &Finding| finding.sites.iter().any(|site| site.ptx_line == line);
        let found = findings.iter().any(|finding| finding.what.contains(words) && on_line(finding));
        assert!(found, "{options:?} {findings:#?}");
    });
}
