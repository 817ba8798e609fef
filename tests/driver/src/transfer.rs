//! The calls that copy and fill: CUDA Driver API, "Memory Management", with "API synchronization behavior" for what they wait
//! for.

use std::sync::Arc;

use ptx_machine::memory::Kind;

use crate::abi::{Host, In, driver_api, host_bytes};
use crate::code::{Code, Result};
use crate::copy::{Copy, Fill, Place, span};
use crate::handle::{ContextKind, Handle, StreamKind};
use crate::queue::Work;
use crate::settings::When;
use crate::state::Driver;

/// An end of a copy as the program names it.
#[derive(Debug, Clone, std::marker::Copy)]
enum End {
    Device(u64),
    Host(u64),
    /// Either, as the address says (unified addressing).
    Any(u64),
}

/// The places of a copy's rows.
#[derive(Debug, Clone, std::marker::Copy)]
struct Rows {
    width: usize,
    rows: usize,
    from_pitch: usize,
    to_pitch: usize,
}

impl Rows {
    fn one(width: usize) -> Rows {
        Rows { width, rows: 1, from_pitch: width, to_pitch: width }
    }
}

/// An end after its check.
#[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq)]
enum Checked {
    Device(usize, u64),
    Pinned(u64),
    Pageable(u64),
}

impl Checked {
    fn place(self) -> Place {
        match self {
            Checked::Device(device, address) => Place::Device(device, address),
            Checked::Pinned(address) | Checked::Pageable(address) => Place::Host(address),
        }
    }
    fn is_device(self) -> bool {
        matches!(self, Checked::Device(..))
    }
}

fn check(driver: &Driver, end: End, bytes: usize) -> Result<Checked> {
    let bytes = bytes as u64;
    let host = |address| match driver.host_range(address, bytes)? {
        true => Ok(Checked::Pinned(address)),
        false => Ok(Checked::Pageable(address)),
    };
    match end {
        End::Host(address) => host(address),
        End::Device(address) => Ok(Checked::Device(driver.device_range(address, bytes)?, address)),
        End::Any(address) => match driver.allocation(address) {
            Some((device, allocation)) if allocation.kind == Kind::Device => {
                driver.device_range(address, bytes)?;
                Ok(Checked::Device(device, address))
            }
            _ => host(address),
        },
    }
}

/// Copies in a stream's order. Memory that is not page-locked is read at once: "If pageable memory must first be staged to
/// pinned memory, the driver may synchronize with the stream and stage the copy into pinned memory". What is written to the
/// host is there once the stream was waited for, page-locked or not: for pageable memory "the function might be synchronous
/// with respect to host", which no program may build on; many do, and [`When::Staged`] is for them. While the stream records, all
/// memory is read when the graph runs.
fn copy_async(driver: &mut Driver, from: End, to: End, rows: Rows, stream: Handle<StreamKind>) -> Result {
    driver.current()?;
    let stream = driver.stream(stream)?;
    if rows.width == 0 || rows.rows == 0 {
        return Ok(());
    }
    let (from, to) = checked(driver, from, to, rows)?;
    let recording = driver.recording(stream)?.is_some();
    // "For transfers from any host memory to any host memory, the function is fully synchronous with respect to the host."
    let between_hosts = !from.is_device() && !to.is_device();
    let staged_back = matches!(to, Checked::Pageable(_)) && driver.settings.when == When::Staged;
    let place = match from {
        Checked::Pageable(address) if to.is_device() && !recording => staged(address, rows)?,
        from => from.place(),
    };
    let waits = (between_hosts || staged_back) && !recording;
    if waits {
        // What may have to wait for others comes first: the call is made again then, and must have asked for nothing.
        driver.finish(stream)?;
    }
    driver.submit(stream, work(place, to, rows))?;
    if waits { driver.finish(stream) } else { Ok(()) }
}

/// Copies through the default stream, and waits as "API synchronization behavior" says for `Memcpy`: from pageable memory the
/// stream is waited for, the bytes are taken, and they may arrive later; between device memory nothing is waited for; all else
/// is done when the call returns.
fn copy_now(driver: &mut Driver, from: End, to: End, rows: Rows) -> Result {
    driver.allowed_while_recording()?;
    driver.current()?;
    let stream = driver.stream(Handle::NULL)?;
    if rows.width == 0 || rows.rows == 0 {
        return Ok(());
    }
    let (from, to) = checked(driver, from, to, rows)?;
    driver.refuse_implicit(stream)?;
    match (from, to) {
        (Checked::Pageable(address), Checked::Device(..)) => {
            driver.finish(stream)?;
            driver.submit(stream, work(staged(address, rows)?, to, rows))
        }
        (Checked::Device(..), Checked::Device(..)) => driver.submit(stream, work(from.place(), to, rows)),
        _ => {
            driver.finish(stream)?;
            driver.submit(stream, work(from.place(), to, rows))?;
            driver.wait_for(stream)
        }
    }
}

fn checked(driver: &Driver, from: End, to: End, rows: Rows) -> Result<(Checked, Checked)> {
    let from = check(driver, from, span(rows.width, rows.rows, rows.from_pitch)?)?;
    let to = check(driver, to, span(rows.width, rows.rows, rows.to_pitch)?)?;
    Ok((from, to))
}

fn work(from: Place, to: Checked, Rows { width, rows, from_pitch, to_pitch }: Rows) -> Work {
    Work::Copy(Copy { from, to: to.place(), width, rows, from_pitch, to_pitch })
}

fn staged(address: u64, rows: Rows) -> Result<Place> {
    let bytes = span(rows.width, rows.rows, rows.from_pitch)?;
    // SAFETY: the program gave the address with a copy of so many bytes, which are read before the call returns.
    Ok(Place::Staged(Arc::new(unsafe { host_bytes(address, bytes) }.to_vec())))
}

/// Fills in a stream's order, or through the default stream: "The cudaMemset functions are asynchronous with respect to the
/// host except when the target memory is pinned host memory. The Async versions are always asynchronous."
fn fill(driver: &mut Driver, fill: Fill, stream: Option<Handle<StreamKind>>) -> Result {
    if stream.is_none() {
        driver.allowed_while_recording()?;
    }
    driver.current()?;
    let handle = driver.stream(stream.unwrap_or(Handle::NULL))?;
    let whole_pitch = fill.rows == 1 || fill.pitch.is_multiple_of(fill.element);
    if !fill.address.is_multiple_of(fill.element as u64) || !whole_pitch {
        return Err(Code::INVALID_VALUE);
    }
    if fill.width == 0 || fill.rows == 0 {
        return Ok(());
    }
    let width = fill.width.checked_mul(fill.element).ok_or(Code::INVALID_VALUE)?;
    let target = check(driver, End::Any(fill.address), span(width, fill.rows, fill.pitch)?)?;
    if matches!(target, Checked::Pageable(_)) || fill.rows > 1 && fill.pitch < width {
        return Err(Code::INVALID_VALUE);
    }
    let waits = stream.is_none() && matches!(target, Checked::Pinned(_));
    if waits {
        driver.finish(handle)?;
    }
    driver.submit(handle, Work::Fill(fill))?;
    if waits { driver.wait_for(handle) } else { Ok(()) }
}

fn filling(address: u64, pitch: usize, value: u32, element: usize, width: usize, rows: usize) -> Fill {
    Fill { address, value, element, width, rows, pitch }
}

/// `CUDA_MEMCPY2D`.
#[derive(Debug, Clone, std::marker::Copy)]
#[repr(C)]
pub(crate) struct Copy2d {
    from_x: usize,
    from_y: usize,
    from_kind: u32,
    from_host: u64,
    from_device: u64,
    from_array: u64,
    from_pitch: usize,
    to_x: usize,
    to_y: usize,
    to_kind: u32,
    to_host: u64,
    to_device: u64,
    to_array: u64,
    to_pitch: usize,
    width: usize,
    height: usize,
}

impl Copy2d {
    /// The ends and rows; arrays (memory type 3) are not supported.
    fn ends(&self) -> Result<(End, End, Rows)> {
        let end = |kind: u32, host: u64, device: u64, x: usize, y: usize, pitch: usize| {
            let offset = y.checked_mul(pitch).and_then(|rows| rows.checked_add(x)).ok_or(Code::INVALID_VALUE)? as u64;
            match kind {
                1 => Ok(End::Host(host + offset)),
                2 => Ok(End::Device(device + offset)),
                4 => Ok(End::Any(device + offset)),
                3 => Err(Code::NOT_SUPPORTED),
                _ => Err(Code::INVALID_VALUE),
            }
        };
        let pitch = |pitch: usize| if pitch == 0 { self.width } else { pitch };
        let (from_pitch, to_pitch) = (pitch(self.from_pitch), pitch(self.to_pitch));
        if self.width > from_pitch || self.width > to_pitch {
            return Err(Code::INVALID_VALUE);
        }
        let from = end(self.from_kind, self.from_host, self.from_device, self.from_x, self.from_y, from_pitch)?;
        let to = end(self.to_kind, self.to_host, self.to_device, self.to_x, self.to_y, to_pitch)?;
        Ok((from, to, Rows { width: self.width, rows: self.height, from_pitch, to_pitch }))
    }
}

driver_api! { SYMBOLS;
    /// `cuMemcpyHtoD`: 1, 201; 900 or 906 while recording.
    fn cuMemcpyHtoD_v2(driver, to: u64, from: Host, bytes: usize) {
        copy_now(driver, End::Host(from.0), End::Device(to), Rows::one(bytes))
    }

    /// `cuMemcpyDtoH`: likewise.
    fn cuMemcpyDtoH_v2(driver, to: Host, from: u64, bytes: usize) {
        copy_now(driver, End::Device(from), End::Host(to.0), Rows::one(bytes))
    }

    /// `cuMemcpyDtoD`: likewise.
    fn cuMemcpyDtoD_v2(driver, to: u64, from: u64, bytes: usize) {
        copy_now(driver, End::Device(from), End::Device(to), Rows::one(bytes))
    }

    /// `cuMemcpy`: likewise.
    fn cuMemcpy(driver, to: u64, from: u64, bytes: usize) {
        copy_now(driver, End::Any(from), End::Any(to), Rows::one(bytes))
    }

    /// `cuMemcpyPeer`: likewise, and 201 for unknown contexts.
    fn cuMemcpyPeer(driver, to: u64, to_context: Handle<ContextKind>, from: u64, from_context: Handle<ContextKind>, bytes: usize) {
        driver.context_or_current(to_context)?;
        driver.context_or_current(from_context)?;
        copy_now(driver, End::Device(from), End::Device(to), Rows::one(bytes))
    }

    /// `cuMemcpy2D`: 1, 201; 801 for arrays.
    fn cuMemcpy2D_v2(driver, copy: In<Copy2d>) {
        let (from, to, rows) = copy.get()?.ends()?;
        copy_now(driver, from, to, rows)
    }

    /// `cuMemcpy2DUnaligned`: likewise.
    fn cuMemcpy2DUnaligned_v2(driver, copy: In<Copy2d>) {
        let (from, to, rows) = copy.get()?.ends()?;
        copy_now(driver, from, to, rows)
    }

    /// `cuMemcpyHtoDAsync`: 1, 201, 400.
    fn cuMemcpyHtoDAsync_v2(driver, to: u64, from: Host, bytes: usize, stream: Handle<StreamKind>) {
        copy_async(driver, End::Host(from.0), End::Device(to), Rows::one(bytes), stream)
    }

    /// `cuMemcpyDtoHAsync`: likewise.
    fn cuMemcpyDtoHAsync_v2(driver, to: Host, from: u64, bytes: usize, stream: Handle<StreamKind>) {
        copy_async(driver, End::Device(from), End::Host(to.0), Rows::one(bytes), stream)
    }

    /// `cuMemcpyDtoDAsync`: likewise.
    fn cuMemcpyDtoDAsync_v2(driver, to: u64, from: u64, bytes: usize, stream: Handle<StreamKind>) {
        copy_async(driver, End::Device(from), End::Device(to), Rows::one(bytes), stream)
    }

    /// `cuMemcpyAsync`: likewise.
    fn cuMemcpyAsync(driver, to: u64, from: u64, bytes: usize, stream: Handle<StreamKind>) {
        copy_async(driver, End::Any(from), End::Any(to), Rows::one(bytes), stream)
    }

    /// `cuMemcpyPeerAsync`: likewise, and 201 for unknown contexts.
    fn cuMemcpyPeerAsync(
        driver, to: u64, to_context: Handle<ContextKind>, from: u64, from_context: Handle<ContextKind>, bytes: usize,
        stream: Handle<StreamKind>,
    ) {
        driver.context_or_current(to_context)?;
        driver.context_or_current(from_context)?;
        copy_async(driver, End::Device(from), End::Device(to), Rows::one(bytes), stream)
    }

    /// `cuMemcpy2DAsync`: 1, 201, 400; 801 for arrays.
    fn cuMemcpy2DAsync_v2(driver, copy: In<Copy2d>, stream: Handle<StreamKind>) {
        let (from, to, rows) = copy.get()?.ends()?;
        copy_async(driver, from, to, rows, stream)
    }

    /// `cuMemsetD8`: 1, 201; 900 or 906 while recording.
    fn cuMemsetD8_v2(driver, to: u64, value: u8, count: usize) {
        fill(driver, filling(to, 0, value.into(), 1, count, 1), None)
    }

    /// `cuMemsetD16`: likewise; 1 where the address is not a multiple of 2.
    fn cuMemsetD16_v2(driver, to: u64, value: u16, count: usize) {
        fill(driver, filling(to, 0, value.into(), 2, count, 1), None)
    }

    /// `cuMemsetD32`: likewise; 1 where the address is not a multiple of 4.
    fn cuMemsetD32_v2(driver, to: u64, value: u32, count: usize) {
        fill(driver, filling(to, 0, value, 4, count, 1), None)
    }

    /// `cuMemsetD2D8`: likewise.
    fn cuMemsetD2D8_v2(driver, to: u64, pitch: usize, value: u8, width: usize, height: usize) {
        fill(driver, filling(to, pitch, value.into(), 1, width, height), None)
    }

    /// `cuMemsetD2D16`: likewise.
    fn cuMemsetD2D16_v2(driver, to: u64, pitch: usize, value: u16, width: usize, height: usize) {
        fill(driver, filling(to, pitch, value.into(), 2, width, height), None)
    }

    /// `cuMemsetD2D32`: likewise.
    fn cuMemsetD2D32_v2(driver, to: u64, pitch: usize, value: u32, width: usize, height: usize) {
        fill(driver, filling(to, pitch, value, 4, width, height), None)
    }

    /// `cuMemsetD8Async`: 1, 201, 400.
    fn cuMemsetD8Async(driver, to: u64, value: u8, count: usize, stream: Handle<StreamKind>) {
        fill(driver, filling(to, 0, value.into(), 1, count, 1), Some(stream))
    }

    /// `cuMemsetD16Async`: likewise.
    fn cuMemsetD16Async(driver, to: u64, value: u16, count: usize, stream: Handle<StreamKind>) {
        fill(driver, filling(to, 0, value.into(), 2, count, 1), Some(stream))
    }

    /// `cuMemsetD32Async`: likewise.
    fn cuMemsetD32Async(driver, to: u64, value: u32, count: usize, stream: Handle<StreamKind>) {
        fill(driver, filling(to, 0, value, 4, count, 1), Some(stream))
    }

    /// `cuMemsetD2D8Async`: likewise.
    fn cuMemsetD2D8Async(driver, to: u64, pitch: usize, value: u8, width: usize, height: usize, stream: Handle<StreamKind>) {
        fill(driver, filling(to, pitch, value.into(), 1, width, height), Some(stream))
    }

    /// `cuMemsetD2D16Async`: likewise.
    fn cuMemsetD2D16Async(driver, to: u64, pitch: usize, value: u16, width: usize, height: usize, stream: Handle<StreamKind>) {
        fill(driver, filling(to, pitch, value.into(), 2, width, height), Some(stream))
    }

    /// `cuMemsetD2D32Async`: likewise.
    fn cuMemsetD2D32Async(driver, to: u64, pitch: usize, value: u32, width: usize, height: usize, stream: Handle<StreamKind>) {
        fill(driver, filling(to, pitch, value, 4, width, height), Some(stream))
    }
}
