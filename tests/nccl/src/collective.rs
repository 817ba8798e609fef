//! Collectives: what they are, and how one rank carries its part out.
//!
//! On a GPU a collective is a kernel that ends when all ranks have come to theirs. Here it is work that the stand-in for the driver asks
//! for until it is done: first this rank gives its part, then it waits for the others', then it computes and writes what it receives.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::arithmetic::{Reduction, name_of_type, reduce, size_of_element};
use crate::code::{Code, Failure, Result};
use crate::communicator::Communicator;
use crate::driver::{NOT_READY, Read, TIMED_OUT, Write, driver};
use crate::meeting::{Given, Health};
use crate::settings::{Point, Settings, settings};

/// The interval at which a waiting rank checks that the others live.
const HEALTH_EVERY: Duration = Duration::from_millis(10);

/// The operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    AllReduce(Reduction),
    ReduceScatter(Reduction),
    AllGather,
    Broadcast(usize),
}

/// An operation as one rank asked for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) send: u64,
    pub(crate) receive: u64,
    /// Elements: as the function of this kind counts them.
    pub(crate) count: usize,
    pub(crate) data_type: u32,
}

impl Operation {
    /// In words: the same on all ranks, or the program is wrong.
    pub(crate) fn words(&self) -> String {
        format!("{:?} of {} {}", self.kind, self.count, name_of_type(self.data_type))
    }

    /// Bytes that rank `rank` of `ranks` gives and receives.
    fn bytes(&self, rank: usize, ranks: usize) -> Result<[usize; 2]> {
        let too_large = || Failure::new(Code::INVALID_ARGUMENT, format!("{} is too large", self.words()));
        let one = self.count.checked_mul(size_of_element(self.data_type)?).ok_or_else(too_large)?;
        let all = one.checked_mul(ranks).ok_or_else(too_large)?;
        Ok(match self.kind {
            Kind::AllReduce(_) => [one, one],
            Kind::ReduceScatter(_) => [all, one],
            Kind::AllGather => [one, all],
            Kind::Broadcast(root) => [if rank == root { one } else { 0 }, one],
        })
    }

    /// ncclInvalidArgument for null buffers and a root that there is not, and, which NCCL leaves undefined, for buffers that overlap in
    /// another way than its "In-place Operations" allow.
    pub(crate) fn check(&self, rank: usize, ranks: usize) -> Result {
        let wrong = |what: &str| Err(Failure::new(Code::INVALID_ARGUMENT, format!("{}: {what}", self.words())));
        if let Kind::Broadcast(root) = self.kind
            && root >= ranks
        {
            return wrong(&format!("invalid root {root} (root should be in the 0..{ranks} range)"));
        }
        let [given, received] = self.bytes(rank, ranks)?;
        if given > 0 && self.send == 0 || received > 0 && self.receive == 0 {
            return wrong("a buffer is a null pointer");
        }
        let (send, receive) = (self.send, self.receive);
        let apart = send + given as u64 <= receive || receive + received as u64 <= send;
        let in_place = match self.kind {
            Kind::AllReduce(_) | Kind::Broadcast(_) => send == receive,
            Kind::AllGather => send == receive + (rank * given) as u64,
            Kind::ReduceScatter(_) => receive == send + (rank * received) as u64,
        };
        if given == 0 || received == 0 || apart || in_place { Ok(()) } else { wrong("its buffers overlap") }
    }

    /// The values that this rank receives, from those that all gave.
    fn result(&self, rank: usize, given: &[Given]) -> Result<Vec<u8>> {
        let parts: Vec<&[u8]> = given.iter().map(|given| given.bytes.as_slice()).collect();
        match self.kind {
            Kind::AllReduce(reduction) => reduce(self.data_type, reduction, &parts),
            Kind::ReduceScatter(reduction) => {
                let bytes = self.count * size_of_element(self.data_type)?;
                let blocks: Vec<&[u8]> = parts.iter().map(|part| &part[rank * bytes..(rank + 1) * bytes]).collect();
                reduce(self.data_type, reduction, &blocks)
            }
            Kind::AllGather => Ok(parts.concat()),
            Kind::Broadcast(root) => Ok(parts[root].to_vec()),
        }
    }
}

/// An operation in a stream or in a graph, on which it may be carried out again and again.
pub(crate) struct Job {
    communicator: Arc<Communicator>,
    operation: Operation,
    under_way: Mutex<Option<UnderWay>>,
    /// Whether it is part of a graph.
    recorded: AtomicBool,
}

/// A collective that this rank has begun.
struct UnderWay {
    number: u64,
    since: Instant,
    looked: Instant,
    /// The values of the others, as far as they are here.
    given: Vec<Option<Given>>,
}

impl Job {
    /// Puts an operation into a stream, or into the graph that it records.
    pub(crate) fn enqueue(communicator: &Arc<Communicator>, stream: usize, operation: Operation) -> Result {
        let job = Job {
            communicator: communicator.clone(),
            operation,
            under_way: Mutex::default(),
            recorded: AtomicBool::new(false),
        };
        let job = Arc::new(job);
        let mut recorded = false;
        let data = Arc::into_raw(job.clone()).cast_mut().cast();
        // SAFETY: `data` is a reference that `release` takes back; `recorded` is written before the call returns.
        unsafe { driver()?.enqueue(stream, carry_out, release, data, &raw mut recorded) }?;
        if recorded {
            job.recorded.store(true, Ordering::Release);
            communicator.graphs.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Does what can be done now; true when the collective is done.
    fn advance(&self, reach: &Reach) -> Result<bool> {
        let communicator = &self.communicator;
        // An abort ends the kernels that are under way; what they would have written is undefined.
        if communicator.is_aborted() {
            return Ok(true);
        }
        let settings = settings()?;
        // A kernel spins until then.
        if let Some(since) = communicator.failed() {
            return if since.elapsed() < settings.patience { Ok(false) } else { self.give_up(settings, "an abort") };
        }
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = match &mut *under_way {
            Some(begun) => begun,
            none => none.insert(self.begin(settings, reach)?),
        };
        let Some(missing) = self.collect(begun)? else {
            let begun = under_way.take();
            self.finish(settings, reach, begun)?;
            return Ok(true);
        };
        self.look_at(settings, begun, missing)?;
        Ok(false)
    }

    /// Gives this rank's part.
    fn begin(&self, settings: &Settings, reach: &Reach) -> Result<UnderWay> {
        let communicator = &self.communicator;
        let (rank, ranks) = (communicator.rank, communicator.ranks);
        settings.pass(Point::Die, Some(rank))?;
        settings.pass(Point::CarryOut, Some(rank))?;
        let [bytes, _] = self.operation.bytes(rank, ranks)?;
        let given = Given { operation: self.operation.words(), bytes: reach.read(self.operation.send, bytes)? };
        let number = communicator.next_number();
        communicator.meeting(|meeting| meeting.give(number, &given))?;
        let now = Instant::now();
        let mut all: Vec<Option<Given>> = (0..ranks).map(|_| None).collect();
        all[rank] = Some(given);
        Ok(UnderWay { number, since: now, looked: now, given: all })
    }

    /// Takes what has come; the number of a rank whose part has not.
    fn collect(&self, begun: &mut UnderWay) -> Result<Option<usize>> {
        let UnderWay { number, given, .. } = begun;
        self.communicator.meeting(|meeting| {
            for (rank, given) in given.iter_mut().enumerate().filter(|(_, given)| given.is_none()) {
                match meeting.take(*number, rank)? {
                    Some(taken) => *given = Some(taken),
                    None => return Ok(Some(rank)),
                }
            }
            Ok(None)
        })
    }

    /// Looks after a rank that has not come: it may have died, or never come.
    fn look_at(&self, settings: &Settings, begun: &mut UnderWay, missing: usize) -> Result {
        if begun.looked.elapsed() < HEALTH_EVERY {
            return Ok(());
        }
        begun.looked = Instant::now();
        let what = format!("{}, collective {}", self.operation.words(), begun.number);
        let health = self.communicator.meeting(|meeting| Ok(meeting.health(missing)))?;
        let gone = |how: &str| Err(Failure::new(Code::REMOTE_ERROR, format!("rank {missing} {how}: {what}")));
        match health {
            // It may have given its part and gone since the last look.
            _ if self.collect(begun)? != Some(missing) => Ok(()),
            Health::Dead if settings.notices => gone("has died"),
            Health::Left if settings.notices => gone("has left"),
            _ if begun.since.elapsed() < settings.patience => Ok(()),
            _ => self.give_up(settings, &format!("rank {missing}")).map(drop),
        }
    }

    /// Ends the work of the device, which no GPU would do, so that a test comes to an end.
    fn give_up(&self, settings: &Settings, for_what: &str) -> Result<bool> {
        let text = format!(
            "rank {} waited {:?} for {for_what}: {}",
            self.communicator.rank,
            settings.patience,
            self.operation.words()
        );
        eprintln!("nccl-standin: {text}");
        Err(Failure::new(Code::SUCCESS, text))
    }

    /// Computes and writes what this rank receives.
    fn finish(&self, settings: &Settings, reach: &Reach, begun: Option<UnderWay>) -> Result {
        let communicator = &self.communicator;
        let Some(UnderWay { number, given, .. }) = begun else { return Ok(()) };
        let given: Vec<Given> = given.into_iter().flatten().collect();
        let own = self.operation.words();
        if let Some((rank, other)) = given.iter().enumerate().find(|(_, given)| given.operation != own) {
            let text = format!(
                "collective {number} is {own} on rank {} and {} on rank {rank}",
                communicator.rank, other.operation
            );
            return Err(Failure::new(Code::INVALID_USAGE, text));
        }
        let own_bytes = &given[communicator.rank].bytes;
        if *own_bytes != reach.read(self.operation.send, own_bytes.len())? {
            let text =
                format!("{own}, collective {number}: what rank {} gives was changed meanwhile", communicator.rank);
            return Err(Failure::new(Code::INVALID_USAGE, text));
        }
        let received = self.operation.result(communicator.rank, &given)?;
        reach.write(self.operation.receive, &received)?;
        communicator.meeting(|meeting| {
            meeting.done(number);
            Ok(())
        })?;
        settings.trace(|| format!("rank {} carried out {number}: {own}", communicator.rank));
        Ok(())
    }
}

/// Device memory, for as long as the driver lets a job work.
struct Reach {
    reach: *mut c_void,
    read: Read,
    write: Write,
}

/// An address that no allocation holds: what a kernel would end with.
fn illegal(_: u32) -> Failure {
    Failure::new(Code::UNHANDLED_CUDA_ERROR, "Cuda failure 700 'an illegal memory access was encountered'")
}

impl Reach {
    fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>> {
        let mut target = vec![0; bytes];
        if bytes == 0 {
            return Ok(target);
        }
        // SAFETY: the driver gave the function, and the target has so many bytes.
        match unsafe { (self.read)(self.reach, address, target.as_mut_ptr(), bytes) } {
            0 => Ok(target),
            code => Err(illegal(code)),
        }
    }

    fn write(&self, address: u64, source: &[u8]) -> Result {
        if source.is_empty() {
            return Ok(());
        }
        // SAFETY: as above.
        match unsafe { (self.write)(self.reach, address, source.as_ptr(), source.len()) } {
            0 => Ok(()),
            code => Err(illegal(code)),
        }
    }
}

/// The function that the driver calls once the work is in no stream and in no graph any more.
unsafe extern "C" fn release(data: *mut c_void) {
    // SAFETY: `Job::enqueue` gave the driver this reference, which is taken back once.
    drop(unsafe { Arc::from_raw(data.cast_const().cast::<Job>()) });
}

impl Drop for Job {
    fn drop(&mut self) {
        if *self.recorded.get_mut() {
            self.communicator.graphs.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The function that the driver calls until the work is done.
unsafe extern "C" fn carry_out(data: *mut c_void, reach: *mut c_void, read: Read, write: Write) -> u32 {
    // SAFETY: `Job::enqueue` made it, and `release` was not called.
    let job = unsafe { &*data.cast::<Job>() };
    let reach = Reach { reach, read, write };
    // A panic is a fault of the stand-in; its message went to stderr.
    match catch_unwind(AssertUnwindSafe(|| job.advance(&reach))) {
        Ok(Ok(true)) => 0,
        Ok(Ok(false)) => NOT_READY,
        Ok(Err(Failure { code: Code::SUCCESS, .. })) => TIMED_OUT,
        Ok(Err(failure)) if failure.code == Code::UNHANDLED_CUDA_ERROR => 700,
        // The communicator knows; the kernel spins.
        Ok(Err(failure)) => {
            job.communicator.fail(failure);
            NOT_READY
        }
        Err(_) => 999,
    }
}
