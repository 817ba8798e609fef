//! Groups of asynchronous copies, and what `cp.async` allows.

use ptx_machine::tensor::copies::{Cache, CopyError, Groups, cp_async, cp_async_bulk};

#[test]
fn at_most_the_newest_groups_stay_under_way() {
    let mut groups = Groups::default();
    for group in ["a", "b", "c"] {
        groups.push(group);
        groups.commit();
    }
    groups.push("open");
    assert_eq!(groups.wait(3), [""; 0]);
    assert_eq!(groups.wait(2), ["a"]);
    assert_eq!(groups.wait(2), [""; 0]);
    assert_eq!(groups.pending().copied().collect::<Vec<_>>(), ["b", "c", "open"]);
    assert_eq!(groups.wait(0), ["b", "c"]);
    assert_eq!(groups.uncommitted(), ["open"]);
    assert_eq!(groups.wait_all(), ["open"]);
    assert_eq!(groups.pending().count(), 0);
}

/// An empty group is one of those that are counted: loops that commit without a copy at their end rely on it.
#[test]
fn an_empty_group_counts() {
    let mut groups = Groups::default();
    groups.push(1);
    groups.commit();
    groups.commit();
    assert_eq!(groups.wait(1), [1]);
}

#[test]
fn the_operands_of_a_copy_are_checked() {
    assert_eq!(cp_async(Cache::All, 64, 128, 4, None, false), Ok(4));
    assert_eq!(cp_async(Cache::All, 64, 128, 8, Some(0), false), Ok(0));
    assert_eq!(cp_async(Cache::Global, 64, 128, 16, Some(5), false), Ok(5));
    assert_eq!(cp_async(Cache::Global, 64, 128, 16, Some(5), true), Ok(0));
    assert_eq!(cp_async(Cache::Global, 64, 128, 8, None, false), Err(CopyError::Size(8)));
    assert_eq!(cp_async(Cache::All, 64, 128, 2, None, false), Err(CopyError::Size(2)));
    let source = CopyError::Source { bytes: 4, source_bytes: 5 };
    assert_eq!(cp_async(Cache::All, 64, 128, 4, Some(5), false), Err(source));
    let misaligned = |address, align| Err(CopyError::Misaligned { address, align });
    assert_eq!(cp_async(Cache::All, 68, 128, 8, None, false), misaligned(68, 8));
    assert_eq!(cp_async(Cache::All, 64, 136, 16, None, false), misaligned(136, 16));
    assert_eq!(cp_async_bulk(64, 128, 48), Ok(()));
    assert_eq!(cp_async_bulk(64, 128, 40), Err(CopyError::BulkSize(40)));
    assert_eq!(cp_async_bulk(64, 136, 48).unwrap_err(), CopyError::Misaligned { address: 136, align: 16 });
}
