//! A kernel's body: scopes, declarations, labels, and what stands around each instruction.

use std::collections::HashMap;

use super::ParseError;
use super::ast::{Guard, Instruction, Op, Register, RegisterDeclaration, Space, Symbol, Type};
use super::lexer::Token;
use super::parser::Parser;
use super::types::named_type;

/// More registers than any kernel has: a limit for hostile texts.
const MOST_REGISTERS: usize = 1 << 20;
/// Deeper scopes than any compiler writes.
const DEEPEST_SCOPE: usize = 256;

/// Names that braces enclose (§5.1: registers; §4.4: labels).
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    pub(super) registers: HashMap<&'a str, Register>,
    /// `%r<418>`: the first register and their number.
    pub(super) ranges: HashMap<&'a str, (u32, u32)>,
    pub(super) variables: HashMap<&'a str, Symbol>,
    labels: HashMap<&'a str, u32>,
    /// `.branchtargets` by their label.
    pub(super) lists: HashMap<&'a str, Vec<&'a str>>,
    /// Branches whose label has not been seen yet.
    pub(super) pending: Vec<Pending<'a>>,
}

/// A branch to a label.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    pub(super) label: &'a str,
    pub(super) line: u32,
    /// The branch's place in the body.
    pub(super) instruction: usize,
    /// Its number among the targets of `brx.idx`.
    pub(super) slot: usize,
}

impl<'a> Parser<'a> {
    /// All statements behind the body's `{` up to its `}`.
    pub(super) fn body(&mut self) -> Result<(), ParseError> {
        self.scopes.push(Scope::default());
        // The first scope is that of the parameters.
        while self.scopes.len() > 1 {
            match self.reader.peek() {
                Token::Mark('{') => self.open_scope()?,
                Token::Mark('}') => self.close_scope()?,
                Token::Mark(';') => {
                    self.reader.take()?;
                }
                Token::Mark('@') => {
                    let guard = self.guard()?;
                    let opcode = self.reader.word("an instruction")?;
                    self.instruction(opcode, Some(guard))?;
                }
                Token::Dot(_) => self.directive()?,
                Token::Word(name) => {
                    self.reader.take()?;
                    if self.reader.accept(':')? { self.label(name)? } else { self.instruction(name, None)? }
                }
                _ => return Err(self.reader.unexpected("an instruction, a directive or `}`")),
            }
        }
        Ok(())
    }

    fn open_scope(&mut self) -> Result<(), ParseError> {
        if self.scopes.len() > DEEPEST_SCOPE {
            return Err(self.reader.unexpected(format!("at most {DEEPEST_SCOPE} scopes in each other")));
        }
        self.reader.take()?;
        self.scopes.push(Scope::default());
        Ok(())
    }

    /// Ends a scope: what branches to its labels is known now, and the rest must be labels of the scopes around it.
    fn close_scope(&mut self) -> Result<(), ParseError> {
        self.reader.take()?;
        let Some(scope) = self.scopes.pop() else { return Ok(()) };
        for pending in scope.pending {
            match scope.labels.get(pending.label) {
                Some(&target) => self.set_target(&pending, target),
                None if self.scopes.len() > 1 => self.scope().pending.push(pending),
                None => {
                    return Err(ParseError {
                        line: pending.line,
                        found: format!("a branch to `{}`", pending.label),
                        expected: "a label of this kernel, in this scope or one around it".into(),
                    });
                }
            }
        }
        Ok(())
    }

    fn set_target(&mut self, pending: &Pending<'_>, label: u32) {
        match &mut self.kernel.body[pending.instruction].op {
            Op::Bra { target, .. } => *target = label,
            Op::BrxIdx { targets, .. } => targets[pending.slot] = label,
            _ => {}
        }
    }

    /// The innermost scope.
    pub(super) fn scope(&mut self) -> &mut Scope<'a> {
        self.scopes.last_mut().expect("a body has a scope while it is read")
    }

    fn label(&mut self, name: &'a str) -> Result<(), ParseError> {
        if self.reader.accept_dot("branchtargets")? {
            let mut labels = vec![self.reader.word("a label")?];
            while self.reader.accept(',')? {
                labels.push(self.reader.word("a label")?);
            }
            self.reader.expect(';')?;
            return match self.scope().lists.insert(name, labels) {
                None => Ok(()),
                Some(_) => Err(self.declared_twice(name)),
            };
        }
        let target = self.kernel.body.len() as u32;
        match self.scope().labels.insert(name, target) {
            None => Ok(()),
            Some(_) => Err(self.declared_twice(name)),
        }
    }

    fn directive(&mut self) -> Result<(), ParseError> {
        match self.reader.dot("a directive")? {
            "loc" => self.location(),
            "reg" => self.registers(),
            "shared" => self.body_variables(Space::Shared),
            "local" => self.body_variables(Space::Local),
            "pragma" => self.pragma(),
            name => Err(self.reader.error(
                format!("the directive `.{name}` in a body"),
                "one that this machine knows: .reg, .shared, .local, .loc, .pragma, .branchtargets",
            )),
        }
    }

    fn body_variables(&mut self, space: Space) -> Result<(), ParseError> {
        for (name, variable) in self.variables(space, false)? {
            let symbol = Symbol::Kernel(self.kernel.variables.len() as u32);
            if self.scope().variables.insert(name, symbol).is_some() {
                return Err(self.declared_twice(name));
            }
            self.kernel.variables.push(variable);
        }
        Ok(())
    }

    /// `.reg .b32 %r<418>, %x;`
    fn registers(&mut self) -> Result<(), ParseError> {
        let name = self.reader.dot("a register's type")?;
        let Some(ty) = named_type(name).filter(|ty| register_type(*ty)) else {
            return Err(self.reader.error(format!("registers of type `.{name}`"), "a type that registers may have"));
        };
        loop {
            let name = self.reader.word("a register's name")?;
            let first = self.kernel.registers.len() as u32;
            let new = if self.reader.accept('<')? {
                let count = self.reader.u32("a number of registers")?;
                self.reader.expect('>')?;
                self.room_for(count as usize)?;
                let named = (0..count).map(|i| RegisterDeclaration { name: format!("{name}{i}"), ty });
                self.kernel.registers.extend(named);
                self.scope().ranges.insert(name, (first, count)).is_none()
            } else {
                self.room_for(1)?;
                self.kernel.registers.push(RegisterDeclaration { name: name.into(), ty });
                self.scope().registers.insert(name, Register(first)).is_none()
            };
            if !new {
                return Err(self.declared_twice(name));
            }
            if !self.reader.accept(',')? {
                return self.reader.expect(';');
            }
        }
    }

    fn room_for(&self, count: usize) -> Result<(), ParseError> {
        if self.kernel.registers.len() + count > MOST_REGISTERS {
            let found = format!("{} registers", self.kernel.registers.len() + count);
            return Err(self.reader.error(found, format!("at most {MOST_REGISTERS} in a kernel")));
        }
        Ok(())
    }

    /// A register that no name stands for: where an instruction's result is `_` and yet has to go somewhere.
    pub(super) fn unnamed(&mut self, ty: Type) -> Result<Register, ParseError> {
        self.room_for(1)?;
        self.kernel.registers.push(RegisterDeclaration { name: "_".into(), ty });
        Ok(Register(self.kernel.registers.len() as u32 - 1))
    }

    /// `@%p1` or `@!%p1`.
    fn guard(&mut self) -> Result<Guard, ParseError> {
        self.reader.expect('@')?;
        self.opcode = "@";
        self.modifiers.clear();
        let negated = self.reader.accept('!')?;
        Ok(Guard { register: self.predicate_register()?, negated })
    }

    /// An instruction behind its guard and opcode.
    fn instruction(&mut self, opcode: &'a str, guard: Option<Guard>) -> Result<(), ParseError> {
        let line = self.reader.line;
        self.opcode = opcode;
        self.modifiers.clear();
        self.understood = 0;
        while let Token::Dot(name) = self.reader.peek() {
            self.reader.take()?;
            self.modifiers.push(name);
        }
        let op = self.operation()?;
        if self.understood < self.modifiers.len() {
            return Err(self.bad_modifier("modifiers that this instruction has"));
        }
        self.reader.expect(';')?;
        let place = self.place;
        self.kernel.body.push(Instruction { guard, op, place, line });
        Ok(())
    }
}

/// Types that a register may be declared with (§5.1.1, §5.2).
fn register_type(ty: Type) -> bool {
    use Type::*;
    !matches!(ty, Bf16 | Bf16x2 | Tf32 | E4m3 | E5m2 | E4m3x2 | E5m2x2)
}
