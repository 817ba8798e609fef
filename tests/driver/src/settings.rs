//! Settings from the environment. README.md has the table of variables.

use ptx_machine::machine::{AsyncCopies, Checks, Options, Order};

use crate::faults::Faults;
use crate::gpus::{self, Gpu};

/// When work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// When it is waited for: as late as the documentation allows.
    Lazy,
    /// The same, but a copy to pageable memory of the host is done when its call returns. Documentation up to CUDA 11 promised
    /// that and drivers still do it; since then it says that such a copy "might be synchronous", no more.
    Staged,
    /// When it is asked for.
    Eager,
}

/// The clock that events read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The host's: how long the machine took.
    Host,
    /// A device's own, which each kernel moves on by the least time that its counted work takes on the GPU's units.
    Counted,
}

/// What is in memory that was just allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// Bytes that no program should like, as a GPU's are any.
    Poison,
    /// Zeros.
    Zero,
}

/// All settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The GPU that is imitated.
    pub(crate) gpu: &'static Gpu,
    /// Bytes of each device.
    pub(crate) memory: u64,
    /// The machine's devices that the program sees, in its order.
    pub(crate) visible: Vec<usize>,
    /// Version of the driver: 1000 × major + 10 × minor.
    pub(crate) version: i32,
    /// When work is done.
    pub(crate) when: When,
    /// The clock that events read.
    pub(crate) clock: Clock,
    /// The content of new allocations.
    pub(crate) fresh: Fresh,
    /// The options of kernels.
    pub(crate) options: Options,
    /// The planted faults.
    pub(crate) faults: Faults,
    /// The file that each call is written to.
    pub(crate) trace: Option<String>,
    /// The file that findings and leaks are written to.
    pub(crate) report: Option<String>,
}

/// Version of CUDA where `CUDA_STANDIN_DRIVER` is not set: that of the toolkit whose header the functions were taken from.
const VERSION: i32 = 13_000;

impl Default for Settings {
    fn default() -> Settings {
        let gpu = &gpus::GPUS[0];
        Settings {
            gpu,
            memory: gpu.memory_mib << 20,
            visible: vec![0],
            version: VERSION,
            when: When::Lazy,
            clock: Clock::Host,
            fresh: Fresh::Poison,
            options: Options::default(),
            faults: Faults::default(),
            trace: None,
            report: None,
        }
    }
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// In a sentence, what a variable holds and what it may hold.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut settings = Settings::default();
        if let Some(key) = set("CUDA_STANDIN_GPU") {
            settings.gpu = gpus::find(&key).ok_or_else(|| {
                let known: Vec<&str> = gpus::GPUS.iter().map(|gpu| gpu.key).collect();
                refused("CUDA_STANDIN_GPU", &key, &format!("one of {}", known.join(", ")))
            })?;
            settings.memory = settings.gpu.memory_mib << 20;
        }
        let number = |name: &str, what: &str| match set(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| refused(name, &text, what)),
        };
        if let Some(bytes) = number("CUDA_STANDIN_MEMORY", "a number of bytes")? {
            settings.memory = bytes;
        }
        let devices = number("CUDA_STANDIN_DEVICES", "a number of devices up to 16")?.unwrap_or(1);
        if devices > 16 {
            return Err(refused("CUDA_STANDIN_DEVICES", &devices.to_string(), "a number of devices up to 16"));
        }
        settings.visible = visible(devices as usize, variable("CUDA_VISIBLE_DEVICES").as_deref());
        if let Some(text) = set("CUDA_STANDIN_DRIVER") {
            settings.version =
                version(&text).ok_or_else(|| refused("CUDA_STANDIN_DRIVER", &text, "a version such as 13.0"))?;
        }
        if let Some(text) = set("CUDA_STANDIN_ORDER") {
            settings.when = match text.as_str() {
                "lazy" => When::Lazy,
                "staged" => When::Staged,
                "eager" => When::Eager,
                _ => return Err(refused("CUDA_STANDIN_ORDER", &text, "lazy, staged or eager")),
            };
        }
        if let Some(threads) = number("CUDA_STANDIN_THREADS", "a number of threads")? {
            settings.options.threads = usize::try_from(threads).unwrap_or(1).max(1);
        }
        if let Some(every) = number("CUDA_STANDIN_COUNT", "n, to count the work of every n-th block")? {
            settings.options.count_every = every;
        }
        if let Some(text) = set("CUDA_STANDIN_TIME") {
            settings.clock = match text.as_str() {
                "host" => Clock::Host,
                "counted" => Clock::Counted,
                _ => return Err(refused("CUDA_STANDIN_TIME", &text, "host or counted")),
            };
            if settings.clock == Clock::Counted && settings.options.count_every == 0 {
                settings.options.count_every = 1;
            }
        }
        if let Some(text) = set("CUDA_STANDIN_FRESH") {
            settings.fresh = match text.as_str() {
                "poison" => Fresh::Poison,
                "zero" => Fresh::Zero,
                _ => return Err(refused("CUDA_STANDIN_FRESH", &text, "poison or zero")),
            };
        }
        if let Some(text) = set("CUDA_STANDIN_CHECKS") {
            settings.options.checks = checks(&text)?;
        }
        if let Some(text) = set("CUDA_STANDIN_SCHEDULE") {
            let order = order(&text)?;
            (settings.options.blocks, settings.options.warps) = (order, order);
        }
        if let Some(text) = set("CUDA_STANDIN_ASYNC") {
            settings.options.async_copies = match text.as_str() {
                "earliest" => AsyncCopies::Earliest,
                "latest" => AsyncCopies::Latest,
                _ => return Err(refused("CUDA_STANDIN_ASYNC", &text, "earliest or latest")),
            };
        }
        if let Some(text) = set("CUDA_STANDIN_FAIL") {
            settings.faults = Faults::parse(&text)?;
        }
        settings.trace = set("CUDA_STANDIN_TRACE");
        settings.report = set("CUDA_STANDIN_REPORT");
        Ok(settings)
    }
}

fn refused(name: &str, value: &str, expected: &str) -> String {
    format!("{name} is {value:?}, expected {expected}")
}

fn version(text: &str) -> Option<i32> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let (major, minor): (i32, i32) = (major.parse().ok()?, minor.parse().ok()?);
    ((10..100).contains(&major) && (0..100).contains(&minor)).then_some(1000 * major + 10 * minor)
}

fn order(text: &str) -> Result<Order, String> {
    match text.split_once(':') {
        None if text == "forward" => Ok(Order::Forward),
        None if text == "backward" => Ok(Order::Backward),
        Some(("shuffled", seed)) if seed.parse::<u64>().is_ok() => Ok(Order::Shuffled(seed.parse().unwrap_or(0))),
        _ => Err(refused("CUDA_STANDIN_SCHEDULE", text, "forward, backward or shuffled:SEED")),
    }
}

fn checks(text: &str) -> Result<Checks, String> {
    let mut checks = Checks::NONE;
    for word in text.split(',') {
        match word {
            "all" => checks = Checks::ALL,
            "none" => checks = Checks::NONE,
            "races" => (checks.shared_races, checks.global_races) = (true, true),
            "shared-races" => checks.shared_races = true,
            "global-races" => checks.global_races = true,
            "unwritten" => checks.unwritten = true,
            "protocols" => checks.protocols = true,
            _ => {
                let expected =
                    "all, none, or some of races, shared-races, global-races, unwritten, protocols with commas";
                return Err(refused("CUDA_STANDIN_CHECKS", text, expected));
            }
        }
    }
    Ok(checks)
}

/// The devices that `CUDA_VISIBLE_DEVICES` leaves, in its order: the list ends at the first entry that names no device (CUDA C++
/// Programming Guide, "CUDA Environment Variables"). Entries are numbers, or beginnings of a device's UUID.
fn visible(devices: usize, list: Option<&str>) -> Vec<usize> {
    let Some(list) = list else { return (0..devices).collect() };
    let named = |entry: &str| match entry.parse::<usize>() {
        Ok(number) => (number < devices).then_some(number),
        Err(_) => (0..devices).find(|device| entry.len() > 4 && uuid_text(*device).starts_with(entry)),
    };
    let mut visible = Vec::new();
    for device in list.split(',').map(|entry| named(entry.trim())) {
        match device {
            // A device that is named twice makes the list one without devices.
            Some(device) if visible.contains(&device) => return Vec::new(),
            Some(device) => visible.push(device),
            None => break,
        }
    }
    visible
}

/// The UUID of one of the machine's devices: the same in every run, and plainly made up.
pub(crate) fn uuid(device: usize) -> [u8; 16] {
    let mut uuid = *b"cuda-stand-in\0\0\0";
    uuid[15] = device as u8;
    uuid
}

fn uuid_text(device: usize) -> String {
    let digits: String = uuid(device).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("GPU-{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_string()))
    }

    #[test]
    fn without_variables_it_is_one_h200_that_works_late() {
        let settings = read(&[]).expect("valid");
        assert_eq!((settings.gpu.key, settings.visible, settings.when), ("h200", vec![0], When::Lazy));
        assert_eq!((settings.options.checks, settings.fresh), (Checks::NONE, Fresh::Poison));
    }

    #[test]
    fn each_variable_is_read() {
        let settings = read(&[
            ("CUDA_STANDIN_GPU", "t4"),
            ("CUDA_STANDIN_MEMORY", "4096"),
            ("CUDA_STANDIN_DRIVER", "12.4"),
            ("CUDA_STANDIN_ORDER", "eager"),
            ("CUDA_STANDIN_THREADS", "3"),
            ("CUDA_STANDIN_COUNT", "7"),
            ("CUDA_STANDIN_TIME", "counted"),
            ("CUDA_STANDIN_FRESH", "zero"),
            ("CUDA_STANDIN_CHECKS", "races,unwritten"),
            ("CUDA_STANDIN_SCHEDULE", "shuffled:9"),
            ("CUDA_STANDIN_ASYNC", "earliest"),
        ])
        .expect("valid");
        assert_eq!((settings.gpu.key, settings.memory, settings.version), ("t4", 4096, 12_040));
        assert_eq!((settings.when, settings.clock, settings.fresh), (When::Eager, Clock::Counted, Fresh::Zero));
        let options = settings.options;
        assert_eq!((options.threads, options.count_every), (3, 7));
        assert_eq!((options.blocks, options.warps), (Order::Shuffled(9), Order::Shuffled(9)));
        assert_eq!(options.async_copies, AsyncCopies::Earliest);
        assert_eq!(options.checks, Checks { protocols: false, ..Checks::ALL });
    }

    #[test]
    fn a_counted_time_counts_every_block_unless_it_is_told_otherwise() {
        let every = |pairs: &[(&str, &str)]| read(pairs).expect("valid").options.count_every;
        assert_eq!(every(&[("CUDA_STANDIN_TIME", "host")]), 0);
        assert_eq!(every(&[("CUDA_STANDIN_TIME", "counted")]), 1);
        assert_eq!(every(&[("CUDA_STANDIN_TIME", "counted"), ("CUDA_STANDIN_COUNT", "9")]), 9);
    }

    #[test]
    fn a_value_that_is_not_known_is_named() {
        for name in [
            "GPU", "MEMORY", "DEVICES", "DRIVER", "ORDER", "THREADS", "COUNT", "TIME", "FRESH", "CHECKS", "SCHEDULE",
            "ASYNC", "FAIL",
        ] {
            let name = format!("CUDA_STANDIN_{name}");
            let error = read(&[(&name, "?")]).expect_err(&name);
            assert!(error.contains(&name) && error.contains("\"?\""), "{error}");
        }
    }

    #[test]
    fn devices_are_seen_as_the_programming_guide_says() {
        assert_eq!(visible(4, None), [0, 1, 2, 3]);
        assert_eq!(visible(4, Some("2,1")), [2, 1]);
        assert_eq!(visible(4, Some("0,-1,1")), [0]);
        assert_eq!(visible(4, Some("")), []);
        assert_eq!(visible(4, Some("1,1")), []);
        assert_eq!(visible(2, Some(&uuid_text(1))), [1]);
    }
}
