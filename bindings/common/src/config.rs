//! Settings by name, as every language has them: Kafka's dotted keys, or the same in the language's own style. What they
//! mean, and what is suggested for one that is not there, is the core's.

use std::{borrow::Cow, path::Path};

use crate::{
    core::{
        ConfigErrors, Settings, Warning,
        config::{ADMIN, AdminConfig, CONSUMER, ConsumerConfig, PRODUCER, ProducerConfig},
    },
    error::{BindingError, CONFIG, Result},
    tokens::TokenRequests,
};

/// Settings of a client that is to be made. Usable for several.
///
/// ```
/// use ottla_bindings::Config;
///
/// let mut config = Config::new();
/// config.set("bootstrap.servers", "localhost:9092").unwrap();
/// config.set("linger_ms", "5").unwrap();
/// config.set("maxRequestSize", "2MiB").unwrap();
/// assert_eq!(config.producer().unwrap().max_request_size, 2 << 20);
///
/// let error = config.set("lingerSm", "5").unwrap_err();
/// assert_eq!(error.message, "unknown key `lingerSm`");
/// assert_eq!(error.hint.as_deref(), Some("did you mean `lingerMs`?"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Config {
    settings: Settings,
    tokens: Option<TokenRequests>,
}

/// What a key may be of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientKind {
    /// A producer.
    Producer,
    /// A consumer.
    Consumer,
    /// An admin client.
    Admin,
}

impl Config {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key, by Kafka's name (`linger.ms`), in snake case (`linger_ms`), in camel case (`lingerMs`), or by an alias.
    ///
    /// Fails at once if no client has the key, or none that has it takes the value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let name = spelled_out(key);
        let tables = [&PRODUCER, &CONSUMER, &ADMIN];
        let is_kept = |prefix: &str| name.starts_with(prefix);
        let mut known = tables.iter().filter(|table| table.key(&name).is_some()).peekable();
        if known.peek().is_none() && !tables.iter().flat_map(|t| t.prefixes).any(|p| is_kept(p.prefix)) {
            let near = tables.iter().find_map(|table| table.suggest(&name));
            let error = BindingError::local(CONFIG, format!("unknown key `{key}`"));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{}`?", in_style_of(key, &near))),
                None => error,
            });
        }
        let mut one = Settings::new();
        one.set(name.as_ref(), value);
        let mut refusal = None;
        for table in known {
            let Err(errors) = table.parse(&one) else {
                refusal = None;
                break;
            };
            // That other keys are missing is for later.
            match errors.iter().find(|error| error.key == name) {
                Some(error) => refusal = Some(BindingError::local(CONFIG, error.to_string())),
                None => {
                    refusal = None;
                    break;
                }
            }
        }
        match refusal {
            Some(refusal) => Err(refusal),
            None => {
                self.settings.set(name, value);
                Ok(())
            }
        }
    }

    /// Whether clients of this kind have the key, applied or not, in any style: for programs that hand other keys to somebody
    /// else.
    pub fn is_known(kind: ClientKind, key: &str) -> bool {
        let name = spelled_out(key);
        let table = match kind {
            ClientKind::Producer => &PRODUCER,
            ClientKind::Consumer => &CONSUMER,
            ClientKind::Admin => &ADMIN,
        };
        table.key(&name).is_some() || table.prefixes.iter().any(|p| name.starts_with(p.prefix))
    }

    /// Adds a `.properties` file, as Java's clients have them. What is wrong with it is said when a client is made.
    pub fn file(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.settings.file(path);
        self
    }

    /// Adds the variables of the environment that begin with `prefix`: `OTTLA_LINGER_MS`.
    pub fn env(&mut self, prefix: &str) -> &mut Self {
        self.settings.env(prefix, std::env::vars_os());
        self
    }

    /// Has clients that log in by `sasl.mechanism=OAUTHBEARER` ask there for their tokens; others never do.
    pub fn set_tokens(&mut self, tokens: Option<TokenRequests>) {
        self.tokens = tokens;
    }

    /// Where clients ask for their tokens, if the program has said.
    pub fn tokens(&self) -> Option<TokenRequests> {
        self.tokens.clone()
    }

    /// What a producer makes of it.
    pub fn producer(&self) -> Result<ProducerConfig> {
        ProducerConfig::from_settings(&self.settings).map(warned).map_err(refused)
    }

    /// What a consumer makes of it.
    pub fn consumer(&self) -> Result<ConsumerConfig> {
        ConsumerConfig::from_settings(&self.settings).map(warned).map_err(refused)
    }

    /// What an admin client makes of it.
    pub fn admin(&self) -> Result<AdminConfig> {
        AdminConfig::from_settings(&self.settings).map(warned).map_err(refused)
    }
}

/// Logs what is accepted and does nothing.
fn warned<C>((config, warnings): (C, Vec<Warning>)) -> C {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    config
}

fn refused(errors: ConfigErrors) -> BindingError {
    BindingError::local(CONFIG, errors.to_string())
}

/// Whether a name is written as in JavaScript, Java or C#: words run together, each but the first with a capital.
fn is_camel(name: &str) -> bool {
    !name.contains(['.', '_', '-']) && name.contains(|c: char| c.is_ascii_uppercase())
}

/// `lingerMs` as `linger_ms`; all else as it is.
fn spelled_out(name: &str) -> Cow<'_, str> {
    if !is_camel(name) {
        return name.into();
    }
    let mut out = String::with_capacity(name.len() + 8);
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out.into()
}

/// A key as somebody who writes like `like` would write it.
fn in_style_of(like: &str, key: &str) -> String {
    if !is_camel(like) {
        return key.to_owned();
    }
    let mut words = key.split(['.', '_', '-']);
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_client_is_known_in_every_style() {
        for table in [&PRODUCER, &CONSUMER, &ADMIN] {
            for key in table.keys() {
                let camel = in_style_of("lingerMs", key.name);
                let found = table.key(&spelled_out(&camel)).map(|key| key.name);
                assert_eq!(found, Some(key.name), "{camel}");
            }
        }
    }

    #[test]
    fn keys_that_no_client_has_are_told_from_those_that_do_nothing() {
        let is_known = |key| Config::is_known(ClientKind::Producer, key);
        assert!(is_known("linger.ms") && is_known("lingerMs") && is_known("key.serializer"));
        assert!(!is_known("spring.json.trusted.packages") && !is_known("group.id"));
        assert!(Config::is_known(ClientKind::Consumer, "group.id"));
    }

    #[test]
    fn a_value_is_refused_when_it_is_set() {
        let mut config = Config::new();
        let error = config.set("acks", "most").unwrap_err();
        assert_eq!((error.code, error.name), (CONFIG, "CONFIG"));
        assert!(error.message.contains("`acks`") && error.message.contains("`most`"), "{error}");
        config.set("acks", "1").unwrap();
    }

    #[test]
    fn what_is_missing_is_said_when_a_client_is_made() {
        let error = Config::new().producer().unwrap_err();
        assert!(error.message.contains("`bootstrap.servers`"), "{error}");
    }

    #[test]
    fn a_suggestion_is_in_the_style_of_the_question() {
        let mut config = Config::new();
        let near = |config: &mut Config, key: &str| config.set(key, "1").unwrap_err().hint;
        assert_eq!(near(&mut config, "linger.sm").as_deref(), Some("did you mean `linger.ms`?"));
        assert_eq!(near(&mut config, "linger_sm").as_deref(), Some("did you mean `linger_ms`?"));
        assert_eq!(near(&mut config, "lingerSm").as_deref(), Some("did you mean `lingerMs`?"));
        assert_eq!(near(&mut config, "qqq"), None);
    }
}
