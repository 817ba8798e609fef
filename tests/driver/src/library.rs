//! Libraries, which belong to no context: CUDA Driver API, "Library Management". An image is loaded into each context when a
//! kernel of it is first used there.

use std::ffi::{CString, c_char};

use crate::abi::{Host, In, Out, Text, driver_api};
use crate::code::{Code, Result};
use crate::handle::{ContextKind, FunctionKind, Handle, KernelKind, LibraryKind, ModuleKind};
use crate::module::{Function, image};
use crate::state::Driver;

/// A library.
#[derive(Debug)]
pub(crate) struct Library {
    image: Vec<u8>,
    loaded: Vec<(Handle<ContextKind>, Handle<ModuleKind>)>,
    kernels: Vec<Handle<KernelKind>>,
}

impl Library {
    pub(crate) fn forget(&mut self, context: Handle<ContextKind>) {
        self.loaded.retain(|loaded| loaded.0 != context);
    }
}

/// A kernel of a library.
#[derive(Debug)]
pub(crate) struct Kernel {
    library: Handle<LibraryKind>,
    name: CString,
}

impl Driver {
    fn library_module(
        &mut self,
        library: Handle<LibraryKind>,
        context: Handle<ContextKind>,
    ) -> Result<Handle<ModuleKind>> {
        let known = self.libraries.get(library)?;
        if let Some((_, module)) = known.loaded.iter().find(|loaded| loaded.0 == context) {
            return Ok(*module);
        }
        let image = known.image.clone();
        let module = self.load(context, &image)?;
        self.libraries.get_mut(library)?.loaded.push((context, module));
        Ok(module)
    }

    /// A function of a context for a handle that may be a function's or a kernel's ("the API can also be used to launch
    /// context-less kernel CUkernel by […] casting to CUfunction").
    pub(crate) fn function_or_kernel(
        &mut self,
        handle: Handle<FunctionKind>,
        context: Handle<ContextKind>,
    ) -> Result<Handle<FunctionKind>> {
        match self.kernels.get(handle.cast()) {
            Err(_) => self.functions.get(handle).map(|_| handle),
            Ok(Kernel { library, name }) => {
                let (library, name) = (*library, name.to_string_lossy().into_owned());
                let module = self.library_module(library, context)?;
                self.function(module, &name)
            }
        }
    }

    /// A kernel's function on a device; the device's primary context is the one that counts.
    fn kernel_on(&mut self, kernel: Handle<KernelKind>, device: i32) -> Result<Handle<FunctionKind>> {
        self.kernels.get(kernel)?;
        let context = self.device(device)?.primary.ok_or(Code::INVALID_DEVICE)?;
        self.function_or_kernel(kernel.cast(), context)
    }
}

driver_api! { SYMBOLS;
    /// `cuLibraryLoadData`: 1, 200.
    fn cuLibraryLoadData(
        driver, library: Out<Handle<LibraryKind>>, code: Host, jit_options: In<u32>, jit_values: In<u64>, jit_count: u32,
        options: In<u32>, values: In<u64>, count: u32,
    ) {
        library.check()?;
        let image = image(code)?.to_vec();
        library.set(driver.libraries.insert(Library { image, loaded: Vec::new(), kernels: Vec::new() }))
    }

    /// `cuLibraryLoadFromFile`: 1, 301.
    fn cuLibraryLoadFromFile(
        driver, library: Out<Handle<LibraryKind>>, path: Text, jit_options: In<u32>, jit_values: In<u64>, jit_count: u32,
        options: In<u32>, values: In<u64>, count: u32,
    ) {
        library.check()?;
        let image = std::fs::read(path.get()?).map_err(|_| Code::FILE_NOT_FOUND)?;
        library.set(driver.libraries.insert(Library { image, loaded: Vec::new(), kernels: Vec::new() }))
    }

    /// `cuLibraryUnload`: 1.
    fn cuLibraryUnload(driver, library: Handle<LibraryKind>) {
        let known = driver.libraries.remove(library).map_err(|_| Code::INVALID_VALUE)?;
        for kernel in known.kernels {
            driver.kernels.remove(kernel)?;
        }
        known.loaded.into_iter().try_for_each(|(_, module)| driver.unload(module))
    }

    /// `cuLibraryGetKernel`: 1, 400, 500. A name is looked up in the current context; without one, when it is launched.
    fn cuLibraryGetKernel(driver, kernel: Out<Handle<KernelKind>>, library: Handle<LibraryKind>, name: Text) {
        kernel.check()?;
        let name = name.get()?;
        let known = &driver.libraries.get(library)?.kernels;
        let same = |kernel: &&Handle<KernelKind>| {
            driver.kernels.get(**kernel).is_ok_and(|known| known.name.as_bytes() == name.as_bytes())
        };
        if let Some(found) = known.iter().find(same) {
            return kernel.set(*found);
        }
        if let Ok(context) = driver.current() {
            let module = driver.library_module(library, context)?;
            driver.function(module, &name)?;
        }
        let name = CString::new(name).map_err(|_| Code::NOT_FOUND)?;
        let made = driver.kernels.insert(Kernel { library, name });
        driver.libraries.get_mut(library)?.kernels.push(made);
        kernel.set(made)
    }

    /// `cuLibraryGetModule`: 1, 201, 400.
    fn cuLibraryGetModule(driver, module: Out<Handle<ModuleKind>>, library: Handle<LibraryKind>) {
        module.check()?;
        let context = driver.current()?;
        module.set(driver.library_module(library, context)?)
    }

    /// `cuLibraryGetGlobal`: 1, 201, 400, 500.
    fn cuLibraryGetGlobal(driver, address: Out<u64>, bytes: Out<usize>, library: Handle<LibraryKind>, name: Text) {
        let context = driver.current()?;
        let module = driver.library_module(library, context)?;
        let (base, size) = driver.global(module, &name.get()?)?;
        address.set_if_wanted(base);
        bytes.set_if_wanted(size as usize);
        Ok(())
    }

    /// `cuKernelGetFunction`: 1, 201, 400, 500.
    fn cuKernelGetFunction(driver, function: Out<Handle<FunctionKind>>, kernel: Handle<KernelKind>) {
        function.check()?;
        let context = driver.current()?;
        driver.kernels.get(kernel)?;
        function.set(driver.function_or_kernel(kernel.cast(), context)?)
    }

    /// `cuKernelGetLibrary`: 1, 400.
    fn cuKernelGetLibrary(driver, library: Out<Handle<LibraryKind>>, kernel: Handle<KernelKind>) {
        library.set(driver.kernels.get(kernel)?.library)
    }

    /// `cuKernelGetName`: 1.
    fn cuKernelGetName(driver, name: Out<*const c_char>, kernel: Handle<KernelKind>) {
        name.set(driver.kernels.get(kernel).map_err(|_| Code::INVALID_VALUE)?.name.as_ptr())
    }

    /// `cuKernelGetAttribute`: 1, 101, 400.
    fn cuKernelGetAttribute(driver, value: Out<i32>, which: u32, kernel: Handle<KernelKind>, device: i32) {
        value.check()?;
        let function = driver.kernel_on(kernel, device)?;
        let Function { device, kernel, attributes, .. } = driver.functions.get(function)?;
        value.set(attributes.get(driver, *device, kernel, which)?)
    }

    /// `cuKernelSetAttribute`: 1, 101, 400.
    fn cuKernelSetAttribute(driver, which: u32, value: i32, kernel: Handle<KernelKind>, device: i32) {
        let function = driver.kernel_on(kernel, device)?;
        let Function { device, kernel, attributes, .. } = driver.functions.get(function)?;
        let mut changed = *attributes;
        changed.set(driver, *device, kernel, which, value)?;
        driver.functions.get_mut(function)?.attributes = changed;
        Ok(())
    }
}
