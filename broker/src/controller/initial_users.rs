//! Users that a new cluster has from its first start: without one, nobody could make the next where all must log in.
//!
//! `ottla.initial.scram.credentials` takes what Kafka's `kafka-storage format --add-scram` takes, several with commas between
//! them: `SCRAM-SHA-512=[name=admin,password="a \"secret\"",iterations=8192]`.

use std::{iter::Peekable, str::Chars};

use ottla_protocol::{
    messages::metadata_log::user_scram_credential_record::UserScramCredentialRecord, types::Str,
};
use ottla_transport::sasl::{self, Mechanism, SCRAM_ITERATIONS_MIN, ScramCredential, ScramHash};

use super::scram::ITERATIONS_MAX;
use crate::metadata::scram::number_of;

/// Reads credentials. What is wrong is said without any value: that may be a secret.
pub(crate) fn parse(text: &str) -> Result<Vec<UserScramCredentialRecord>, String> {
    let mut chars = text.chars().peekable();
    let mut records = Vec::new();
    loop {
        while chars.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        if chars.peek().is_none() {
            return Ok(records);
        }
        let number = records.len() + 1;
        records.push(credential(&mut chars).map_err(|why| format!("credential {number}: {why}"))?);
    }
}

fn credential(chars: &mut Peekable<Chars<'_>>) -> Result<UserScramCredentialRecord, String> {
    let name = until(chars, &['=']);
    let Some(Mechanism::Scram(hash)) = Mechanism::named(name.trim()) else {
        return Err("it begins with neither `SCRAM-SHA-256=` nor `SCRAM-SHA-512=`".into());
    };
    if chars.next() != Some('=') || chars.next() != Some('[') {
        return Err("the mechanism is not followed by `=[`".into());
    }
    let (mut user, mut password, mut iterations) = (None, None, SCRAM_ITERATIONS_MIN);
    loop {
        let option = until(chars, &['=', ',', ']']);
        if chars.next() != Some('=') {
            return Err("it is not of the form `[name=...,password=...]`".into());
        }
        let value = value(chars)?;
        match option.trim() {
            "name" => user = Some(value),
            "password" => password = Some(value),
            "iterations" => {
                let read = value.trim().parse().ok();
                iterations = read
                    .filter(|count| (SCRAM_ITERATIONS_MIN..=ITERATIONS_MAX).contains(count))
                    .ok_or(format!("`iterations` goes from {SCRAM_ITERATIONS_MIN} to {ITERATIONS_MAX}"))?;
            }
            _ => return Err("it has an option that is none of `name`, `password` and `iterations`".into()),
        }
        match chars.next() {
            Some(',') => {}
            Some(']') => break,
            _ => return Err("its `]` is missing".into()),
        }
    }
    let given =
        |value: Option<String>, what| value.filter(|it| !it.is_empty()).ok_or(format!("it has no `{what}`"));
    Ok(record(hash, &given(user, "name")?, &given(password, "password")?, iterations))
}

fn until(chars: &mut Peekable<Chars<'_>>, ends: &[char]) -> String {
    std::iter::from_fn(|| chars.next_if(|c| !ends.contains(c))).collect()
}

/// A value up to the next comma or bracket, or in double quotes.
fn value(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    if chars.next_if_eq(&'"').is_none() {
        return Ok(until(chars, &[',', ']']));
    }
    let mut value = String::new();
    loop {
        match chars.next() {
            Some('"') => return Ok(value),
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
            None => return Err("a quote is not closed".into()),
        }
    }
}

fn record(hash: ScramHash, user: &str, password: &str, iterations: u32) -> UserScramCredentialRecord {
    let salt = sasl::salt();
    let credential = ScramCredential::of_password(hash, password, &salt, iterations);
    UserScramCredentialRecord {
        name: Str::from(user),
        mechanism: number_of(hash),
        salt: credential.salt.into(),
        stored_key: credential.stored_key.into(),
        server_key: credential.server_key.into(),
        iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_kafka_writes_them() {
        let text = r#"SCRAM-SHA-256=[name=alice,password=a b], SCRAM-SHA-512=[name=bob,iterations=8192,password="c],\"d"]"#;
        let records = parse(text).unwrap();
        let shown: Vec<_> = records.iter().map(|it| (&*it.name, it.mechanism, it.iterations)).collect();
        assert_eq!(shown, [("alice", 1, 4096), ("bob", 2, 8192)]);
        let bob = &records[1];
        let again = ScramCredential::of_password(ScramHash::Sha512, "c],\"d", &bob.salt, 8192);
        assert_eq!(*bob.stored_key, *again.stored_key);
        assert!(parse(" ").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        let cases = [
            ("PLAIN=[name=a,password=hunter2]", "begins with neither"),
            ("SCRAM-SHA-256[name=a,password=hunter2]", "begins with neither"),
            ("SCRAM-SHA-256=name=a,password=hunter2", "not followed by `=[`"),
            ("SCRAM-SHA-256=[name=a,password=hunter2", "`]` is missing"),
            ("SCRAM-SHA-256=[name=a,password=\"hunter2", "a quote is not closed"),
            ("SCRAM-SHA-256=[name=a,hunter2]", "not of the form"),
            ("SCRAM-SHA-256=[password=hunter2]", "it has no `name`"),
            ("SCRAM-SHA-256=[name=a]", "it has no `password`"),
            ("SCRAM-SHA-256=[name=a,password=hunter2,iterations=1]", "`iterations` goes from 4096 to 16384"),
        ];
        for (text, words) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
