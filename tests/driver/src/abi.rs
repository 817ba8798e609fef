//! The edge to C: what a program passes, and what every call goes through.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::code::{Code, Result};
use crate::state::{self, Driver};

/// Defines functions of the driver's interface, and a table of them for `cuGetProcAddress`.
///
/// Each body gets the driver's state and returns a [`Result`]; what it does is traced, and no panic leaves it.
macro_rules! driver_api {
    ($table:ident; $($(#[$doc:meta])* fn $name:ident($driver:ident $(, $argument:ident: $type:ty)* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As the interface of C has it: each pointer is null, or is valid for what the documentation says of it.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            pub(crate) unsafe extern "C" fn $name($($argument: $type),*) -> $crate::code::Code {
                #[allow(unused_variables)]
                $crate::abi::call(
                    stringify!($name),
                    || $crate::abi::listed(&[$(&$argument as &dyn std::fmt::Debug),*]),
                    |$driver: &mut $crate::state::Driver| -> $crate::code::Result { $body },
                )
            }
        )*

        /// The functions that this file exports.
        pub(crate) const $table: &[$crate::abi::Symbol] =
            &[$($crate::abi::Symbol { name: stringify!($name), address: $name as *const () }),*];
    };
}
pub(crate) use driver_api;

/// An exported function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbol {
    pub(crate) name: &'static str,
    pub(crate) address: *const (),
}

// SAFETY: the address of a function, which is never written and lives as long as the library.
unsafe impl Sync for Symbol {}

/// The arguments in a line.
pub(crate) fn listed(arguments: &[&dyn std::fmt::Debug]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|argument| format!("{argument:?}")).collect();
    arguments.join(", ")
}

/// The time between two looks of a call that waits for other threads or processes.
const PAUSE: std::time::Duration = std::time::Duration::from_micros(50);

/// Runs the body of a call.
pub(crate) fn call(
    name: &'static str,
    arguments: impl FnOnce() -> String,
    mut body: impl FnMut(&mut Driver) -> Result,
) -> Code {
    let work = || {
        // "The host function must not make any CUDA API calls. Attempting to use a CUDA API may result in
        // CUDA_ERROR_NOT_PERMITTED, but this is not required." (cuLaunchHostFunc)
        if state::in_host_function() {
            return Code::NOT_PERMITTED;
        }
        let mut driver = state::lock();
        let traced = driver.trace.wanted().then(arguments);
        let mut result = driver.before(name).and_then(|()| body(&mut driver));
        while result == Err(Code::LATER) {
            // Others may go on meanwhile.
            drop(driver);
            std::thread::sleep(PAUSE);
            driver = state::lock();
            driver.again = true;
            result = body(&mut driver);
            driver.again = false;
        }
        let code = result.err().unwrap_or(Code::SUCCESS);
        if let Some(arguments) = traced {
            driver.trace.line(&format!("{name}({arguments}) -> {code}"));
        }
        code
    };
    // A panic is a fault of the stand-in; its message went to stderr.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Code::UNKNOWN)
}

/// The destination of a result.
#[repr(transparent)]
pub(crate) struct Out<T>(pub(crate) *mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Out<T> {}
impl<T> std::fmt::Debug for Out<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl<T> Out<T> {
    /// 1 where it is null, as every function documents.
    pub(crate) fn check(self) -> Result<Out<T>> {
        if self.0.is_null() { Err(Code::INVALID_VALUE) } else { Ok(self) }
    }

    pub(crate) fn set(self, value: T) -> Result {
        self.check()?;
        // SAFETY: the program gave it as the place of a result of this type (see `driver_api`).
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// Writes, where the program wants this result at all.
    pub(crate) fn set_if_wanted(self, value: T) {
        let _ = self.set(value);
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Writes several, one behind the other.
    pub(crate) fn set_all(self, values: impl IntoIterator<Item = T>) -> Result {
        self.check()?;
        for (index, value) in values.into_iter().enumerate() {
            // SAFETY: as in `set`; the program said that there is room for so many.
            unsafe { self.0.add(index).write_unaligned(value) };
        }
        Ok(())
    }

    /// The value there, for functions that read and write a place.
    pub(crate) fn get(self) -> Result<T>
    where
        T: Copy,
    {
        In(self.0.cast_const()).get()
    }
}

impl Out<c_char> {
    /// Writes a text of at most `room` bytes, with its zero.
    pub(crate) fn set_text(self, text: &str, room: i32) -> Result {
        let room = usize::try_from(room).ok().filter(|room| *room > 0).ok_or(Code::INVALID_VALUE)?;
        let bytes = text.bytes().take(room - 1).chain([0]);
        self.set_all(bytes.map(|byte| byte as c_char))
    }
}

/// The place of an argument.
#[repr(transparent)]
pub(crate) struct In<T>(pub(crate) *const T);

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for In<T> {}
impl<T> std::fmt::Debug for In<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl<T: Copy> In<T> {
    /// 1 where it is null.
    pub(crate) fn get(self) -> Result<T> {
        self.at(0)
    }

    /// Element `index` of an array.
    pub(crate) fn at(self, index: usize) -> Result<T> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the program gave it as an array that holds this element (see `driver_api`).
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The first `count` elements.
    pub(crate) fn list(self, count: usize) -> Result<Vec<T>> {
        (0..count).map(|index| self.at(index)).collect()
    }
}

/// A text of the program's.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Text(pub(crate) *const c_char);

impl std::fmt::Debug for Text {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.get() {
            Ok(text) => write!(out, "{text:?}"),
            Err(_) => write!(out, "null"),
        }
    }
}

impl Text {
    pub(crate) fn get(self) -> Result<String> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the program gave it as a text that ends with a zero (see `driver_api`).
        Ok(unsafe { CStr::from_ptr(self.0) }.to_string_lossy().into_owned())
    }
}

/// An address of the host's memory.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) u64);

impl std::fmt::Debug for Host {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:#x}", self.0)
    }
}

/// The bytes at an address of the host's, for as long as a copy takes.
///
/// # Safety
/// The program passed the address to a copy of so many bytes, and keeps it valid until the copy is done.
pub(crate) unsafe fn host_bytes<'a>(address: u64, bytes: usize) -> &'a [u8] {
    // SAFETY: as the caller says.
    unsafe { std::slice::from_raw_parts(address as *const u8, bytes) }
}

/// The same, to be written.
///
/// # Safety
/// As for [`host_bytes`]; nothing else may use the bytes until the copy is done.
pub(crate) unsafe fn host_bytes_mut<'a>(address: u64, bytes: usize) -> &'a mut [u8] {
    // SAFETY: as the caller says.
    unsafe { std::slice::from_raw_parts_mut(address as *mut u8, bytes) }
}

/// A function of the program's that is called back with its own pointer.
pub(crate) type HostFunction = Option<unsafe extern "C" fn(*mut c_void)>;
