//! Copies and fills as work: what they are, and how they are carried out. The calls are in transfer.rs.

use std::sync::Arc;

use crate::abi::{host_bytes, host_bytes_mut};
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::state::Driver;

/// The source or the destination of bytes.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Memory of this device.
    Device(usize, u64),
    /// The host's, page-locked or not.
    Host(u64),
    /// Pageable memory of the host's, as it was when the copy was asked for.
    Staged(Arc<Vec<u8>>),
}

/// A copy of rows; one row for plain copies.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// Bytes of a row.
    pub(crate) width: usize,
    pub(crate) rows: usize,
    /// Bytes from one row to the next.
    pub(crate) from_pitch: usize,
    pub(crate) to_pitch: usize,
}

/// A fill of rows with elements of 1, 2 or 4 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Fill {
    pub(crate) address: u64,
    pub(crate) value: u32,
    pub(crate) element: usize,
    /// Elements of a row.
    pub(crate) width: usize,
    pub(crate) rows: usize,
    pub(crate) pitch: usize,
}

/// Bytes from the first of the first row to the last of the last.
pub(crate) fn span(width: usize, rows: usize, pitch: usize) -> Result<usize> {
    let before = rows.saturating_sub(1).checked_mul(pitch).ok_or(Code::INVALID_VALUE)?;
    before.checked_add(width).ok_or(Code::INVALID_VALUE)
}

/// Carries a copy out. Memory that was freed since the copy was asked for is an illegal address.
pub(crate) fn carry_out(driver: &mut Driver, device: usize, copy: &Copy) -> Result {
    driver.pass(Point::DeviceLost, device)?;
    driver.pass(Point::Copy, device)?;
    (0..copy.rows).try_for_each(|row| copy_row(driver, copy, row))
}

fn copy_row(driver: &Driver, copy: &Copy, row: usize) -> Result {
    let width = copy.width;
    let (from_offset, to_offset) = (row * copy.from_pitch, row * copy.to_pitch);
    let memory = |device: usize| driver.devices[device].memory();
    let gone = |_| Code::ILLEGAL_ADDRESS;
    match (&copy.from, &copy.to) {
        (Place::Device(from, source), Place::Device(to, target)) => {
            let (source, target) = (source + from_offset as u64, target + to_offset as u64);
            if from == to {
                return memory(*from).copy(source, target, width as u64).map_err(gone);
            }
            let mut bytes = vec![0; width];
            memory(*from).read(source, &mut bytes).map_err(gone)?;
            memory(*to).write(target, &bytes).map_err(gone)
        }
        (Place::Staged(bytes), Place::Device(to, target)) => {
            memory(*to).write(target + to_offset as u64, &bytes[from_offset..from_offset + width]).map_err(gone)
        }
        (Place::Host(source), Place::Device(to, target)) => {
            let source = source + from_offset as u64;
            still_there(driver, source, width)?;
            // SAFETY: the program gave the address with the copy, and keeps it until the copy is done.
            let bytes = unsafe { host_bytes(source, width) };
            memory(*to).write(target + to_offset as u64, bytes).map_err(gone)
        }
        (Place::Device(from, source), Place::Host(target)) => {
            let target = target + to_offset as u64;
            still_there(driver, target, width)?;
            // SAFETY: as above; nothing else uses these bytes while the call that does this work runs.
            let bytes = unsafe { host_bytes_mut(target, width) };
            memory(*from).read(source + from_offset as u64, bytes).map_err(gone)
        }
        (Place::Host(source), Place::Host(target)) => {
            let (source, target) = (source + from_offset as u64, target + to_offset as u64);
            still_there(driver, source, width)?;
            still_there(driver, target, width)?;
            // SAFETY: as above. They are copied by way of a third place, since they may overlap.
            let bytes = unsafe { host_bytes(source, width) }.to_vec();
            // SAFETY: as above.
            unsafe { host_bytes_mut(target, width) }.copy_from_slice(&bytes);
            Ok(())
        }
        (Place::Staged(_), Place::Host(_)) | (_, Place::Staged(_)) => Err(Code::INVALID_VALUE),
    }
}

/// Page-locked memory that was freed can't be touched any more, and the attempt would end the process.
fn still_there(driver: &Driver, address: u64, bytes: usize) -> Result {
    let pinned = driver.devices.iter().any(|device| device.memory().holds(address));
    if !pinned {
        return Ok(());
    }
    match driver.host_range(address, bytes as u64) {
        Ok(true) => Ok(()),
        _ => Err(Code::ILLEGAL_ADDRESS),
    }
}

/// Carries a fill out.
pub(crate) fn fill(driver: &mut Driver, device: usize, fill: &Fill) -> Result {
    driver.pass(Point::DeviceLost, device)?;
    driver.pass(Point::Copy, device)?;
    let (owner, _) = driver.allocation(fill.address).ok_or(Code::ILLEGAL_ADDRESS)?;
    let memory = driver.devices[owner].memory();
    let bytes = fill.value.to_le_bytes();
    let element = &bytes[..fill.element];
    let uniform = element.iter().all(|byte| *byte == element[0]);
    for row in 0..fill.rows {
        let address = fill.address + (row * fill.pitch) as u64;
        let filled = match uniform {
            true => memory.fill(address, element[0], (fill.width * fill.element) as u64),
            false => memory.write(address, &element.repeat(fill.width)),
        };
        filled.map_err(|_| Code::ILLEGAL_ADDRESS)?;
    }
    Ok(())
}
