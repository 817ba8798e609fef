//! Contexts: CUDA Driver API, "Primary Context Management" and "Context Management".

use ptx_machine::memory::Kind;

use crate::abi::{In, Out, driver_api};
use crate::capture::Mode;
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::handle::{ContextKind, Handle, StreamKind};
use crate::queue::Ordered;
use crate::state::{Driver, thread};
use crate::stream::Stream;

/// A context.
pub(crate) struct Context {
    pub(crate) device: usize,
    pub(crate) flags: u32,
    pub(crate) legacy: Handle<StreamKind>,
    /// The per-thread default streams, by the thread's number.
    pub(crate) per_thread: Vec<(u64, Handle<StreamKind>)>,
    cache_config: u32,
    limits: [usize; 7],
}

/// Scheduling flags, blocking synchronisation, mapped host memory, local memory, core dumps, synchronous memory operations.
const FLAGS: u32 = 0xFF;
/// Flags of the scheduling policy; at most one.
const SCHEDULING: u32 = 0x07;

fn checked_flags(flags: u32) -> Result<u32> {
    let one_policy = (flags & SCHEDULING).count_ones() <= 1;
    if flags & !FLAGS == 0 && one_policy { Ok(flags) } else { Err(Code::INVALID_VALUE) }
}

impl Driver {
    fn new_context(&mut self, device: usize, flags: u32) -> Handle<ContextKind> {
        // The limits' values are those that a driver has at first: stack, printf, heap, depth, launches, granularity, level 2.
        let limits = [1024, 1 << 20, 8 << 20, 2, 2048, 64, 0];
        let context = self.contexts.insert(Context {
            device,
            flags,
            legacy: Handle::NULL,
            per_thread: Vec::new(),
            cache_config: 0,
            limits,
        });
        let legacy = self.streams.insert(Stream::new(context, device, Ordered::Legacy, 0, 0));
        if let Ok(made) = self.contexts.get_mut(context) {
            made.legacy = legacy;
        }
        context
    }

    /// Ends a context: its work is done, what is not freed is reported, and all that it owns goes.
    pub(crate) fn end_context(&mut self, context: Handle<ContextKind>) -> Result {
        let pending = self.queue.of_context(context);
        // What waits for others ends with the context.
        let _ = self.run(pending);
        self.report_leaks(Some(context));
        let Context { device, .. } = self.contexts.remove(context)?;
        self.queue.drop_context(context);
        let owned: Vec<u64> = self
            .allocations
            .iter()
            .filter(|(_, owned)| owned.context == context)
            .map(|(address, _)| *address)
            .collect();
        for address in owned {
            self.allocations.remove(&address);
            self.devices[device].memory().free(address);
        }
        self.streams.retain(|stream| stream.context != context);
        self.events.retain(|event| event.context != context);
        self.modules.retain(|module| module.context != context);
        self.functions.retain(|function| function.context != context);
        self.execs.retain(|exec| exec.context != context);
        for library in self.libraries.values_mut() {
            library.forget(context);
        }
        self.captures.forget(context);
        Ok(())
    }

    /// Lists what was allocated and not freed, as a leak check does, where a report is wanted.
    pub(crate) fn report_leaks(&mut self, context: Option<Handle<ContextKind>>) {
        if !self.report.wanted() {
            return;
        }
        let leaks = self.allocations.iter().filter(|(_, owned)| context.is_none_or(|context| owned.context == context));
        let lines: Vec<String> = leaks
            .map(|(address, owned)| {
                let kind = if owned.kind == Kind::Device { "device" } else { "page-locked" };
                format!(
                    "cuda-standin: leak: {} bytes of {kind} memory at {address:#x} on device {}, allocation {}",
                    owned.bytes, owned.device, owned.number
                )
            })
            .collect();
        lines.iter().for_each(|line| self.report.line(line));
    }

    /// The context itself, or the calling thread's for a null handle.
    pub(crate) fn context_or_current(&self, context: Handle<ContextKind>) -> Result<Handle<ContextKind>> {
        match context {
            context if context.is_null() => self.current(),
            context if self.contexts.contains(context) => Ok(context),
            _ => Err(Code::INVALID_CONTEXT),
        }
    }

    fn known_context(&self, context: Handle<ContextKind>) -> Result<Handle<ContextKind>> {
        if self.contexts.contains(context) { Ok(context) } else { Err(Code::INVALID_CONTEXT) }
    }

    /// Waits for all work of a context.
    pub(crate) fn synchronize_context(&mut self, context: Handle<ContextKind>) -> Result {
        let device = self.contexts.get(context)?.device;
        self.no_capture_in(context)?;
        self.pass(Point::Sync, device)?;
        let pending = self.queue.of_context(context);
        self.run(pending)?;
        self.unbroken(device)
    }
}

driver_api! { SYMBOLS;
    /// `cuDevicePrimaryCtxRetain`: 1, 101; 46 where the device is lost (a real driver's code is not documented).
    fn cuDevicePrimaryCtxRetain(driver, context: Out<Handle<ContextKind>>, device: i32) {
        context.check()?;
        let known = driver.device(device)?;
        if known.sticky == Some(Code::UNKNOWN) {
            return Err(Code::DEVICE_UNAVAILABLE);
        }
        let primary = match known.primary {
            Some(primary) => primary,
            None => driver.new_context(device as usize, known.primary_flags),
        };
        let known = driver.device_mut(device)?;
        known.primary = Some(primary);
        known.retained += 1;
        context.set(primary)
    }

    /// `cuDevicePrimaryCtxRelease`: 101, and 201 where it was not retained. The last release resets the context.
    fn cuDevicePrimaryCtxRelease_v2(driver, device: i32) {
        let known = driver.device_mut(device)?;
        known.retained = known.retained.checked_sub(1).ok_or(Code::INVALID_CONTEXT)?;
        match known.primary {
            Some(primary) if known.retained == 0 => {
                known.primary = None;
                driver.end_context(primary)
            }
            _ => Ok(()),
        }
    }

    /// `cuDevicePrimaryCtxReset`: 101. "Resetting the primary context does not release it": the users stay counted, and the next
    /// to retain it begins a new one.
    fn cuDevicePrimaryCtxReset_v2(driver, device: i32) {
        match driver.device_mut(device)?.primary.take() {
            Some(primary) => driver.end_context(primary),
            None => Ok(()),
        }
    }

    /// `cuDevicePrimaryCtxSetFlags`: 1, 101.
    fn cuDevicePrimaryCtxSetFlags_v2(driver, device: i32, flags: u32) {
        let flags = checked_flags(flags)?;
        let known = driver.device_mut(device)?;
        known.primary_flags = flags;
        if let Some(primary) = known.primary {
            driver.contexts.get_mut(primary)?.flags = flags;
        }
        Ok(())
    }

    /// `cuDevicePrimaryCtxGetState`: 1, 101.
    fn cuDevicePrimaryCtxGetState(driver, device: i32, flags: Out<u32>, active: Out<i32>) {
        let known = driver.device(device)?;
        flags.set(known.primary_flags)?;
        active.set(i32::from(known.primary.is_some()))
    }

    /// `cuCtxCreate` (version 4): 1, 101, 801 where parameters ask for graphics or parts of a device.
    fn cuCtxCreate_v4(driver, context: Out<Handle<ContextKind>>, parameters: In<u8>, flags: u32, device: i32) {
        if !parameters.is_null() {
            return Err(Code::NOT_SUPPORTED);
        }
        create(driver, context, flags, device)
    }

    /// `cuCtxCreate` (version 3): likewise, with affinities in place of parameters.
    fn cuCtxCreate_v3(driver, context: Out<Handle<ContextKind>>, affinities: In<u8>, count: i32, flags: u32, device: i32) {
        if !affinities.is_null() || count != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        create(driver, context, flags, device)
    }

    /// `cuCtxCreate` (version 2): 1, 101.
    fn cuCtxCreate_v2(driver, context: Out<Handle<ContextKind>>, flags: u32, device: i32) {
        create(driver, context, flags, device)
    }

    /// `cuCtxDestroy`: 201. It is popped where it is the calling thread's current one, and stays current elsewhere.
    fn cuCtxDestroy_v2(driver, context: Handle<ContextKind>) {
        driver.known_context(context)?;
        if driver.devices.iter().any(|device| device.primary == Some(context)) {
            return Err(Code::INVALID_CONTEXT);
        }
        driver.end_context(context)?;
        thread(|thread| {
            thread.contexts.borrow_mut().pop_if(|top| *top == context);
        })
    }

    /// `cuCtxPushCurrent`: 201.
    fn cuCtxPushCurrent_v2(driver, context: Handle<ContextKind>) {
        let context = driver.known_context(context)?;
        thread(|thread| thread.contexts.borrow_mut().push(context))
    }

    /// `cuCtxPopCurrent`: 201 where there is none.
    fn cuCtxPopCurrent_v2(driver, context: Out<Handle<ContextKind>>) {
        let popped = thread(|thread| thread.contexts.borrow_mut().pop())?.ok_or(Code::INVALID_CONTEXT)?;
        context.set_if_wanted(popped);
        Ok(())
    }

    /// `cuCtxSetCurrent`: 201. It replaces the top of the thread's stack; null takes the top away.
    fn cuCtxSetCurrent(driver, context: Handle<ContextKind>) {
        if context.is_null() {
            return thread(|thread| _ = thread.contexts.borrow_mut().pop());
        }
        let context = driver.known_context(context)?;
        thread(|thread| {
            let mut contexts = thread.contexts.borrow_mut();
            contexts.pop();
            contexts.push(context);
        })
    }

    /// `cuCtxGetCurrent`: 1. Null where there is none.
    fn cuCtxGetCurrent(driver, context: Out<Handle<ContextKind>>) {
        context.set(thread(|thread| thread.contexts.borrow().last().copied())?.unwrap_or(Handle::NULL))
    }

    /// `cuCtxGetDevice`: 1, 201.
    fn cuCtxGetDevice(driver, device: Out<i32>) {
        device.set(driver.contexts.get(driver.current_whatever_failed()?)?.device as i32)
    }

    /// `cuCtxGetDevice_v2`: 1, 201.
    fn cuCtxGetDevice_v2(driver, device: Out<i32>, context: Handle<ContextKind>) {
        device.set(driver.contexts.get(driver.context_or_current(context)?)?.device as i32)
    }

    /// `cuCtxGetFlags`: 1, 201.
    fn cuCtxGetFlags(driver, flags: Out<u32>) {
        flags.set(driver.contexts.get(driver.current()?)?.flags)
    }

    /// `cuCtxSetFlags`: 1, 201.
    fn cuCtxSetFlags(driver, flags: u32) {
        let context = driver.current()?;
        driver.contexts.get_mut(context)?.flags = checked_flags(flags)?;
        Ok(())
    }

    /// `cuCtxGetId`: 1, 201.
    fn cuCtxGetId(driver, context: Handle<ContextKind>, id: Out<u64>) {
        id.set(driver.context_or_current(context)?.0)
    }

    /// `cuCtxSynchronize`: 201, 900 while a stream of the context records, and what went wrong since.
    fn cuCtxSynchronize(driver) {
        driver.allowed_while_recording()?;
        let context = driver.current()?;
        driver.synchronize_context(context)
    }

    /// `cuCtxSynchronize_v2`: likewise, for any context.
    fn cuCtxSynchronize_v2(driver, context: Handle<ContextKind>) {
        driver.allowed_while_recording()?;
        let context = driver.context_or_current(context)?;
        driver.synchronize_context(context)
    }

    /// `cuCtxSetLimit`: 1, 201, 215. It is kept, and limits nothing.
    fn cuCtxSetLimit(driver, limit: u32, value: usize) {
        let context = driver.current()?;
        let limits = &mut driver.contexts.get_mut(context)?.limits;
        *limits.get_mut(limit as usize).ok_or(Code::UNSUPPORTED_LIMIT)? = value;
        Ok(())
    }

    /// `cuCtxGetLimit`: 1, 201, 215.
    fn cuCtxGetLimit(driver, value: Out<usize>, limit: u32) {
        let limits = &driver.contexts.get(driver.current()?)?.limits;
        value.set(*limits.get(limit as usize).ok_or(Code::UNSUPPORTED_LIMIT)?)
    }

    /// `cuCtxGetCacheConfig`: 1, 201.
    fn cuCtxGetCacheConfig(driver, config: Out<u32>) {
        config.set(driver.contexts.get(driver.current()?)?.cache_config)
    }

    /// `cuCtxSetCacheConfig`: 1, 201.
    fn cuCtxSetCacheConfig(driver, config: u32) {
        let context = driver.current()?;
        if config > 3 {
            return Err(Code::INVALID_VALUE);
        }
        driver.contexts.get_mut(context)?.cache_config = config;
        Ok(())
    }

    /// `cuCtxGetApiVersion`: 1, 201.
    fn cuCtxGetApiVersion(driver, context: Handle<ContextKind>, version: Out<u32>) {
        driver.context_or_current(context)?;
        version.set(3020)
    }

    /// `cuCtxGetStreamPriorityRange`: 201. Lower numbers come first; they order nothing here.
    fn cuCtxGetStreamPriorityRange(driver, least: Out<i32>, greatest: Out<i32>) {
        driver.current()?;
        least.set_if_wanted(0);
        greatest.set_if_wanted(crate::stream::GREATEST_PRIORITY);
        Ok(())
    }

    /// `cuCtxResetPersistingL2Cache`: 201. There is no cache.
    fn cuCtxResetPersistingL2Cache(driver) {
        driver.current().map(drop)
    }

    /// `cuThreadExchangeStreamCaptureMode`: 1.
    fn cuThreadExchangeStreamCaptureMode(driver, mode: Out<u32>) {
        let wanted = Mode::new(mode.get()?)?;
        let before = thread(|thread| thread.mode.replace(wanted))?;
        mode.set(before as u32)
    }

    /// `cuDeviceCanAccessPeer`: 1, 101. Kernels reach the memory of their own device alone, so the answer is no.
    fn cuDeviceCanAccessPeer(driver, can: Out<i32>, device: i32, peer: i32) {
        driver.device(device)?;
        driver.device(peer)?;
        can.set(0)
    }

    /// `cuCtxEnablePeerAccess`: 201, 217.
    fn cuCtxEnablePeerAccess(driver, peer: Handle<ContextKind>, flags: u32) {
        driver.current()?;
        driver.known_context(peer)?;
        Err(Code(217))
    }

    /// `cuCtxDisablePeerAccess`: 201, 705, since none was enabled.
    fn cuCtxDisablePeerAccess(driver, peer: Handle<ContextKind>) {
        driver.current()?;
        driver.known_context(peer)?;
        Err(Code::PEER_ACCESS_NOT_ENABLED)
    }

    /// `cuProfilerStart`: 201. There is no profiler; CUDA_STANDIN_TRACE writes what is called.
    fn cuProfilerStart(driver) {
        driver.current().map(drop)
    }

    /// `cuProfilerStop`: 201.
    fn cuProfilerStop(driver) {
        driver.current().map(drop)
    }
}

fn create(driver: &mut Driver, context: Out<Handle<ContextKind>>, flags: u32, device: i32) -> Result {
    context.check()?;
    let flags = checked_flags(flags)?;
    let known = driver.device(device)?;
    if known.sticky == Some(Code::UNKNOWN) {
        return Err(Code::DEVICE_UNAVAILABLE);
    }
    let made = driver.new_context(device as usize, flags);
    // "the newly created context is pushed on the stack of the calling thread"
    thread(|thread| thread.contexts.borrow_mut().push(made))?;
    context.set(made)
}
