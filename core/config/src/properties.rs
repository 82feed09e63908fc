//! Java's `.properties` syntax, as `java.util.Properties.load` reads it.
//!
//! - `#` and `!` begin a comment line; blank lines are skipped.
//! - `=`, `:` or blanks end the key; blanks around the separator are dropped, blanks after the value are kept.
//! - A line that ends in an odd number of backslashes goes on in the next one, whose leading blanks are dropped.
//! - `\t \n \r \f` and `\uXXXX` are characters; a backslash before anything else is dropped.
//!
//! Java reads such a file as Latin-1; ours are UTF-8, and Latin-1 if they are not valid UTF-8.

use std::{borrow::Cow, fmt};

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The line on which it begins, from 1.
    pub line: u32,
    /// The key.
    pub key: String,
    /// The value; empty if there is none.
    pub value: String,
}

/// A `\uXXXX` that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyError {
    /// The line on which the property begins, from 1.
    pub line: u32,
}

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "`\\u` needs four hexadecimal digits of a character; write `\\\\u` for a backslash and a `u`",
        )
    }
}

impl std::error::Error for PropertyError {}

/// Reads a whole file. A property that cannot be read is an error of its own; those after it are still read.
pub fn parse(file: &[u8]) -> Vec<Result<Property, PropertyError>> {
    let text = decode(file);
    let mut properties = Vec::new();
    let mut lines = natural_lines(&text).zip(1u32..);
    while let Some((first, line)) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            let Some((next, _)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (key, value) = split(&logical);
        properties.push(match (unescape(key), unescape(value)) {
            (Some(key), Some(value)) => Ok(Property { line, key, value }),
            _ => Err(PropertyError { line }),
        });
    }
    properties
}

fn decode(file: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(file) {
        Ok(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(_) => Cow::Owned(file.iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// Lines as Java ends them: by LF, CR, or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Parts a logical line at its first separator that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    // UTF-16 first: Java's `\u` escapes are its units, so that a character beyond the first plane takes two.
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('u')) => {
                let mut unit = 0;
                for _ in 0..4 {
                    unit = unit << 4 | chars.next()?.to_digit(16)? as u16;
                }
                units.push(unit);
                continue;
            }
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('f')) => '\x0c',
            ('\\', Some(other)) => other,
            ('\\', None) => break,
            (c, _) => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(file: &str, wanted: &[(&str, &str)]) {
        let read: Vec<_> = parse(file.as_bytes()).into_iter().map(Result::unwrap).collect();
        let read: Vec<_> = read.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(read, wanted, "{file:?}");
    }

    #[test]
    fn the_examples_of_javas_documentation_are_read() {
        check("Truth = Beauty\n Truth:Beauty\nTruth    :Beauty", &[("Truth", "Beauty"); 3]);
        check(
            "fruits    apple, banana, pear, \\\n          cantaloupe, watermelon, \\\n          kiwi, mango",
            &[("fruits", "apple, banana, pear, cantaloupe, watermelon, kiwi, mango")],
        );
        check("cheeses", &[("cheeses", "")]);
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_but_not_within_a_value() {
        check("# a\n  ! b\n\n \t\x0c\nk=v # kept\n#k=w\\\nx=y", &[("k", "v # kept"), ("x", "y")]);
        check("k=a\\\n#b", &[("k", "a#b")]);
    }

    #[test]
    fn separators_and_blanks_are_javas() {
        check("a = = b", &[("a", "= b")]);
        check("a\\ b\\:c\\=d e", &[("a b:c=d", "e")]);
        check("k=v  \t", &[("k", "v  \t")]);
        check("=v", &[("", "v")]);
        check("a=1\rb=2\r\nc=3", &[("a", "1"), ("b", "2"), ("c", "3")]);
        check("url=http://h:80/?a=b", &[("url", "http://h:80/?a=b")]);
    }

    #[test]
    fn backslashes_continue_only_in_odd_numbers() {
        check("a=x\\\\\nb=y", &[("a", "x\\"), ("b", "y")]);
        check("a=x\\\\\\\n   y", &[("a", "x\\y")]);
        check("a=x\\", &[("a", "x")]);
        check("a=x\\\n\\\ny", &[("a", "xy")]);
    }

    #[test]
    fn escapes_are_characters() {
        check("a=\\t\\n\\r\\f\\z\\\"\\u0041", &[("a", "\t\n\r\x0cz\"A")]);
        check("a=\\ud83d\\ude00\u{1f600}", &[("a", "\u{1f600}\u{1f600}")]);
    }

    #[test]
    fn a_bad_escape_names_its_line_and_the_rest_is_read() {
        let read = parse(b"ok=1\nbad=\\u12g4\nlone=\\ud83d\nlast=2");
        assert_eq!(read[1], Err(PropertyError { line: 2 }));
        assert_eq!(read[2], Err(PropertyError { line: 3 }));
        assert_eq!(read[3], Ok(Property { line: 4, key: "last".into(), value: "2".into() }));
    }

    #[test]
    fn lines_are_counted_where_a_property_begins() {
        let read = parse(b"\n# c\na=1,\\\n  2\nb=3");
        assert_eq!(read.iter().map(|p| p.as_ref().unwrap().line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn what_is_not_utf_8_is_latin_1() {
        let read = parse(b"a=\xe9");
        assert_eq!(read[0].as_ref().unwrap().value, "é");
        assert_eq!(parse("\u{feff}a=é".as_bytes())[0].as_ref().unwrap().key, "a");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(key in "[^\\s#!]{1,20}", value in "\\PC{0,40}") {
            let escape = |text: &str| -> String {
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
            };
            let file = format!("{}={}\n", escape(&key), escape(&value));
            let read = parse(file.as_bytes());
            prop_assert_eq!(read, vec![Ok(Property { line: 1, key, value })]);
        }

        #[test]
        fn no_bytes_make_it_panic(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&file);
        }
    }
}
