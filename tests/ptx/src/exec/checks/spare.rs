//! Buffers that the checks of a launch leave to those of the next one: launches are many, and buffers that are made and cleared anew cost
//! more than a small kernel. Epochs go on, so that what is noted in them counts as nothing.

use super::Checker;
use super::findings::Findings;
use super::pages::{GlobalShadow, Near, lock};
use super::shapes::Shapes;
use super::shared::SharedShadow;

/// Buffers that are not used at the moment.
pub(super) struct Spare {
    pub(super) shared: SharedShadow,
    pub(super) shapes: Box<Shapes>,
    pub(super) near: Near,
    /// The highest epoch that was used.
    pub(super) epoch: u32,
}

impl Spare {
    /// Buffers of an earlier launch, or new ones.
    pub(super) fn take(shadow: &GlobalShadow) -> Spare {
        let new = || Spare { shared: SharedShadow::default(), shapes: Shapes::new(), near: Near::new(), epoch: 1 };
        lock(&shadow.spare).pop().unwrap_or_else(new)
    }
}

impl Checker {
    /// The launch ends: what was found.
    pub(crate) fn finish(self, shadow: &GlobalShadow) -> Findings {
        let epoch = self.clocks.iter().map(|clock| clock.epoch).max().unwrap_or(1);
        if let (Some(shapes), Some(near)) = (self.shapes, self.near) {
            lock(&shadow.spare).push(Spare { shared: self.shared, shapes, near, epoch });
        }
        self.findings
    }
}
