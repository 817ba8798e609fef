//! The switch of all mutants. This file is copied into the changed tree as `src/mutants.rs`; the tool itself only tests it.
//!
//! `MUTANT=17` turns mutant 17 on, in the process and in all that it starts. `MUTANT_NOTES=file` turns none on, and adds the number of
//! each mutant whose place is reached to the file, a line each.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// The variables have not been read yet.
const UNREAD: u32 = u32::MAX;
/// No mutant is on, and what is reached is noted.
const NOTING: u32 = u32::MAX - 1;
/// More than there are ever mutants in a tree.
const MOST: usize = 4096;

/// The number of the mutant that is on (0 for none), or one of the two above.
static ACTIVE: AtomicU32 = AtomicU32::new(UNREAD);
static REACHED: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];

/// Whether mutant `id` is on. It stands in inner loops: one load and one comparison.
#[inline(always)]
pub fn is(id: u32) -> bool {
    let active = ACTIVE.load(Relaxed);
    if active < NOTING { active == id } else { slowly(id, active) }
}

#[cold]
#[inline(never)]
fn slowly(id: u32, active: u32) -> bool {
    if active == UNREAD {
        let chosen = std::env::var("MUTANT").ok().and_then(|number| number.parse().ok());
        let noting = if std::env::var_os("MUTANT_NOTES").is_some() { NOTING } else { 0 };
        ACTIVE.store(chosen.unwrap_or(noting), Relaxed);
        return is(id);
    }
    if !REACHED[id as usize].swap(true, Relaxed)
        && let Some(path) = std::env::var_os("MUTANT_NOTES")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        // One write: lines of several processes do not mix. A note that is lost makes a mutant look unreached, which is seen.
        let _ = file.write_all(format!("{id}\n").as_bytes());
    }
    false
}
