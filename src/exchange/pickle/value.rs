//! The values that a pickle of tensors is made of.

use super::MOST_NODES;
use crate::exchange::element::Element;

/// The position of a value in [`Values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u32);

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// `None`.
    Nothing,
    /// `True` or `False`.
    Truth(bool),
    /// A whole number of at most 64 bits.
    Whole(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(String),
    /// A tuple, or a `torch.Size`.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A `dict` or an `OrderedDict`, in order.
    Dict(Vec<(Id, Id)>),
    /// A name of Python's that the machine knows.
    Global(Global),
    /// Memory of tensors.
    Storage(StorageRef),
    /// A view of such memory.
    Tensor(TensorRef),
}

impl Node {
    /// Its kind, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Node::Nothing => "None",
            Node::Truth(_) => "a truth value",
            Node::Whole(_) | Node::Real(_) => "a number",
            Node::Text(_) => "text",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Dict(_) => "a dict",
            Node::Global(_) => "a function or type",
            Node::Storage(_) => "a storage",
            Node::Tensor(_) => "a tensor",
        }
    }
}

/// The names of Python's that the machine knows; none of them is ever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch.Size`.
    Size,
    /// `torch._utils._rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// `torch.FloatStorage` and the like.
    Storage(Element),
}

impl Global {
    /// The name `module.name`, if the machine knows it.
    pub(super) fn of(module: &str, name: &str) -> Option<Global> {
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch", "Size") => Global::Size,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", storage) => Global::Storage(Element::of_storage(storage)?),
            _ => return None,
        };
        Some(global)
    }
}

/// Memory of tensors, which lies in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StorageRef {
    /// The type of its elements.
    pub(crate) element: Element,
    /// The name of its file.
    pub(crate) key: String,
    /// Its number of elements.
    pub(crate) len: u64,
}

/// A view of a storage: element `i` lies at `offset + Σ i·strides`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorRef {
    /// The memory.
    pub(crate) storage: StorageRef,
    /// The first element's position in it.
    pub(crate) offset: u64,
    /// The length of each dimension.
    pub(crate) shape: Vec<u64>,
    /// The distance of neighbours in each dimension, in elements.
    pub(crate) strides: Vec<u64>,
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(crate) struct Values(Vec<Node>);

impl Values {
    /// Adds a value; `None` if there are too many.
    pub(super) fn add(&mut self, node: Node) -> Option<Id> {
        let id = u32::try_from(self.0.len()).ok().filter(|_| self.0.len() < MOST_NODES)?;
        self.0.push(node);
        Some(Id(id))
    }

    /// A value.
    pub(crate) fn get(&self, id: Id) -> &Node {
        &self.0[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Node {
        &mut self.0[id.0 as usize]
    }

    /// The items of a tuple of at most 16; a longer one that is asked for again and again would cost time without end.
    pub(super) fn tuple(&self, id: Id) -> Option<Vec<Id>> {
        match self.get(id) {
            Node::Tuple(items) if items.len() <= 16 => Some(items.clone()),
            _ => None,
        }
    }

    /// A short text.
    pub(super) fn word(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Text(text) if text.len() <= 200 => Some(text),
            _ => None,
        }
    }

    /// A whole number from 0.
    pub(super) fn count(&self, id: Id) -> Option<u64> {
        if let Node::Whole(number) = self.get(id) { u64::try_from(*number).ok() } else { None }
    }

    /// A tuple of whole numbers from 0.
    pub(super) fn counts(&self, id: Id) -> Option<Vec<u64>> {
        self.tuple(id)?.into_iter().map(|item| self.count(item)).collect()
    }
}
