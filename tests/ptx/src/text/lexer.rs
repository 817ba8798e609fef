//! The words of PTX (§4).

use super::ParseError;

/// A word of the text, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    /// An identifier, an opcode without its modifiers, or a register with its `%`. `_` is one too.
    Word(&'a str),
    /// A directive, or one modifier of an instruction: the name behind the dot, with `::` inside.
    Dot(&'a str),
    /// An integer without its sign. A `U` behind it says no more than the type of a constant expression.
    Integer(u64),
    /// `0f3F800000`: the bits of a float.
    Single(u32),
    /// `0d3FF0000000000000` or a decimal number: the bits of a double.
    Double(u64),
    /// A text in quotes, without them.
    Text(&'a str),
    /// Punctuation.
    Mark(char),
    /// `<<` and `>>`.
    ShiftLeft,
    ShiftRight,
    /// The end of the text.
    End,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(name) => write!(f, "`{name}`"),
            Token::Dot(name) => write!(f, "`.{name}`"),
            Token::Integer(value) => write!(f, "the number {value}"),
            Token::Single(bits) => write!(f, "the number 0f{bits:08X}"),
            Token::Double(bits) => write!(f, "the number {:?}", f64::from_bits(*bits)),
            Token::Text(text) => write!(f, "the text {text:?}"),
            Token::Mark(mark) => write!(f, "`{mark}`"),
            Token::ShiftLeft => f.write_str("`<<`"),
            Token::ShiftRight => f.write_str("`>>`"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// Reads words one after the other.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// The line that the last word stood on.
    pub(super) line: u32,
}

/// True for a byte that may follow within a name (§4.4).
fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0, line: 1 }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn error(&self, found: impl Into<String>, expected: &str) -> ParseError {
        ParseError { line: self.line, found: found.into(), expected: expected.into() }
    }

    /// Takes the bytes that satisfy a condition.
    fn take_while(&mut self, condition: impl Fn(u8) -> bool) -> &'a str {
        let bytes = &self.text.as_bytes()[self.at..];
        let length = bytes.iter().position(|&byte| !condition(byte)).unwrap_or(bytes.len());
        let taken = &self.text[self.at..self.at + length];
        self.at += length;
        taken
    }

    /// Skips white space and comments.
    fn skip_space(&mut self) -> Result<(), ParseError> {
        loop {
            match self.byte(0) {
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'/' if self.byte(1) == b'/' => {
                    self.take_while(|byte| byte != b'\n');
                }
                b'/' if self.byte(1) == b'*' => {
                    let rest = &self.text[self.at + 2..];
                    let length = rest.find("*/").ok_or_else(|| self.error("`/*`", "a `*/` behind it"))?;
                    self.line += rest[..length].bytes().filter(|&byte| byte == b'\n').count() as u32;
                    self.at += length + 4;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The next word.
    pub(super) fn next(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_space()?;
        let Some(&first) = self.text.as_bytes().get(self.at) else { return Ok(Token::End) };
        match first {
            b'0'..=b'9' => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => Ok(Token::Word(self.take_while(in_name))),
            b'%' if in_name(self.byte(1)) && !self.byte(1).is_ascii_digit() => {
                let start = self.at;
                self.at += 1;
                self.take_while(in_name);
                Ok(Token::Word(&self.text[start..self.at]))
            }
            // `.05` is a number, `.1d` behind a name a modifier.
            b'.' if self.byte(1).is_ascii_digit() && !self.behind_name() => self.decimal(self.at),
            b'.' if in_name(self.byte(1)) => Ok(Token::Dot(self.modifier())),
            b'"' => self.quoted(),
            b'<' if self.byte(1) == b'<' => self.two(Token::ShiftLeft),
            b'>' if self.byte(1) == b'>' => self.two(Token::ShiftRight),
            0x21..=0x7e => {
                self.at += 1;
                Ok(Token::Mark(char::from(first)))
            }
            _ => {
                let found = self.text[self.at..].chars().next().unwrap_or('\0');
                Err(self.error(format!("the character {found:?}"), "PTX, which is written in ASCII"))
            }
        }
    }

    /// Whether a name ends directly before the next byte.
    fn behind_name(&self) -> bool {
        self.at > 0 && in_name(self.text.as_bytes()[self.at - 1])
    }

    fn two(&mut self, token: Token<'a>) -> Result<Token<'a>, ParseError> {
        self.at += 2;
        Ok(token)
    }

    /// `.global`, `.shared::cta`, `.mbarrier::complete_tx::bytes`: without the dot.
    fn modifier(&mut self) -> &'a str {
        self.at += 1;
        let start = self.at;
        loop {
            self.take_while(in_name);
            if self.byte(0) != b':' || self.byte(1) != b':' || !in_name(self.byte(2)) {
                return &self.text[start..self.at];
            }
            self.at += 2;
        }
    }

    fn quoted(&mut self) -> Result<Token<'a>, ParseError> {
        self.at += 1;
        let text = self.take_while(|byte| byte != b'"' && byte != b'\n');
        if self.byte(0) != b'"' {
            return Err(self.error("a text without its end", "`\"` on the same line"));
        }
        self.at += 1;
        Ok(Token::Text(text))
    }

    /// Numbers (§4.5): `0x1F`, `017`, `0b101`, `12U`, `0f3F800000`, `0d3FF0000000000000`, `1.5e-3`.
    fn number(&mut self) -> Result<Token<'a>, ParseError> {
        let (start, second) = (self.at, self.byte(1));
        let radix = match (self.byte(0), second) {
            (b'0', b'f' | b'F' | b'd' | b'D') => return self.bits(),
            (b'0', b'x' | b'X') => 16,
            (b'0', b'b' | b'B') => 2,
            (b'0', b'0'..=b'9') => 8,
            _ => 10,
        };
        if radix == 16 || radix == 2 {
            self.at += 2;
        }
        let digits = self.take_while(|byte| if radix == 16 { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() });
        // `1.5` and `1.`, but not the `1` of `1.x`.
        let decimal = self.byte(0) == b'.' && (self.byte(1).is_ascii_digit() || !in_name(self.byte(1)));
        if matches!(radix, 8 | 10) && (decimal || matches!(self.byte(0), b'e' | b'E')) {
            return self.decimal(start);
        }
        let value = u64::from_str_radix(digits, radix);
        if self.byte(0) == b'U' {
            self.at += 1;
        }
        let rest = self.take_while(in_name);
        match value {
            Ok(value) if rest.is_empty() => Ok(Token::Integer(value)),
            _ => Err(self.error(format!("`{}`", &self.text[start..self.at]), "an integer of at most 64 bits")),
        }
    }

    /// The rest of a decimal number with a point or an exponent.
    fn decimal(&mut self, start: usize) -> Result<Token<'a>, ParseError> {
        if self.byte(0) == b'.' {
            self.at += 1;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        if matches!(self.byte(0), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(0), b'+' | b'-') {
                self.at += 1;
            }
        }
        self.take_while(in_name);
        let text = &self.text[start..self.at];
        match text.parse::<f64>() {
            Ok(value) => Ok(Token::Double(value.to_bits())),
            Err(_) => Err(self.error(format!("`{text}`"), "a decimal number")),
        }
    }

    /// `0f` and 8, or `0d` and 16 hexadecimal digits.
    fn bits(&mut self) -> Result<Token<'a>, ParseError> {
        let single = matches!(self.byte(1), b'f' | b'F');
        self.at += 2;
        let digits = self.take_while(in_name);
        match (u64::from_str_radix(digits, 16), digits.len(), single) {
            (Ok(bits), 8, true) => Ok(Token::Single(bits as u32)),
            (Ok(bits), 16, false) => Ok(Token::Double(bits)),
            _ => Err(self.error(
                format!("`0{}{digits}`", if single { 'f' } else { 'd' }),
                if single { "`0f` with 8 hexadecimal digits" } else { "`0d` with 16 hexadecimal digits" },
            )),
        }
    }
}
