//! A module's level: directives, variables and the heads of kernels (§5, §11).

use std::collections::HashMap;

use super::ParseError;
use super::ast::{Kernel, Module, Place, Space, Symbol, Type, Variable};
use super::body::Scope;
use super::lexer::Token;
use super::reader::Reader;
use super::types::{immediate, named_type, type_name};

/// Larger variables than any device has memory for are a mistake in the text.
const LARGEST_VARIABLE: u64 = 1 << 40;
/// More dimensions than any array has: values are read by one function call within another for each.
const MOST_DIMENSIONS: usize = 16;
/// Initial values are kept byte by byte, so their size has a limit of its own.
const LARGEST_INITIAL: u64 = 64 << 20;

/// Reads a module.
///
/// A text that ends in NUL, as the ones in fatbins do, is fine.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let mut parser = Parser::new(text.trim_end_matches('\0'))?;
    parser.module()?;
    Ok(parser.module)
}

/// A module as far as it is read, and the kernel that is being read.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) module: Module,
    /// Variables at module scope.
    pub(super) names: HashMap<&'a str, Symbol>,
    pub(super) kernel: Kernel,
    /// The kernel's parameters, then its body's scopes from the outermost to the innermost.
    pub(super) scopes: Vec<Scope<'a>>,
    /// The last place with each file, line and column: what `inlined_at` refers to.
    pub(super) place_of: HashMap<(u32, u32, u32), u32>,
    pub(super) places: HashMap<(u32, u32, u32, Option<u32>), u32>,
    /// The place of the instructions that follow.
    pub(super) place: Option<u32>,
    /// The instruction that is being read: its opcode, its modifiers, and how many of them are understood.
    pub(super) opcode: &'a str,
    pub(super) modifiers: Vec<&'a str>,
    pub(super) understood: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Parser<'a>, ParseError> {
        Ok(Parser {
            reader: Reader::new(text)?,
            module: Module::default(),
            names: HashMap::new(),
            kernel: Kernel::default(),
            scopes: Vec::new(),
            place_of: HashMap::new(),
            places: HashMap::new(),
            place: None,
            opcode: "",
            modifiers: Vec::new(),
            understood: 0,
        })
    }

    fn module(&mut self) -> Result<(), ParseError> {
        self.version()?;
        self.target()?;
        while self.reader.peek() != Token::End {
            let name = self.reader.dot("a directive such as `.visible`, or the end")?;
            match name {
                "address_size" => self.address_size()?,
                "file" => self.file()?,
                "section" => self.section()?,
                "pragma" => self.pragma()?,
                // What is visible to other modules makes no difference: modules are not linked here.
                "visible" | "weak" => {
                    let what = self.reader.dot("`.entry` or a state space")?;
                    self.declaration(what, false)?;
                }
                "extern" => {
                    if !self.reader.accept_dot("shared")? {
                        return Err(self.reader.unexpected("`.shared`: what other modules define is not known here"));
                    }
                    self.declaration("shared", true)?;
                }
                _ => self.declaration(name, false)?,
            }
        }
        Ok(())
    }

    /// `.version 9.0`. All versions so far have one digit behind the point.
    fn version(&mut self) -> Result<(), ParseError> {
        const EXPECTED: &str = "PTX, which begins with `.version`";
        if !self.reader.accept_dot("version")? {
            return Err(self.reader.unexpected(EXPECTED));
        }
        let Token::Double(bits) = self.reader.take()? else { return Err(self.reader.error("no number", EXPECTED)) };
        let version = f64::from_bits(bits);
        if !(1.0..100.0).contains(&version) {
            return Err(self.reader.error(format!("version {version:?}"), "a version of PTX"));
        }
        let tenths = (version * 10.0).round() as u32;
        self.module.version = (tenths / 10, tenths % 10);
        Ok(())
    }

    fn target(&mut self) -> Result<(), ParseError> {
        if !self.reader.accept_dot("target")? {
            return Err(self.reader.unexpected("`.target` behind `.version`"));
        }
        let target = self.reader.word("an architecture such as sm_90a")?;
        if !target.starts_with("sm_") {
            return Err(self.reader.error(format!("`{target}`"), "an architecture such as sm_90a"));
        }
        self.module.target = target.into();
        while self.reader.accept(',')? {
            match self.reader.word("`debug`")? {
                // The text comes with information for a debugger.
                "debug" => {}
                other => return Err(self.reader.error(format!("the target option `{other}`"), "`debug` alone")),
            }
        }
        Ok(())
    }

    /// The number of the module's architecture: 90 for sm_90a.
    pub(super) fn architecture(&self) -> u32 {
        let digits = self.module.target.trim_start_matches("sm_").trim_end_matches(|c: char| !c.is_ascii_digit());
        digits.parse().unwrap_or(0)
    }

    fn address_size(&mut self) -> Result<(), ParseError> {
        match self.reader.u32("64")? {
            64 => Ok(()),
            other => Err(self.reader.error(format!("addresses of {other} bits"), "64")),
        }
    }

    /// `.file 1 "path"`, with a time and a size behind it that are not kept.
    fn file(&mut self) -> Result<(), ParseError> {
        let number = self.reader.u32("the number of a file")?;
        let path = self.reader.text("the path of a file")?;
        while self.reader.accept(',')? {
            self.reader.integer("a file's time and size")?;
        }
        self.module.files.push((number, path.into()));
        Ok(())
    }

    /// `.section .debug_str { … }`: for debuggers.
    fn section(&mut self) -> Result<(), ParseError> {
        let name = self.reader.dot("a section's name")?;
        if !name.starts_with("debug_") {
            return Err(self.reader.error(format!("the section `.{name}`"), "a section for debuggers, `.debug_…`"));
        }
        self.reader.expect('{')?;
        while !self.reader.accept('}')? {
            if self.reader.take()? == Token::End {
                return Err(self.reader.error("the end of the text", "the section's `}`"));
            }
        }
        Ok(())
    }

    /// `.pragma "nounroll";`: hints for ptxas, which change nothing that a kernel computes.
    pub(super) fn pragma(&mut self) -> Result<(), ParseError> {
        const KNOWN: [&str; 4] = ["nounroll", "used_bytes_mask", "enable_smem_spilling", "frequency"];
        loop {
            let text = self.reader.text("a pragma's text")?;
            if !KNOWN.contains(&text.split_ascii_whitespace().next().unwrap_or("")) {
                return Err(self.reader.error(format!("the pragma {text:?}"), format!("one of {}", KNOWN.join(", "))));
            }
            if !self.reader.accept(',')? {
                return self.reader.expect(';');
            }
        }
    }

    /// A kernel or variables.
    fn declaration(&mut self, what: &str, external: bool) -> Result<(), ParseError> {
        let space = match what {
            "entry" => return self.entry(),
            "global" => Space::Global,
            "const" => Space::Const,
            "shared" => Space::Shared,
            "func" => return Err(self.reader.error("`.func`", "kernels alone: calls are not known to this machine")),
            _ => {
                return Err(self.reader.error(
                    format!("the directive `.{what}`"),
                    "one that this machine knows: .entry, .global, .const, .shared, .file, .section, .pragma",
                ));
            }
        };
        for (name, variable) in self.variables(space, external)? {
            let symbol = Symbol::Module(self.module.variables.len() as u32);
            if self.names.insert(name, symbol).is_some() {
                return Err(self.declared_twice(name));
            }
            self.module.variables.push(variable);
        }
        Ok(())
    }

    pub(super) fn declared_twice(&self, name: &str) -> ParseError {
        self.reader.error(format!("a second declaration of `{name}`"), "a name that is new in its scope")
    }

    /// The text after `.global`, `.shared`, …, up to the semicolon.
    pub(super) fn variables(&mut self, space: Space, external: bool) -> Result<Vec<(&'a str, Variable)>, ParseError> {
        let (align, vector, ty) = self.variable_type()?;
        let mut variables = Vec::new();
        loop {
            let (name, variable) = self.variable(space, align, vector, ty)?;
            if variable.dynamic && !(external && space == Space::Shared) {
                let found = format!("`{name}` without a size");
                return Err(self.reader.error(found, "a size, or `.extern .shared`, whose size the launch gives"));
            }
            variables.push((name, variable));
            if !self.reader.accept(',')? {
                self.reader.expect(';')?;
                return Ok(variables);
            }
        }
    }

    /// `.align 16 .v4 .f32`: alignment, elements of a vector, type.
    fn variable_type(&mut self) -> Result<(Option<u32>, u64, Type), ParseError> {
        let (mut align, mut vector) = (None, 1);
        loop {
            let name = self.reader.dot("a variable's type")?;
            match name {
                "align" => align = Some(self.alignment()?),
                "v2" => vector = 2,
                "v4" => vector = 4,
                _ => match named_type(name) {
                    Some(Type::Pred) | None => {
                        return Err(self.reader.error(format!("`.{name}`"), "a variable's type"));
                    }
                    Some(ty) => return Ok((align, vector, ty)),
                },
            }
        }
    }

    fn alignment(&mut self) -> Result<u32, ParseError> {
        let align = self.reader.u32("an alignment")?;
        if !align.is_power_of_two() {
            return Err(self.reader.error(format!("alignment {align}"), "a power of two"));
        }
        Ok(align)
    }

    /// A variable's name, dimensions and values.
    fn variable(
        &mut self,
        space: Space,
        align: Option<u32>,
        vector: u64,
        ty: Type,
    ) -> Result<(&'a str, Variable), ParseError> {
        let name = self.reader.word("a variable's name")?;
        let mut dimensions = Vec::new();
        while self.reader.accept('[')? {
            if dimensions.len() == MOST_DIMENSIONS {
                return Err(self.reader.error(format!("dimensions of `{name}`"), format!("at most {MOST_DIMENSIONS}")));
            }
            if self.reader.accept(']')? {
                dimensions.push(None);
                continue;
            }
            let elements = self.reader.integer("the size of an array")?;
            self.reader.expect(']')?;
            dimensions.push(Some(elements as u64));
        }
        if vector > 1 {
            dimensions.push(Some(vector));
        }
        if dimensions.iter().skip(1).any(Option::is_none) {
            return Err(self.reader.error(format!("`{name}` without an inner size"), "sizes but for the first"));
        }
        let inner = dimensions.iter().skip(1).flatten().try_fold(u64::from(ty.bytes()), |a, &b| a.checked_mul(b));
        let bytes = inner.and_then(|inner| inner.checked_mul(dimensions.first().copied().flatten().unwrap_or(1)));
        let Some(mut bytes) = bytes.filter(|&bytes| bytes <= LARGEST_VARIABLE) else {
            return Err(self.reader.error(format!("the size of `{name}`"), "a variable that fits into memory"));
        };
        let mut dynamic = dimensions.first() == Some(&None);
        let mut initial = Vec::new();
        if self.reader.accept('=')? {
            if !matches!(space, Space::Global | Space::Const) || (!dynamic && bytes > LARGEST_INITIAL) {
                return Err(self.reader.error(format!("values for `{name}`"), "values in `.global` or `.const` alone"));
            }
            self.values(ty, &dimensions, &mut initial)?;
            bytes = if dynamic { initial.len() as u64 } else { bytes };
            dynamic = false;
        } else if dynamic {
            bytes = 0;
        }
        let natural = ty.bytes() * vector as u32;
        let align = align.unwrap_or(natural);
        Ok((name, Variable { space, name: name.into(), align, ty, bytes, dynamic, initial }))
    }

    /// Values in as many braces as there are dimensions; what is left out is 0.
    fn values(&mut self, ty: Type, dimensions: &[Option<u64>], bytes: &mut Vec<u8>) -> Result<(), ParseError> {
        let Some((&elements, inner)) = dimensions.split_first() else {
            if matches!(self.reader.peek(), Token::Word(_)) {
                let expected = "a constant: addresses as initial values are not known to this machine";
                return Err(self.reader.unexpected(expected));
            }
            let constant = self.reader.constant()?;
            let Some(value) = immediate(ty, constant) else {
                return Err(self.reader.error(constant.to_string(), format!("a constant of {}", type_name(ty))));
            };
            bytes.extend_from_slice(&value.to_le_bytes()[..ty.bytes().min(8) as usize]);
            bytes.resize(bytes.len() + ty.bytes().saturating_sub(8) as usize, 0);
            return Ok(());
        };
        let size = inner.iter().flatten().product::<u64>() * u64::from(ty.bytes());
        let start = bytes.len() as u64;
        self.reader.expect('{')?;
        let mut given = 0;
        while !self.reader.accept('}')? {
            if given > 0 {
                self.reader.expect(',')?;
            }
            given += 1;
            if elements.is_some_and(|elements| given > elements) || start + given * size > LARGEST_INITIAL {
                return Err(self.reader.error("more values than elements", "as many values as elements at most"));
            }
            self.values(ty, inner, bytes)?;
        }
        bytes.resize((start + elements.unwrap_or(given) * size) as usize, 0);
        Ok(())
    }

    /// `.entry name (parameters) directives { body }`.
    fn entry(&mut self) -> Result<(), ParseError> {
        let name = self.reader.word("a kernel's name")?;
        if self.module.kernels.iter().any(|kernel| kernel.name == name) {
            return Err(self.declared_twice(name));
        }
        self.kernel = Kernel { name: name.into(), ..Kernel::default() };
        self.scopes = vec![Scope::default()];
        self.place = None;
        self.place_of.clear();
        self.places.clear();
        if self.reader.accept('(')? && !self.reader.accept(')')? {
            loop {
                self.parameter()?;
                if self.reader.accept(')')? {
                    break;
                }
                self.reader.expect(',')?;
            }
        }
        while let Token::Dot(directive) = self.reader.peek() {
            self.reader.take()?;
            self.entry_directive(directive)?;
        }
        self.reader.expect('{')?;
        self.body()?;
        self.module.kernels.push(std::mem::take(&mut self.kernel));
        Ok(())
    }

    /// `.param .u64 .ptr .global .align 16 name` or `.param .align 8 .b8 name[80]`.
    fn parameter(&mut self) -> Result<(), ParseError> {
        if !self.reader.accept_dot("param")? {
            return Err(self.reader.unexpected("`.param`"));
        }
        let (align, vector, ty) = self.variable_type()?;
        // What a pointer points to is a promise to ptxas.
        if self.reader.accept_dot("ptr")? {
            while let Token::Dot(name) = self.reader.peek() {
                self.reader.take()?;
                match name {
                    "global" | "shared" | "const" | "local" => {}
                    "align" => {
                        self.alignment()?;
                    }
                    _ => return Err(self.reader.error(format!("`.{name}`"), "a state space or `.align`")),
                }
            }
        }
        let (name, variable) = self.variable(Space::Param, align, vector, ty)?;
        if variable.dynamic {
            return Err(self.reader.error(format!("`{name}` without a size"), "a parameter's size"));
        }
        let symbol = Symbol::Parameter(self.kernel.parameters.len() as u32);
        if self.scopes[0].variables.insert(name, symbol).is_some() {
            return Err(self.declared_twice(name));
        }
        self.kernel.parameters.push(variable);
        Ok(())
    }

    /// Directives between a kernel's head and its body (§11.4).
    fn entry_directive(&mut self, name: &str) -> Result<(), ParseError> {
        match name {
            "maxntid" => self.kernel.max_threads = Some(self.reader.triple("threads")?),
            "reqntid" => self.kernel.required_threads = Some(self.reader.triple("threads")?),
            "minnctapersm" => self.kernel.min_blocks_per_multiprocessor = Some(self.reader.u32("blocks")?),
            "reqnctapercluster" => self.kernel.cluster = Some(self.reader.triple("blocks")?),
            "explicitcluster" => self.kernel.cluster = self.kernel.cluster.or(Some([0; 3])),
            // Limits for ptxas and for the launch's cluster, which change nothing that a kernel computes.
            "maxnreg" | "maxnctapersm" | "maxclusterrank" => {
                self.reader.u32("a number")?;
            }
            "pragma" => self.pragma()?,
            _ => return Err(self.reader.error(format!("the directive `.{name}` of a kernel"), "one that is known")),
        }
        Ok(())
    }

    /// `.loc file line column{, function_name label{+offset}, inlined_at file line column}` (§11.5.4).
    pub(super) fn location(&mut self) -> Result<(), ParseError> {
        let (file, line, column) = self.file_line_column()?;
        let mut inlined_at = None;
        while self.reader.accept(',')? {
            match self.reader.word("`function_name` or `inlined_at`")? {
                "function_name" => {
                    self.reader.word("a label of `.debug_str`")?;
                    if self.reader.accept('+')? {
                        self.reader.u32("an offset")?;
                    }
                }
                "inlined_at" => {
                    let (file, line, column) = self.file_line_column()?;
                    inlined_at = Some(match self.place_of.get(&(file, line, column)) {
                        Some(&place) => place,
                        None => self.add_place(file, line, column, None),
                    });
                }
                other => {
                    return Err(self.reader.error(format!("`{other}`"), "`function_name` or `inlined_at`"));
                }
            }
        }
        self.place = Some(self.add_place(file, line, column, inlined_at));
        Ok(())
    }

    fn file_line_column(&mut self) -> Result<(u32, u32, u32), ParseError> {
        const EXPECTED: &str = "file, line and column";
        Ok((self.reader.u32(EXPECTED)?, self.reader.u32(EXPECTED)?, self.reader.u32(EXPECTED)?))
    }

    fn add_place(&mut self, file: u32, line: u32, column: u32, inlined_at: Option<u32>) -> u32 {
        let places = &mut self.kernel.places;
        let place = *self.places.entry((file, line, column, inlined_at)).or_insert_with(|| {
            places.push(Place { file, line, column, inlined_at });
            places.len() as u32 - 1
        });
        self.place_of.insert((file, line, column), place);
        place
    }
}
