//! The findings of the checks, each once.

use std::collections::{HashMap, HashSet};

use super::super::block::RawSite;

/// Different findings that are kept.
const MOST: usize = 64;

/// A finding before it is put into words.
#[derive(Debug, Clone)]
pub(crate) struct RawFinding {
    pub(crate) what: String,
    pub(crate) address: Option<u64>,
    pub(crate) sites: Vec<RawSite>,
    /// The number of times that it was seen.
    pub(crate) count: u64,
}

/// The key that distinguishes findings: their sort, and the instructions.
type Key = (&'static str, u32, u32);

/// Findings, each once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    by_key: HashMap<Key, RawFinding>,
    /// Those that there was no room for.
    more: HashSet<Key>,
}

impl Findings {
    /// Adds a finding, or counts it. `what` is asked for where it is new.
    pub(crate) fn add(
        &mut self,
        sort: &'static str,
        sites: Vec<RawSite>,
        address: Option<u64>,
        what: impl FnOnce() -> String,
    ) {
        let site = |at: usize| sites.get(at).map_or(u32::MAX, |site| site.site);
        let key = (sort, site(0), site(1));
        let room = self.by_key.len() < MOST;
        match self.by_key.get_mut(&key) {
            Some(found) => {
                found.count += 1;
                // Lanes of one instruction are one finding.
                if let (Some(old), Some(new)) = (found.sites.first_mut(), sites.first())
                    && (old.block, old.warp) == (new.block, new.warp)
                {
                    old.lanes |= new.lanes;
                }
            }
            None if room => {
                self.by_key.insert(key, RawFinding { what: what(), address, sites, count: 1 });
            }
            None => {
                self.more.insert(key);
            }
        }
    }

    /// Takes over what another thread of the host found.
    pub(crate) fn merge(&mut self, other: Findings) {
        for (key, finding) in other.by_key {
            let room = self.by_key.len() < MOST;
            match self.by_key.get_mut(&key) {
                Some(found) => {
                    found.count += finding.count;
                    // The one of the lowest block, so that the order of blocks does not matter.
                    let place = |finding: &RawFinding| {
                        finding.sites.first().map(|site| (site.block[2], site.block[1], site.block[0], site.warp))
                    };
                    if place(&finding) < place(found) {
                        let count = found.count;
                        *found = RawFinding { count, ..finding };
                    }
                }
                None if room => {
                    self.by_key.insert(key, finding);
                }
                None => {
                    self.more.insert(key);
                }
            }
        }
        self.more.extend(other.more.into_iter().filter(|key| !self.by_key.contains_key(key)));
    }

    /// All of them, in the order of the kernel's text; the last one says how many there was no room for.
    pub(crate) fn into_list(self) -> Vec<RawFinding> {
        let mut all: Vec<(Key, RawFinding)> = self.by_key.into_iter().collect();
        all.sort_by_key(|(key, _)| (key.1, key.2, key.0));
        let more =
            RawFinding { what: format!("and {} more", self.more.len()), address: None, sites: Vec::new(), count: 1 };
        let last = (!self.more.is_empty()).then_some(more);
        all.into_iter().map(|(_, finding)| finding).chain(last).collect()
    }
}
