//! Events: CUDA Driver API, "Event Management". Their times are the host's, how long the machine took, or with `CUDA_STANDIN_TIME=counted` the
//! least time that the counted work of the kernels takes; never a time that a GPU took.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Instant;

use crate::abi::{Out, driver_api};
use crate::capture::CaptureId;
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::handle::{ContextKind, EventKind, Handle, StreamKind};
use crate::queue::Work;
use crate::settings::Clock;
use crate::state::Driver;

/// `CU_EVENT_DISABLE_TIMING`, and with `CU_EVENT_BLOCKING_SYNC` and `CU_EVENT_INTERPROCESS` all flags.
const DISABLE_TIMING: u32 = 2;
const FLAGS: u32 = 7;
const INTERPROCESS: u32 = 4;

/// An event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) context: Handle<ContextKind>,
    device: usize,
    flags: u32,
    state: State,
    asked: Option<u64>,
}

/// The work that an event was last recorded for.
#[derive(Debug, Clone)]
enum State {
    /// "Before the first call to cuEventRecord(), an event represents an empty set of work".
    Empty,
    /// Work of this number, and when it was done: seconds of the clock that is read.
    Recorded(u64, Option<f64>),
    /// In a recording, after these nodes.
    Captured(CaptureId, BTreeSet<usize>),
}

/// Notes the time at which a record was reached, unless the event was recorded anew since.
pub(crate) fn reached(driver: &mut Driver, event: Handle<EventKind>, number: u64) {
    let device = driver.events.get(event).map_or(0, |event| event.device);
    let now = match driver.settings.clock {
        Clock::Host => host_seconds(),
        Clock::Counted => driver.devices[device].counted,
    };
    if let Ok(event) = driver.events.get_mut(event)
        && let State::Recorded(recorded, time) = &mut event.state
        && *recorded == number
    {
        *time = Some(now);
    }
}

/// Seconds since the first event was reached.
fn host_seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Makes a stream wait for an event.
pub(crate) fn wait(driver: &mut Driver, stream: Handle<StreamKind>, event: Handle<EventKind>, flags: u32) -> Result {
    // CU_EVENT_WAIT_EXTERNAL (1) "is invalid outside of stream capture", and is not supported inside.
    if flags != 0 {
        return Err(Code::INVALID_VALUE);
    }
    let state = driver.events.get(event)?.state.clone();
    let recording = driver.recording(stream)?;
    match (state, recording) {
        (State::Empty, None) => Ok(()),
        (State::Recorded(number, _), None) => {
            driver.refuse_implicit(stream)?;
            let place = driver.place(stream)?;
            driver.push(place, &[number], Work::Wait);
            Ok(())
        }
        // "It is invalid to wait on a non-captured event from a stream which is being captured".
        (State::Empty | State::Recorded(..), Some(_)) => driver.refuse(stream, Code::STREAM_CAPTURE_ISOLATION),
        (State::Captured(id, nodes), None) => driver.join(stream, id, &nodes),
        (State::Captured(id, nodes), Some(own)) if id == own => driver.join(stream, id, &nodes),
        // "It is invalid to merge two separate capture graphs by waiting on a captured event from a stream which is being
        // captured and is associated with a different capture graph than the event."
        (State::Captured(id, _), Some(_)) => {
            driver.invalidate(id);
            driver.refuse(stream, Code::STREAM_CAPTURE_MERGE)
        }
    }
}

fn record(driver: &mut Driver, event: Handle<EventKind>, stream: Handle<StreamKind>, flags: u32) -> Result {
    // CU_EVENT_RECORD_EXTERNAL (1) likewise.
    if flags != 0 {
        return Err(Code::INVALID_VALUE);
    }
    let stream = driver.stream(stream)?;
    // "hEvent and hStream must be from the same context otherwise CUDA_ERROR_INVALID_HANDLE is returned."
    if driver.events.get(event)?.context != driver.streams.get(stream)?.context {
        return Err(Code::INVALID_HANDLE);
    }
    if let Some(id) = driver.recording(stream)? {
        let nodes = driver.end_of(id, stream);
        driver.events.get_mut(event)?.state = State::Captured(id, nodes);
        return Ok(());
    }
    driver.refuse_implicit(stream)?;
    let place = driver.place(stream)?;
    let next = driver.queue.next();
    driver.events.get_mut(event)?.state = State::Recorded(next, None);
    driver.push(place, &[], Work::Record(event));
    Ok(())
}

/// The work that an event was recorded for, if it is not done. 907 for one that was recorded while its stream recorded: the
/// recording becomes invalid ("It is invalid to synchronize or query the execution status of […] a captured event").
fn pending(driver: &mut Driver, event: Handle<EventKind>) -> Result<Option<u64>> {
    match driver.events.get(event)?.state {
        State::Captured(id, _) => {
            driver.invalidate(id);
            Err(Code::CAPTURED_EVENT)
        }
        State::Recorded(number, _) if !driver.queue.is_done(number) => Ok(Some(number)),
        _ => Ok(None),
    }
}

driver_api! { SYMBOLS;
    /// `cuEventCreate`: 1, 201.
    fn cuEventCreate(driver, event: Out<Handle<EventKind>>, flags: u32) {
        event.check()?;
        let context = driver.current()?;
        // "Interprocess events must be created with CU_EVENT_DISABLE_TIMING."
        if flags & !FLAGS != 0 || flags & INTERPROCESS != 0 && flags & DISABLE_TIMING == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let device = driver.contexts.get(context)?.device;
        event.set(driver.events.insert(Event { context, device, flags, state: State::Empty, asked: None }))
    }

    /// `cuEventDestroy`: 400. "An event may be destroyed before it is complete".
    fn cuEventDestroy_v2(driver, event: Handle<EventKind>) {
        let device = driver.events.remove(event)?.device;
        driver.unbroken(device)
    }

    /// `cuEventRecord`: 1, 400.
    fn cuEventRecord(driver, event: Handle<EventKind>, stream: Handle<StreamKind>) {
        record(driver, event, stream, 0)
    }

    /// `cuEventRecordWithFlags`: 1, 400.
    fn cuEventRecordWithFlags(driver, event: Handle<EventKind>, stream: Handle<StreamKind>, flags: u32) {
        record(driver, event, stream, flags)
    }

    /// `cuEventQuery`: 400, 600, 900 while recording, 907. As with `cuStreamQuery`, the first query finds work undone and the next does it.
    fn cuEventQuery(driver, event: Handle<EventKind>) {
        let device = driver.events.get(event)?.device;
        driver.unbroken(device)?;
        let pending = pending(driver, event)?;
        driver.allowed_while_recording()?;
        if let Some(number) = pending {
            if driver.events.get_mut(event)?.asked.replace(number) != Some(number) {
                return Err(Code::NOT_READY);
            }
            driver.run([number]).map_err(|_| Code::NOT_READY)?;
        }
        driver.unbroken(device)
    }

    /// `cuEventSynchronize`: 400, 900 while recording, 907, and what went wrong since.
    fn cuEventSynchronize(driver, event: Handle<EventKind>) {
        let device = driver.events.get(event)?.device;
        driver.unbroken(device)?;
        let pending = pending(driver, event)?;
        driver.allowed_while_recording()?;
        driver.pass(Point::Sync, device)?;
        driver.run(pending)?;
        driver.unbroken(device)
    }

    /// `cuEventElapsedTime`: 1; 400 where one was not recorded, keeps no time or is another device's; 600 where one is not done.
    fn cuEventElapsedTime(driver, milliseconds: Out<f32>, start: Handle<EventKind>, end: Handle<EventKind>) {
        elapsed(driver, milliseconds, start, end)
    }

    /// `cuEventElapsedTime` (version 2): likewise.
    fn cuEventElapsedTime_v2(driver, milliseconds: Out<f32>, start: Handle<EventKind>, end: Handle<EventKind>) {
        elapsed(driver, milliseconds, start, end)
    }
}

fn elapsed(driver: &mut Driver, milliseconds: Out<f32>, start: Handle<EventKind>, end: Handle<EventKind>) -> Result {
    milliseconds.check()?;
    let (first, last) = (driver.events.get(start)?, driver.events.get(end)?);
    if first.flags & DISABLE_TIMING != 0 || last.flags & DISABLE_TIMING != 0 || first.device != last.device {
        return Err(Code::INVALID_HANDLE);
    }
    driver.unbroken(first.device)?;
    let time = |event: &Event| match &event.state {
        State::Recorded(_, time) => time.ok_or(Code::NOT_READY),
        State::Empty => Err(Code::INVALID_HANDLE),
        State::Captured(..) => Err(Code::CAPTURED_EVENT),
    };
    let (from, to) = (time(first)?, time(last)?);
    milliseconds.set(((to - from) * 1e3) as f32)
}
