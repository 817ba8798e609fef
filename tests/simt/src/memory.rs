//! The buffers. Each has pages of its own with unmapped ones around it, and ends within 256 bytes of them.

use std::collections::BTreeMap;

use crate::report::Address;

/// The alignment of cudaMalloc.
const ALIGNMENT: u64 = 256;
const PAGE: u64 = 4096;

#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    /// Its pages, without those that stay unmapped.
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) name: String,
    pub(crate) freed: bool,
}

/// The buffers of one emulator, by address; freed ones stay known until their place is used again.
#[derive(Debug)]
pub(crate) struct Table {
    base: u64,
    bytes: u64,
    next: u64,
    buffers: BTreeMap<u64, Buffer>,
    made: usize,
}

impl Table {
    pub(crate) fn new(base: u64, bytes: u64) -> Table {
        Table { base, bytes, next: base, buffers: BTreeMap::new(), made: 0 }
    }

    /// A place for a buffer, not yet in the table.
    pub(crate) fn place(&mut self, bytes: u64) -> Result<Buffer, String> {
        let room = bytes.max(1).checked_next_multiple_of(ALIGNMENT).filter(|&room| room < self.bytes);
        let room = room.ok_or_else(|| format!("{bytes} bytes are more than the emulator has"))?;
        let length = room.next_multiple_of(PAGE);
        let whole = length + 2 * PAGE;
        let start = if self.next + whole <= self.base + self.bytes {
            let start = self.next;
            self.next += whole;
            start
        } else {
            self.gap(whole).ok_or_else(|| format!("no room for {bytes} bytes more"))?
        };
        let start = start + PAGE;
        let address = start + length - room;
        let name = format!("buffer {}", self.made);
        self.made += 1;
        Ok(Buffer { address, bytes, start, length, name, freed: false })
    }

    /// The first gap of this size between buffers that still live. Forgets the freed ones, whose place is given away.
    fn gap(&mut self, whole: u64) -> Option<u64> {
        self.buffers.retain(|_, buffer| !buffer.freed);
        let mut at = self.base;
        for buffer in self.buffers.values() {
            if buffer.start - PAGE >= at + whole {
                return Some(at);
            }
            at = buffer.start + buffer.length + PAGE;
        }
        (self.base + self.bytes >= at + whole).then_some(at)
    }

    pub(crate) fn insert(&mut self, buffer: Buffer) {
        self.buffers.insert(buffer.address, buffer);
    }

    /// The buffer that begins at this address.
    pub(crate) fn at(&mut self, address: u64) -> Result<&mut Buffer, String> {
        let words = self.describe(address);
        match self.buffers.get_mut(&address) {
            Some(buffer) if !buffer.freed => Ok(buffer),
            _ => Err(format!("no buffer begins at {words}")),
        }
    }

    /// Whether a range of bytes lies in one buffer that lives.
    pub(crate) fn check(&self, address: u64, bytes: u64) -> Result<(), String> {
        let inside = self.buffers.range(..=address).next_back().is_some_and(|(_, buffer)| {
            !buffer.freed && bytes <= buffer.bytes && address - buffer.address <= buffer.bytes - bytes
        });
        if inside { Ok(()) } else { Err(format!("{bytes} bytes at {} lie in no buffer", self.describe(address))) }
    }

    /// An address relative to the buffer that holds it or ends shortly before or begins shortly after it.
    pub(crate) fn locate(&self, address: u64) -> Address {
        let before = self.buffers.range(..=address).next_back().map(|(_, buffer)| buffer);
        let after = self.buffers.range(address..).next().map(|(_, buffer)| buffer);
        let past = |buffer: &Buffer| address.saturating_sub(buffer.address + buffer.bytes);
        let near = match (before, after) {
            (Some(before), Some(after)) if past(before) > after.address - address => Some(after),
            (Some(before), _) => Some(before),
            (None, after) => after,
        };
        let distance = |buffer: &Buffer| past(buffer).max(buffer.address.saturating_sub(address));
        match near {
            Some(buffer) if distance(buffer) < 1 << 30 => Address {
                buffer: if buffer.freed { format!("{} (freed)", buffer.name) } else { buffer.name.clone() },
                offset: address.wrapping_sub(buffer.address) as i64,
                bytes: buffer.bytes,
                raw: address,
            },
            _ => Address { buffer: String::new(), offset: 0, bytes: 0, raw: address },
        }
    }

    fn describe(&self, address: u64) -> String {
        self.locate(address).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_end_where_their_pages_end_and_places_are_used_again() {
        let mut table = Table::new(1 << 20, 64 * PAGE);
        let first = table.place(1000).expect("room");
        assert_eq!((first.address % ALIGNMENT, first.start + first.length - first.address), (0, 1024));
        let address = first.address;
        table.insert(first);
        assert!(table.check(address + 10, 990).is_ok() && table.check(address + 10, 991).is_err());
        let near = table.locate(address + 1004);
        assert_eq!((near.buffer.as_str(), near.offset), ("buffer 0", 1004));
        table.at(address).expect("the buffer").freed = true;
        assert!(table.check(address, 1).is_err() && table.locate(address).buffer.contains("freed"));
        for _ in 0..21 {
            let next = table.place(1).expect("room");
            table.insert(next);
        }
        assert!(table.buffers.values().any(|buffer| !buffer.freed && buffer.start == (1 << 20) + PAGE));
        assert!(table.place(63 * PAGE).is_err() && table.place(u64::MAX).is_err());
    }
}
