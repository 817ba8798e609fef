//! Divergence: the lanes of a warp that are at one place form a path.
//!
//! A branch that some lanes take and others don't splits the path that runs. Both halves are children of a path that waits at the
//! branch's immediate post-dominator; the last child to arrive there lets it go on. Lanes that leave a loop arrive one after the
//! other without another split. Paths need not run to their end one by one: one that waits at a barrier gives way to the others.

use super::Warp;

/// The state of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It can run, or runs.
    Ready,
    /// It waits for its children.
    Split,
    /// It waits at a barrier of the block, by its number.
    Barrier(u8),
    /// It waits for lanes of its warp at the same instruction.
    Lanes(u32),
    /// It waits for lanes of its warp at any `bar.warp.sync`.
    Sync(u32),
    /// It waits for all lanes of its warp, to carry out an `.aligned` instruction with them.
    Aligned,
    /// The entry is unused.
    Free,
}

/// Lanes of a warp that are at one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub(crate) mask: u32,
    pub(crate) block: u32,
    pub(crate) at: u32,
    /// The basic block where it joins its parent.
    pub(crate) rejoin: u32,
    pub(crate) parent: usize,
    /// Children that have not arrived.
    pub(crate) children: u32,
    pub(crate) state: State,
}

impl Path {
    /// No basic block.
    pub(crate) const NOWHERE: u32 = u32::MAX;
    const ORPHAN: usize = usize::MAX;

    /// Whether it waits in this state at this instruction.
    fn waits(&self, state: State, block: u32, at: u32) -> bool {
        self.state == state && (matches!(state, State::Sync(_)) || self.block == block && self.at == at)
    }
}

impl Warp {
    /// All of these lanes begin at the kernel's first instruction.
    pub(crate) fn begin(&mut self, mask: u32) {
        self.live = mask;
        self.copies.clear();
        self.groups = [0; 32];
        self.spent = 0;
        self.since_asked = u32::MAX;
        self.bulk.clear();
        self.bulk_groups = [0; 32];
        self.wgmma_asked = 0;
        self.wgmma_groups.clear();
        self.paths.clear();
        let (rejoin, parent) = (Path::NOWHERE, Path::ORPHAN);
        self.paths.push(Path { mask, block: 0, at: 0, rejoin, parent, children: 0, state: State::Ready });
        self.load(0);
    }

    fn load(&mut self, path: usize) {
        let Path { mask, block, at, rejoin, .. } = self.paths[path];
        (self.current, self.mask, self.block, self.at, self.rejoin) = (path, mask, block, at, rejoin);
    }

    /// Writes down where the running path is.
    pub(crate) fn store(&mut self, state: State, at: u32) {
        let path = &mut self.paths[self.current];
        (path.mask, path.block, path.at, path.state) = (self.mask, self.block, at, state);
    }

    /// Takes up a path that can run; false where there is none.
    pub(crate) fn select(&mut self) -> bool {
        let ready = |path: &Path| path.state == State::Ready;
        let found = if self.chance != 0 {
            let count = self.paths.iter().filter(|path| ready(path)).count();
            match count {
                0 => None,
                _ => {
                    let nth = self.random() as usize % count;
                    self.paths.iter().enumerate().filter(|(_, path)| ready(path)).nth(nth).map(|(at, _)| at)
                }
            }
        } else {
            self.paths.iter().rposition(ready)
        };
        found.inspect(|&at| self.load(at)).is_some()
    }

    /// Takes up a path that can run. Where none can since lanes wait for others of their warp, lanes that wait to join them go on
    /// alone, as independent threads do.
    pub(crate) fn select_or_part(&mut self) -> bool {
        if self.select() {
            return true;
        }
        let waits = |state| matches!(state, State::Lanes(_) | State::Sync(_) | State::Aligned | State::Barrier(_));
        let joins = self.paths.iter().any(|path| path.state == State::Split && path.mask != 0);
        if !joins || !self.paths.iter().any(|path| waits(path.state)) {
            return false;
        }
        self.part();
        self.select()
    }

    /// Takes up the ready path before the running one, the last of all behind the first.
    pub(crate) fn rotate(&mut self) {
        let count = self.paths.len();
        let order = (1..=count).map(|step| (self.current + count - step) % count);
        let next = order.into_iter().find(|&at| self.paths[at].state == State::Ready);
        if let Some(next) = next {
            self.load(next);
        }
    }

    /// A number by chance.
    pub(crate) fn random(&mut self) -> u64 {
        self.chance = next_random(self.chance);
        self.chance >> 33
    }

    fn add(&mut self, path: Path) -> usize {
        match self.paths.iter().position(|entry| entry.state == State::Free) {
            Some(free) => {
                self.paths[free] = path;
                free
            }
            None => {
                self.paths.push(path);
                self.paths.len() - 1
            }
        }
    }

    /// The running path splits: the lanes of `taken` go to one block, the others to another. Both begin at their first
    /// instructions. Afterwards `select` has to be called.
    pub(crate) fn diverge(&mut self, taken: u32, to: (u32, u32), other: (u32, u32), rejoin: (u32, u32)) {
        let rest = self.mask & !taken;
        let sides = [(taken, to), (rest, other)];
        if rejoin.0 == self.rejoin {
            // What is left of the path has the same parent.
            let parent = self.paths[self.current].parent;
            self.paths[self.current].state = State::Free;
            let mut staying = 0;
            for (mask, (block, at)) in sides {
                if block == rejoin.0 && parent != Path::ORPHAN {
                    self.paths[parent].mask |= mask;
                } else {
                    self.add(Path { mask, block, at, rejoin: rejoin.0, parent, children: 0, state: State::Ready });
                    staying += 1;
                }
            }
            if parent != Path::ORPHAN {
                self.paths[parent].children += staying;
                self.paths[parent].children -= 1;
                self.resume(parent);
            }
            return;
        }
        let parent = self.current;
        let path = &mut self.paths[parent];
        (path.mask, path.block, path.at, path.state, path.children) = (0, rejoin.0, rejoin.1, State::Split, 0);
        for (mask, (block, at)) in sides {
            if block == rejoin.0 {
                self.paths[parent].mask |= mask;
            } else {
                self.add(Path { mask, block, at, rejoin: rejoin.0, parent, children: 0, state: State::Ready });
                self.paths[parent].children += 1;
            }
        }
        self.resume(parent);
    }

    /// Lanes of other paths that wait in this state, at this instruction; at any, where lanes wait by a mask for `bar.warp.sync`.
    pub(crate) fn waiting_at(&self, state: State, block: u32, at: u32) -> u32 {
        let here = self.paths.iter().filter(|path| path.waits(state, block, at));
        here.fold(0, |mask, path| mask | path.mask)
    }

    /// Those paths go on behind their instruction, which was carried out for them.
    pub(crate) fn release(&mut self, state: State, block: u32, at: u32) {
        for path in self.paths.iter_mut().filter(|path| path.waits(state, block, at)) {
            path.state = State::Ready;
            path.at += 1;
        }
    }

    /// Lets lanes go on alone that wait for others to leave a loop, since those may wait for them.
    pub(crate) fn part(&mut self) {
        for at in 0..self.paths.len() {
            let path = self.paths[at];
            if path.state == State::Split && path.mask != 0 {
                self.paths[at].mask = 0;
                if path.parent != Path::ORPHAN {
                    self.paths[path.parent].children += 1;
                }
                self.add(Path { children: 0, state: State::Ready, ..path });
            }
        }
    }

    /// The running path is where it joins its parent. Afterwards `select` has to be called.
    pub(crate) fn arrive(&mut self) {
        self.leave(self.mask);
    }

    /// Lanes of the running path exit. Where none is left, `select` has to be called.
    pub(crate) fn exit(&mut self, mask: u32) {
        self.live &= !mask;
        self.mask &= !mask;
        // Who waits for them waits no longer.
        for path in &mut self.paths {
            if matches!(path.state, State::Lanes(_) | State::Sync(_) | State::Aligned) {
                path.state = State::Ready;
            }
        }
        if self.mask == 0 {
            self.leave(0);
        }
    }

    /// The running path ends; these lanes of it go on with its parent.
    fn leave(&mut self, mask: u32) {
        let path = &mut self.paths[self.current];
        path.state = State::Free;
        let parent = path.parent;
        if parent != Path::ORPHAN {
            self.paths[parent].mask |= mask;
            self.paths[parent].children -= 1;
            self.resume(parent);
        }
    }

    /// Lets a path that waits for its children go on, if none is left; ends it, if no lane came.
    fn resume(&mut self, mut path: usize) {
        while self.paths[path].children == 0 {
            let entry = &mut self.paths[path];
            if entry.mask != 0 {
                entry.state = State::Ready;
                return;
            }
            entry.state = State::Free;
            if entry.parent == Path::ORPHAN {
                return;
            }
            path = entry.parent;
            self.paths[path].children -= 1;
        }
    }
}

/// The next number of a sequence (Knuth's multiplier), never 0.
pub(crate) fn next_random(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407).max(1)
}
