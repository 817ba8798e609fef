//! Trials of matrix products: other plans than those of the table in product.rs.

use std::sync::{Mutex, PoisonError};

use super::kernels::TileSize;

/// The division of a product: a tile, and parts of the depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The tile of a block.
    pub tile: TileSize,
    /// Parts that the depth is split into.
    pub parts: usize,
}

/// A trial of products: what they are to run by, if not by the table, and what they ran by. For those who look for something better
/// than the table on the device at hand.
#[derive(Debug, Default)]
pub struct Trial {
    wanted: Option<Plan>,
    ran: Mutex<Option<Plan>>,
}

impl Trial {
    /// Of products that are to run by `wanted`, or by the table.
    pub(super) fn of(wanted: Option<Plan>) -> Trial {
        Trial { wanted, ran: Mutex::default() }
    }

    /// The division that products should use.
    pub(super) fn wanted(&self) -> Option<Plan> {
        self.wanted
    }

    /// Notes what a product runs by.
    pub(super) fn note(&self, plan: Plan) {
        *self.ran.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    /// The division of the last product; `None` if no product with a choice ran. If the depth has fewer parts than requested, it ran in
    /// fewer.
    pub fn ran(&self) -> Option<Plan> {
        *self.ran.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
