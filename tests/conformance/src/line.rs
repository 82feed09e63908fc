//! The lines between the test and a runner: a word, and pairs, percent-encoded.

use std::fmt;

use anyhow::{Context, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What stays as it is, for lines that people can read.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':')
    .remove(b',')
    .remove(b'@')
    .remove(b'/');

/// A line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Line {
    /// Its first word.
    pub word: String,
    /// The pairs, in their order. Values are bytes: records' are.
    pub pairs: Vec<(String, Vec<u8>)>,
}

impl Line {
    /// A line without pairs.
    pub fn new(word: impl Into<String>) -> Self {
        Self { word: word.into(), pairs: Vec::new() }
    }

    /// Adds a pair.
    pub fn pair(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.pairs.push((name.into(), value.into()));
        self
    }

    /// Adds a pair, if there is a value.
    pub fn maybe(self, name: impl Into<String>, value: Option<impl Into<Vec<u8>>>) -> Self {
        match value {
            Some(value) => self.pair(name, value),
            None => self,
        }
    }

    /// Reads a line.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut words = text.trim_end_matches(['\r', '\n']).split(' ');
        let mut line = Self::new(words.next().unwrap_or_default());
        ensure!(!line.word.is_empty(), "a line without a word");
        for pair in words.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').with_context(|| format!("`{pair}` is no pair"))?;
            line.pairs.push((decode_text(name)?, percent_decode_str(value).collect()));
        }
        Ok(line)
    }

    /// A value as bytes.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// A value as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// A value that must be there.
    pub fn need(&self, name: &str) -> anyhow::Result<&str> {
        self.text(name).with_context(|| format!("`{}` needs `{name}`", self.word))
    }

    /// A number, if there is one.
    pub fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        name: &str,
    ) -> anyhow::Result<Option<T>> {
        self.text(name).map(|text| text.parse().with_context(|| format!("`{name}={text}`"))).transpose()
    }

    /// The pairs `<prefix><rest>`, by their rest.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.pairs
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_slice())))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word)?;
        for (name, value) in &self.pairs {
            write!(f, " {}={}", encode(name.as_bytes()), encode(value))?;
        }
        Ok(())
    }
}

/// Percent-encodes.
pub fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, ENCODED).to_string()
}

/// Decodes what must be text.
pub fn decode_text(text: &str) -> anyhow::Result<String> {
    Ok(percent_decode_str(text).decode_utf8()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_whatever_is_in_it() -> anyhow::Result<()> {
        let line = Line::new("send")
            .pair("key", "a b=c%\n")
            .pair("value", vec![0, 255, b'"'])
            .pair("empty", "")
            .pair("set.group.id", "größe");
        let text = line.to_string();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(Line::parse(&format!("{text}\n"))?, line);
        Ok(())
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        assert!(Line::parse("send key").is_err());
        assert!(Line::parse("").is_err());
    }
}
