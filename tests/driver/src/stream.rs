//! Streams: CUDA Driver API, "Stream Management", and "Stream synchronization behavior" for the default streams.

use crate::abi::{Host, HostFunction, Out, driver_api};
use crate::capture::CaptureId;
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::handle::{ContextKind, EventKind, GraphKind, Handle, NodeKind, StreamKind};
use crate::queue::{Callback, Ordered, Place, Work};
use crate::state::{Driver, thread};

/// The first of priorities; 0 is the last.
pub(crate) const GREATEST_PRIORITY: i32 = -5;
/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`, which are handles by themselves.
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;
/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) context: Handle<ContextKind>,
    pub(crate) device: usize,
    pub(crate) ordered: Ordered,
    flags: u32,
    priority: i32,
    /// The recording that its work goes into.
    pub(crate) capture: Option<CaptureId>,
    /// The last work that a query has found undone.
    asked: Option<u64>,
}

impl Stream {
    pub(crate) fn new(
        context: Handle<ContextKind>,
        device: usize,
        ordered: Ordered,
        flags: u32,
        priority: i32,
    ) -> Stream {
        Stream { context, device, ordered, flags, priority, capture: None, asked: None }
    }
}

impl Driver {
    /// The stream that a handle means on the calling thread: 0 and 1 the legacy default stream of the current context, 2 its
    /// per-thread one. 400 for what is no stream.
    pub(crate) fn stream(&mut self, handle: Handle<StreamKind>) -> Result<Handle<StreamKind>> {
        match handle.0 {
            0 | LEGACY => Ok(self.contexts.get(self.current()?)?.legacy),
            PER_THREAD => self.per_thread_stream(),
            _ => {
                let device = self.streams.get(handle)?.device;
                self.unbroken(device)?;
                Ok(handle)
            }
        }
    }

    fn per_thread_stream(&mut self) -> Result<Handle<StreamKind>> {
        let context = self.current()?;
        let number = thread(|thread| thread.number)?;
        let known = self.contexts.get(context)?;
        if let Some((_, stream)) = known.per_thread.iter().find(|(of, _)| *of == number) {
            return Ok(*stream);
        }
        let stream = self.streams.insert(Stream::new(context, known.device, Ordered::Blocking, 0, 0));
        self.contexts.get_mut(context)?.per_thread.push((number, stream));
        Ok(stream)
    }

    pub(crate) fn place(&self, stream: Handle<StreamKind>) -> Result<Place> {
        let Stream { context, device, ordered, .. } = *self.streams.get(stream)?;
        Ok(Place { stream, context, device, ordered })
    }

    /// Puts work into a stream: into its recording where it records, into the queue else.
    pub(crate) fn submit(&mut self, stream: Handle<StreamKind>, work: Work) -> Result {
        if self.recording(stream)?.is_some() {
            return self.record(stream, work);
        }
        self.refuse_implicit(stream)?;
        let place = self.place(stream)?;
        self.push(place, &[], work);
        Ok(())
    }

    /// Waits for all work of a stream, as a call does whose purpose that is.
    pub(crate) fn wait_for(&mut self, stream: Handle<StreamKind>) -> Result {
        self.pass(Point::Sync, self.streams.get(stream)?.device)?;
        self.finish(stream)
    }

    /// Does all work of a stream.
    pub(crate) fn finish(&mut self, stream: Handle<StreamKind>) -> Result {
        let place = self.place(stream)?;
        let pending = self.queue.of_stream(place);
        self.run(pending)?;
        self.unbroken(place.device)
    }

    fn new_stream(&mut self, out: Out<Handle<StreamKind>>, flags: u32, priority: i32) -> Result {
        out.check()?;
        let context = self.current()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let device = self.contexts.get(context)?.device;
        let ordered = if flags & NON_BLOCKING != 0 { Ordered::Free } else { Ordered::Blocking };
        // "If the specified priority is outside the numerical range […], it will automatically be clamped".
        let priority = priority.clamp(GREATEST_PRIORITY, 0);
        out.set(self.streams.insert(Stream::new(context, device, ordered, flags, priority)))
    }
}

driver_api! { SYMBOLS;
    /// `cuStreamCreate`: 1, 201.
    fn cuStreamCreate(driver, stream: Out<Handle<StreamKind>>, flags: u32) {
        driver.new_stream(stream, flags, 0)
    }

    /// `cuStreamCreateWithPriority`: 1, 201.
    fn cuStreamCreateWithPriority(driver, stream: Out<Handle<StreamKind>>, flags: u32, priority: i32) {
        driver.new_stream(stream, flags, priority)
    }

    /// `cuStreamDestroy`: 400; 900 while it records. "In case the device is still doing work in the stream […] the function will
    /// return immediately": the work stays in the queue.
    fn cuStreamDestroy_v2(driver, stream: Handle<StreamKind>) {
        driver.streams.get(stream)?;
        if driver.recording(stream)?.is_some() {
            return driver.refuse(stream, Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        let device = driver.streams.remove(stream)?.device;
        driver.unbroken(device)
    }

    /// `cuStreamSynchronize`: 201, 400, 900 while it records, and what went wrong since.
    fn cuStreamSynchronize(driver, stream: Handle<StreamKind>) {
        let stream = driver.stream(stream)?;
        if driver.recording(stream)?.is_some() {
            return driver.refuse(stream, Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        driver.allowed_while_recording()?;
        driver.refuse_implicit(stream)?;
        driver.wait_for(stream)
    }

    /// `cuStreamQuery`: 400, 600 while work is not done, 900 while it records. The first query finds work undone, the next one
    /// does it, so that a program that polls comes to an end.
    fn cuStreamQuery(driver, stream: Handle<StreamKind>) {
        let stream = driver.stream(stream)?;
        if driver.recording(stream)?.is_some() {
            return driver.refuse(stream, Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        driver.allowed_while_recording()?;
        driver.refuse_implicit(stream)?;
        let place = driver.place(stream)?;
        let pending = driver.queue.of_stream(place);
        let asked = &mut driver.streams.get_mut(stream)?.asked;
        if pending.last().is_some_and(|last| asked.replace(*last) != Some(*last)) {
            return Err(Code::NOT_READY);
        }
        driver.run(pending).map_err(|_| Code::NOT_READY)?;
        driver.unbroken(place.device)
    }

    /// `cuStreamWaitEvent`: 1, 400; 902, 905 and 907 between recordings.
    fn cuStreamWaitEvent(driver, stream: Handle<StreamKind>, event: Handle<EventKind>, flags: u32) {
        let stream = driver.stream(stream)?;
        crate::event::wait(driver, stream, event, flags)
    }

    /// `cuStreamGetFlags`: 1, 400.
    fn cuStreamGetFlags(driver, stream: Handle<StreamKind>, flags: Out<u32>) {
        let stream = driver.stream(stream)?;
        flags.set(driver.streams.get(stream)?.flags)
    }

    /// `cuStreamGetPriority`: 1, 400.
    fn cuStreamGetPriority(driver, stream: Handle<StreamKind>, priority: Out<i32>) {
        let stream = driver.stream(stream)?;
        priority.set(driver.streams.get(stream)?.priority)
    }

    /// `cuStreamGetId`: 1, 400.
    fn cuStreamGetId(driver, stream: Handle<StreamKind>, id: Out<u64>) {
        id.set(driver.stream(stream)?.0)
    }

    /// `cuStreamGetCtx`: 1, 400.
    fn cuStreamGetCtx(driver, stream: Handle<StreamKind>, context: Out<Handle<ContextKind>>) {
        let stream = driver.stream(stream)?;
        context.set(driver.streams.get(stream)?.context)
    }

    /// `cuStreamGetDevice`: 1, 400.
    fn cuStreamGetDevice(driver, stream: Handle<StreamKind>, device: Out<i32>) {
        let stream = driver.stream(stream)?;
        device.set(driver.streams.get(stream)?.device as i32)
    }

    /// `cuStreamAttachMemAsync`: 400; 801, since there is no managed memory.
    fn cuStreamAttachMemAsync(driver, stream: Handle<StreamKind>, address: u64, bytes: usize, flags: u32) {
        driver.stream(stream)?;
        Err(Code::NOT_SUPPORTED)
    }

    /// `cuLaunchHostFunc`: 1, 201, 400.
    fn cuLaunchHostFunc(driver, stream: Handle<StreamKind>, function: HostFunction, data: Host) {
        driver.current()?;
        let stream = driver.stream(stream)?;
        let function = function.ok_or(Code::INVALID_VALUE)?;
        driver.submit(stream, Work::Host(Callback { function, data: data.0 }))
    }

    /// `cuStreamBeginCapture`: 1, 400; 900 for the legacy default stream ("Capture may not be initiated if stream is
    /// CU_STREAM_LEGACY"); 401 where it records already.
    fn cuStreamBeginCapture_v2(driver, stream: Handle<StreamKind>, mode: u32) {
        let stream = driver.stream(stream)?;
        driver.begin_capture(stream, mode)
    }

    /// `cuStreamEndCapture`: 1, 400; 401 where it does not record; 901, 903, 904, 908.
    fn cuStreamEndCapture(driver, stream: Handle<StreamKind>, graph: Out<Handle<GraphKind>>) {
        graph.set(Handle::NULL)?;
        let stream = driver.stream(stream)?;
        let recorded = driver.end_capture(stream)?;
        graph.set(recorded)
    }

    /// `cuStreamIsCapturing`: 1, 400; 906 for the legacy default stream while a blocking stream of its context records.
    fn cuStreamIsCapturing(driver, stream: Handle<StreamKind>, status: Out<u32>) {
        let stream = driver.stream(stream)?;
        driver.implicit(stream)?;
        status.set(driver.capture_status(stream)?)
    }

    /// `cuStreamGetCaptureInfo` (version 2): likewise. The graph and the nodes it would depend on are not given out.
    fn cuStreamGetCaptureInfo_v2(
        driver, stream: Handle<StreamKind>, status: Out<u32>, id: Out<u64>, graph: Out<Handle<GraphKind>>,
        dependencies: Out<*const Handle<NodeKind>>, count: Out<usize>,
    ) {
        let optional = [graph.is_null(), dependencies.is_null(), count.is_null()];
        capture_info(driver, stream, status, id, optional)
    }

    /// `cuStreamGetCaptureInfo` (version 3): likewise.
    fn cuStreamGetCaptureInfo_v3(
        driver, stream: Handle<StreamKind>, status: Out<u32>, id: Out<u64>, graph: Out<Handle<GraphKind>>,
        dependencies: Out<*const Handle<NodeKind>>, edges: Out<*const u64>, count: Out<usize>,
    ) {
        let optional = [graph.is_null(), dependencies.is_null(), count.is_null()];
        capture_info(driver, stream, status, id, optional)
    }
}

fn capture_info(
    driver: &mut Driver,
    stream: Handle<StreamKind>,
    status: Out<u32>,
    id: Out<u64>,
    without: [bool; 3],
) -> Result {
    let stream = driver.stream(stream)?;
    driver.implicit(stream)?;
    let found = driver.capture_status(stream)?;
    status.set(found)?;
    if let Some(capture) = driver.streams.get(stream)?.capture {
        id.set_if_wanted(capture.0);
        if without != [true; 3] {
            return Err(Code::NOT_SUPPORTED);
        }
    }
    Ok(())
}
