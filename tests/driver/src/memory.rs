//! Memory: CUDA Driver API, "Memory Management" and "Unified Addressing".

use ptx_machine::memory::{Allocation, Kind, Memory};

use crate::abi::{Host, In, Out, driver_api};
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::handle::{Handle, PoolKind, StreamKind};
use crate::queue::Work;
use crate::settings::Fresh;
use crate::state::{Driver, Owned};

/// Page-locked memory may be portable (1), mapped (2) and write-combined (4).
const HOST_FLAGS: u32 = 7;

impl Driver {
    /// Allocates for the current context.
    pub(crate) fn allocate(
        &mut self,
        bytes: usize,
        kind: Kind,
        pool: Option<Handle<PoolKind>>,
        flags: u32,
    ) -> Result<u64> {
        let context = self.current()?;
        let device = self.contexts.get(context)?.device;
        let bytes = bytes as u64;
        if bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let point = if kind == Kind::Device { Point::Alloc } else { Point::MallocHost };
        self.pass(point, device)?;
        let mut address = self.devices[device].memory().allocate(bytes, kind);
        if address.is_none() && kind == Kind::Device {
            // What was freed in a stream's order is free once the stream has come so far.
            let pending = self.queue.of_device(device);
            self.run(pending)?;
            self.unbroken(device)?;
            address = self.devices[device].memory().allocate(bytes, kind);
        }
        let address = address.ok_or(Code::OUT_OF_MEMORY)?;
        if self.settings.fresh == Fresh::Poison {
            poison(self.devices[device].memory(), address, bytes);
        }
        self.allocated += 1;
        let number = self.allocated;
        self.allocations.insert(address, Owned { device, context, bytes, kind, pool, flags, number });
        Ok(address)
    }

    /// Frees without waiting for anything.
    pub(crate) fn free_now(&mut self, address: u64) -> Result<Owned> {
        let owned = self.allocations.remove(&address).ok_or(Code::INVALID_VALUE)?;
        self.devices[owned.device].memory().free(address);
        Ok(owned)
    }

    /// The device that knows an address, and its allocation.
    pub(crate) fn allocation(&self, address: u64) -> Option<(usize, Allocation)> {
        self.devices.iter().enumerate().find_map(|(index, device)| Some((index, device.memory().allocation(address)?)))
    }

    /// 1 where no allocation of device memory holds these bytes.
    pub(crate) fn device_range(&self, address: u64, bytes: u64) -> Result<usize> {
        let (device, _) = self.allocation(address).ok_or(Code::INVALID_VALUE)?;
        self.devices[device].memory().resolve(address, bytes).map_err(|_| Code::INVALID_VALUE)?;
        Ok(device)
    }

    /// 1 where host memory that a copy names is null, the device's, or page-locked memory's that does not hold these bytes.
    /// Returns whether it is page-locked. What else the program gives is believed.
    pub(crate) fn host_range(&self, address: u64, bytes: u64) -> Result<bool> {
        if address == 0 {
            return Err(Code::INVALID_VALUE);
        }
        match self.allocation(address) {
            None if self.devices.iter().any(|device| device.memory().holds(address)) => Err(Code::INVALID_VALUE),
            None => Ok(false),
            Some((_, Allocation { kind: Kind::Device, .. })) => Err(Code::INVALID_VALUE),
            Some((device, _)) => {
                self.devices[device].memory().resolve(address, bytes).map_err(|_| Code::INVALID_VALUE)?;
                Ok(true)
            }
        }
    }
}

/// All bits set: NaN as a float of any width, -1 as an integer, and no address.
const POISON: u8 = 0xFF;
/// Bytes at either end of an allocation that get it. Each page that is written takes memory and time on the host, which a large
/// allocation may never need.
const POISONED: u64 = 32 << 20;

/// Fills new memory, where nothing has been written yet: "The memory is not cleared." (`cuMemAlloc`)
fn poison(memory: &Memory, address: u64, bytes: u64) {
    let behind = bytes.saturating_sub(POISONED).max(POISONED.min(bytes));
    for (start, end) in [(0, POISONED.min(bytes)), (behind, bytes)] {
        // The allocation is new and holds both ranges.
        let _ = memory.scribble(address + start, POISON, end - start);
    }
}

driver_api! { SYMBOLS;
    /// `cuMemGetInfo`: 1, 201.
    fn cuMemGetInfo_v2(driver, free: Out<usize>, total: Out<usize>) {
        let device = driver.current_device()?;
        let memory = driver.devices[device].memory();
        free.set_if_wanted((memory.capacity() - memory.used()) as usize);
        total.set_if_wanted(memory.capacity() as usize);
        Ok(())
    }

    /// `cuMemAlloc`: 1 ("If bytesize is 0, cuMemAlloc() returns CUDA_ERROR_INVALID_VALUE"), 2, 201; 900 while recording.
    fn cuMemAlloc_v2(driver, address: Out<u64>, bytes: usize) {
        address.check()?;
        driver.allowed_while_recording()?;
        address.set(driver.allocate(bytes, Kind::Device, None, 0)?)
    }

    /// `cuMemAllocPitch`: 1, 2, 201; 900 while recording. Rows begin at multiples of 512 bytes.
    fn cuMemAllocPitch_v2(driver, address: Out<u64>, pitch: Out<usize>, width: usize, height: usize, element: u32) {
        address.check()?;
        pitch.check()?;
        driver.allowed_while_recording()?;
        if ![4, 8, 16].contains(&element) {
            return Err(Code::INVALID_VALUE);
        }
        let row = width.checked_next_multiple_of(512).ok_or(Code::INVALID_VALUE)?;
        let bytes = row.checked_mul(height).ok_or(Code::OUT_OF_MEMORY)?;
        address.set(driver.allocate(bytes, Kind::Device, None, 0)?)?;
        pitch.set(row)
    }

    /// `cuMemAllocManaged`: 1, 201; 801, since device memory here can't be touched by the host.
    fn cuMemAllocManaged(driver, address: Out<u64>, bytes: usize, flags: u32) {
        address.check()?;
        driver.current()?;
        Err(Code::NOT_SUPPORTED)
    }

    /// `cuMemFree`: 1, 201; 900 while recording. "This API will not perform any implicit synchronization when the pointer was
    /// allocated with cuMemAllocAsync […] For all other pointers, this API may perform implicit synchronization": it does so.
    /// Freeing the null pointer is allowed and does nothing, which is not documented for this function, but for `cudaFree`.
    fn cuMemFree_v2(driver, address: u64) {
        driver.allowed_while_recording()?;
        driver.current()?;
        if address == 0 {
            return Ok(());
        }
        let owned = *driver.allocations.get(&address).ok_or(Code::INVALID_VALUE)?;
        if owned.kind != Kind::Device {
            return Err(Code::INVALID_VALUE);
        }
        if owned.pool.is_none() {
            let pending = driver.queue.of_device(owned.device);
            driver.run(pending)?;
            driver.unbroken(owned.device)?;
        }
        driver.free_now(address).map(drop)
    }

    /// `cuMemGetAddressRange`: 1, 201, 500.
    fn cuMemGetAddressRange_v2(driver, base: Out<u64>, bytes: Out<usize>, address: u64) {
        driver.current()?;
        let (_, allocation) = driver.allocation(address).ok_or(Code::NOT_FOUND)?;
        base.set_if_wanted(allocation.address);
        bytes.set_if_wanted(allocation.bytes as usize);
        Ok(())
    }

    /// `cuMemHostAlloc`: 1, 2, 201; 900 while recording.
    fn cuMemHostAlloc(driver, address: Out<u64>, bytes: usize, flags: u32) {
        address.check()?;
        driver.allowed_while_recording()?;
        if flags & !HOST_FLAGS != 0 {
            return Err(Code::INVALID_VALUE);
        }
        address.set(driver.allocate(bytes, Kind::Pinned, None, flags)?)
    }

    /// `cuMemAllocHost`: 1, 2, 201; 900 while recording.
    fn cuMemAllocHost_v2(driver, address: Out<u64>, bytes: usize) {
        address.check()?;
        driver.allowed_while_recording()?;
        address.set(driver.allocate(bytes, Kind::Pinned, None, 0)?)
    }

    /// `cuMemFreeHost`: 1, 201; 900 while recording. It waits for nothing, since that is not documented: work that is still to
    /// come and uses the memory fails.
    fn cuMemFreeHost(driver, address: Host) {
        driver.allowed_while_recording()?;
        driver.current()?;
        match driver.allocations.get(&address.0) {
            Some(Owned { kind: Kind::Pinned, .. }) => driver.free_now(address.0).map(drop),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    /// `cuMemHostGetDevicePointer`: 1, 201. With unified addressing it is the same address.
    fn cuMemHostGetDevicePointer_v2(driver, address: Out<u64>, host: Host, flags: u32) {
        address.check()?;
        driver.current()?;
        match driver.allocation(host.0) {
            Some((_, Allocation { kind: Kind::Pinned, .. })) if flags == 0 => address.set(host.0),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    /// `cuMemHostGetFlags`: 1, 201.
    fn cuMemHostGetFlags(driver, flags: Out<u32>, host: Host) {
        driver.current()?;
        let (_, allocation) = driver.allocation(host.0).ok_or(Code::INVALID_VALUE)?;
        match driver.allocations.get(&allocation.address) {
            // Mapped it is in any case ("Automatic Mapping of Host Allocated Host Memory").
            Some(Owned { kind: Kind::Pinned, flags: given, .. }) => flags.set(given | 2),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    /// `cuMemHostRegister`: 1, 201, 801. Memory that the program allocated itself can't be given an address of the device's here.
    fn cuMemHostRegister_v2(driver, host: Host, bytes: usize, flags: u32) {
        driver.current()?;
        if host.0 == 0 || bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        Err(Code::NOT_SUPPORTED)
    }

    /// `cuMemHostUnregister`: 1, 201, 713.
    fn cuMemHostUnregister(driver, host: Host) {
        driver.current()?;
        Err(if host.0 == 0 { Code::INVALID_VALUE } else { Code::HOST_MEMORY_NOT_REGISTERED })
    }

    /// `cuMemAllocAsync`: 1, 2, 201, 400; 801 while the stream records. The address is there at once, as documented.
    fn cuMemAllocAsync(driver, address: Out<u64>, bytes: usize, stream: Handle<StreamKind>) {
        let pool = driver.devices[driver.current_device()?].pool;
        allocate_in_order(driver, address, bytes, pool, stream)
    }

    /// `cuMemAllocFromPoolAsync`: likewise, from a pool.
    fn cuMemAllocFromPoolAsync(driver, address: Out<u64>, bytes: usize, pool: Handle<PoolKind>, stream: Handle<StreamKind>) {
        allocate_in_order(driver, address, bytes, pool, stream)
    }

    /// `cuMemFreeAsync`: 1, 201, 400. It is freed in the stream's order; what uses it later fails.
    fn cuMemFreeAsync(driver, address: u64, stream: Handle<StreamKind>) {
        driver.current()?;
        let stream = driver.stream(stream)?;
        match driver.allocations.get(&address) {
            Some(Owned { kind: Kind::Device, .. }) => {}
            _ => return Err(Code::INVALID_VALUE),
        }
        driver.refuse_in_recording(stream)?;
        driver.submit(stream, Work::Free(address))
    }

    /// `cuPointerGetAttribute`: 1 (also for an address that the driver does not know), 201.
    fn cuPointerGetAttribute(driver, value: Out<u8>, which: u32, address: u64) {
        driver.current()?;
        pointer_attribute(driver, value.check()?, which, address)
    }

    /// `cuPointerGetAttributes`: 1, 201. Attributes of an address that the driver does not know are 0.
    fn cuPointerGetAttributes(driver, count: u32, which: In<u32>, values: In<Out<u8>>, address: u64) {
        driver.current()?;
        let known = driver.allocation(address).is_some();
        for index in 0..count as usize {
            let (value, which) = (values.at(index)?.check()?, which.at(index)?);
            match known {
                true => pointer_attribute(driver, value, which, address)?,
                false => value.set_all(std::iter::repeat_n(0, width(which).ok_or(Code::INVALID_VALUE)?))?,
            }
        }
        Ok(())
    }
}

fn allocate_in_order(
    driver: &mut Driver,
    address: Out<u64>,
    bytes: usize,
    pool: Handle<PoolKind>,
    stream: Handle<StreamKind>,
) -> Result {
    address.check()?;
    driver.current()?;
    driver.pools.get(pool).map_err(|_| Code::INVALID_VALUE)?;
    let stream = driver.stream(stream)?;
    driver.refuse_in_recording(stream)?;
    address.set(driver.allocate(bytes, Kind::Device, Some(pool), 0)?)
}

/// Bytes of the answer to a question about a pointer (`CUpointer_attribute`); none for those that are not answered.
fn width(which: u32) -> Option<usize> {
    match which {
        1 | 3 | 4 | 7 | 11 | 12 | 17 => Some(8),
        2 | 6 | 8 | 9 | 10 | 13 => Some(4),
        _ => None,
    }
}

fn pointer_attribute(driver: &Driver, value: Out<u8>, which: u32, address: u64) -> Result {
    let (device, allocation) = driver.allocation(address).ok_or(Code::INVALID_VALUE)?;
    let owned = driver.allocations.get(&allocation.address);
    let on_device = allocation.kind == Kind::Device;
    let answer = match which {
        1 => owned.ok_or(Code::INVALID_VALUE)?.context.0,
        // CU_MEMORYTYPE_HOST is 1 and CU_MEMORYTYPE_DEVICE 2.
        2 => 1 + u64::from(on_device),
        3 => address,
        4 if on_device => return Err(Code::INVALID_VALUE),
        4 => address,
        6 | 8 | 10 => 0,
        7 => owned.map_or(0, |owned| owned.number),
        9 => device as u64,
        11 => allocation.address,
        12 => allocation.bytes,
        13 => 1,
        17 => owned.and_then(|owned| owned.pool).map_or(0, |pool| pool.0),
        _ => return Err(Code::INVALID_VALUE),
    };
    let width = width(which).ok_or(Code::INVALID_VALUE)?;
    value.set_all(answer.to_le_bytes().into_iter().take(width))
}
