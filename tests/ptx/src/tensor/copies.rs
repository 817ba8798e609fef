//! Asynchronous copies: what `cp.async` writes, and the groups that it and bulk copies are waited for in (§9.7.9.25,
//! "Asynchronous copy").

use std::collections::VecDeque;

/// The cache of `cp.async`, which decides the sizes that it has (§9.7.9.25.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cache {
    /// `.ca`: 4, 8 or 16 bytes.
    All,
    /// `.cg`: 16 bytes.
    Global,
}

/// A misuse of an asynchronous copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A size that the instruction has not.
    #[error("cp.async copies 4, 8 or 16 bytes, and with .cg 16 alone, not {0}")]
    Size(u32),
    /// `src-size` is greater than `cp-size`, which is undefined.
    #[error("cp.async: {source_bytes} bytes of source for a copy of {bytes}; it must not be more")]
    Source {
        /// `cp-size`.
        bytes: u32,
        /// `src-size`.
        source_bytes: u32,
    },
    /// An address that is no multiple of the copy's size (16 for bulk copies).
    #[error("an asynchronous copy at address {address:#x}, which is not a multiple of {align}")]
    Misaligned {
        /// The address.
        address: u64,
        /// The number that it must be a multiple of.
        align: u32,
    },
    /// The size of a bulk copy.
    #[error("cp.async.bulk copies a multiple of 16 bytes, not {0}")]
    BulkSize(u32),
}

/// Checks the operands of `cp.async` and says how many bytes are read at `source`: the rest of `bytes` is filled with zeros. With
/// `ignore` nothing is read.
pub fn cp_async(
    cache: Cache,
    destination: u64,
    source: u64,
    bytes: u32,
    source_bytes: Option<u32>,
    ignore: bool,
) -> Result<u32, CopyError> {
    if !matches!((cache, bytes), (Cache::All, 4 | 8 | 16) | (Cache::Global, 16)) {
        return Err(CopyError::Size(bytes));
    }
    let source_bytes = source_bytes.unwrap_or(bytes);
    if source_bytes > bytes {
        return Err(CopyError::Source { bytes, source_bytes });
    }
    aligned(destination, bytes)?;
    aligned(source, bytes)?;
    Ok(if ignore { 0 } else { source_bytes })
}

/// Checks the operands of `cp.async.bulk` (§9.7.9.25.4.1): both addresses and the size are multiples of 16.
pub fn cp_async_bulk(destination: u64, source: u64, bytes: u32) -> Result<(), CopyError> {
    if !bytes.is_multiple_of(16) {
        return Err(CopyError::BulkSize(bytes));
    }
    aligned(destination, 16)?;
    aligned(source, 16)
}

fn aligned(address: u64, align: u32) -> Result<(), CopyError> {
    if address.is_multiple_of(u64::from(align)) { Ok(()) } else { Err(CopyError::Misaligned { address, align }) }
}

/// The asynchronous copies of one thread, of one sort (`cp.async` or bulk), in groups (§9.7.9.25.2).
///
/// A copy is in the open group until `commit_group` closes it. Groups complete in any order that hardware likes; that those which are
/// waited for have completed is all that a kernel may rely on.
#[derive(Debug, Clone)]
pub struct Groups<T> {
    open: Vec<T>,
    /// The oldest first. An empty group counts too.
    committed: VecDeque<Vec<T>>,
}

impl<T> Default for Groups<T> {
    fn default() -> Groups<T> {
        Groups { open: Vec::new(), committed: VecDeque::new() }
    }
}

impl<T> Groups<T> {
    /// A copy is begun.
    pub fn push(&mut self, copy: T) {
        self.open.push(copy);
    }

    /// `commit_group`: what was begun since the last one is a group, also when it is nothing.
    pub fn commit(&mut self) {
        self.committed.push_back(std::mem::take(&mut self.open));
    }

    /// `wait_group n`: takes out the copies that must have completed for at most `n` of the newest groups to be under way.
    pub fn wait(&mut self, n: u32) -> Vec<T> {
        let complete = self.committed.len().saturating_sub(n as usize);
        self.committed.drain(..complete).flatten().collect()
    }

    /// `cp.async.wait_all`: takes out all copies. It is `commit_group` and `wait_group 0`.
    pub fn wait_all(&mut self) -> Vec<T> {
        self.commit();
        self.wait(0)
    }

    /// Copies that nothing has waited for, the oldest first; at a thread's end they are a mistake.
    pub fn pending(&self) -> impl Iterator<Item = &T> {
        self.committed.iter().flatten().chain(&self.open)
    }

    /// Copies that no `commit_group` has closed in.
    pub fn uncommitted(&self) -> &[T] {
        &self.open
    }
}
