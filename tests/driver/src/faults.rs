//! Faults that the environment asks for.
//!
//! `CUDA_STANDIN_FAIL` is a list with commas of `POINT:N`, `POINT:N+` and either with `=CODE` behind it: the N-th time (from 1)
//! that POINT is passed, or from then on, it fails with CODE. The points, and the code where none is given:
//!
//! | point | what is counted | code |
//! |---|---|---|
//! | `alloc` | calls that allocate device memory | 2, out of memory |
//! | `malloc-host` | calls that allocate page-locked memory | 2, out of memory |
//! | `load` | calls that load a module or library | 2, out of memory |
//! | `copy` | copies and fills, as they are carried out | 719, sticky |
//! | `launch` | kernels, as they run; those of graphs are counted one by one | 719, sticky |
//! | `instantiate` | graphs that are made ready to run | 2, out of memory |
//! | `sync` | calls that wait | 719, sticky |
//! | `device-lost` | kernels, copies and fills, as they are carried out | 999, and the device stays lost |
//!
//! Codes that the documentation calls lasting are sticky wherever they come from.

use crate::code::Code;

/// A place where a fault can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// An allocation on the device.
    Alloc,
    /// An allocation of page-locked memory.
    MallocHost,
    /// The loading of a module.
    Load,
    /// A copy or fill as it is carried out.
    Copy,
    /// A kernel as it runs.
    Launch,
    /// The instantiation of a graph.
    Instantiate,
    /// A call that waits.
    Sync,
    /// Any work of a device.
    DeviceLost,
}

impl Point {
    /// Whether calls are counted, and not work as it is carried out.
    pub(crate) fn is_of_a_call(self) -> bool {
        matches!(self, Point::Alloc | Point::MallocHost | Point::Load | Point::Instantiate | Point::Sync)
    }
}

const POINTS: [(&str, Point, Code); 8] = [
    ("alloc", Point::Alloc, Code::OUT_OF_MEMORY),
    ("malloc-host", Point::MallocHost, Code::OUT_OF_MEMORY),
    ("load", Point::Load, Code::OUT_OF_MEMORY),
    ("copy", Point::Copy, Code::LAUNCH_FAILED),
    ("launch", Point::Launch, Code::LAUNCH_FAILED),
    ("instantiate", Point::Instantiate, Code::OUT_OF_MEMORY),
    ("sync", Point::Sync, Code::LAUNCH_FAILED),
    ("device-lost", Point::DeviceLost, Code::UNKNOWN),
];

/// One entry of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    point: Point,
    first: u64,
    ever_after: bool,
    code: Code,
}

/// All of them, and how often each point was passed.
#[derive(Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    passed: [u64; POINTS.len()],
}

impl Faults {
    /// Reads the list.
    ///
    /// # Errors
    /// In a sentence, which entry is not of the form.
    pub fn parse(text: &str) -> Result<Faults, String> {
        let faults = text.split(',').map(|entry| {
            parse_one(entry.trim()).ok_or_else(|| {
                let points: Vec<&str> = POINTS.iter().map(|point| point.0).collect();
                format!(
                    "CUDA_STANDIN_FAIL has {entry:?}, expected POINT:N, POINT:N+ or POINT:N=CODE with POINT one of {}",
                    points.join(", ")
                )
            })
        });
        Ok(Faults { faults: faults.collect::<Result<_, _>>()?, passed: [0; POINTS.len()] })
    }

    /// Counts a passing of a point: fails where that was asked for.
    pub fn pass(&mut self, point: Point) -> Result<(), Code> {
        let passed = &mut self.passed[point as usize];
        *passed += 1;
        let passed = *passed;
        let due = |fault: &&Fault| {
            fault.point == point && (passed == fault.first || fault.ever_after && passed > fault.first)
        };
        self.faults.iter().find(due).map_or(Ok(()), |fault| Err(fault.code))
    }
}

fn parse_one(entry: &str) -> Option<Fault> {
    let (point, rest) = entry.split_once(':')?;
    let (_, point, code) = POINTS.into_iter().find(|known| known.0 == point)?;
    let (number, code) = match rest.split_once('=') {
        Some((number, code)) => (number, Code(code.parse().ok().filter(|code| *code != 0)?)),
        None => (rest, code),
    };
    let (number, ever_after) = match number.strip_suffix('+') {
        Some(number) => (number, true),
        None => (number, false),
    };
    let first = number.parse().ok().filter(|first| *first > 0)?;
    Some(Fault { point, first, ever_after, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str, point: Point, times: usize) -> Vec<u32> {
        let mut faults = Faults::parse(text).expect("valid");
        (0..times).map(|_| faults.pass(point).err().map_or(0, |code| code.0)).collect()
    }

    #[test]
    fn a_point_fails_at_its_number() {
        assert_eq!(codes("alloc:3", Point::Alloc, 5), [0, 0, 2, 0, 0]);
        assert_eq!(codes("alloc:2+", Point::Alloc, 4), [0, 2, 2, 2]);
        assert_eq!(codes("launch:1=700", Point::Launch, 2), [700, 0]);
        assert_eq!(codes("launch:2+=702", Point::Launch, 3), [0, 702, 702]);
        assert_eq!(codes("alloc:1,malloc-host:2", Point::MallocHost, 3), [0, 2, 0]);
        assert_eq!(codes("alloc:1", Point::Launch, 2), [0, 0]);
    }

    #[test]
    fn points_stand_at_their_own_index() {
        for (index, (name, point, _)) in POINTS.iter().enumerate() {
            assert_eq!(*point as usize, index, "{name}");
        }
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for text in
            ["", "alloc", "alloc:", "alloc:0", "alloc:-1", "alloc:x", "alloc:1=0", "alloc:1=", "oven:1", "alloc:1,,"]
        {
            assert!(Faults::parse(text).is_err(), "{text:?}");
        }
    }
}
