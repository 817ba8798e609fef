//! Proof: every derivative against central differences, operation by operation and through whole losses.

pub mod gradient_check;
pub mod models;
pub mod penalty_case;
pub mod whole;
