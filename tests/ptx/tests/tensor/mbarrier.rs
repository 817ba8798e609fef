//! The mbarrier object against §9.7.14.15, example by example, and against a naive model over random operations.

use proptest::prelude::*;

use ptx_machine::tensor::mbarrier::*;

#[test]
fn a_phase_ends_with_its_last_arrival() {
    let mut object = Mbarrier::init(2).unwrap();
    let first = object.arrive(1, false).unwrap();
    assert!(!object.test(first).unwrap());
    assert_eq!(pending_count(first), 2);
    let second = object.arrive(1, false).unwrap();
    assert_eq!(pending_count(second), 1);
    assert!(object.test(first).unwrap() && object.test(second).unwrap());
    // The next phase expects two arrivals again.
    let third = object.arrive(2, false).unwrap();
    assert_eq!(pending_count(third), 2);
    assert!(object.test(third).unwrap());
}

/// Phases are even, odd, even …; on a new object a wait for parity 1 returns at once, which producers rely on.
#[test]
fn parities_alternate() {
    let mut object = Mbarrier::init(1).unwrap();
    for phase in 0..5 {
        assert!(!object.test_parity(phase % 2).unwrap());
        assert!(object.test_parity(1 - phase % 2).unwrap());
        object.arrive(1, false).unwrap();
    }
    assert_eq!(object.test_parity(2), Err(MbarrierError::Parity(2)));
}

/// Neither arrivals alone nor bytes alone end a phase, in whichever order they come.
#[test]
fn a_phase_waits_for_arrivals_and_for_bytes() {
    let mut announced = Mbarrier::init(1).unwrap();
    let state = announced.arrive_expect_tx(512, 1, false).unwrap();
    announced.complete_tx(256).unwrap();
    assert!(!announced.test(state).unwrap());
    announced.complete_tx(256).unwrap();
    assert!(announced.test(state).unwrap());

    let mut early = Mbarrier::init(1).unwrap();
    early.complete_tx(512).unwrap();
    assert_eq!(early.transactions(), -512);
    let state = early.arrive(1, false).unwrap();
    assert!(!early.test(state).unwrap());
    early.expect_tx(512).unwrap();
    assert!(early.test(state).unwrap());
    assert_eq!((early.pending(), early.transactions()), (1, 0));
}

#[test]
fn who_drops_out_is_expected_no_more() {
    let mut object = Mbarrier::init(3).unwrap();
    object.arrive_drop(2, false).unwrap();
    assert_eq!(object.pending(), 1, "the drop is an arrival in its own phase");
    object.arrive(1, false).unwrap();
    assert_eq!(object.pending(), 1);
    let state = object.arrive(1, false).unwrap();
    assert!(object.test(state).unwrap());
    assert_eq!(object.arrive_drop(2, false), Err(MbarrierError::TooManyDrops { count: 2, expected: 1 }));
    let last = object.arrive_expect_tx(0, 1, true).unwrap();
    assert!(object.test(last).unwrap());
    assert_eq!(object.arrive(1, false), Err(MbarrierError::TooManyArrivals { count: 1, pending: 0 }));
}

/// `cp.async.mbarrier.arrive` without `.noinc` adds the arrival that it makes.
#[test]
fn an_arrival_of_copies_pays_for_itself() {
    let mut object = Mbarrier::init(1).unwrap();
    object.increment_pending().unwrap();
    let state = object.arrive(1, false).unwrap();
    assert!(!object.test(state).unwrap());
    object.arrive(1, false).unwrap();
    assert!(object.test(state).unwrap());
    assert_eq!(object.pending(), 1, "the next phase expects what init said");
    let mut full = Mbarrier::init(MAX_COUNT).unwrap();
    assert_eq!(full.increment_pending(), Err(MbarrierError::PendingCount(1 << 20)));
}

/// Each misuse is named, and leaves the object as it was.
#[test]
fn misuse_is_an_error_and_changes_nothing() {
    assert_eq!(Mbarrier::init(0), Err(MbarrierError::Count(0)));
    assert_eq!(Mbarrier::init(1 << 20), Err(MbarrierError::Count(1 << 20)));
    assert!(Mbarrier::init((1 << 20) - 1).is_ok());
    for bits in [INVALID, u64::MAX, 1, 0x3F80_0000_3F80_0000] {
        assert_eq!(Mbarrier::from_bits(bits), Err(MbarrierError::NotInitialized), "{bits:#x}");
    }
    let before = Mbarrier::init(2).unwrap();
    let mut object = before;
    assert_eq!(object.arrive(3, false), Err(MbarrierError::TooManyArrivals { count: 3, pending: 2 }));
    assert_eq!(object.arrive(0, false), Err(MbarrierError::Count(0)));
    assert_eq!(object.arrive(2, true), Err(MbarrierError::Completes));
    assert_eq!(object.expect_tx(1 << 20), Err(MbarrierError::TransactionCount(1 << 20)));
    assert_eq!(object.complete_tx(1 << 20), Err(MbarrierError::TransactionCount(-(1 << 20))));
    assert_eq!(object.arrive_expect_tx(64, 3, false), Err(MbarrierError::TooManyArrivals { count: 3, pending: 2 }));
    assert_eq!(object.arrive_expect_tx(64, 3, true), Err(MbarrierError::TooManyDrops { count: 3, expected: 2 }));
    assert_eq!(object.test(before.to_bits()), Err(MbarrierError::NoState(before.to_bits())));
    assert_eq!(object.test(0), Err(MbarrierError::NoState(0)));
    assert_eq!(object, before);
    assert!(object.arrive(1, true).is_ok());
}

/// A model as the ISA words it, with counts as wide as can be and the phase as a number.
#[derive(Debug, Clone)]
struct Model {
    phase: u64,
    pending: i64,
    expected: i64,
    transactions: i64,
}

impl Model {
    fn settle(&mut self) {
        if self.pending == 0 && self.transactions == 0 {
            self.phase += 1;
            self.pending = self.expected;
        }
    }

    /// Carries out an operation where the ISA allows it, and says whether it does.
    fn apply(&mut self, operation: u32, amount: i64) -> bool {
        let counts = 1..=(1 << 20) - 1;
        let range = -(1 << 20) + 1..=(1 << 20) - 1;
        match operation {
            0 if counts.contains(&amount) && amount <= self.pending => self.pending -= amount,
            1 if counts.contains(&amount) && amount <= self.pending.min(self.expected) => {
                self.expected -= amount;
                self.pending -= amount;
            }
            2 if range.contains(&(self.transactions + amount)) => self.transactions += amount,
            3 if range.contains(&(self.transactions - amount)) => self.transactions -= amount,
            _ => return false,
        }
        self.settle();
        true
    }
}

proptest! {
    #[test]
    fn random_operations_agree_with_the_model(
        count in 1u32..6,
        operations in prop::collection::vec((0u32..4, prop_oneof![0u32..5, Just(1 << 19), Just((1 << 20) - 1)]), 1..60),
    ) {
        let mut model =
            Model { phase: 0, pending: count.into(), expected: count.into(), transactions: 0 };
        let mut object = Mbarrier::init(count).unwrap();
        for (operation, amount) in operations {
            let before = (model.clone(), object);
            let allowed = model.apply(operation, amount.into());
            let state = match operation {
                0 => object.arrive(amount, false).map(Some),
                1 => object.arrive_drop(amount, false).map(Some),
                2 => object.expect_tx(amount).map(|()| None),
                _ => object.complete_tx(amount).map(|()| None),
            };
            prop_assert_eq!(state.is_ok(), allowed, "{} {} {:?}", operation, amount, before);
            if let Ok(Some(state)) = state {
                prop_assert_eq!(i64::from(pending_count(state)), before.0.pending);
                prop_assert_eq!(object.test(state), Ok(model.phase != before.0.phase));
            }
            prop_assert_eq!(i64::from(object.pending()), model.pending);
            prop_assert_eq!(i64::from(object.transactions()), model.transactions);
            prop_assert_eq!(object.test_parity(0), Ok(model.phase % 2 == 1));
            prop_assert_eq!(object.test_parity(1), Ok(model.phase.is_multiple_of(2)));
            prop_assert_eq!(Mbarrier::from_bits(object.to_bits()), Ok(object));
        }
    }
}
