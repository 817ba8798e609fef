//! The mbarrier object (§9.7.14.15) as a value: 64 bits whose meaning the ISA keeps to itself, so that the encoding here is our own.
//!
//! A phase completes when both the pending arrivals and the tx-count are zero; the object is then ready for the next phase, with
//! as many pending arrivals as are expected. What the ISA leaves undefined is an error here, and the object stays as it was.

/// The greatest count of arrivals, and the greatest magnitude of the tx-count: 2^20 - 1 ("Contents of the mbarrier object").
pub const MAX_COUNT: u32 = (1 << 20) - 1;

/// The content of memory after `mbarrier.inval`: no object.
pub const INVALID: u64 = 0;

/// A misuse of an mbarrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MbarrierError {
    /// An operation on memory that holds no object.
    #[error("no mbarrier object lies here: mbarrier.init must come first, and no other write may touch it")]
    NotInitialized,
    /// A count outside of 1 to 2^20 - 1.
    #[error("a count of {0} arrivals; it must be 1 to 1048575")]
    Count(u32),
    /// More arrivals than the phase waits for.
    #[error("{count} arrivals where the current phase waits for {pending} more")]
    TooManyArrivals {
        /// The arrivals.
        count: u32,
        /// The arrivals that the phase waited for.
        pending: u32,
    },
    /// More arrivals are given up than are expected.
    #[error("arrive_drop of {count} where {expected} arrivals are expected in each phase")]
    TooManyDrops {
        /// The arrivals.
        count: u32,
        /// The arrivals that each phase expects.
        expected: u32,
    },
    /// The tx-count would leave its range.
    #[error("the tx-count would become {0}; its magnitude must stay below 1048576")]
    TransactionCount(i64),
    /// `.noComplete`, yet the phase would complete.
    #[error("arrive.noComplete would complete the phase")]
    Completes,
    /// `cp.async.mbarrier.arrive` would raise the pending count too far.
    #[error("the pending count would become {0}; it must stay below 1048576")]
    PendingCount(u32),
    /// A wait for a state that no arrive gave.
    #[error("{0:#x} is no state that mbarrier.arrive has returned")]
    NoState(u64),
    /// A parity other than 0 and 1.
    #[error("a phase's parity is 0 or 1, not {0}")]
    Parity(u32),
}

/// An mbarrier object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mbarrier {
    /// Arrivals that each phase after this one expects; 0 once every participant has dropped out.
    expected: u32,
    /// Arrivals that the current phase still waits for.
    pending: u32,
    /// Bytes of asynchronous copies that the current phase still waits for; negative where they came before they were announced.
    transactions: i32,
    /// The lowest bit of the current phase's number.
    parity: bool,
}

// The encoding, from the lowest bit: 20 bits expected, 20 bits pending, 21 bits tx-count, the parity, and a tag of two bits. A token
// has the pending count and the parity at the same places, and another tag; memory of zeros or ones is neither.
const PENDING_SHIFT: u32 = 20;
const TRANSACTIONS_SHIFT: u32 = 40;
const PARITY_SHIFT: u32 = 61;
const TAG_SHIFT: u32 = 62;
const OBJECT: u64 = 0b10;
const TOKEN: u64 = 0b01;

impl Mbarrier {
    /// `mbarrier.init`: phase 0, which waits for `count` arrivals.
    pub fn init(count: u32) -> Result<Mbarrier, MbarrierError> {
        check_count(count)?;
        Ok(Mbarrier { expected: count, pending: count, transactions: 0, parity: false })
    }

    /// The object that memory holds.
    pub fn from_bits(bits: u64) -> Result<Mbarrier, MbarrierError> {
        // Sign extension of the 21 bits of the tx-count.
        let transactions = (bits << (64 - PARITY_SHIFT)) as i64 >> (64 - PARITY_SHIFT + TRANSACTIONS_SHIFT);
        if bits >> TAG_SHIFT != OBJECT || transactions.unsigned_abs() > u64::from(MAX_COUNT) {
            return Err(MbarrierError::NotInitialized);
        }
        Ok(Mbarrier {
            expected: bits as u32 & MAX_COUNT,
            pending: pending_count(bits),
            transactions: transactions as i32,
            parity: bits >> PARITY_SHIFT & 1 == 1,
        })
    }

    /// The content of memory for this object.
    pub fn to_bits(self) -> u64 {
        let transactions = self.transactions as u64 & ((1 << 21) - 1);
        self.phase_bits(OBJECT) | transactions << TRANSACTIONS_SHIFT | u64::from(self.expected)
    }

    /// `mbarrier.arrive`, and the arrive-on of asynchronous copies: the state is that before the arrival. `no_complete`: `.noComplete`.
    pub fn arrive(&mut self, count: u32, no_complete: bool) -> Result<u64, MbarrierError> {
        self.arrive_with(count, no_complete, self.expected)
    }

    /// `mbarrier.arrive_drop`: from the next phase on, `count` arrivals fewer are expected.
    pub fn arrive_drop(&mut self, count: u32, no_complete: bool) -> Result<u64, MbarrierError> {
        check_count(count)?;
        let expected =
            self.expected.checked_sub(count).ok_or(MbarrierError::TooManyDrops { count, expected: self.expected })?;
        self.arrive_with(count, no_complete, expected)
    }

    /// `mbarrier.expect_tx`, and the first half of `arrive.expect_tx`: the phase also waits for `bytes`.
    ///
    /// Where copies completed before they were announced, and nobody is still to arrive, this completes the phase.
    pub fn expect_tx(&mut self, bytes: u32) -> Result<(), MbarrierError> {
        self.add_transactions(i64::from(bytes))
    }

    /// `mbarrier.complete_tx`, and what a bulk copy does at its end.
    pub fn complete_tx(&mut self, bytes: u32) -> Result<(), MbarrierError> {
        self.add_transactions(-i64::from(bytes))
    }

    /// `mbarrier.arrive.expect_tx`, and with `drop` `arrive_drop.expect_tx`: both halves, or where one is an error none.
    pub fn arrive_expect_tx(&mut self, bytes: u32, count: u32, drop: bool) -> Result<u64, MbarrierError> {
        // On a copy, so that an arrival that is not allowed leaves no expectation behind.
        let mut next = *self;
        next.expect_tx(bytes)?;
        let state = if drop { next.arrive_drop(count, false) } else { next.arrive(count, false) }?;
        *self = next;
        Ok(state)
    }

    /// The immediate effect of `cp.async.mbarrier.arrive` without `.noinc`: the phase waits for one more arrival, which its copies make.
    pub fn increment_pending(&mut self) -> Result<(), MbarrierError> {
        if self.pending == MAX_COUNT {
            return Err(MbarrierError::PendingCount(self.pending + 1));
        }
        self.pending += 1;
        Ok(())
    }

    /// `test_wait` and `try_wait`: whether the phase that `state` was taken in is complete.
    ///
    /// The ISA allows a state of the current phase and of the one before, which is why one bit tells them apart.
    pub fn test(&self, state: u64) -> Result<bool, MbarrierError> {
        if state >> TAG_SHIFT != TOKEN {
            return Err(MbarrierError::NoState(state));
        }
        Ok((state >> PARITY_SHIFT & 1 == 1) != self.parity)
    }

    /// `test_wait.parity` and `try_wait.parity`: whether the phase of this parity is complete, which is the current one or the one
    /// before. On a new object, the phase before (of parity 1) counts as complete.
    pub fn test_parity(&self, parity: u32) -> Result<bool, MbarrierError> {
        match parity {
            0 | 1 => Ok((parity == 1) != self.parity),
            _ => Err(MbarrierError::Parity(parity)),
        }
    }

    /// Arrivals that the current phase still waits for.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Bytes that the current phase still waits for.
    pub fn transactions(&self) -> i32 {
        self.transactions
    }

    fn arrive_with(&mut self, count: u32, no_complete: bool, expected: u32) -> Result<u64, MbarrierError> {
        check_count(count)?;
        let state = self.phase_bits(TOKEN);
        let pending =
            self.pending.checked_sub(count).ok_or(MbarrierError::TooManyArrivals { count, pending: self.pending })?;
        if no_complete && pending == 0 && self.transactions == 0 {
            return Err(MbarrierError::Completes);
        }
        self.pending = pending;
        self.expected = expected;
        self.complete_if_nothing_is_pending();
        Ok(state)
    }

    fn add_transactions(&mut self, bytes: i64) -> Result<(), MbarrierError> {
        let transactions = i64::from(self.transactions) + bytes;
        if transactions.unsigned_abs() > u64::from(MAX_COUNT) {
            return Err(MbarrierError::TransactionCount(transactions));
        }
        self.transactions = transactions as i32;
        self.complete_if_nothing_is_pending();
        Ok(())
    }

    fn complete_if_nothing_is_pending(&mut self) {
        if self.pending == 0 && self.transactions == 0 {
            self.parity = !self.parity;
            self.pending = self.expected;
        }
    }

    fn phase_bits(&self, tag: u64) -> u64 {
        tag << TAG_SHIFT | u64::from(self.parity) << PARITY_SHIFT | u64::from(self.pending) << PENDING_SHIFT
    }
}

/// `mbarrier.pending_count`: the pending count of a state that an arrive has returned, as it was before the arrival.
pub fn pending_count(state: u64) -> u32 {
    (state >> PENDING_SHIFT) as u32 & MAX_COUNT
}

fn check_count(count: u32) -> Result<(), MbarrierError> {
    if count == 0 || count > MAX_COUNT { Err(MbarrierError::Count(count)) } else { Ok(()) }
}
