//! Checks that need no shadow: registers that nothing wrote, misused products, lanes that do not come.

use super::super::block::RawSite;
use super::super::{Block, Decoded, Flow, Handler, Warp};

/// Reports a misuse that lowering found: `imm` is the index into [`super::super::Program::misuses`].
pub(crate) struct Misuse;

impl Handler for Misuse {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let what = &b.program.misuses[i.imm as usize];
        report(b.site(w, i.site, w.mask), "misuse", what, b);
        Flow::Go
    }
}

/// Lanes that read a register without having written it: `a` is the word with a bit for each lane that has, `imm` as of [`Misuse`].
pub(crate) struct CheckWritten;
/// Lanes write a register.
pub(crate) struct MarkWritten;

impl Handler for CheckWritten {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: lowering put a predicate there.
        let missing = w.mask & !unsafe { w.predicate(i.a) };
        if missing != 0 {
            let what = &b.program.misuses[i.imm as usize];
            report(b.site(w, i.site, missing), "unwritten register", what, b);
        }
        Flow::Go
    }
}

impl Handler for MarkWritten {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        // SAFETY: lowering put a predicate there.
        unsafe { w.set_predicate(i.a, u32::MAX) };
        Flow::Go
    }
}

fn report(site: RawSite, sort: &'static str, what: &str, b: &mut Block<'_>) {
    if let Some(checker) = &mut b.checker {
        checker.findings.add(sort, vec![site], None, || what.into());
    }
}

impl Block<'_> {
    /// Lanes of a warp at an instruction.
    pub(crate) fn site(&self, w: &Warp, site: u32, lanes: u32) -> RawSite {
        RawSite { site, block: self.id, warp: w.index, lanes }
    }

    /// Reports a protocol that is not kept, where that is asked for.
    #[cold]
    pub(crate) fn misused(&mut self, w: &Warp, site: u32, lanes: u32, sort: &'static str, what: &dyn Fn() -> String) {
        let site = self.site(w, site, lanes);
        if let Some(checker) = self.checker.as_mut().filter(|checker| checker.checks.protocols) {
            checker.findings.add(sort, vec![site], None, what);
        }
    }
}
