//! Modules and functions: CUDA Driver API, "Module Management" and "Execution Control".

use std::ffi::{CString, c_char};
use std::sync::Arc;

use ptx_machine::machine::{self, LoadError};

use crate::abi::{Host, In, Out, Text, driver_api, host_bytes};
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::gpus;
use crate::handle::{ContextKind, FunctionKind, Handle, ModuleKind};
use crate::state::Driver;

/// A module that was loaded.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) context: Handle<ContextKind>,
    device: usize,
    module: machine::Module,
    /// Functions that were asked for: the same name has the same handle.
    functions: Vec<(String, Handle<FunctionKind>)>,
}

/// A kernel of a module.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) context: Handle<ContextKind>,
    pub(crate) device: usize,
    pub(crate) module: Handle<ModuleKind>,
    pub(crate) kernel: Arc<machine::Kernel>,
    pub(crate) attributes: Attributes,
    name: CString,
}

/// The attributes of a function that can be set (`CUfunction_attribute`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    /// The most dynamic shared memory that a launch may ask for, in bytes.
    pub(crate) dynamic_shared: u32,
    carveout: i32,
    cluster: [i32; 3],
    non_portable_cluster: i32,
    scheduling: i32,
}

impl Attributes {
    pub(crate) fn new(kernel: &machine::Kernel) -> Attributes {
        // "The default value […] is CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK - CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES".
        let dynamic_shared = gpus::SHARED_PER_BLOCK.saturating_sub(kernel.static_shared);
        Attributes { dynamic_shared, carveout: -1, cluster: [0; 3], non_portable_cluster: 0, scheduling: 0 }
    }

    pub(crate) fn set(
        &mut self,
        driver: &Driver,
        device: usize,
        kernel: &machine::Kernel,
        which: u32,
        value: i32,
    ) -> Result {
        let optin = gpus::limits(driver.devices[device].gpu.capability).shared_per_block_optin;
        match which {
            // "The sum of this value and the function attribute CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES cannot exceed the device
            // attribute CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN."
            8 => {
                let asked = u32::try_from(value).map_err(|_| Code::INVALID_VALUE)?;
                if asked > optin.saturating_sub(kernel.static_shared) {
                    return Err(Code::INVALID_VALUE);
                }
                self.dynamic_shared = asked;
            }
            9 if (-1..=100).contains(&value) => self.carveout = value,
            11..=13 if value >= 0 => self.cluster[which as usize - 11] = value,
            14 => self.non_portable_cluster = value,
            15 => self.scheduling = value,
            _ => return Err(Code::INVALID_VALUE),
        }
        Ok(())
    }

    pub(crate) fn get(&self, driver: &Driver, device: usize, kernel: &machine::Kernel, which: u32) -> Result<i32> {
        let (major, minor) = driver.devices[device].gpu.capability;
        let value = match which {
            0 => kernel.max_threads,
            1 => kernel.static_shared,
            // Constant memory; whether its values are cached; whether a cluster's size must be given.
            2 | 7 | 10 => 0,
            3 => kernel.local,
            // Registers are given out by ptxas, which has no part here; the least that any kernel has is said.
            4 => 16,
            5 | 6 => 10 * major + minor,
            8 => self.dynamic_shared,
            9 => return Ok(self.carveout),
            11..=13 => return Ok(self.cluster[which as usize - 11]),
            14 => return Ok(self.non_portable_cluster),
            15 => return Ok(self.scheduling),
            _ => return Err(Code::INVALID_VALUE),
        };
        Ok(i32::try_from(value).unwrap_or(i32::MAX))
    }

    /// The cluster that the function must be launched with, where one was set.
    pub(crate) fn required_cluster(&self) -> Option<[u32; 3]> {
        let cluster = self.cluster.map(i32::unsigned_abs);
        cluster.iter().any(|size| *size > 0).then(|| cluster.map(|size| size.max(1)))
    }
}

impl Driver {
    /// Loads an image into a context.
    pub(crate) fn load(&mut self, context: Handle<ContextKind>, image: &[u8]) -> Result<Handle<ModuleKind>> {
        let device = self.contexts.get(context)?.device;
        self.pass(Point::Load, device)?;
        let capability = self.devices[device].gpu.capability;
        match self.devices[device].machine.load(image, capability) {
            Ok(module) => Ok(self.modules.insert(Module { context, device, module, functions: Vec::new() })),
            Err(error) => {
                let code = match &error {
                    LoadError::InvalidImage(_) => Code::INVALID_IMAGE,
                    LoadError::NoBinaryForDevice(..) => Code::NO_BINARY_FOR_GPU,
                    LoadError::InvalidPtx(_) => Code::INVALID_PTX,
                };
                self.say(&format!("cuda-standin: a module can't be loaded ({code}): {error}"));
                Err(code)
            }
        }
    }

    /// A module's function of this name: 500 where it has none.
    pub(crate) fn function(&mut self, module: Handle<ModuleKind>, name: &str) -> Result<Handle<FunctionKind>> {
        let known = self.modules.get(module)?;
        if let Some((_, handle)) = known.functions.iter().find(|function| function.0 == name) {
            return Ok(*handle);
        }
        let kernel = known.module.kernel(name).ok_or(Code::NOT_FOUND)?;
        let (context, device) = (known.context, known.device);
        let attributes = Attributes::new(&kernel);
        let text = CString::new(name).map_err(|_| Code::NOT_FOUND)?;
        let function = self.functions.insert(Function { context, device, module, kernel, attributes, name: text });
        self.modules.get_mut(module)?.functions.push((name.to_string(), function));
        Ok(function)
    }

    /// A module's variable of this name: 500 where it has none.
    pub(crate) fn global(&self, module: Handle<ModuleKind>, name: &str) -> Result<(u64, u64)> {
        self.modules.get(module)?.module.global(name).ok_or(Code::NOT_FOUND)
    }

    pub(crate) fn unload(&mut self, module: Handle<ModuleKind>) -> Result {
        let known = self.modules.remove(module)?;
        self.functions.retain(|function| function.module != module);
        self.unbroken(known.device)
    }
}

/// The bytes of an image that is given by its beginning alone: a fatbin says its own length, PTX ends with a zero.
pub(crate) fn image(address: Host) -> Result<&'static [u8]> {
    if address.0 == 0 {
        return Err(Code::INVALID_VALUE);
    }
    crate::image::whole(|bytes| {
        // SAFETY: the program gave the address as an image's beginning. Each longer piece is asked for only after the piece
        // before it said that the image is at least so long.
        unsafe { host_bytes(address.0, bytes) }
    })
}

driver_api! { SYMBOLS;
    /// `cuModuleLoad`: 1, 200, 201, 209, 218, 301; 900 while recording.
    fn cuModuleLoad(driver, module: Out<Handle<ModuleKind>>, path: Text) {
        module.check()?;
        driver.allowed_while_recording()?;
        let context = driver.current()?;
        let bytes = std::fs::read(path.get()?).map_err(|_| Code::FILE_NOT_FOUND)?;
        module.set(driver.load(context, &bytes)?)
    }

    /// `cuModuleLoadData`: 1, 200, 201, 209, 218; 900 while recording.
    fn cuModuleLoadData(driver, module: Out<Handle<ModuleKind>>, bytes: Host) {
        load_data(driver, module, bytes)
    }

    /// `cuModuleLoadDataEx`: likewise. Options are for a compiler, which has no part here.
    fn cuModuleLoadDataEx(driver, module: Out<Handle<ModuleKind>>, bytes: Host, count: u32, options: In<u32>, values: In<u64>) {
        load_data(driver, module, bytes)
    }

    /// `cuModuleLoadFatBinary`: likewise.
    fn cuModuleLoadFatBinary(driver, module: Out<Handle<ModuleKind>>, bytes: Host) {
        load_data(driver, module, bytes)
    }

    /// `cuModuleUnload`: 201, 400.
    fn cuModuleUnload(driver, module: Handle<ModuleKind>) {
        driver.current()?;
        driver.unload(module)
    }

    /// `cuModuleGetLoadingMode`: 1. All is loaded at once (1, eager).
    fn cuModuleGetLoadingMode(driver, mode: Out<u32>) {
        mode.set(1)
    }

    /// `cuModuleGetFunction`: 1, 201, 400, 500.
    fn cuModuleGetFunction(driver, function: Out<Handle<FunctionKind>>, module: Handle<ModuleKind>, name: Text) {
        function.check()?;
        driver.current()?;
        function.set(driver.function(module, &name.get()?)?)
    }

    /// `cuModuleGetGlobal`: 1, 201, 400, 500.
    fn cuModuleGetGlobal_v2(driver, address: Out<u64>, bytes: Out<usize>, module: Handle<ModuleKind>, name: Text) {
        driver.current()?;
        let (base, size) = driver.global(module, &name.get()?)?;
        address.set_if_wanted(base);
        bytes.set_if_wanted(size as usize);
        Ok(())
    }

    /// `cuFuncGetModule`: 1, 400.
    fn cuFuncGetModule(driver, module: Out<Handle<ModuleKind>>, function: Handle<FunctionKind>) {
        module.set(driver.functions.get(function)?.module)
    }

    /// `cuFuncGetName`: 1.
    fn cuFuncGetName(driver, name: Out<*const c_char>, function: Handle<FunctionKind>) {
        name.set(driver.functions.get(function).map_err(|_| Code::INVALID_VALUE)?.name.as_ptr())
    }

    /// `cuFuncGetParamInfo`: 1, also behind the last parameter.
    fn cuFuncGetParamInfo(driver, function: Handle<FunctionKind>, index: usize, offset: Out<usize>, size: Out<usize>) {
        let kernel = &driver.functions.get(function).map_err(|_| Code::INVALID_VALUE)?.kernel;
        let (at, bytes) = *kernel.parameters.get(index).ok_or(Code::INVALID_VALUE)?;
        offset.set(at as usize)?;
        size.set_if_wanted(bytes as usize);
        Ok(())
    }

    /// `cuFuncIsLoaded`: 1, 400. All are (1).
    fn cuFuncIsLoaded(driver, state: Out<u32>, function: Handle<FunctionKind>) {
        driver.functions.get(function)?;
        state.set(1)
    }

    /// `cuFuncLoad`: 400.
    fn cuFuncLoad(driver, function: Handle<FunctionKind>) {
        driver.functions.get(function).map(drop)
    }

    /// `cuFuncGetAttribute`: 1, 201, 400.
    fn cuFuncGetAttribute(driver, value: Out<i32>, which: u32, function: Handle<FunctionKind>) {
        value.check()?;
        driver.current()?;
        let Function { device, kernel, attributes, .. } = driver.functions.get(function)?;
        value.set(attributes.get(driver, *device, kernel, which)?)
    }

    /// `cuFuncSetAttribute`: 1, 201, 400.
    fn cuFuncSetAttribute(driver, function: Handle<FunctionKind>, which: u32, value: i32) {
        driver.current()?;
        let Function { device, kernel, attributes, .. } = driver.functions.get(function)?;
        let mut changed = *attributes;
        changed.set(driver, *device, kernel, which, value)?;
        driver.functions.get_mut(function)?.attributes = changed;
        Ok(())
    }

    /// `cuFuncSetCacheConfig`: 1, 201, 400. There are no caches.
    fn cuFuncSetCacheConfig(driver, function: Handle<FunctionKind>, config: u32) {
        driver.current()?;
        driver.functions.get(function)?;
        if config > 3 { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }
}

fn load_data(driver: &mut Driver, module: Out<Handle<ModuleKind>>, bytes: Host) -> Result {
    module.check()?;
    driver.allowed_while_recording()?;
    let context = driver.current()?;
    let bytes = image(bytes)?;
    module.set(driver.load(context, bytes)?)
}
