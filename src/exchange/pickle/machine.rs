//! The machine: a stack, marks on it, and a memo of values that are used again.
//!
//! The opcodes are those of Python's `pickletools`, protocols 2 to 5, as far as a `state_dict` needs them.

use std::collections::BTreeMap;

use super::Fault;
use super::value::{Global, Id, Node, StorageRef, TensorRef, Values};

type Step<T> = std::result::Result<T, Fault>;

/// Reads a pickle to its end, and returns all values with the last one, which is what was pickled.
///
/// # Errors
/// The first opcode, name or value that is none of a `state_dict`'s.
pub(crate) fn read(bytes: &[u8]) -> Step<(Values, Id)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        opcode_at: 0,
        values: Values::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
    };
    while !machine.step()? {}
    let top = machine.pop()?;
    Ok((machine.values, top))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The offset of the opcode in work, for messages.
    opcode_at: usize,
    values: Values,
    stack: Vec<Id>,
    /// The stack's length at each mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl Machine<'_> {
    fn fault(&self, expected: impl Into<String>, found: impl Into<String>) -> Fault {
        Fault { offset: self.opcode_at, expected: expected.into(), found: found.into() }
    }

    /// One opcode; returns true at the end.
    fn step(&mut self) -> Step<bool> {
        self.opcode_at = self.at;
        let [opcode] = self.take()?;
        match opcode {
            // PROTO
            0x80 => {
                let [protocol] = self.take()?;
                if !(2..=5).contains(&protocol) {
                    return Err(self.fault("pickle protocol 2 to 5", format!("protocol {protocol}")));
                }
            }
            // FRAME: a hint for readers.
            0x95 => drop(self.take::<8>()?),
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            // POP, POP_MARK
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'N' => self.push(Node::Nothing)?,
            0x88 => self.push(Node::Truth(true))?,
            0x89 => self.push(Node::Truth(false))?,
            b'J' | b'K' | b'M' | 0x8a | b'G' => self.number(opcode)?,
            b'X' | 0x8c | 0x8d => self.text(opcode)?,
            b')' | b't' | 0x85..=0x87 => self.tuple(opcode)?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b']' => self.push(Node::List(Vec::new()))?,
            b'a' | b'e' => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(opcode)?,
            other => {
                let expected = "an opcode that a state_dict needs";
                return Err(self.fault(expected, format!("opcode 0x{other:02x}{}", name_of(other))));
            }
        }
        Ok(false)
    }

    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        match self.bytes[self.at..].split_first_chunk::<N>() {
            Some((bytes, _)) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.fault("a pickle that ends with STOP", format!("its end at {}", self.bytes.len()))),
        }
    }

    fn take_slice(&mut self, len: u64) -> Step<&[u8]> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(slice) => {
                self.at += slice.len();
                Ok(slice)
            }
            None => Err(self.fault(format!("{len} bytes"), format!("{} before the end", rest.len()))),
        }
    }

    fn push(&mut self, node: Node) -> Step<()> {
        match self.values.add(node) {
            Some(id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.fault(format!("at most {} values", super::MOST_NODES), "more")),
        }
    }

    /// Takes the topmost value that lies above the last mark.
    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let top = if self.stack.len() > floor { self.stack.pop() } else { None };
        top.ok_or_else(|| self.fault("a value on the stack", "none"))
    }

    /// Looks at that value.
    fn top(&mut self) -> Step<Id> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(id)
    }

    /// Takes everything above the last mark, and the mark.
    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.fault("a mark on the stack", "none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn number(&mut self, opcode: u8) -> Step<()> {
        let node = match opcode {
            b'J' => Node::Whole(i64::from(i32::from_le_bytes(self.take()?))),
            b'K' => Node::Whole(i64::from(u8::from_le_bytes(self.take()?))),
            b'M' => Node::Whole(i64::from(u16::from_le_bytes(self.take()?))),
            b'G' => Node::Real(f64::from_be_bytes(self.take()?)),
            _ => {
                let [len] = self.take()?;
                let bytes = self.take_slice(u64::from(len))?;
                // Two's complement, the shortest that holds it.
                let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
                let mut whole = [if negative { 0xff } else { 0 }; 8];
                if bytes.len() > 8 {
                    let found = format!("one of {} bytes", bytes.len());
                    return Err(self.fault("a whole number of at most 64 bits", found));
                }
                whole[..bytes.len()].copy_from_slice(bytes);
                Node::Whole(i64::from_le_bytes(whole))
            }
        };
        self.push(node)
    }

    fn text(&mut self, opcode: u8) -> Step<()> {
        let len = match opcode {
            b'X' => u64::from(u32::from_le_bytes(self.take()?)),
            0x8c => u64::from(u8::from_le_bytes(self.take()?)),
            _ => u64::from_le_bytes(self.take()?),
        };
        let text = std::str::from_utf8(self.take_slice(len)?).map(str::to_string);
        let text = text.map_err(|_| self.fault("text in UTF-8", "other bytes"))?;
        self.push(Node::Text(text))
    }

    fn tuple(&mut self, opcode: u8) -> Step<()> {
        let items = match opcode {
            b')' => Vec::new(),
            b't' => self.pop_mark()?,
            count => {
                let mut items = (0x84..count).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
                items.reverse();
                items
            }
        };
        self.push(Node::Tuple(items))
    }

    fn append(&mut self, opcode: u8) -> Step<()> {
        let items = if opcode == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
        let list = self.top()?;
        match self.values.get_mut(list) {
            Node::List(all) => all.extend(items),
            other => {
                let kind = other.kind();
                return Err(self.fault("a list to append to", kind));
            }
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Step<()> {
        let items = if opcode == b's' {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.pop_mark()?
        };
        if !items.len().is_multiple_of(2) {
            return Err(self.fault("a value for each key", format!("{} keys and values", items.len())));
        }
        let dict = self.top()?;
        match self.values.get_mut(dict) {
            Node::Dict(all) => all.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            other => {
                let kind = other.kind();
                return Err(self.fault("a dict to set items of", kind));
            }
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Step<()> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let name = self.pop()?;
            let module = self.pop()?;
            match (self.values.word(module), self.values.word(name)) {
                (Some(module), Some(name)) => (module.to_string(), name.to_string()),
                _ => return Err(self.fault("the name of a module and a name in it", "other values")),
            }
        };
        match Global::of(&module, &name) {
            Some(global) => self.push(Node::Global(global)),
            None => Err(self.fault(
                "only what a state_dict needs (OrderedDict, torch.Size, tensors, storages)",
                format!("`{}.{}`", plain(&module), plain(&name)),
            )),
        }
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Step<String> {
        const LONGEST: usize = 1000;
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(LONGEST).position(|&byte| byte == b'\n');
        let text = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok()).map(str::to_string);
        let text = text.ok_or_else(|| self.fault("a name in UTF-8 on a line", "none"))?;
        self.at += text.len() + 1;
        Ok(text)
    }

    /// Handles a call: Python's machine would execute it.
    fn reduce(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let Node::Global(global) = *self.values.get(function) else {
            let kind = self.values.get(function).kind();
            return Err(self.fault("one of the known functions", kind));
        };
        let arguments = self.values.tuple(arguments);
        let arguments = arguments.ok_or_else(|| self.fault("a tuple of arguments", "another value"))?;
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Node::Dict(Vec::new())),
            (Global::Size, &[sizes]) => {
                let sizes = self.values.tuple(sizes);
                let sizes = sizes.ok_or_else(|| self.fault("a tuple of sizes", "another value"))?;
                self.push(Node::Tuple(sizes))
            }
            (Global::RebuildParameter, &[tensor, ..]) => {
                let Node::Tensor(_) = self.values.get(tensor) else {
                    let kind = self.values.get(tensor).kind();
                    return Err(self.fault("the tensor of a parameter", kind));
                };
                self.stack.push(tensor);
                Ok(())
            }
            (Global::RebuildTensor, arguments) => self.tensor(arguments),
            (global, arguments) => {
                let found = format!("{global:?} with {} arguments", arguments.len());
                Err(self.fault("a call that makes a dict, a size or a tensor", found))
            }
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
    fn tensor(&mut self, arguments: &[Id]) -> Step<()> {
        let expected = "a tensor of a storage, an offset, a size and as many strides";
        let &[storage, offset, shape, strides, ..] = arguments else {
            return Err(self.fault(expected, format!("{} arguments", arguments.len())));
        };
        let Node::Storage(storage) = self.values.get(storage) else {
            return Err(self.fault(expected, self.values.get(storage).kind()));
        };
        let numbers = (self.values.count(offset), self.values.counts(shape), self.values.counts(strides));
        let (Some(offset), Some(shape), Some(strides)) = numbers else {
            return Err(self.fault(expected, "numbers that are none, or below 0"));
        };
        if shape.len() != strides.len() {
            return Err(self.fault(expected, format!("{} sizes and {} strides", shape.len(), strides.len())));
        }
        let tensor = TensorRef { storage: storage.clone(), offset, shape, strides };
        self.push(Node::Tensor(tensor))
    }

    /// State that is put into an object. Of an `OrderedDict` it is `_metadata`, the versions of modules.
    fn build(&mut self) -> Step<()> {
        self.pop()?;
        let object = self.top()?;
        match self.values.get(object) {
            Node::Dict(_) => Ok(()),
            other => Err(self.fault("state of an OrderedDict", format!("state of {}", other.kind()))),
        }
    }

    /// A persistent id: `('storage', type, key, device, length)`.
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let expected = "('storage', type, key, device, length)";
        let items = self.values.tuple(id);
        let Some(&[kind, element, key, _, len]) = items.as_deref() else {
            return Err(self.fault(expected, self.values.get(id).kind()));
        };
        let words = (self.values.word(kind), self.values.get(element), self.values.word(key), self.values.count(len));
        let (Some("storage"), &Node::Global(Global::Storage(element)), Some(key), Some(len)) = words else {
            let found = [kind, element, key, len].map(|id| self.values.get(id).kind()).join(", ");
            return Err(self.fault(expected, found));
        };
        let storage = StorageRef { element, key: key.to_string(), len };
        self.push(Node::Storage(storage))
    }

    fn memo(&mut self, opcode: u8) -> Step<()> {
        let index = match opcode {
            b'q' | b'h' => u32::from(u8::from_le_bytes(self.take()?)),
            b'r' | b'j' => u32::from_le_bytes(self.take()?),
            // MEMOIZE counts by itself.
            _ => u32::try_from(self.memo.len()).unwrap_or(u32::MAX),
        };
        if matches!(opcode, b'h' | b'j') {
            let id = self.memo.get(&index).copied();
            let id =
                id.ok_or_else(|| self.fault("a value that was memoised", format!("number {index}, which was not")))?;
            if self.stack.len() >= super::MOST_NODES {
                return Err(self.fault(format!("at most {} values", super::MOST_NODES), "more"));
            }
            self.stack.push(id);
        } else {
            let id = self.top()?;
            self.memo.insert(index, id);
        }
        Ok(())
    }
}

/// The names of opcodes that are met in pickles and that the machine has not, for messages.
fn name_of(opcode: u8) -> &'static str {
    match opcode {
        b'i' => " (INST, which makes an object)",
        b'o' => " (OBJ, which makes an object)",
        0x81 | 0x92 => " (NEWOBJ, which makes an object)",
        b'P' => " (PERSID)",
        0x82..=0x84 => " (EXT)",
        b'U' | b'T' | b'S' => " (a string of Python 2)",
        b'C' | b'B' | 0x8e | 0x96 => " (bytes)",
        0x8f..=0x91 => " (a set)",
        0x8b => " (LONG4)",
        _ => "",
    }
}

/// At most so many characters of a name, and none that a terminal would obey.
fn plain(name: &str) -> String {
    name.chars().take(100).flat_map(char::escape_default).collect()
}
