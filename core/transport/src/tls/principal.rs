//! From a client's certificate to a name: Kafka's `ssl.principal.mapping.rules` (KIP-371).
//!
//! `DEFAULT` takes the distinguished name as it is; `RULE:pattern/replacement/` takes what its pattern makes of it, `L` or `U`
//! behind it in lower or upper case. The first rule whose pattern matches the whole name decides.

use std::fmt;

use regex::{Regex, RegexBuilder};
use rustls::pki_types::CertificateDer;
use x509_cert::{Certificate, der::Decode};

/// Largest program that a rule's pattern may become, in bytes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// The subject of a certificate as RFC 2253 writes it, the most special part first: `CN=alice,OU=sales,O=Acme`.
pub fn distinguished_name(certificate: &CertificateDer<'_>) -> Option<String> {
    Some(Certificate::from_der(certificate).ok()?.tbs_certificate().subject().to_string())
}

/// Rules, the first that matches decides.
#[derive(Clone, Debug)]
pub struct PrincipalRules(Vec<Rule>);

#[derive(Clone, Debug)]
enum Rule {
    Default,
    Pattern { pattern: Regex, replacement: String, case: Option<Case> },
}

#[derive(Clone, Copy, Debug)]
enum Case {
    Lower,
    Upper,
}

/// A rule that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RulesError(String);

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RulesError {}

impl Default for PrincipalRules {
    fn default() -> Self {
        Self(vec![Rule::Default])
    }
}

impl PrincipalRules {
    /// Reads rules with commas between them.
    ///
    /// # Errors
    /// If one is neither `DEFAULT` nor of the form `RULE:pattern/replacement/[LU]`, or its pattern is none.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let rule;
            (rule, rest) = match rest.strip_prefix("RULE:") {
                Some(behind) => Rule::read(behind)?,
                None => {
                    let (word, behind) = rest.split_once(',').unwrap_or((rest, ""));
                    if word.trim() != "DEFAULT" {
                        return Err(RulesError(format!(
                            "`{}` is neither `DEFAULT` nor a `RULE:`",
                            word.trim()
                        )));
                    }
                    (Rule::Default, behind)
                }
            };
            rules.push(rule);
            rest = rest.trim_start();
        }
        Ok(if rules.is_empty() { Self::default() } else { Self(rules) })
    }

    /// What a distinguished name is called here; `None` where no rule matches it.
    pub fn apply(&self, distinguished_name: &str) -> Option<String> {
        self.0.iter().find_map(|rule| rule.apply(distinguished_name))
    }
}

impl Rule {
    /// A rule, and what stands behind its comma.
    fn read(text: &str) -> Result<(Self, &str), RulesError> {
        let wrong =
            || RulesError(format!("`RULE:{text}` is not of the form `RULE:pattern/replacement/[LU]`"));
        let (pattern, rest) = until_slash(text).ok_or_else(wrong)?;
        let (replacement, rest) = until_slash(rest).ok_or_else(wrong)?;
        let (case, rest) = rest.split_once(',').unwrap_or((rest, ""));
        let case = match case.trim() {
            "" => None,
            "L" => Some(Case::Lower),
            "U" => Some(Case::Upper),
            _ => return Err(wrong()),
        };
        let built = RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
        let pattern = built.map_err(|error| RulesError(format!("`{pattern}` is no pattern: {error}")))?;
        Ok((Self::Pattern { pattern, replacement: in_braces(replacement), case }, rest))
    }

    fn apply(&self, name: &str) -> Option<String> {
        match self {
            Self::Default => Some(name.to_owned()),
            Self::Pattern { pattern, replacement, case } => {
                let mut made = String::new();
                pattern.captures(name)?.expand(replacement, &mut made);
                Some(match case {
                    None => made,
                    Some(Case::Lower) => made.to_lowercase(),
                    Some(Case::Upper) => made.to_uppercase(),
                })
            }
        }
    }
}

/// What stands before the first slash that no backslash is before, and what stands behind it.
fn until_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '/' if !escaped => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// `$1x` is group 1 and an `x` to Java, and a group named `1x` to the library here.
fn in_braces(replacement: &str) -> String {
    let mut made = String::with_capacity(replacement.len());
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' if chars.peek().is_some_and(char::is_ascii_digit) => {
                made.push_str("${");
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    made.push(digit);
                }
                made.push('}');
            }
            // What is escaped is meant as it stands, and so is a `$` of no group.
            '\\' => made.extend(chars.next().map(|c| if c == '$' { "$$".to_owned() } else { c.to_string() })),
            '$' => made.push_str("$$"),
            c => made.push(c),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides_as_in_kip_371() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/,RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, \
                     RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/U,DEFAULT";
        let rules = PrincipalRules::parse(rules).unwrap();
        let cases = [
            ("CN=kafka.brk-1,OU=ServiceUsers,O=Acme", "kafka.brk-1"),
            ("CN=AdminUser,OU=Admins,O=Org,L=Town,ST=State,C=US", "adminuser@admins"),
            ("O=Acme,cn=alice", "ALICE"),
            ("O=Acme", "O=Acme"),
        ];
        for (name, principal) in cases {
            assert_eq!(rules.apply(name).as_deref(), Some(principal), "{name}");
        }
    }

    #[test]
    fn without_a_rule_that_matches_there_is_no_name() {
        assert_eq!(PrincipalRules::parse("RULE:^CN=(.*)$/$1/").unwrap().apply("O=Acme"), None);
        assert_eq!(PrincipalRules::parse("").unwrap().apply("O=Acme").as_deref(), Some("O=Acme"));
        let both = PrincipalRules::parse(r"RULE:^CN=(.*),O=a\/b$/x\$$1y/").unwrap();
        assert_eq!(both.apply("CN=me,O=a/b").as_deref(), Some("x$mey"));
    }

    #[test]
    fn a_rule_of_another_form_is_refused() {
        for text in ["default", "RULE:abc", "RULE:abc/def", "RULE:(/x/", "RULE:a/b/X", "DEFAULT,RULE:"] {
            assert!(PrincipalRules::parse(text).is_err(), "{text}");
        }
    }
}
