//! One word of lookahead over the lexer, and what all parts of the parser read: names, marks, constants.

use super::ParseError;
use super::lexer::{Lexer, Token};

/// A constant of the text, before it has a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Constant {
    /// 64 bits; a negative number in two's complement.
    Integer(u64),
    /// `0f…`.
    Single(u32),
    /// `0d…` and decimal numbers.
    Double(u64),
}

impl std::fmt::Display for Constant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Constant::Integer(value) => write!(f, "the integer {}", *value as i64),
            Constant::Single(bits) => write!(f, "the float {:?}", f32::from_bits(*bits)),
            Constant::Double(bits) => write!(f, "the double {:?}", f64::from_bits(*bits)),
        }
    }
}

/// Reads a module's words.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    lexer: Lexer<'a>,
    ahead: Token<'a>,
    ahead_line: u32,
    /// The line of the word that was read last.
    pub(super) line: u32,
}

/// Deeper parentheses in a constant expression than any compiler writes; it keeps the stack of a hostile text small.
const DEEPEST_EXPRESSION: u32 = 64;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Result<Reader<'a>, ParseError> {
        let mut reader = Reader { lexer: Lexer::new(text), ahead: Token::End, ahead_line: 1, line: 1 };
        reader.advance()?;
        Ok(reader)
    }

    fn advance(&mut self) -> Result<(), ParseError> {
        self.ahead = self.lexer.next()?;
        self.ahead_line = self.lexer.line;
        Ok(())
    }

    /// The next word, which stays.
    pub(super) fn peek(&self) -> Token<'a> {
        self.ahead
    }

    /// Takes the next word.
    pub(super) fn take(&mut self) -> Result<Token<'a>, ParseError> {
        let token = self.ahead;
        self.line = self.ahead_line;
        self.advance()?;
        Ok(token)
    }

    /// An error at the next word.
    pub(super) fn unexpected(&self, expected: impl Into<String>) -> ParseError {
        ParseError { line: self.ahead_line, found: self.ahead.to_string(), expected: expected.into() }
    }

    /// An error at the last word.
    pub(super) fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> ParseError {
        ParseError { line: self.line, found: found.into(), expected: expected.into() }
    }

    /// Takes a mark if it comes next.
    pub(super) fn accept(&mut self, mark: char) -> Result<bool, ParseError> {
        let there = self.ahead == Token::Mark(mark);
        if there {
            self.take()?;
        }
        Ok(there)
    }

    /// Takes a directive or modifier if it comes next.
    pub(super) fn accept_dot(&mut self, name: &str) -> Result<bool, ParseError> {
        let there = self.ahead == Token::Dot(name);
        if there {
            self.take()?;
        }
        Ok(there)
    }

    /// Takes a mark that must come next.
    pub(super) fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.accept(mark)? { Ok(()) } else { Err(self.unexpected(format!("`{mark}`"))) }
    }

    /// A name.
    pub(super) fn word(&mut self, expected: &str) -> Result<&'a str, ParseError> {
        match self.ahead {
            Token::Word(name) => {
                self.take()?;
                Ok(name)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The name of a directive or modifier.
    pub(super) fn dot(&mut self, expected: &str) -> Result<&'a str, ParseError> {
        match self.ahead {
            Token::Dot(name) => {
                self.take()?;
                Ok(name)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A text in quotes.
    pub(super) fn text(&mut self, expected: &str) -> Result<&'a str, ParseError> {
        match self.ahead {
            Token::Text(text) => {
                self.take()?;
                Ok(text)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// An unsigned number of 32 bits.
    pub(super) fn u32(&mut self, expected: &str) -> Result<u32, ParseError> {
        match self.ahead {
            Token::Integer(value) if u32::try_from(value).is_ok() => {
                self.take()?;
                Ok(value as u32)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// One to three numbers, the rest being 1: `.maxntid 16, 16`.
    pub(super) fn triple(&mut self, expected: &str) -> Result<[u32; 3], ParseError> {
        let mut triple = [self.u32(expected)?, 1, 1];
        for value in &mut triple[1..] {
            if !self.accept(',')? {
                break;
            }
            *value = self.u32(expected)?;
        }
        Ok(triple)
    }

    /// Whether a constant comes next.
    pub(super) fn at_constant(&self) -> bool {
        matches!(
            self.ahead,
            Token::Integer(_) | Token::Single(_) | Token::Double(_) | Token::Mark('-' | '+' | '~' | '(' | '!')
        ) || self.ahead == Token::Word("WARP_SZ")
    }

    /// A constant expression (§4.6): integers with the operators of C that bind as in C, or one floating-point number.
    pub(super) fn constant(&mut self) -> Result<Constant, ParseError> {
        self.binary(0, 0)
    }

    /// An integer that a constant expression gives.
    pub(super) fn integer(&mut self, expected: &str) -> Result<i64, ParseError> {
        match self.constant()? {
            Constant::Integer(value) => Ok(value as i64),
            _ => Err(self.error("a floating-point number", expected)),
        }
    }

    /// Operators from `|` (level 0) to `* / %` (level 5), as in C.
    fn binary(&mut self, level: u32, depth: u32) -> Result<Constant, ParseError> {
        if level == 6 {
            return self.unary(depth);
        }
        let mut left = self.binary(level + 1, depth)?;
        loop {
            let operator = self.ahead;
            let fits = match operator {
                Token::Mark('|') => level == 0,
                Token::Mark('^') => level == 1,
                Token::Mark('&') => level == 2,
                Token::ShiftLeft | Token::ShiftRight => level == 3,
                Token::Mark('+' | '-') => level == 4,
                Token::Mark('*' | '/' | '%') => level == 5,
                _ => false,
            };
            if !fits {
                return Ok(left);
            }
            self.take()?;
            let right = self.binary(level + 1, depth)?;
            let (Constant::Integer(a), Constant::Integer(b)) = (left, right) else {
                return Err(self.error("floating-point arithmetic in a constant", "one number"));
            };
            left = Constant::Integer(self.operate(operator, a as i64, b as i64)?);
        }
    }

    fn operate(&self, operator: Token<'_>, a: i64, b: i64) -> Result<u64, ParseError> {
        let value = match operator {
            Token::Mark('|') => Some(a | b),
            Token::Mark('^') => Some(a ^ b),
            Token::Mark('&') => Some(a & b),
            Token::ShiftLeft => u32::try_from(b).ok().and_then(|b| a.checked_shl(b)),
            Token::ShiftRight => u32::try_from(b).ok().and_then(|b| a.checked_shr(b)),
            Token::Mark('+') => Some(a.wrapping_add(b)),
            Token::Mark('-') => Some(a.wrapping_sub(b)),
            Token::Mark('*') => Some(a.wrapping_mul(b)),
            Token::Mark('/') => a.checked_div(b),
            _ => a.checked_rem(b),
        };
        match value {
            Some(value) => Ok(value as u64),
            None => Err(self.error(format!("{a} {operator} {b}"), "a constant expression that has a value")),
        }
    }

    fn unary(&mut self, depth: u32) -> Result<Constant, ParseError> {
        if depth == DEEPEST_EXPRESSION {
            return Err(self.unexpected("a constant expression of fewer levels"));
        }
        match self.take()? {
            Token::Integer(value) => Ok(Constant::Integer(value)),
            Token::Single(bits) => Ok(Constant::Single(bits)),
            Token::Double(bits) => Ok(Constant::Double(bits)),
            Token::Word("WARP_SZ") => Ok(Constant::Integer(32)),
            Token::Mark('(') => {
                let value = self.binary(0, depth + 1)?;
                self.expect(')')?;
                Ok(value)
            }
            Token::Mark('+') => self.unary(depth + 1),
            Token::Mark('-') => Ok(match self.unary(depth + 1)? {
                Constant::Integer(value) => Constant::Integer(value.wrapping_neg()),
                Constant::Single(_) => return Err(self.error("`-` before the bits of a float", "the bits alone")),
                Constant::Double(bits) => Constant::Double(bits ^ 1 << 63),
            }),
            Token::Mark(sign @ ('~' | '!')) => match self.unary(depth + 1)? {
                Constant::Integer(value) if sign == '~' => Ok(Constant::Integer(!value)),
                Constant::Integer(value) => Ok(Constant::Integer(u64::from(value == 0))),
                _ => Err(self.error(format!("`{sign}` of a floating-point number"), "an integer")),
            },
            found => Err(self.error(found.to_string(), "a constant")),
        }
    }
}
