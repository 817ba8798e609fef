//! Handles: numbers that are looked up in tables. What a program passes is never followed as a pointer.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::code::{Code, Result};

/// The kind of object that a handle stands for.
pub(crate) trait Kind {
    /// A number that no other kind has.
    const TAG: u64;
}

macro_rules! kinds {
    ($($name:ident = $tag:literal, $text:literal;)*) => {
        $(
            #[doc = $text]
            #[derive(Debug)]
            pub(crate) enum $name {}
            impl Kind for $name {
                const TAG: u64 = $tag;
            }
        )*
    };
}

kinds! {
    ContextKind = 1, "Of `CUcontext`.";
    StreamKind = 2, "Of `CUstream`.";
    EventKind = 3, "Of `CUevent`.";
    ModuleKind = 4, "Of `CUmodule`.";
    FunctionKind = 5, "Of `CUfunction`.";
    GraphKind = 6, "Of `CUgraph`.";
    ExecKind = 7, "Of `CUgraphExec`.";
    NodeKind = 8, "Of `CUgraphNode`.";
    LibraryKind = 9, "Of `CUlibrary`.";
    KernelKind = 10, "Of `CUkernel`.";
    PoolKind = 11, "Of `CUmemoryPool`.";
}

/// A handle as the program holds it. It lies where no address can be, so that following it ends the program at once.
#[repr(transparent)]
pub(crate) struct Handle<K>(pub(crate) u64, PhantomData<fn() -> K>);

impl<K> Handle<K> {
    /// `NULL`.
    pub(crate) const NULL: Handle<K> = Handle(0, PhantomData);

    /// A handle of this number.
    pub(crate) const fn new(number: u64) -> Handle<K> {
        Handle(number, PhantomData)
    }

    /// The same number as a handle of another kind: `CUfunction` and `CUkernel` may stand for one another in a launch.
    pub(crate) const fn cast<T>(self) -> Handle<T> {
        Handle(self.0, PhantomData)
    }

    pub(crate) const fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl<K> Clone for Handle<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Handle<K> {}
impl<K> PartialEq for Handle<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Handle<K> {}
impl<K> PartialOrd for Handle<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Handle<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> std::fmt::Debug for Handle<K> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:#x}", self.0)
    }
}

/// Everything of one kind that lives. No number is given twice, so that a handle that was destroyed stays unknown.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    values: BTreeMap<u64, V>,
    kind: PhantomData<fn() -> K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { values: BTreeMap::new(), kind: PhantomData }
    }
}

/// Handles are no canonical addresses on any processor of today.
const WHERE: u64 = 0xCDA0 << 48;

fn next_number(tag: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    WHERE | tag << 40 | NEXT.fetch_add(1, Ordering::Relaxed) << 4
}

impl<K: Kind, V> Table<K, V> {
    pub(crate) fn insert(&mut self, value: V) -> Handle<K> {
        let number = next_number(K::TAG);
        self.values.insert(number, value);
        Handle::new(number)
    }

    /// 400 where there is none (`CUDA_ERROR_INVALID_HANDLE`: "a resource handle passed to the API call was not valid").
    pub(crate) fn get(&self, handle: Handle<K>) -> Result<&V> {
        self.values.get(&handle.0).ok_or(Code::INVALID_HANDLE)
    }

    pub(crate) fn get_mut(&mut self, handle: Handle<K>) -> Result<&mut V> {
        self.values.get_mut(&handle.0).ok_or(Code::INVALID_HANDLE)
    }

    pub(crate) fn remove(&mut self, handle: Handle<K>) -> Result<V> {
        self.values.remove(&handle.0).ok_or(Code::INVALID_HANDLE)
    }

    pub(crate) fn contains(&self, handle: Handle<K>) -> bool {
        self.values.contains_key(&handle.0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle<K>, &V)> {
        self.values.iter().map(|(number, value)| (Handle::new(*number), value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.values_mut()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.values.retain(|_, value| keep(value));
    }
}
