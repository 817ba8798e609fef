//! What a user reads: the list of findings, and the example of the README.

#[path = "../examples/shift.rs"]
mod shift;

use crate::common::planted::{findings, text};

/// Each of 70 stores has a finding of its own. As many are kept as there is room for, and the last one says how many are missing; that is
/// so for each order, and where threads of the host bring together what they found.
#[test]
fn the_last_finding_says_how_many_more_there_are() {
    for (stores, more) in [(64, None), (65, Some("and 1 more")), (70, Some("and 6 more"))] {
        let body: String = (0..stores).map(|at| format!("st.shared.u32 [%r20+{}], %r5;\n", 4 * at)).collect();
        for found in findings(3, 32, &text(512, &body)) {
            let (last, kept) = found.split_last().expect("findings");
            assert!(kept.iter().all(|finding| finding.what.contains("two lanes write different values")));
            assert_eq!(found.len(), 64 + usize::from(more.is_some()));
            if let Some(more) = more {
                assert_eq!((last.what.as_str(), last.sites.len(), last.address), (more, 0, None));
            }
        }
    }
}

/// The README shows what the example prints, and quotes the example as it is.
#[test]
fn the_readme_has_the_output_of_the_example() {
    let readme = include_str!("../README.md");
    let report = shift::report().expect("a run");
    assert!(readme.contains(&format!("```text\n{report}```")), "{report}");
    let example = include_str!("../examples/shift.rs").replace(' ', "");
    let quoted = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a quotation");
    for line in quoted.lines().filter(|line| !line.is_empty()) {
        assert!(example.contains(&line.replace(' ', "")), "{line}");
    }
    let kernel = include_str!("../examples/shift.ptx");
    let start = kernel.find("st.shared.u32 [%r3], %r1").expect("the store");
    let end = start + kernel[start..].find("mul.wide").expect("what follows");
    assert!(readme.contains(&kernel[start..end]));
}
