//! Texts of JSON: escapes → characters, and nested values without blanks.

use std::borrow::Cow;

/// The characters of a text; or why it is none.
pub(super) fn decoded(bytes: &[u8], escaped: bool) -> Result<Cow<'_, str>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let text = match escaped {
        true => Cow::Owned(unescaped(text).ok_or("half of a surrogate pair")?),
        false => Cow::Borrowed(text),
    };
    match text.as_bytes().contains(&0) {
        true => Err("a NUL character"),
        false => Ok(text),
    }
}

/// None where an escape is half of a pair, which no text in UTF-8 can have.
fn unescaped(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut kinds = after.chars();
        let character = match kinds.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (character, length) = of_units(after)?;
                out.push(character);
                rest = after.get(length..)?;
                continue;
            }
            itself => itself,
        };
        out.push(character);
        rest = kinds.as_str();
    }
    out.push_str(rest);
    Some(out)
}

/// The character of `uXXXX`, or of the pair `uXXXX\uXXXX`, and its length in bytes.
fn of_units(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| u16::from_str_radix(text.get(1..5)?, 16).ok();
    let first = unit(text)?;
    let second = || unit(text.get(5..)?.strip_prefix('\\').filter(|t| t.starts_with('u'))?);
    match char::decode_utf16([first]).next()? {
        Ok(character) => Some((character, 5)),
        Err(_) => {
            let pair = char::decode_utf16([first, second()?]).next()?;
            pair.ok().map(|character| (character, 11))
        }
    }
}

/// An object or an array as JSON without blanks: numbers, the order of keys and repeated keys stay as they are.
pub(super) fn compact(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let (mut out, mut in_text, mut escaped) = (String::with_capacity(text.len()), false, false);
    for character in text.chars() {
        match character {
            ' ' | '\t' | '\n' | '\r' if !in_text => continue,
            '"' if !escaped => in_text = !in_text,
            // The reader accepts it, JSON has it only as an escape.
            '\0'..'\u{20}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
                escaped = false;
                continue;
            }
            _ => {}
        }
        escaped = in_text && character == '\\' && !escaped;
        out.push(character);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_characters_and_half_a_pair_is_none() {
        for (text, expected) in [
            (r#"a\"b\\c\/d"#, Ok("a\"b\\c/d")),
            (r"\b\f\n\r\t", Ok("\u{8}\u{c}\n\r\t")),
            (r"\u00e9\u20AC", Ok("é€")),
            (r"\ud83d\ude00!", Ok("😀!")),
            (r"\ud83d", Err("half of a surrogate pair")),
            (r"\ud83dx", Err("half of a surrogate pair")),
            (r"\ude00\ud83d", Err("half of a surrogate pair")),
            (r"\ud83d\u0041", Err("half of a surrogate pair")),
            (r"a\u0000", Err("a NUL character")),
        ] {
            assert_eq!(decoded(text.as_bytes(), true), expected.map(Cow::from), "{text}");
        }
        assert_eq!(decoded(b"\xFF", false), Err("not UTF-8"));
    }

    #[test]
    fn nested_values_lose_their_blanks_and_nothing_else() {
        for (text, expected) in [
            ("{ \"a\" : [ 1.50 ,\n 1e400 ] }", r#"{"a":[1.50,1e400]}"#),
            (r#"[" a \" b ", "\\" , "c"]"#, r#"[" a \" b ","\\","c"]"#),
            ("[\"a\tb\"]", r#"["a\u0009b"]"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
        ] {
            assert_eq!(compact(text.as_bytes()).as_deref(), Ok(expected));
        }
    }
}
