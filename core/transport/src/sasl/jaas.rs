//! `sasl.jaas.config`: a login module and its options, as Kafka's configurations write them.
//!
//! `<class> <required|requisite|sufficient|optional> <option>=<value> ...;` where values may be quoted.

use std::{collections::BTreeMap, fmt};

/// One entry: the module's class, and its options. `Debug` shows no option's value.
#[derive(Clone, Eq, PartialEq)]
pub struct JaasConfig {
    module: String,
    options: BTreeMap<String, String>,
}

/// Why a text is no JAAS entry. Says where, and nothing of what stands there: that may be a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JaasError {
    /// It is empty, or has no class.
    NoModule,
    /// What follows the class is none of the four flags.
    NoFlag,
    /// This option, counted from 1, is not of the form `name=value`.
    BadOption(usize),
    /// A quote is not closed.
    OpenQuote,
    /// The `;` at the end is missing.
    NoEnd,
    /// There is a second module: one is what Kafka takes.
    SecondModule,
}

impl fmt::Display for JaasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModule => f.write_str("it names no login module"),
            Self::NoFlag => {
                f.write_str("the word behind the login module must be `required`, or another such flag")
            }
            Self::BadOption(number) => write!(f, "option {number} is not of the form `name=\"value\"`"),
            Self::OpenQuote => f.write_str("a quote is not closed"),
            Self::NoEnd => f.write_str("the `;` at its end is missing"),
            Self::SecondModule => f.write_str("it names more than one login module"),
        }
    }
}

impl std::error::Error for JaasError {}

impl fmt::Debug for JaasConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JaasConfig").field("module", &self.module).finish_non_exhaustive()
    }
}

impl JaasConfig {
    /// Reads an entry.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn parse(text: &str) -> Result<Self, JaasError> {
        let (words, rest) = words(text)?;
        if !rest.trim().is_empty() {
            return Err(JaasError::SecondModule);
        }
        let mut words = words.into_iter();
        let module = words.next().filter(|module| !module.contains('=')).ok_or(JaasError::NoModule)?;
        let flag = words.next().unwrap_or_default();
        let flags = ["required", "requisite", "sufficient", "optional"];
        if !flags.iter().any(|known| flag.eq_ignore_ascii_case(known)) {
            return Err(JaasError::NoFlag);
        }
        let options = words.enumerate().map(|(at, word)| {
            let (name, value) = word.split_once('=').ok_or(JaasError::BadOption(at + 1))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        Ok(Self { module, options: options.collect::<Result<_, _>>()? })
    }

    /// The class of the login module, without its package.
    pub fn module(&self) -> &str {
        self.module.rsplit('.').next().unwrap_or_default()
    }

    /// An option's value.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// All options with their values.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The words up to the `;`, quotes taken off and what is escaped in them put in; and what stands behind it.
fn words(text: &str) -> Result<(Vec<String>, &str), JaasError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ';' => {
                words.extend(word);
                return Ok((words, text.get(at + 1..).unwrap_or_default()));
            }
            '"' | '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(JaasError::OpenQuote)?.1 {
                        quote if quote == c => break,
                        '\\' => word.push(chars.next().ok_or(JaasError::OpenQuote)?.1),
                        other => word.push(other),
                    }
                }
            }
            // `name = value` is one word.
            '=' => match &mut word {
                Some(word) => word.push('='),
                None => match words.last_mut() {
                    Some(name) if !name.contains('=') => word = words.pop().map(|name| name + "="),
                    _ => word = Some("=".to_owned()),
                },
            },
            c if c.is_whitespace() => match &word {
                Some(begun) if begun.ends_with('=') => {}
                _ => words.extend(word.take()),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    Err(if words.is_empty() && word.is_none() { JaasError::NoModule } else { JaasError::NoEnd })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_kafka_writes_it() {
        let text = "org.apache.kafka.common.security.scram.ScramLoginModule required\n  username=\"alice\" \
                    password=\"a \\\"quoted\\\" = ;secret\"\n tokenauth = true;\n";
        let jaas = JaasConfig::parse(text).unwrap();
        assert_eq!(jaas.module(), "ScramLoginModule");
        assert_eq!(jaas.option("username"), Some("alice"));
        assert_eq!(jaas.option("password"), Some("a \"quoted\" = ;secret"));
        assert_eq!(jaas.option("tokenauth"), Some("true"));
        assert_eq!(jaas.option("nothing"), None);
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        let cases = [
            ("", JaasError::NoModule),
            ("A", JaasError::NoEnd),
            ("A;", JaasError::NoFlag),
            ("A username=x;", JaasError::NoFlag),
            ("A required username;", JaasError::BadOption(1)),
            ("A required x=y password=\"secret;", JaasError::OpenQuote),
            ("A required x=y", JaasError::NoEnd),
            ("A required x=y; B required;", JaasError::SecondModule),
        ];
        for (text, error) in cases {
            assert_eq!(JaasConfig::parse(text), Err(error), "{text}");
        }
        let jaas = JaasConfig::parse("A required password=\"secret\";").unwrap();
        assert!(!format!("{jaas:?}").contains("secret"));
    }
}
