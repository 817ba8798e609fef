//! All that the driver knows, behind one lock: calls and the work that they cause are done one after another.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ptx_machine::machine::Machine;
use ptx_machine::memory::{Kind, Memory};

use crate::capture::{Captures, Mode};
use crate::code::{Code, Result};
use crate::context::Context;
use crate::event::Event;
use crate::faults::Point;
use crate::gpus::Gpu;
use crate::graph::{Exec, Graph};
use crate::handle::{
    ContextKind, EventKind, ExecKind, FunctionKind, GraphKind, Handle, KernelKind, LibraryKind, ModuleKind, PoolKind,
    StreamKind, Table,
};
use crate::library::{Kernel, Library};
use crate::module::{Function, Module};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::trace::Trace;

/// A device.
pub(crate) struct Device {
    /// Its number among the machine's devices.
    pub(crate) physical: usize,
    pub(crate) gpu: &'static Gpu,
    pub(crate) machine: Machine,
    /// The primary context, once it was retained, with the number of its users.
    pub(crate) primary: Option<Handle<ContextKind>>,
    pub(crate) retained: u32,
    pub(crate) primary_flags: u32,
    /// Seconds of its own clock: the least time of all kernels that it has run, where that is counted.
    pub(crate) counted: f64,
    /// The error that ended its work.
    pub(crate) sticky: Option<Code>,
    pub(crate) pool: Handle<PoolKind>,
    pub(crate) default_pool: Handle<PoolKind>,
}

impl Device {
    pub(crate) fn memory(&self) -> &Memory {
        &self.machine.memory
    }
}

/// Who owns an allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owned {
    pub(crate) device: usize,
    pub(crate) context: Handle<ContextKind>,
    pub(crate) bytes: u64,
    pub(crate) kind: Kind,
    /// From a pool: freed without waiting.
    pub(crate) pool: Option<Handle<PoolKind>>,
    /// The flags of page-locked memory.
    pub(crate) flags: u32,
    /// The number of the allocation, from 1, in the order of the calls.
    pub(crate) number: u64,
}

/// The driver.
#[derive(Default)]
pub(crate) struct Driver {
    pub(crate) initialised: bool,
    /// Why it can't be.
    pub(crate) broken: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) trace: Trace,
    pub(crate) report: Trace,
    pub(crate) devices: Vec<Device>,
    pub(crate) contexts: Table<ContextKind, Context>,
    pub(crate) streams: Table<StreamKind, Stream>,
    pub(crate) events: Table<EventKind, Event>,
    pub(crate) modules: Table<ModuleKind, Module>,
    pub(crate) functions: Table<FunctionKind, Function>,
    pub(crate) libraries: Table<LibraryKind, Library>,
    pub(crate) kernels: Table<KernelKind, Kernel>,
    pub(crate) graphs: Table<GraphKind, Graph>,
    pub(crate) execs: Table<ExecKind, Exec>,
    pub(crate) pools: Table<PoolKind, Pool>,
    pub(crate) allocations: BTreeMap<u64, Owned>,
    pub(crate) allocated: u64,
    pub(crate) queue: Queue,
    pub(crate) captures: Captures,
    /// The call under way was made before, and had to wait: what it counts was counted then.
    pub(crate) again: bool,
    /// Functions of which it was said that they are not supported.
    pub(crate) refused: Vec<&'static str>,
}

static DRIVER: OnceLock<Mutex<Driver>> = OnceLock::new();

/// The driver, for one call. A call that panicked leaves what it had done.
pub(crate) fn lock() -> MutexGuard<'static, Driver> {
    DRIVER.get_or_init(|| Mutex::new(Driver::from_environment())).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver at the end of the process, unless a call is still under way in another thread.
pub(crate) fn lock_if_free() -> Option<MutexGuard<'static, Driver>> {
    match DRIVER.get()?.try_lock() {
        Ok(driver) => Some(driver),
        Err(std::sync::TryLockError::Poisoned(driver)) => Some(driver.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => None,
    }
}

/// The driver's state of a thread.
pub(crate) struct Thread {
    pub(crate) number: u64,
    /// Contexts, the current one last.
    pub(crate) contexts: RefCell<Vec<Handle<ContextKind>>>,
    pub(crate) mode: Cell<Mode>,
    in_host_function: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Thread {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            contexts: RefCell::default(),
            mode: Cell::new(Mode::Global),
            in_host_function: Cell::new(false),
        }
    };
}

/// Asks or changes what is known of the calling thread. A thread that is ending has nothing current.
pub(crate) fn thread<R>(work: impl FnOnce(&Thread) -> R) -> Result<R> {
    THREAD.try_with(work).map_err(|_| Code::INVALID_CONTEXT)
}

pub(crate) fn in_host_function() -> bool {
    THREAD.try_with(|thread| thread.in_host_function.get()).unwrap_or(false)
}

/// Runs a function of the program's, in which it may make no calls.
pub(crate) fn host_function(work: impl FnOnce()) {
    let _ = THREAD.try_with(|thread| thread.in_host_function.set(true));
    work();
    let _ = THREAD.try_with(|thread| thread.in_host_function.set(false));
}

impl Driver {
    fn from_environment() -> Driver {
        let mut driver = Driver::default();
        if let Err(error) = driver.configure() {
            driver.broken = Some(error);
        }
        driver
    }

    fn configure(&mut self) -> std::result::Result<(), String> {
        self.settings = Settings::read(|name| std::env::var(name).ok())?;
        self.trace = Trace::open(self.settings.trace.as_deref())?;
        self.report = Trace::open(self.settings.report.as_deref())?;
        for physical in self.settings.visible.clone() {
            let memory = Memory::new(self.settings.memory)
                .map_err(|error| format!("no address space is left for a device's memory: {error}"))?;
            let default_pool = self.pools.insert(Pool::new(self.devices.len()));
            self.devices.push(Device {
                physical,
                gpu: self.settings.gpu,
                machine: Machine::new(Arc::new(memory), self.settings.options.clone()),
                primary: None,
                retained: 0,
                primary_flags: 0,
                counted: 0.0,
                sticky: None,
                pool: default_pool,
                default_pool,
            });
        }
        Ok(())
    }

    /// The check of every call: 3 before `cuInit` ("This indicates that the CUDA driver has not been initialized with cuInit()
    /// or that initialization has failed").
    pub(crate) fn before(&self, name: &str) -> Result {
        const EARLY: [&str; 6] = [
            "cuInit",
            "cuDriverGetVersion",
            "cuGetErrorName",
            "cuGetErrorString",
            "cuGetProcAddress",
            "cuGetProcAddress_v2",
        ];
        if self.initialised || EARLY.contains(&name) { Ok(()) } else { Err(Code::NOT_INITIALIZED) }
    }

    pub(crate) fn device(&self, ordinal: i32) -> Result<&Device> {
        usize::try_from(ordinal).ok().and_then(|ordinal| self.devices.get(ordinal)).ok_or(Code::INVALID_DEVICE)
    }

    pub(crate) fn device_mut(&mut self, ordinal: i32) -> Result<&mut Device> {
        usize::try_from(ordinal).ok().and_then(|ordinal| self.devices.get_mut(ordinal)).ok_or(Code::INVALID_DEVICE)
    }

    /// The calling thread's context: 201 where there is none, 709 where it was destroyed, and the device's lasting error.
    pub(crate) fn current(&self) -> Result<Handle<ContextKind>> {
        let current = self.current_whatever_failed()?;
        self.unbroken(self.contexts.get(current)?.device)?;
        Ok(current)
    }

    /// The same without the lasting error.
    pub(crate) fn current_whatever_failed(&self) -> Result<Handle<ContextKind>> {
        let current = thread(|thread| thread.contexts.borrow().last().copied())?.ok_or(Code::INVALID_CONTEXT)?;
        // "the context current to the calling thread has been destroyed using cuCtxDestroy, or is a primary context which has
        // not yet been initialized"
        if self.contexts.contains(current) { Ok(current) } else { Err(Code::CONTEXT_IS_DESTROYED) }
    }

    /// The error that ended a device's work, if one did.
    pub(crate) fn unbroken(&self, device: usize) -> Result {
        self.devices[device].sticky.map_or(Ok(()), Err)
    }

    /// The device of the calling thread's context, by its index.
    pub(crate) fn current_device(&self) -> Result<usize> {
        Ok(self.contexts.get(self.current()?)?.device)
    }

    /// A fault that was asked for; lasting ones end the work of the device.
    pub(crate) fn pass(&mut self, point: Point, device: usize) -> Result {
        if self.again && point.is_of_a_call() {
            return Ok(());
        }
        let passed = self.settings.faults.pass(point);
        if let Err(code) = passed {
            self.say(&format!("cuda-standin: {code} at {point:?}, as CUDA_STANDIN_FAIL asks"));
            if code.is_sticky() {
                self.break_device(device, code);
            }
        }
        passed
    }

    /// Ends all work of a device: every later call on its contexts fails with this code.
    pub(crate) fn break_device(&mut self, device: usize, code: Code) {
        self.devices[device].sticky.get_or_insert(code);
        self.queue.drop_device(device);
    }

    /// Writes to stderr, and to the report where there is one.
    pub(crate) fn say(&mut self, text: &str) {
        eprintln!("{text}");
        self.report.line(text);
    }
}
