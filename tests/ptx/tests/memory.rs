//! A device's memory: who may access what.

use ptx_machine::memory::{AccessError, GRANULE, Kind, Memory};

#[test]
fn what_was_written_is_known_byte_by_byte() {
    let memory = Memory::new(1 << 30).expect("address space");
    let before = memory.allocate(100, Kind::Device).expect("memory");
    memory.track_writes();
    // What was there before counts as written.
    assert_eq!(memory.first_unwritten(before, 100), None);
    let address = memory.allocate(1000, Kind::Device).expect("memory");
    assert_eq!(memory.first_unwritten(address, 1000), Some(address));
    memory.write(address + 3, &[1; 200]).expect("the allocation");
    assert_eq!(memory.first_unwritten(address, 1000), Some(address));
    assert_eq!(memory.first_unwritten(address + 3, 200), None);
    assert_eq!(memory.first_unwritten(address + 3, 201), Some(address + 203));
    memory.fill(address, 0, 3).expect("the allocation");
    assert_eq!(memory.first_unwritten(address, 1000), Some(address + 203));
    memory.copy(address, address + 300, 210).expect("the allocation");
    assert_eq!(memory.first_unwritten(address + 300, 203), None);
    assert_eq!(memory.first_unwritten(address + 300, 204), Some(address + 503));
    memory.mark_written(address + 203, 97);
    assert_eq!(memory.first_unwritten(address, 503), None);
    // What is in memory by chance is not written.
    memory.scribble(address + 503, 0xFF, 497).expect("the allocation");
    assert_eq!(memory.first_unwritten(address, 1000), Some(address + 503));
    let mut bytes = [0; 2];
    memory.read(address + 502, &mut bytes).expect("the allocation");
    assert_eq!(bytes, [1, 0xFF]);
    assert_eq!(memory.scribble(address + 503, 0xFF, 498), Err(AccessError::Outside));
    // Freed and handed out again or not: nothing is left.
    memory.free(address);
    let again = memory.allocate(1000, Kind::Device).expect("memory");
    assert_eq!(memory.first_unwritten(again, 1), Some(again));
    // The host writes pinned memory without telling anybody.
    let pinned = memory.allocate(64, Kind::Pinned).expect("memory");
    assert_eq!(memory.first_unwritten(pinned, 64), None);
}

#[test]
fn an_access_stays_in_its_allocation() {
    let memory = Memory::new(1 << 30).expect("address space");
    let address = memory.allocate(100, Kind::Device).expect("memory");
    assert_eq!(memory.write(address, &[7; 100]), Ok(()));
    assert_eq!(memory.write(address + 1, &[7; 100]), Err(AccessError::Outside));
    assert_eq!(memory.resolve(address - 1, 1), Err(AccessError::Outside));
    assert_eq!(memory.resolve(u64::MAX, 1), Err(AccessError::Outside));
    assert_eq!(memory.resolve(address, u64::MAX), Err(AccessError::Outside));
    let other = memory.allocate(GRANULE, Kind::Device).expect("memory");
    assert_eq!(memory.copy(address, other, 100), Ok(()));
    let mut bytes = [0; 100];
    assert_eq!(memory.read(other, &mut bytes), Ok(()));
    assert_eq!(bytes, [7; 100]);
    assert_eq!(memory.resolve(other + GRANULE - 1, 2), Err(AccessError::Outside));
}

#[test]
fn what_was_freed_is_not_found_and_not_handed_out_again() {
    let memory = Memory::new(1 << 20).expect("address space");
    let first = memory.allocate(1 << 20, Kind::Device).expect("memory");
    assert_eq!(memory.allocate(1, Kind::Device), None);
    assert_eq!(memory.free(first + 1), None);
    assert_eq!(memory.free(first).map(|allocation| allocation.bytes), Some(1 << 20));
    assert_eq!(memory.free(first), None);
    assert_eq!(memory.resolve(first, 1), Err(AccessError::Outside));
    assert_ne!(memory.allocate(1 << 20, Kind::Device).expect("memory"), first);
}

#[test]
fn pinned_memory_has_one_address() {
    let memory = Memory::new(1 << 20).expect("address space");
    let address = memory.allocate(64, Kind::Pinned).expect("memory");
    assert_eq!(memory.resolve(address, 64).map(|at| at.as_ptr() as u64), Ok(address));
    assert_eq!(memory.used(), 0);
}
