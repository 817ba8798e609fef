//! Memory and launches, as a GPU has them.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::library::{KernelEntry, Loaded, MOST_FINDINGS, RawFinding, RawLaunch};
use crate::lines::places;
use crate::memory::Table;
use crate::program::{Program, crate_root};
use crate::report::{Address, Finding, Kind, Place, Report, Role, Site};

/// In which order threads, or blocks, run when more than one could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The one with the lowest index first.
    Ascending,
    /// The one with the highest index first.
    Descending,
    /// Drawn by a generator with this seed.
    Random(u64),
}

/// When a cp.async copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMode {
    /// At once.
    Early,
    /// Only when its thread waits for it.
    Late,
}

/// The way in which an [`Emulator`] runs kernels.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Order of the threads of a block.
    pub threads: Order,
    /// Order of the blocks of a grid.
    pub blocks: Order,
    /// When a cp.async copies.
    pub copies: CopyMode,
    /// Whether accesses are checked. Without, kernels run some ten times as fast, and only barriers, collectives and
    /// what the processor itself refuses are reported.
    pub detection: bool,
    /// The time that one launch may take.
    pub time_limit: Duration,
}

impl Default for Options {
    /// Ascending order, late copies, detection on, one minute.
    fn default() -> Options {
        Options {
            threads: Order::Ascending,
            blocks: Order::Ascending,
            copies: CopyMode::Late,
            detection: true,
            time_limit: Duration::from_secs(60),
        }
    }
}

/// Address space of one emulator. Shadows of the detector take 40 times as much, all of it virtual.
const BYTES: u64 = 1 << 40;
const BYTES_DETECTING: u64 = 1 << 35;

/// A device with memory and kernels. All calls may come from any thread; they take turns.
#[derive(Debug)]
pub struct Emulator {
    loaded: Arc<Loaded>,
    options: Options,
    device: Mutex<Device>,
}

#[derive(Debug)]
struct Device {
    handle: *mut c_void,
    table: Table,
    launches: u64,
    /// The buffer that the runtime writes to, kept because it is large.
    findings: Box<[RawFinding; MOST_FINDINGS]>,
}

// SAFETY: the handle is used under the mutex alone, and the runtime does not care which thread calls.
unsafe impl Send for Device {}

impl Emulator {
    /// A device that runs this program's kernels. Builds the checked variant of the program if it is needed and not
    /// there yet.
    ///
    /// # Errors
    ///
    /// What the compiler says, or that the system gives no address space.
    pub fn new(program: &Program, options: Options) -> Result<Emulator, String> {
        let loaded = program.loaded(options.detection)?;
        let bytes = if options.detection { BYTES_DETECTING } else { BYTES };
        // SAFETY: the function takes any size and returns null where it cannot be had.
        let handle = unsafe { (loaded.new_device)(bytes) };
        if handle.is_null() {
            return Err(format!("the system refuses {} GiB of address space", bytes >> 30));
        }
        // SAFETY: the handle is a live device.
        let base = unsafe { (loaded.base)(handle) };
        let device = Mutex::new(Device {
            handle,
            table: Table::new(base, bytes),
            launches: 0,
            findings: Box::new([RawFinding::EMPTY; MOST_FINDINGS]),
        });
        Ok(Emulator { loaded, options, device })
    }

    /// The options that it was made with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The names of all kernels of the program, in no order.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.loaded.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        // Nothing that runs under the lock leaves the table half changed.
        self.device.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Makes a buffer, aligned to 256 bytes and full of NaNs. With detection, kernels may not read what nobody wrote.
    ///
    /// # Errors
    ///
    /// When the address space or the machine's memory is used up.
    pub fn alloc(&self, bytes: usize) -> Result<u64, String> {
        let mut device = self.device();
        let buffer = device.table.place(bytes as u64)?;
        // SAFETY: the table gives each buffer pages of its own inside the device's address space.
        let failed =
            unsafe { (self.loaded.map)(device.handle, buffer.start, buffer.length, buffer.address, buffer.bytes) };
        if failed != 0 {
            return Err(format!("the system refuses {bytes} bytes"));
        }
        let address = buffer.address;
        device.table.insert(buffer);
        Ok(address)
    }

    /// Gives a buffer back. Its address is not used again as long as there are others, so a later access is found.
    ///
    /// # Errors
    ///
    /// When no buffer begins at this address.
    pub fn free(&self, address: u64) -> Result<(), String> {
        let mut device = self.device();
        let buffer = device.table.at(address)?;
        buffer.freed = true;
        let buffer = buffer.clone();
        // SAFETY: these are the pages that `map` was given, and nobody holds a reference into them.
        unsafe { (self.loaded.unmap)(device.handle, buffer.start, buffer.length, buffer.address, buffer.bytes) };
        Ok(())
    }

    /// Names a buffer in reports.
    ///
    /// # Errors
    ///
    /// When no buffer begins at this address.
    pub fn name(&self, address: u64, name: &str) -> Result<(), String> {
        self.device().table.at(address)?.name = name.into();
        Ok(())
    }

    /// Writes bytes into a buffer.
    ///
    /// # Errors
    ///
    /// When they do not lie in one buffer.
    pub fn upload(&self, from: &[u8], address: u64) -> Result<(), String> {
        let device = self.device();
        device.table.check(address, from.len() as u64)?;
        // SAFETY: the range lies in a mapped buffer that nobody else touches while we hold the lock.
        unsafe {
            std::ptr::copy_nonoverlapping(from.as_ptr(), address as *mut u8, from.len());
            (self.loaded.written)(device.handle, address, from.len() as u64);
        }
        Ok(())
    }

    /// Reads bytes of a buffer; those that nobody wrote are 0xff.
    ///
    /// # Errors
    ///
    /// When they do not lie in one buffer.
    pub fn download(&self, address: u64, to: &mut [u8]) -> Result<(), String> {
        let device = self.device();
        device.table.check(address, to.len() as u64)?;
        // SAFETY: the range lies in a mapped buffer that nobody else touches while we hold the lock.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies between or within buffers. Bytes that nobody wrote remain such.
    ///
    /// # Errors
    ///
    /// When one of the ranges does not lie in one buffer.
    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), String> {
        let device = self.device();
        device.table.check(from, bytes as u64)?;
        device.table.check(to, bytes as u64)?;
        // SAFETY: both ranges lie in mapped buffers that nobody else touches while we hold the lock.
        unsafe { (self.loaded.copy)(device.handle, from, to, bytes as u64) };
        Ok(())
    }

    /// Writes zeros.
    ///
    /// # Errors
    ///
    /// When the range does not lie in one buffer.
    pub fn fill_zero(&self, address: u64, bytes: usize) -> Result<(), String> {
        let device = self.device();
        device.table.check(address, bytes as u64)?;
        // SAFETY: the range lies in a mapped buffer that nobody else touches while we hold the lock.
        unsafe {
            std::ptr::write_bytes(address as *mut u8, 0, bytes);
            (self.loaded.written)(device.handle, address, bytes as u64);
        }
        Ok(())
    }

    /// Runs a kernel to its end: `arguments` are the bytes of its parameters, one slice each.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the launch, at most 20 findings.
    pub fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: usize,
        arguments: &[&[u8]],
    ) -> Result<(), Report> {
        let entry = self.find(kernel)?;
        check_arguments(entry, arguments)?;
        // Copies aligned to 16 bytes: the kernel reads its parameters as what they are.
        let mut copies: Vec<Vec<u128>> = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let mut copy = vec![0u128; argument.len().div_ceil(16).max(1)];
            // SAFETY: the copy has at least as many bytes, and any bytes make a u128.
            unsafe { std::ptr::copy_nonoverlapping(argument.as_ptr(), copy.as_mut_ptr().cast(), argument.len()) };
            copies.push(copy);
        }
        let mut pointers: Vec<*mut c_void> = copies.iter_mut().map(|copy| copy.as_mut_ptr().cast()).collect();
        let mut device = self.device();
        device.launches += 1;
        let seed = |order| if let Order::Random(seed) = order { seed } else { 0 };
        let mut launch = RawLaunch {
            kernel: 0,
            grid,
            block,
            thread_order: order_number(self.options.threads),
            block_order: order_number(self.options.blocks),
            late_copies: (self.options.copies == CopyMode::Late).into(),
            // Each launch draws other orders, the same ones in each run of the process.
            seed: seed(self.options.threads) ^ seed(self.options.blocks).rotate_left(32) ^ (device.launches << 20),
            dynamic_shared: dynamic_shared as u64,
            time_limit: self.options.time_limit.as_millis().try_into().unwrap_or(1 << 40).min(1 << 40),
            arguments: pointers.as_mut_ptr(),
            barrier_pairs: 0,
            barrier_pcs: [0; 32],
        };
        let Device { handle, findings, table, .. } = &mut *device;
        // SAFETY: the device lives as long as self; number and sizes of the arguments are checked above.
        let count = unsafe { self.loaded.launch(*handle, entry, &mut launch, findings) };
        let findings = self.translate(table, entry, &launch, &findings[..count]);
        if findings.is_empty() { Ok(()) } else { Err(Report { findings }) }
    }

    fn find(&self, name: &str) -> Result<&KernelEntry, Report> {
        self.loaded.kernels.iter().find(|kernel| kernel.name == name).ok_or_else(|| {
            let nearest = self.kernels().min_by_key(|&known| (distance(name, known), known.to_string()));
            let hint = nearest.map_or("the program has none".into(), |nearest| format!("the nearest is `{nearest}`"));
            Report::of_host(Kind::UnknownKernel, name, hint)
        })
    }

    /// Gives findings their lines and buffers.
    fn translate(&self, table: &Table, kernel: &KernelEntry, launch: &RawLaunch, raw: &[RawFinding]) -> Vec<Finding> {
        let pairs: Vec<[u64; 2]> = launch.barrier_pcs[..2 * launch.barrier_pairs as usize]
            .chunks_exact(2)
            .map(|pair| [pair[0], pair[1]])
            .collect();
        let mut offsets: Vec<u64> = raw.iter().flat_map(|finding| finding.sites().iter().map(|site| site.pc)).collect();
        offsets.extend(pairs.iter().flatten());
        if offsets.is_empty() && raw.is_empty() {
            return Vec::new();
        }
        let lines = places(&self.loaded.path, &offsets, &crate_root().join("include"));
        let mut findings: Vec<Finding> = raw.iter().map(|raw| finding(table, kernel, launch, raw, &lines)).collect();
        for pair in pairs {
            let [here, there] = pair.map(|pc| lines.get(&pc).cloned().unwrap_or_default());
            // The compiler may have copied one barrier to several places.
            if here == there || findings.len() == MOST_FINDINGS {
                continue;
            }
            let detail = "threads of one block meet on different lines".to_string();
            let site = |places| Site {
                role: Role::Waits,
                block: [0; 3],
                threads: vec![],
                places,
                detail: "__syncthreads".into(),
            };
            findings.push(Finding {
                kind: Kind::DivergentBarrier,
                kernel: kernel.name.clone(),
                sites: vec![site(here), site(there)],
                address: None,
                bytes: 0,
                count: 1,
                detail,
            });
        }
        findings
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let device = self.device();
        // SAFETY: the handle is a live device, and nobody can use it any more.
        unsafe { (self.loaded.free_device)(device.handle) };
    }
}

fn order_number(order: Order) -> u32 {
    match order {
        Order::Ascending => 0,
        Order::Descending => 1,
        Order::Random(_) => 2,
    }
}

fn check_arguments(kernel: &KernelEntry, arguments: &[&[u8]]) -> Result<(), Report> {
    let signature = || format!("{}({}) of {}:{}", kernel.name, kernel.parameters, kernel.file.display(), kernel.line);
    let wrong = |detail| Err(Report::of_host(Kind::Arguments, &kernel.name, detail));
    if arguments.len() != kernel.sizes.len() {
        return wrong(format!("{} given, {} has {}", arguments.len(), signature(), kernel.sizes.len()));
    }
    for (index, (argument, &size)) in arguments.iter().zip(&kernel.sizes).enumerate() {
        if argument.len() != size {
            return wrong(format!("number {index} has {} bytes, {size} in {}", argument.len(), signature()));
        }
    }
    Ok(())
}

fn finding(
    table: &Table,
    kernel: &KernelEntry,
    launch: &RawLaunch,
    raw: &RawFinding,
    lines: &HashMap<u64, Vec<Place>>,
) -> Finding {
    let [width, height, _] = launch.grid.map(|size| size.max(1));
    let sites = raw.sites().iter().map(|site| Site {
        role: site.role(),
        block: [site.block % width, site.block / width % height, site.block / width / height],
        threads: (0..1024)
            .filter(|thread| site.threads[thread / 32] >> (thread % 32) & 1 == 1)
            .map(|t| t as u32)
            .collect(),
        places: lines.get(&site.pc).cloned().unwrap_or_default(),
        detail: site.text(),
    });
    let kind = raw.kind();
    let shared = !raw.text().is_empty() && raw.address != 0;
    let address = (raw.address != 0).then(|| {
        if shared {
            // The runtime has put "array offset bytes" there.
            shared_address(&raw.text(), raw.address)
        } else {
            table.locate(raw.address)
        }
    });
    Finding {
        kind,
        kernel: kernel.name.clone(),
        sites: sites.collect(),
        address,
        bytes: raw.bytes,
        count: raw.count,
        detail: if shared { String::new() } else { raw.text() },
    }
}

/// "tile 64 1024": array, offset, bytes.
fn shared_address(text: &str, raw: u64) -> Address {
    let mut words = text.split(' ');
    let buffer = format!("shared {}", words.next().unwrap_or_default());
    let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).unwrap_or(0);
    Address { buffer, offset: number(), bytes: number() as u64, raw }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_single_edits() {
        assert_eq!(distance("scale", "scale"), 0);
        assert_eq!(distance("scale", "scales"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
