//! Modifiers and operands (§6).

use super::ParseError;
use super::ast::{Address, Guard, Op, Operand, Predicate, Register, Space, Special, Symbol, Type};
use super::lexer::Token;
use super::parser::Parser;
use super::reader::Constant;
use super::types::{Class, Width, class, fits, immediate, named_type, type_name};

/// Modifiers.
impl<'a> Parser<'a> {
    /// The instruction's name with all modifiers.
    pub(super) fn mnemonic(&self) -> String {
        let mut name = self.opcode.to_string();
        for modifier in &self.modifiers {
            name.push('.');
            name.push_str(modifier);
        }
        name
    }

    /// The next modifier that is not understood yet.
    pub(super) fn next_modifier(&self) -> Option<&'a str> {
        self.modifiers.get(self.understood).copied()
    }

    /// Understands the next modifier if it is this one.
    pub(super) fn modifier(&mut self, name: &str) -> bool {
        let there = self.next_modifier() == Some(name);
        self.understood += usize::from(there);
        there
    }

    /// Understands the next modifier if it is one of these.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        let next = self.next_modifier()?;
        let choice = choices.iter().find(|(name, _)| *name == next)?.1;
        self.understood += 1;
        Some(choice)
    }

    /// Understands the next modifier, which must be one of these.
    pub(super) fn need<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, ParseError> {
        self.one_of(choices).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("`.{name}`")).collect();
            self.bad_modifier(names.join(" or "))
        })
    }

    /// Understands modifiers that must follow each other.
    pub(super) fn need_all(&mut self, names: &[&str]) -> Result<(), ParseError> {
        names.iter().try_for_each(|name| self.need(&[(*name, ())]))
    }

    /// The next modifier, which must be one of these types.
    pub(super) fn ty(&mut self, allowed: &[Type]) -> Result<Type, ParseError> {
        match self.next_modifier().and_then(named_type) {
            Some(ty) if allowed.contains(&ty) => {
                self.understood += 1;
                Ok(ty)
            }
            _ => {
                let names: Vec<String> = allowed.iter().map(|&ty| type_name(ty)).collect();
                Err(self.bad_modifier(format!("one of the types {}", names.join(" "))))
            }
        }
    }

    /// Says that no modifier may be left: called before operands are read.
    pub(super) fn done(&self) -> Result<(), ParseError> {
        match self.next_modifier() {
            None => Ok(()),
            Some(_) => Err(self.bad_modifier("modifiers that this instruction has with this type")),
        }
    }

    /// An error at the next modifier.
    pub(super) fn bad_modifier(&self, expected: impl Into<String>) -> ParseError {
        let found = match self.next_modifier() {
            Some(name) => format!("`.{name}` in `{}`", self.mnemonic()),
            None => format!("the end of `{}`", self.mnemonic()),
        };
        self.reader.error(found, expected)
    }

    /// An error about the whole instruction.
    pub(super) fn refused(&self, expected: impl Into<String>) -> ParseError {
        self.reader.error(format!("`{}`", self.mnemonic()), expected)
    }
}

/// Operands.
impl Parser<'_> {
    /// A comma.
    pub(super) fn comma(&mut self) -> Result<(), ParseError> {
        if self.reader.accept(',')? {
            return Ok(());
        }
        Err(self.reader.unexpected(format!("`,` and another operand of `{}`", self.mnemonic())))
    }

    /// Takes a comma if one comes next.
    pub(super) fn another(&mut self) -> Result<bool, ParseError> {
        self.reader.accept(',')
    }

    /// The register of a name, in the innermost scope that declares it.
    pub(super) fn find_register(&self, name: &str) -> Option<Register> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &name[prefix.len()..];
        let plain = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
        let number: Option<u32> = if plain { digits.parse().ok() } else { None };
        self.scopes.iter().rev().find_map(|scope| {
            if let Some(&register) = scope.registers.get(name) {
                return Some(register);
            }
            let &(first, count) = scope.ranges.get(prefix)?;
            number.filter(|&number| number < count).map(|number| Register(first + number))
        })
    }

    fn find_symbol(&self, name: &str) -> Option<Symbol> {
        let inner = self.scopes.iter().rev().find_map(|scope| scope.variables.get(name));
        inner.or_else(|| self.names.get(name)).copied()
    }

    /// The space of a variable.
    pub(super) fn symbol_space(&self, symbol: Symbol) -> Space {
        match symbol {
            Symbol::Module(i) => self.module.variables[i as usize].space,
            Symbol::Kernel(i) => self.kernel.variables[i as usize].space,
            Symbol::Parameter(_) => Space::Param,
        }
    }

    /// The register of a name, which must fit a type.
    pub(super) fn checked(&self, name: &str, ty: Type, width: Width) -> Result<Register, ParseError> {
        let Some(register) = self.find_register(name) else {
            if special_register(name, None).or(special_register(name, Some("x"))).is_some() {
                let found = format!("the special register `{name}` in `{}`", self.mnemonic());
                return Err(self.reader.error(found, "`mov`, or `cvt` between integers, which alone read these"));
            }
            return Err(self.reader.error(format!("`{name}`"), format!("a declared register of {}", type_name(ty))));
        };
        let declared = self.kernel.registers[register.0 as usize].ty;
        if fits(ty, declared, width) {
            return Ok(register);
        }
        let found = format!("the register `{name}` of {} in `{}`", type_name(declared), self.mnemonic());
        let wider = if width == Width::Wider { " or wider" } else { "" };
        Err(self.reader.error(found, format!("a register that fits {}{wider}", type_name(ty))))
    }

    /// A register that takes a result or is read, of exactly the type's width.
    pub(super) fn register(&mut self, ty: Type) -> Result<Register, ParseError> {
        self.register_of(ty, Width::Exact)
    }

    pub(super) fn register_of(&mut self, ty: Type, width: Width) -> Result<Register, ParseError> {
        let name = self.reader.word("a register")?;
        self.checked(name, ty, width)
    }

    pub(super) fn predicate_register(&mut self) -> Result<Register, ParseError> {
        self.register(Type::Pred)
    }

    /// A register, or `_` for none.
    pub(super) fn register_or_sink(&mut self, ty: Type, width: Width) -> Result<Option<Register>, ParseError> {
        if self.reader.peek() == Token::Word("_") {
            self.reader.take()?;
            return Ok(None);
        }
        self.register_of(ty, width).map(Some)
    }

    /// A predicate, perhaps negated, or a constant: 0, 1, or -1, which nvcc writes for true.
    pub(super) fn predicate(&mut self) -> Result<Predicate, ParseError> {
        match self.reader.peek() {
            Token::Mark('-') => {
                self.reader.take()?;
                match self.reader.take()? {
                    Token::Integer(1) => Ok(Predicate::Constant(true)),
                    _ => Err(self.reader.error("another negative number", "a predicate, 0, 1 or -1")),
                }
            }
            Token::Integer(value @ 0..=1) => {
                self.reader.take()?;
                Ok(Predicate::Constant(value == 1))
            }
            _ => {
                let negated = self.reader.accept('!')?;
                Ok(Predicate::Register(Guard { register: self.predicate_register()?, negated }))
            }
        }
    }

    /// A source: a register of the type's width or a constant.
    pub(super) fn source(&mut self, ty: Type) -> Result<Operand, ParseError> {
        self.source_of(ty, Width::Exact)
    }

    /// A comma and a source.
    pub(super) fn next_source(&mut self, ty: Type) -> Result<Operand, ParseError> {
        self.comma()?;
        self.source(ty)
    }

    pub(super) fn source_of(&mut self, ty: Type, width: Width) -> Result<Operand, ParseError> {
        if self.reader.at_constant() {
            let constant = self.reader.constant()?;
            return self.constant_of(ty, constant);
        }
        let name = self.reader.word("a register or a constant")?;
        self.checked(name, ty, width).map(Operand::Register)
    }

    /// A constant as a source of a type.
    pub(super) fn constant_of(&self, ty: Type, constant: Constant) -> Result<Operand, ParseError> {
        immediate(ty, constant).map(Operand::Immediate).ok_or_else(|| {
            let found = format!("{constant} in `{}`", self.mnemonic());
            self.reader.error(found, format!("a register or a constant of {}", type_name(ty)))
        })
    }

    /// A source of `mov`, `cvt` and `cvta`: special registers and addresses of variables too.
    pub(super) fn source_or_name(&mut self, ty: Type, width: Width) -> Result<Operand, ParseError> {
        let Token::Word(name) = self.reader.peek() else { return self.source_of(ty, width) };
        if name == "WARP_SZ" || self.find_register(name).is_some() {
            return self.source_of(ty, width);
        }
        if let Some(symbol) = self.find_symbol(name) {
            self.reader.take()?;
            let narrow = ty.bytes() == 4 && self.symbol_space(symbol) != Space::Global;
            if !matches!(class(ty), Class::Bits | Class::Integer) || !(ty.bytes() == 8 || narrow) {
                let found = format!("the address of `{name}` in `{}`", self.mnemonic());
                return Err(self.reader.error(found, "an integer type as wide as the address"));
            }
            let offset = if self.reader.accept('+')? { self.reader.integer("an offset")? } else { 0 };
            return Ok(Operand::Symbol(symbol, offset));
        }
        if name.starts_with('%') {
            return self.special(ty, width);
        }
        self.source_of(ty, width)
    }

    /// A special register (§10).
    fn special(&mut self, ty: Type, width: Width) -> Result<Operand, ParseError> {
        let name = self.reader.word("a special register")?;
        let dimension = match self.reader.peek() {
            Token::Dot(dimension) => {
                self.reader.take()?;
                Some(dimension)
            }
            _ => None,
        };
        let full = dimension.map_or(name.to_string(), |dimension| format!("{name}.{dimension}"));
        let Some((special, declared)) = special_register(name, dimension) else {
            return Err(self.reader.error(format!("`{full}`"), "a declared register or a special register"));
        };
        if !fits(ty, declared, width) {
            let found = format!("the special register `{full}` of {} in `{}`", type_name(declared), self.mnemonic());
            return Err(self.reader.error(found, format!("a register that fits {}", type_name(ty))));
        }
        Ok(Operand::Special(special))
    }

    /// `[base+offset]` in a space. Behind a base of 32 bits lies no global or generic memory.
    pub(super) fn address(&mut self, space: Space) -> Result<Address, ParseError> {
        self.reader.expect('[')?;
        let address = self.address_inside(space)?;
        self.reader.expect(']')?;
        Ok(address)
    }

    /// An address without its brackets.
    pub(super) fn address_inside(&mut self, space: Space) -> Result<Address, ParseError> {
        if self.reader.at_constant() {
            let base = Operand::Immediate(self.reader.integer("an address")? as u64);
            return Ok(Address { base, offset: 0 });
        }
        let name = self.reader.word("a register or a variable as an address")?;
        let base = match self.find_register(name) {
            Some(register) => {
                let declared = self.kernel.registers[register.0 as usize].ty;
                let narrow = !matches!(space, Space::Global | Space::Generic);
                let width = declared.bytes() == 8 || declared.bytes() == 4 && narrow;
                if !width || !matches!(class(declared), Class::Bits | Class::Integer) {
                    let found = format!("the register `{name}` of {} as an address", type_name(declared));
                    return Err(self.reader.error(found, "a register that holds an address of this space"));
                }
                Operand::Register(register)
            }
            None => Operand::Symbol(self.address_symbol(name, space)?, 0),
        };
        let offset = if self.reader.accept('+')? { self.reader.integer("an offset")? } else { 0 };
        Ok(match base {
            Operand::Symbol(symbol, _) => Address { base: Operand::Symbol(symbol, 0), offset },
            base => Address { base, offset },
        })
    }

    fn address_symbol(&self, name: &str, space: Space) -> Result<Symbol, ParseError> {
        let Some(symbol) = self.find_symbol(name) else {
            return Err(self.reader.error(format!("`{name}` in `{}`", self.mnemonic()), "a register or a variable"));
        };
        let declared = self.symbol_space(symbol);
        // A variable of this block is also one of the cluster's.
        if declared == space || declared == Space::Shared && space == Space::SharedCluster {
            return Ok(symbol);
        }
        let found = format!("`{name}` of {declared:?} memory in `{}`", self.mnemonic());
        Err(self.reader.error(found, format!("a variable in {space:?} memory")))
    }

    /// `{a, b, …}`, of a certain number.
    pub(super) fn vector<T>(
        &mut self,
        count: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        self.reader.expect('{')?;
        let mut elements = Vec::with_capacity(count);
        for i in 0..count {
            if i > 0 && !self.reader.accept(',')? {
                let expected = format!("`,` and {count} elements in `{}`", self.mnemonic());
                return Err(self.reader.unexpected(expected));
            }
            elements.push(element(self)?);
        }
        if !self.reader.accept('}')? {
            return Err(self.reader.unexpected(format!("`}}` behind {count} elements in `{}`", self.mnemonic())));
        }
        Ok(elements)
    }

    /// An instruction's number in its text, such as the 4 of `cp.async.wait_group 4`.
    pub(super) fn number(&mut self, expected: &str) -> Result<u32, ParseError> {
        let value = self.reader.integer(expected)?;
        u32::try_from(value).map_err(|_| self.reader.error(format!("{value}"), expected))
    }

    /// Reads what follows an opcode.
    pub(super) fn operation(&mut self) -> Result<Op, ParseError> {
        match self.opcode {
            "setp" | "set" | "selp" | "slct" | "bra" | "brx" | "ret" | "exit" | "trap" | "nanosleep" => self.control(),
            "and" | "or" | "xor" | "not" if self.modifiers.last() == Some(&"pred") => self.predicates(),
            "mov" | "ld" | "ldu" | "st" | "cvta" | "isspacep" | "prefetch" | "prefetchu" | "applypriority"
            | "discard" | "createpolicy" | "atom" | "red" | "fence" | "membar" | "mapa" | "getctarank" => self.memory(),
            "cvt" => self.convert(),
            "bar" | "barrier" | "shfl" | "vote" | "match" | "activemask" | "redux" | "elect" | "setmaxnreg"
            | "griddepcontrol" => self.warp(),
            "cp" | "mbarrier" => self.asynchronous(),
            "ldmatrix" | "stmatrix" | "mma" | "wgmma" => self.tensor(),
            _ => self.arithmetic(),
        }
    }
}

/// A special register and its type.
fn special_register(name: &str, dimension: Option<&str>) -> Option<(Special, Type)> {
    if let Some(dimension) = dimension {
        let i = match dimension {
            "x" => 0,
            "y" => 1,
            "z" => 2,
            _ => return None,
        };
        let special = match name {
            "%tid" => Special::Tid(i),
            "%ntid" => Special::Ntid(i),
            "%ctaid" => Special::Ctaid(i),
            "%nctaid" => Special::Nctaid(i),
            "%clusterid" => Special::ClusterId(i),
            "%nclusterid" => Special::NClusterId(i),
            "%cluster_ctaid" => Special::ClusterCtaid(i),
            "%cluster_nctaid" => Special::ClusterNctaid(i),
            _ => return None,
        };
        return Some((special, Type::U32));
    }
    Some(match name {
        "%laneid" => (Special::LaneId, Type::U32),
        "%warpid" => (Special::WarpId, Type::U32),
        "%nwarpid" => (Special::NWarpId, Type::U32),
        "%smid" => (Special::SmId, Type::U32),
        "%nsmid" => (Special::NSmId, Type::U32),
        "%gridid" => (Special::GridId, Type::U64),
        "%cluster_ctarank" => (Special::ClusterCtaRank, Type::U32),
        "%cluster_nctarank" => (Special::ClusterNctaRank, Type::U32),
        "%lanemask_eq" => (Special::LaneMaskEq, Type::U32),
        "%lanemask_le" => (Special::LaneMaskLe, Type::U32),
        "%lanemask_lt" => (Special::LaneMaskLt, Type::U32),
        "%lanemask_ge" => (Special::LaneMaskGe, Type::U32),
        "%lanemask_gt" => (Special::LaneMaskGt, Type::U32),
        "%clock" => (Special::Clock, Type::U32),
        "%clock64" => (Special::Clock64, Type::U64),
        "%globaltimer" => (Special::GlobalTimer, Type::U64),
        "%dynamic_smem_size" => (Special::DynamicSharedBytes, Type::U32),
        "%total_smem_size" => (Special::TotalSharedBytes, Type::U32),
        _ => return None,
    })
}
