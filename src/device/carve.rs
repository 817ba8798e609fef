//! One allocation, and the buffers that are carved out of it.

use std::sync::{Arc, Mutex, PoisonError};

use super::launch::Launcher;
use crate::{Error, Result};

/// Every buffer in device memory begins at a multiple of this many bytes: where CUDA's own allocations begin (CUDA C++
/// Programming Guide, "Device Memory Accesses": at least 256 bytes), so that a buffer lies as well inside a larger
/// allocation as in one of its own.
pub const ALIGNMENT: u64 = 256;

/// Bytes that a buffer of `len` elements takes where it is carved: up to where the next one may begin. An empty buffer
/// has an address too, and takes [`ALIGNMENT`].
pub(super) fn carved_bytes<E>(len: usize) -> u64 {
    let bytes = (len.max(1) as u64).saturating_mul(size_of::<E>() as u64);
    bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

/// An allocation whose bytes are given away from its beginning to its end. It lives as long as its last buffer.
pub(super) struct Carved<L: Launcher> {
    memory: Arc<L::Memory>,
    bytes: u64,
    given: Mutex<u64>,
}

impl<L: Launcher> Carved<L> {
    /// Allocates `bytes` bytes, all zero.
    ///
    /// # Errors
    /// When the device's memory is used up.
    pub(super) fn new(launcher: &L, bytes: u64) -> Result<Self> {
        let length = usize::try_from(bytes)
            .map_err(|_| Error::Device(format!("can't allocate {bytes} bytes on this device: use a smaller batch")))?;
        let memory = launcher.alloc(length)?;
        let address = launcher.address(&memory);
        assert!(address.is_multiple_of(ALIGNMENT), "device memory at {address:#x} is not aligned to {ALIGNMENT} bytes");
        launcher.zero(address, length)?;
        Ok(Carved { memory: Arc::new(memory), bytes, given: Mutex::new(0) })
    }

    /// The allocation, and how many bytes behind its beginning a new buffer of `len` elements lies.
    ///
    /// # Panics
    /// If fewer bytes are left: what was built is not what was counted, a mistake of this program's.
    pub(super) fn take<E>(&self, len: usize) -> (Arc<L::Memory>, u64) {
        // A thread that panicked between reading and writing has given nothing away.
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset, bytes) = (*given, carved_bytes::<E>(len));
        let left = self.bytes - offset;
        assert!(bytes <= left, "{bytes} bytes of an allocation that has {left} left of {}", self.bytes);
        *given += bytes;
        (self.memory.clone(), offset)
    }

    /// Bytes that no buffer has.
    pub(super) fn left(&self) -> u64 {
        self.bytes - *self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_takes_whole_steps_of_256_bytes() {
        assert_eq!([0, 1, 64, 65].map(carved_bytes::<f32>), [256, 256, 256, 512]);
        assert_eq!([0, 32, 33].map(carved_bytes::<f64>), [256, 256, 512]);
        assert_eq!(carved_bytes::<f64>(usize::MAX), u64::MAX);
    }
}
