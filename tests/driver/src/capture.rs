//! Recording streams: what may be done meanwhile, and what a recording becomes. CUDA C++ Programming Guide, "Creating a Graph
//! Using Stream Capture" with "Prohibited and Unhandled Operations" and "Invalidation"; `cuThreadExchangeStreamCaptureMode`.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Code, Result};
use crate::graph::{Graph, Node};
use crate::handle::{ContextKind, GraphKind, Handle, StreamKind};
use crate::queue::{Ordered, Work};
use crate::state::{Driver, thread};
use crate::stream::Stream;

/// The effect of other calls on a recording (`CUstreamCaptureMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Global = 0,
    ThreadLocal = 1,
    Relaxed = 2,
}

impl Mode {
    pub(crate) fn new(number: u32) -> Result<Mode> {
        match number {
            0 => Ok(Mode::Global),
            1 => Ok(Mode::ThreadLocal),
            2 => Ok(Mode::Relaxed),
            _ => Err(Code::INVALID_VALUE),
        }
    }
}

/// A recording's number, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CaptureId(pub(crate) u64);

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Capture {
    origin: Handle<StreamKind>,
    context: Handle<ContextKind>,
    mode: Mode,
    thread: u64,
    valid: bool,
    nodes: Vec<Node>,
    /// For each stream that takes part, the nodes that its next one waits for.
    ends: BTreeMap<Handle<StreamKind>, BTreeSet<usize>>,
}

/// All recordings under way.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    known: BTreeMap<CaptureId, Capture>,
    last: u64,
}

impl Captures {
    pub(crate) fn forget(&mut self, context: Handle<ContextKind>) {
        self.known.retain(|_, capture| capture.context != context);
    }
}

impl Driver {
    /// The recording that a stream takes part in; 901 where it is invalid: "further use of any streams which are being captured
    /// […] is invalid and will return an error, until stream capture is ended".
    pub(crate) fn recording(&self, stream: Handle<StreamKind>) -> Result<Option<CaptureId>> {
        let Some(id) = self.streams.get(stream)?.capture else { return Ok(None) };
        match self.captures.known.get(&id) {
            Some(capture) if capture.valid => Ok(Some(id)),
            _ => Err(Code::STREAM_CAPTURE_INVALIDATED),
        }
    }

    /// Adds work to a stream's recording.
    pub(crate) fn record(&mut self, stream: Handle<StreamKind>, work: Work) -> Result {
        let id = self.recording(stream)?.ok_or(Code::ILLEGAL_STATE)?;
        let capture = self.captures.known.get_mut(&id).ok_or(Code::ILLEGAL_STATE)?;
        let end = capture.ends.entry(stream).or_default();
        let node = capture.nodes.len();
        let after = std::mem::replace(end, BTreeSet::from([node]));
        capture.nodes.push(Node::new(work, after.into_iter().collect()));
        Ok(())
    }

    /// The nodes that a stream's next one would wait for: what an event that is recorded there holds.
    pub(crate) fn end_of(&self, id: CaptureId, stream: Handle<StreamKind>) -> BTreeSet<usize> {
        let capture = self.captures.known.get(&id);
        capture.and_then(|capture| capture.ends.get(&stream)).cloned().unwrap_or_default()
    }

    /// Lets a stream wait for nodes of a recording, which it takes part in from now on.
    pub(crate) fn join(&mut self, stream: Handle<StreamKind>, id: CaptureId, nodes: &BTreeSet<usize>) -> Result {
        let capture = self.captures.known.get_mut(&id).filter(|capture| capture.valid);
        // An event of a recording that is over orders what was never carried out (905).
        let capture = capture.ok_or(Code::STREAM_CAPTURE_ISOLATION)?;
        capture.ends.entry(stream).or_default().extend(nodes);
        self.streams.get_mut(stream)?.capture = Some(id);
        Ok(())
    }

    /// Whether a recording is known and valid.
    pub(crate) fn is_recording(&self, id: CaptureId) -> bool {
        self.captures.known.get(&id).is_some_and(|capture| capture.valid)
    }

    /// Makes a recording invalid.
    pub(crate) fn invalidate(&mut self, id: CaptureId) {
        if let Some(capture) = self.captures.known.get_mut(&id) {
            capture.valid = false;
        }
    }

    /// Refuses an operation on a recording stream: "When an invalid operation is attempted during stream capture, any associated
    /// capture graphs are invalidated."
    pub(crate) fn refuse(&mut self, stream: Handle<StreamKind>, code: Code) -> Result {
        if let Some(id) = self.streams.get(stream)?.capture {
            self.invalidate(id);
        }
        Err(code)
    }

    /// Refuses what can't be recorded (801), where the stream records.
    pub(crate) fn refuse_in_recording(&mut self, stream: Handle<StreamKind>) -> Result {
        match self.recording(stream)? {
            None => Ok(()),
            Some(_) => self.refuse(stream, Code::NOT_SUPPORTED),
        }
    }

    /// The recordings that the legacy default stream would have to wait for.
    fn implicit_recordings(&self, stream: Handle<StreamKind>) -> Result<Vec<CaptureId>> {
        let asked = self.streams.get(stream)?;
        if asked.ordered != Ordered::Legacy {
            return Ok(Vec::new());
        }
        let blocking = |other: &Stream| other.ordered == Ordered::Blocking && other.context == asked.context;
        Ok(self.streams.iter().filter(|(_, other)| blocking(other)).filter_map(|(_, other)| other.capture).collect())
    }

    /// 906 where the stream is the legacy default one and a blocking stream of its context records.
    pub(crate) fn implicit(&self, stream: Handle<StreamKind>) -> Result {
        if self.implicit_recordings(stream)?.is_empty() { Ok(()) } else { Err(Code::STREAM_CAPTURE_IMPLICIT) }
    }

    /// The same, and the recordings become invalid.
    pub(crate) fn refuse_implicit(&mut self, stream: Handle<StreamKind>) -> Result {
        let recordings = self.implicit_recordings(stream)?;
        recordings.iter().for_each(|id| self.invalidate(*id));
        if recordings.is_empty() { Ok(()) } else { Err(Code::STREAM_CAPTURE_IMPLICIT) }
    }

    /// 900 where a stream of the context records, and the recordings become invalid: "It is also invalid to query or synchronize
    /// a broader handle which encompasses an active stream capture, such as a device or context".
    pub(crate) fn no_capture_in(&mut self, context: Handle<ContextKind>) -> Result {
        let mut of_context = self.captures.known.values_mut().filter(|capture| capture.context == context).peekable();
        if of_context.peek().is_none() {
            return Ok(());
        }
        of_context.for_each(|capture| capture.valid = false);
        Err(Code::STREAM_CAPTURE_UNSUPPORTED)
    }

    /// For calls that are "potentially unsafe" beside a recording: 900 where the thread's mode and the recordings forbid them
    /// (`cuThreadExchangeStreamCaptureMode`), and these recordings become invalid.
    pub(crate) fn allowed_while_recording(&mut self) -> Result {
        let (number, mode) = thread(|thread| (thread.number, thread.mode.get()))?;
        let forbids = |capture: &&mut Capture| {
            let own = capture.thread == number && capture.mode != Mode::Relaxed;
            let others = capture.thread != number && capture.mode == Mode::Global;
            match mode {
                Mode::Global => own || others,
                Mode::ThreadLocal => own,
                Mode::Relaxed => false,
            }
        };
        let mut forbidding = self.captures.known.values_mut().filter(forbids).peekable();
        if forbidding.peek().is_none() {
            return Ok(());
        }
        forbidding.for_each(|capture| capture.valid = false);
        Err(Code::STREAM_CAPTURE_UNSUPPORTED)
    }

    pub(crate) fn begin_capture(&mut self, stream: Handle<StreamKind>, mode: u32) -> Result {
        let mode = Mode::new(mode)?;
        let Stream { context, ordered, capture, .. } = *self.streams.get(stream)?;
        if ordered == Ordered::Legacy {
            return Err(Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        if capture.is_some() {
            return Err(Code::ILLEGAL_STATE);
        }
        self.captures.last += 1;
        let id = CaptureId(self.captures.last);
        let ends = BTreeMap::from([(stream, BTreeSet::new())]);
        let thread = thread(|thread| thread.number)?;
        let capture = Capture { origin: stream, context, mode, thread, valid: true, nodes: Vec::new(), ends };
        self.captures.known.insert(id, capture);
        self.streams.get_mut(stream)?.capture = Some(id);
        Ok(())
    }

    pub(crate) fn end_capture(&mut self, stream: Handle<StreamKind>) -> Result<Handle<GraphKind>> {
        let id = self.streams.get(stream)?.capture.ok_or(Code::ILLEGAL_STATE)?;
        let capture = self.captures.known.get(&id).ok_or(Code::ILLEGAL_STATE)?;
        if capture.origin != stream {
            return self.refuse(stream, Code::STREAM_CAPTURE_UNMATCHED).map(|()| Handle::NULL);
        }
        if capture.mode != Mode::Relaxed && capture.thread != thread(|thread| thread.number)? {
            return Err(Code::STREAM_CAPTURE_WRONG_THREAD);
        }
        let capture = self.captures.known.remove(&id).ok_or(Code::ILLEGAL_STATE)?;
        self.streams.values_mut().filter(|other| other.capture == Some(id)).for_each(|other| other.capture = None);
        if !capture.valid {
            return Err(Code::STREAM_CAPTURE_INVALIDATED);
        }
        if !is_joined(&capture) {
            return Err(Code::STREAM_CAPTURE_UNJOINED);
        }
        Ok(self.graphs.insert(Graph::new(capture.nodes)))
    }

    /// `CUstreamCaptureStatus`: none, active, invalidated.
    pub(crate) fn capture_status(&self, stream: Handle<StreamKind>) -> Result<u32> {
        Ok(match self.streams.get(stream)?.capture {
            None => 0,
            Some(id) if self.is_recording(id) => 1,
            Some(_) => 2,
        })
    }
}

/// Whether all that was recorded in other streams leads back to the stream where the recording began.
fn is_joined(capture: &Capture) -> bool {
    let mut reached = vec![false; capture.nodes.len()];
    let mut open: Vec<usize> = capture.ends.get(&capture.origin).into_iter().flatten().copied().collect();
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut reached[node], true) {
            open.extend(capture.nodes[node].after());
        }
    }
    reached.into_iter().all(|reached| reached)
}
