//! Proof: every derivative against central differences, operation by operation and through whole losses.
//!
//! | file | what it holds |
//! |---|---|
//! | [`gradient_check`] | a case's derivatives against central differences |
//! | [`losses`] | both losses of narrow models, by parameters, images and latents |
//! | [`models`] | the narrow models, from tests/models/*.toml |
//! | [`penalties`] | the gradient penalties of narrow models, by the discriminator's parameters |
//! | `parameters` | what both share: parameters as a case's inputs |

pub mod gradient_check;
pub mod losses;
pub mod models;
mod parameters;
pub mod penalties;

use crate::Result;
use crate::ops::{Case, Executor};

/// Both losses of every narrow model, and every gradient penalty.
///
/// # Errors
/// If memory is used up.
pub fn cases<B: Executor>(backend: &B) -> Result<Vec<Case<B>>> {
    Ok(losses::cases(backend)?.into_iter().chain(penalties::cases(backend)?).collect())
}
