//! One JSON object: where it ends, and its members.
//!
//! What it accepts is JSON, and two things more that have one meaning: the numbers `NaN`, `Infinity` and
//! `-Infinity`, as Python writes them, and control characters in texts, line breaks excepted.

use std::ops::Range;

/// The most objects and arrays within each other.
const MOST_DEPTH: u32 = 128;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text, which has escapes or not.
    Text {
        escaped: bool,
    },
    /// A number, as it is written.
    Number,
    True,
    False,
    Null,
    /// An object or an array.
    Nested,
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// What is between the quotes of its key.
    pub(super) key: Range<usize>,
    pub(super) key_escaped: bool,
    /// The bytes of its value; of a text, what is between its quotes.
    pub(super) value: Range<usize>,
    pub(super) kind: Kind,
}

/// Why an object was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end before it does.
    Cut,
    /// It is no JSON from this byte on.
    Broken { at: usize, why: &'static str },
    /// It has more members than it may.
    Wide,
}

/// Finds the end of the object that `bytes` begin with, and at most `most` members. The first byte counts as the
/// opening brace, whatever it is.
pub(super) fn object(bytes: &[u8], members: &mut Vec<Member>, most: usize) -> Result<usize, Stop> {
    members.clear();
    let mut cursor = Cursor { bytes, at: 1 };
    if cursor.next_is(b'}')? {
        return Ok(cursor.at);
    }
    loop {
        let (key, key_escaped) = cursor.key()?;
        let (value, kind) = cursor.value()?;
        if members.len() == most {
            return Err(Stop::Wide);
        }
        members.push(Member { key, key_escaped, value, kind });
        if cursor.next_is(b'}')? {
            return Ok(cursor.at);
        }
        cursor.expect(b',', "a comma or the end of the object is missing")?;
    }
}

/// The end of any value that `bytes` begin with.
pub(super) fn value(bytes: &[u8]) -> Result<usize, Stop> {
    let mut cursor = Cursor { bytes, at: 0 };
    cursor.value().map(|_| cursor.at)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What may come next inside of an object or an array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

impl Cursor<'_> {
    fn broken<T>(&self, why: &'static str) -> Result<T, Stop> {
        Err(Stop::Broken { at: self.at, why })
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Result<u8, Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += blanks;
        rest.get(blanks).copied().ok_or(Stop::Cut)
    }

    /// Passes a byte if it comes next.
    fn next_is(&mut self, byte: u8) -> Result<bool, Stop> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Stop> {
        match self.next_is(byte)? {
            true => Ok(()),
            false => self.broken(otherwise),
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(Range<usize>, bool), Stop> {
        if self.peek()? != b'"' {
            return self.broken("a key in quotes is missing");
        }
        let key = self.text()?;
        self.expect(b':', "a colon is missing")?;
        Ok(key)
    }

    fn value(&mut self) -> Result<(Range<usize>, Kind), Stop> {
        let first = self.peek()?;
        let start = self.at;
        let kind = match first {
            b'"' => {
                let (text, escaped) = self.text()?;
                return Ok((text, Kind::Text { escaped }));
            }
            b'{' | b'[' => self.nested().map(|()| Kind::Nested)?,
            b't' => self.word(b"true", Kind::True)?,
            b'f' => self.word(b"false", Kind::False)?,
            b'n' => self.word(b"null", Kind::Null)?,
            b'N' => self.word(b"NaN", Kind::Number)?,
            b'I' => self.word(b"Infinity", Kind::Number)?,
            b'-' if self.bytes.get(start + 1) == Some(&b'I') => {
                self.word(b"-Infinity", Kind::Number)?
            }
            _ => self.number()?,
        };
        Ok((start..self.at, kind))
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, Stop> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            Ok(kind)
        } else if word.starts_with(rest) {
            Err(Stop::Cut)
        } else {
            self.broken("a word that is no value")
        }
    }

    /// A text from its opening quote on: what is between its quotes, and whether it has escapes.
    fn text(&mut self) -> Result<(Range<usize>, bool), Stop> {
        self.at += 1;
        let (start, mut escaped) = (self.at, false);
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | b'\n' | b'\r'));
            let Some(plain) = plain else {
                self.at = self.bytes.len();
                return Err(Stop::Cut);
            };
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok((start..self.at - 1, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.broken("a text that is not closed on its line"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Stop> {
        match self.bytes.get(self.at + 1) {
            None => Err(Stop::Cut),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.bytes.get(self.at + 2..self.at + 6) {
                None => Err(Stop::Cut),
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                    self.at += 6;
                    Ok(())
                }
                Some(_) => self.broken("an escape that JSON does not have"),
            },
            Some(_) => self.broken("an escape that JSON does not have"),
        }
    }

    /// Digits; how many.
    fn digits(&mut self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += digits;
        digits
    }

    /// A byte after which digits have to come.
    fn digits_after(&mut self, is_such: impl Fn(u8) -> bool) -> Result<(), Stop> {
        if self.bytes.get(self.at).is_some_and(|byte| is_such(*byte)) {
            self.at += 1;
            if is_such(b'e') && matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.no_number();
            }
        }
        Ok(())
    }

    fn no_number<T>(&self) -> Result<T, Stop> {
        match self.at < self.bytes.len() {
            true => self.broken("a value that is none of JSON"),
            false => Err(Stop::Cut),
        }
    }

    fn number(&mut self) -> Result<Kind, Stop> {
        self.at += usize::from(self.bytes.get(self.at) == Some(&b'-'));
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        match self.digits() {
            0 => return self.no_number(),
            digits if leading_zero && digits > 1 => {
                return self.broken("zeros in front of a number");
            }
            _ => {}
        }
        self.digits_after(|byte| byte == b'.')?;
        self.digits_after(|byte| matches!(byte, b'e' | b'E'))?;
        Ok(Kind::Number)
    }

    /// Passes an object or an array with all that is in it.
    fn nested(&mut self) -> Result<(), Stop> {
        // For each level a bit, the innermost the lowest: whether it is an object.
        let (mut objects, mut depth, mut next) = (0_u128, 0, Next::Value);
        loop {
            let byte = self.peek()?;
            match (next, byte) {
                (Next::Value | Next::ValueOrEnd, b'{' | b'[') => {
                    if depth == MOST_DEPTH {
                        return self.broken("more than 128 objects and arrays within each other");
                    }
                    depth += 1;
                    objects = objects << 1 | u128::from(byte == b'{');
                    next = if byte == b'{' { Next::KeyOrEnd } else { Next::ValueOrEnd };
                    self.at += 1;
                }
                (Next::Value | Next::ValueOrEnd, _) if byte != b']' => {
                    self.value()?;
                    next = Next::CommaOrEnd;
                }
                (Next::Key | Next::KeyOrEnd, b'"') => {
                    self.key()?;
                    next = Next::Value;
                }
                (Next::CommaOrEnd, b',') => {
                    next = if objects & 1 == 1 { Next::Key } else { Next::Value };
                    self.at += 1;
                }
                (Next::ValueOrEnd | Next::CommaOrEnd, b']') if objects & 1 == 0 => {
                    self.at += 1;
                    (objects, depth, next) = (objects >> 1, depth - 1, Next::CommaOrEnd);
                }
                (Next::KeyOrEnd | Next::CommaOrEnd, b'}') if objects & 1 == 1 => {
                    self.at += 1;
                    (objects, depth, next) = (objects >> 1, depth - 1, Next::CommaOrEnd);
                }
                _ => return self.broken("a comma or a closing bracket is missing"),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}
