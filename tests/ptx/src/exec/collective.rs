//! Operations of the lanes of a warp together (§9.7.9.6, §9.7.14.7 and following): shuffles, votes, matches, reductions.

use super::lanes::Cell;
use super::path::State;
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::text::ast::{Reduction, Shuffle, Vote};

/// An operation of several lanes together. Of [`Decoded`]: `a`, `b`, `c` are sources, `r[0]` the result, `r[1]` the predicate, `r[2]` the
/// slot of the mask, `imm` the index into [`super::Program::collectives`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Collective {
    Sync,
    Shuffle {
        mode: Shuffle,
        predicate: bool,
    },
    /// A shuffle by constants, by its index.
    Constant {
        exchange: u32,
    },
    /// A negated source.
    Vote {
        mode: Vote,
        negated: bool,
    },
    MatchAny {
        wide: bool,
    },
    MatchAll {
        wide: bool,
        predicate: bool,
    },
    Reduce {
        op: Reduction,
        signed: bool,
    },
    Elect {
        result: bool,
    },
}

/// Runs a [`Collective`] when all lanes of its mask are there.
pub(crate) struct Together;

impl Handler for Together {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { together(i, w, b) }
    }
}

/// A shuffle by constants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    sources: [u8; LANES],
    inside: u32,
    predicate: bool,
}

impl Exchange {
    pub(crate) fn new(mode: Shuffle, b: u32, c: u32, predicate: bool) -> Exchange {
        let mut exchange = Exchange { sources: [0; LANES], inside: 0, predicate };
        for lane in 0..LANES {
            let (source, inside) = shuffle_source(mode, lane as u32, b, c);
            exchange.sources[lane] = source as u8;
            exchange.inside |= u32::from(inside) << lane;
        }
        exchange
    }
}

/// A shuffle by constants of all lanes: `imm` is the index of the [`Collective`], `c` that of the [`Exchange`].
pub(crate) struct Exchanged;

impl Handler for Exchanged {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: lowering put slots there.
        unsafe {
            let named = w.slot::<u32>(i.r[2]).add(w.first()).read();
            if named & w.live & !w.mask != 0 {
                return together(i, w, b);
            }
            if let Some(checker) = &mut b.checker {
                if named & w.live & w.mask != u32::MAX {
                    return together(i, w, b);
                }
                // All lanes are named and there: nothing is to be reported.
                checker.together(w.index as usize, u32::MAX, u32::MAX);
            }
            let exchange = &b.program.exchanges[i.c as usize];
            let (a, d) = (w.slot::<u32>(i.a), w.slot::<u32>(i.r[0]));
            let mut values = [0; LANES];
            for lane in 0..LANES {
                values[lane] = a.add(exchange.sources[lane] as usize & 31).read();
            }
            for lane in 0..LANES {
                let slot = d.add(lane);
                slot.write(if WHOLE { values[lane] } else { values[lane].blend(slot.read(), w.mask >> lane) });
            }
            if exchange.predicate {
                w.set_predicate(i.r[1], exchange.inside);
            }
        }
        Flow::Go
    }
}

/// # Safety
/// The instruction is one that lowering made for [`Together`].
unsafe fn together(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let operation = b.program.collectives[i.imm as usize];
    // SAFETY: lowering put slots there.
    let named = unsafe { w.lanes::<u32>(i.r[2])[w.first()] };
    let missing = named & w.live & !w.mask;
    if b.checker.is_some() && named & w.live & w.mask != u32::MAX {
        check_lanes(operation, i, w, b, named);
    }
    if missing == 0 {
        // SAFETY: as above.
        unsafe { carry_out(operation, &b.program.exchanges, i, w, named) };
        if let Some(checker) = &mut b.checker {
            checker.together(w.index as usize, w.mask & named, w.live);
        }
        return Flow::Go;
    }
    let state = match operation {
        Collective::Sync => State::Sync(named),
        _ => State::Lanes(named),
    };
    let at = instruction_index(i, b);
    let there = w.waiting_at(state, w.block, at);
    if missing & !there != 0 {
        w.parking = state;
        return Flow::Retry;
    }
    let mask = w.mask;
    w.mask |= there;
    // SAFETY: as above.
    unsafe { carry_out(operation, &b.program.exchanges, i, w, named) };
    if let Some(checker) = &mut b.checker {
        checker.together(w.index as usize, w.mask & named, w.live);
    }
    w.mask = mask;
    w.release(state, w.block, at);
    b.events += 1;
    Flow::Go
}

/// Reports masks that name lanes which can't come, lanes that are not named, and sources of a shuffle that do not take part.
#[cold]
fn check_lanes(operation: Collective, i: &Decoded, w: &Warp, b: &mut Block<'_>, named: u32) {
    let gone = named & !w.live;
    if gone != 0 {
        b.misused(w, i.site, w.mask, "lanes gone", &|| {
            format!("the mask {named:#010x} names lanes that have exited or do not exist: {gone:#010x}")
        });
    }
    let strange = w.mask & !named;
    if strange != 0 {
        b.misused(w, i.site, strange, "lanes not named", &|| {
            format!("lanes {strange:#010x} carry the instruction out, which the mask {named:#010x} does not name")
        });
    }
    let source = |lane: usize| match operation {
        Collective::Constant { exchange } => Some(u32::from(b.program.exchanges[exchange as usize].sources[lane])),
        // SAFETY: lowering put slots of 32 bits there.
        Collective::Shuffle { mode, .. } => unsafe {
            let (b, c) = (w.slot::<u32>(i.b).add(lane).read(), w.slot::<u32>(i.c).add(lane).read());
            Some(shuffle_source(mode, lane as u32, b, c).0)
        },
        _ => None,
    };
    let from_outside = |lane: &usize| source(*lane).is_some_and(|source| named >> source & 1 == 0);
    let outside = active(w.mask).filter(from_outside).fold(0, |lanes, lane| lanes | 1 << lane);
    if outside != 0 {
        b.misused(w, i.site, outside, "shuffle from outside", &|| {
            format!("a shuffle from lanes that the mask {named:#010x} does not name: the value is not defined")
        });
    }
}

/// The place of an instruction in the program. Instructions that wait are never under a predicate.
pub(crate) fn instruction_index(i: &Decoded, b: &Block<'_>) -> u32 {
    let start = b.program.code.as_ptr() as usize;
    ((std::ptr::from_ref(i) as usize - start) / size_of::<Decoded>()) as u32
}

fn active(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |&lane| mask >> lane & 1 != 0)
}

/// # Safety
/// As of [`together`].
unsafe fn carry_out(operation: Collective, exchanges: &[Exchange], i: &Decoded, w: &mut Warp, named: u32) {
    let members = w.mask & named;
    // SAFETY: lowering put slots there, as the operation wants them.
    unsafe {
        match operation {
            Collective::Sync => {}
            Collective::Constant { exchange } => {
                let exchange = exchanges[exchange as usize];
                let a = w.lanes::<u32>(i.a);
                w.set_lanes::<u32, false>(i.r[0], &exchange.sources.map(|source| a[source as usize & 31]));
                if exchange.predicate {
                    w.set_predicate(i.r[1], exchange.inside);
                }
            }
            Collective::Shuffle { mode, predicate } => {
                let (a, b, c) = (w.slot::<u32>(i.a), w.slot::<u32>(i.b), w.slot::<u32>(i.c));
                let (mut d, mut inside) = ([0; LANES], 0);
                for lane in 0..LANES {
                    let (source, found) = shuffle_source(mode, lane as u32, b.add(lane).read(), c.add(lane).read());
                    d[lane] = a.add(source as usize & 31).read();
                    inside |= u32::from(found) << lane;
                }
                w.set_lanes::<u32, false>(i.r[0], &d);
                if predicate {
                    w.set_predicate(i.r[1], inside);
                }
            }
            Collective::Vote { mode, negated } => {
                let holds = (w.predicate(i.a) ^ u32::from(negated).wrapping_neg()) & members;
                let all = |condition: bool| u32::from(condition).wrapping_neg();
                match mode {
                    Vote::Ballot => w.set_lanes::<u32, false>(i.r[0], &[holds; LANES]),
                    Vote::All => w.set_predicate(i.r[0], all(holds == members)),
                    Vote::Any => w.set_predicate(i.r[0], all(holds != 0)),
                    Vote::Uni => w.set_predicate(i.r[0], all(holds == 0 || holds == members)),
                }
            }
            Collective::MatchAny { wide } => {
                let a = if wide { w.lanes::<u64>(i.a) } else { w.lanes::<u32>(i.a).map(u64::from) };
                let same = |lane: usize| active(members).filter(move |&other| a[other] == a[lane]);
                let d = std::array::from_fn(|lane| same(lane).fold(0u32, |mask, other| mask | 1 << other));
                w.set_lanes::<u32, false>(i.r[0], &d);
            }
            Collective::MatchAll { wide, predicate } => {
                let a = if wide { w.lanes::<u64>(i.a) } else { w.lanes::<u32>(i.a).map(u64::from) };
                let first = a[w.first()];
                let all = active(members).all(|lane| a[lane] == first);
                w.set_lanes::<u32, false>(i.r[0], &[if all { members } else { 0 }; LANES]);
                if predicate {
                    w.set_predicate(i.r[1], u32::from(all).wrapping_neg());
                }
            }
            Collective::Reduce { op, signed } => {
                let a = w.lanes::<u32>(i.a);
                let values = active(members).map(|lane| a[lane]);
                let result = values.reduce(|x, y| reduce(op, signed, x, y)).unwrap_or_default();
                w.set_lanes::<u32, false>(i.r[0], &[result; LANES]);
            }
            Collective::Elect { result } => {
                // The ISA leaves open which lane; here it is the lowest.
                let leader = members.trailing_zeros() & 31;
                if result {
                    w.set_lanes::<u32, false>(i.r[0], &[leader; LANES]);
                }
                w.set_predicate(i.r[1], 1 << leader);
            }
        }
    }
}

fn reduce(op: Reduction, signed: bool, x: u32, y: u32) -> u32 {
    match op {
        Reduction::Add => x.wrapping_add(y),
        Reduction::Min if signed => (x as i32).min(y as i32) as u32,
        Reduction::Max if signed => (x as i32).max(y as i32) as u32,
        Reduction::Min => x.min(y),
        Reduction::Max => x.max(y),
        Reduction::And => x & y,
        Reduction::Or => x | y,
        Reduction::Xor => x ^ y,
    }
}

/// The lane that a lane reads from, and whether it lies in the segment (the pseudo code of §9.7.9.6).
pub(crate) fn shuffle_source(mode: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (distance, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let highest = lane & segment | clamp & !segment;
    let lowest = lane & segment;
    let (source, inside) = match mode {
        Shuffle::Up => {
            let source = lane as i32 - distance as i32;
            (source as u32, source >= highest as i32)
        }
        Shuffle::Down => (lane + distance, lane + distance <= highest),
        Shuffle::Bfly => (lane ^ distance, (lane ^ distance) <= highest),
        Shuffle::Idx => {
            let source = lowest | distance & !segment;
            (source, source <= highest)
        }
    };
    if inside { (source & 31, true) } else { (lane, false) }
}

/// `activemask`
pub(crate) struct ActiveMask;

impl Handler for ActiveMask {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        // SAFETY: lowering put a slot of 32 bits there.
        unsafe { w.set_lanes::<u32, WHOLE>(i.r[0], &[w.mask; LANES]) };
        Flow::Go
    }
}
