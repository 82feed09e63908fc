//! A table of keys, and how settings become values by it.

use std::fmt;

use crate::{
    Effect, Key, Source,
    error::{ConfigError, ConfigErrors, Problem, Warning},
    key::{begins, same_name},
    settings::{Setting, Settings},
    value::Value,
    values::{Entry, Values},
};

/// Least likeness, by Jaro and Winkler, at which a key is suggested for an unknown one.
const LIKENESS_MIN: f64 = 0.85;

/// The keys that one thing has: a producer, a broker, a topic.
pub struct Table {
    /// Whose keys they are: `producer`.
    pub name: &'static str,
    /// The keys, in parts that tables share.
    pub parts: &'static [&'static [Key]],
    /// Beginnings of names under which users keep keys of their own, as `listener.name.`.
    pub prefixes: &'static [Prefix],
    /// Tables whose keys are often kept in the same file: a consumer that meets a producer's key warns of it.
    pub relatives: &'static [&'static Self],
}

impl fmt::Debug for Table {
    /// Only the name: relatives may refer to each other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.name)
    }
}

/// Names that begin so are accepted, whatever follows.
#[derive(Debug)]
pub struct Prefix {
    /// The beginning.
    pub prefix: &'static str,
    /// Whether they do something; what, is for whoever takes them out of the settings
    /// ([`Settings::take_beginning`]).
    pub effect: Effect,
    /// What they are for: one sentence.
    pub doc: &'static str,
}

impl Table {
    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.parts.iter().copied().flatten()
    }

    /// The key that `name` means: Kafka's name, in snake case, or an alias.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.find(name).map(|(_, key, _)| key)
    }

    /// Every key with its default. Keys that must be given are null.
    pub fn defaults(&'static self) -> Values {
        Values { table: self, entries: self.keys().map(default_entry).collect(), warnings: Vec::new() }
    }

    /// Applies `settings` over the defaults and reports all that is wrong at once.
    pub fn parse(&'static self, settings: &Settings) -> Result<Values, ConfigErrors> {
        self.parse_over(&self.defaults(), settings)
    }

    /// Applies `settings` over `base`, as a topic's own values go over what it has from its broker.
    ///
    /// # Panics
    ///
    /// If `base` is of another table.
    pub fn parse_over(&'static self, base: &Values, settings: &Settings) -> Result<Values, ConfigErrors> {
        assert!(std::ptr::eq(self, base.table), "the values are of table `{}`", base.table.name);
        let mut entries = base.entries.clone();
        let mut warnings = base.warnings.clone();
        let mut errors = settings.errors.clone();
        let mut set: Vec<Option<&Setting>> = vec![None; entries.len()];
        let mut refused = vec![false; entries.len()];

        for setting in &settings.settings {
            let Some((i, key, scale)) = self.find_setting(setting) else {
                match self.unknown(setting) {
                    Ok(warning) => warnings.extend(warning),
                    Err(error) => errors.push(error),
                }
                continue;
            };
            let value = match scaled(key, &setting.value, scale) {
                Ok(value) => value,
                Err(invalid) => {
                    refused[i] = true;
                    errors.push(ConfigError {
                        source: setting.source.clone(),
                        key: setting.key.clone(),
                        problem: Problem::Invalid(invalid),
                    });
                    continue;
                }
            };
            if let Some(before) = set[i] {
                if setting.source.rank() < before.source.rank() {
                    continue;
                }
                let same_rank = setting.source.rank() == before.source.rank();
                if same_rank && !same_name(&setting.key, &before.key) && entries[i].value != value {
                    errors.push(ConfigError {
                        source: setting.source.clone(),
                        key: setting.key.clone(),
                        problem: Problem::Conflict {
                            other: before.key.clone(),
                            other_source: before.source.clone(),
                        },
                    });
                    continue;
                }
            }
            set[i] = Some(setting);
            entries[i] = Entry { value, source: setting.source.clone(), inherited_from: None };
        }

        for (((key, entry), set), refused) in self.keys().zip(&entries).zip(set).zip(refused) {
            if key.required && entry.value == Value::Null && !refused {
                let key = key.name.to_owned();
                errors.push(ConfigError { source: Source::Default, key, problem: Problem::Missing });
            }
            if let (Some(setting), Effect::Known { why }) = (set, key.effect) {
                warnings.push(Warning {
                    source: setting.source.clone(),
                    key: setting.key.clone(),
                    why: why.to_owned(),
                });
            }
        }
        if errors.is_empty() {
            Ok(Values { table: self, entries, warnings })
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// The values that a thing of this table has from what it belongs to: of each key, the first synonym that is set
    /// in `parent`, or else the default. So a topic's `retention.ms` comes from its broker's `log.retention.ms`, then
    /// `.minutes`, then `.hours`.
    ///
    /// Fails if a synonym's value is out of the key's range.
    pub fn inherit(&'static self, parent: &Values) -> Result<Values, ConfigErrors> {
        let mut values = self.defaults();
        let mut errors = Vec::new();
        for (key, entry) in self.keys().zip(&mut values.entries) {
            let set = key.synonyms.iter().find_map(|synonym| {
                let (i, _, _) = parent.table.find(synonym.name)?;
                let entry = parent.entries.get(i)?;
                (entry.source != Source::Default).then_some((synonym, entry))
            });
            let Some((synonym, from)) = set else { continue };
            let Some(text) = from.value.to_text() else { continue };
            match scaled(key, &text, synonym.scale) {
                Ok(value) => {
                    *entry = Entry { value, source: from.source.clone(), inherited_from: Some(synonym.name) };
                }
                Err(invalid) => errors.push(ConfigError {
                    source: from.source.clone(),
                    key: synonym.name.to_owned(),
                    problem: Problem::Invalid(invalid),
                }),
            }
        }
        if errors.is_empty() { Ok(values) } else { Err(ConfigErrors(errors)) }
    }

    /// The key most like `name`, if one is like it at all.
    pub fn suggest(&self, name: &str) -> Option<String> {
        let dotted = name.to_ascii_lowercase().replace(['_', '-'], ".");
        let names = self.keys().flat_map(|key| key.aliases.iter().map(|alias| alias.name).chain([key.name]));
        let (likeness, near) = names
            .map(|near| (strsim::jaro_winkler(&dotted, near), near))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let snake = name.contains('_') && !name.contains('.');
        let near = if snake { near.replace(['.', '-'], "_") } else { near.to_owned() };
        (likeness >= LIKENESS_MIN).then_some(near)
    }

    /// What is wrong with the table itself, for the tests of whoever generates one: names given twice, defaults
    /// that their own keys refuse, synonyms and docs that are missing.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for key in self.keys() {
            for name in key.aliases.iter().map(|alias| alias.name).chain([key.name]) {
                let folded = name.replace(['.', '-'], "_");
                if names.contains(&folded) {
                    faults.push(format!("`{name}` is there twice"));
                }
                names.push(folded);
            }
            // Kafka's default may be one that we refuse, or none.
            let kafkas = key.kafka_default.filter(|default| *default != "null");
            let kafkas = kafkas.and_then(|default| key.read(default).err());
            let ours = key
                .default
                .and_then(|default| key.validate(default).err())
                .map(|invalid| invalid.to_string());
            for fault in kafkas.iter().chain(&ours) {
                faults.push(format!("`{}` refuses a default: {fault}", key.name));
            }
            if key.required && key.default.is_some() {
                faults.push(format!("`{}` is required and has a default", key.name));
            }
            if key.doc.is_empty() {
                faults.push(format!("`{}` has no doc", key.name));
            }
            if matches!(key.effect, Effect::Known { why: "" }) {
                faults.push(format!("`{}` does nothing and does not say why", key.name));
            }
        }
        faults
    }

    pub(crate) fn find(&self, name: &str) -> Option<(usize, &'static Key, i64)> {
        self.keys().enumerate().find_map(|(i, key)| key.matches(name).map(|scale| (i, key, scale)))
    }

    /// The key that a setting means. A variable says `OTTLA_` once: `OTTLA_SHARDS` is `ottla.shards`.
    fn find_setting(&self, setting: &Setting) -> Option<(usize, &'static Key, i64)> {
        self.find(&setting.key).or_else(|| match setting.source {
            Source::Env { .. } => self.find(&format!("ottla.{}", setting.key)),
            _ => None,
        })
    }

    /// A setting that is no key of this table: perhaps worth a warning, or an error.
    fn unknown(&self, setting: &Setting) -> Result<Option<Warning>, ConfigError> {
        let warning = |why: String| Warning { source: setting.source.clone(), key: setting.key.clone(), why };
        if let Some(prefix) = self.prefixes.iter().find(|prefix| begins(&setting.key, prefix.prefix)) {
            return match prefix.effect {
                Effect::Applied => Ok(None),
                Effect::Known { why } => Ok(Some(warning(why.to_owned()))),
            };
        }
        if let Some(other) = self.relatives.iter().find(|table| table.find(&setting.key).is_some()) {
            return Ok(Some(warning(format!("it is a key of the {}", other.name))));
        }
        let suggestion = self.suggest(&setting.key);
        if matches!(setting.source, Source::Env { .. }) {
            let near = suggestion.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Ok(Some(warning(format!("no such key{near}"))));
        }
        Err(ConfigError {
            source: setting.source.clone(),
            key: setting.key.clone(),
            problem: Problem::Unknown { suggestion },
        })
    }
}

fn default_entry(key: &'static Key) -> Entry {
    let value = key.default.map_or(Value::Null, |text| match key.validate(text) {
        Ok(value) => value,
        // The table is at fault, not its user; `faults` finds this in the tests.
        Err(invalid) => panic!("the default of `{}`: {invalid}", key.name),
    });
    Entry { value, source: Source::Default, inherited_from: None }
}

/// Reads a value in a unit of its own. -1 and its like mean "none" in every unit.
fn scaled(key: &Key, text: &str, scale: i64) -> Result<Value, crate::Invalid> {
    match text.trim().parse::<i64>() {
        Ok(number) if scale != 1 && number > 0 => key.validate(&number.saturating_mul(scale).to_string()),
        _ => key.validate(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alias, Range, Type};

    static KEYS: [Key; 6] = [
        Key {
            name: "bootstrap.servers",
            kind: Type::List,
            required: true,
            aliases: &[Alias { name: "metadata.broker.list", scale: 1 }],
            doc: "x",
            ..Key::EMPTY
        },
        Key {
            name: "buffer.memory",
            kind: Type::Bytes64,
            default: Some("1MiB"),
            range: Range::Int { min: 0, max: i64::MAX, or: None },
            aliases: &[Alias { name: "queue.buffering.max.kbytes", scale: 1024 }],
            doc: "x",
            ..Key::EMPTY
        },
        Key { name: "linger.ms", kind: Type::Millis64, default: Some("5"), doc: "x", ..Key::EMPTY },
        Key {
            name: "key.serializer",
            kind: Type::Class,
            effect: Effect::Known { why: "hand over bytes" },
            doc: "x",
            ..Key::EMPTY
        },
        Key { name: "ssl.key.password", kind: Type::Password, doc: "x", ..Key::EMPTY },
        Key { name: "ottla.shards", kind: Type::I32, default: Some("0"), doc: "x", ..Key::EMPTY },
    ];
    static PRODUCER: Table = Table {
        name: "producer",
        parts: &[&KEYS],
        prefixes: &[
            Prefix { prefix: "listener.name.", effect: Effect::Known { why: "no listeners here" }, doc: "x" },
            Prefix { prefix: "own.", effect: Effect::Applied, doc: "x" },
        ],
        relatives: &[&TOPIC],
    };
    static TOPIC_KEYS: [Key; 2] = [
        Key {
            name: "flush.ms",
            kind: Type::I64,
            default: Some("9"),
            synonyms: &[Alias { name: "linger.ms", scale: 60_000 }],
            doc: "x",
            ..Key::EMPTY
        },
        Key { name: "retries", kind: Type::I32, default: Some("0"), doc: "x", ..Key::EMPTY },
    ];
    static TOPIC: Table = Table { name: "topic", parts: &[&TOPIC_KEYS], prefixes: &[], relatives: &[] };

    fn errors(settings: &Settings) -> String {
        PRODUCER.parse(settings).unwrap_err().to_string()
    }

    #[test]
    fn flag_goes_before_environment_before_file_before_default() {
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", "a:1");
        let linger = |settings: &Settings| {
            let values = PRODUCER.parse(settings).unwrap();
            (values.i64("linger.ms"), values.source("linger.ms").to_string())
        };
        assert_eq!(linger(&settings), (5, "default".into()));
        let mut settings = Settings::new();
        settings.flag("bootstrap.servers=a:1").flag("linger.ms=4");
        let with_flag = settings.clone();
        settings = Settings::new();
        settings.set("bootstrap.servers", "a:1").properties("c.properties", b"linger.ms=1\nlinger.ms=2");
        assert_eq!(linger(&settings), (2, "c.properties line 2".into()));
        settings.env("OTTLA_", [("OTTLA_LINGER_MS", "3"), ("PATH", "/bin")]);
        assert_eq!(linger(&settings), (3, "environment variable `OTTLA_LINGER_MS`".into()));
        for setting in with_flag.settings {
            settings.settings.insert(0, setting);
        }
        assert_eq!(linger(&settings), (4, "`--set`".into()), "the order of sources does not matter");
    }

    #[test]
    fn all_errors_are_reported_together_each_with_its_place() {
        let mut settings = Settings::new();
        settings
            .properties("client.properties", b"lingre.ms=1\nbuffer.memory=-5\nx=\\u12\nzzz=1")
            .flag("linger_sm=3")
            .flag("linger.ms");
        assert_eq!(
            errors(&settings),
            "client.properties line 3: `\\u` needs four hexadecimal digits of a character; \
             write `\\\\u` for a backslash and a `u`\n\
             `--set`: `linger.ms` has no `=`; write `--set key=value`\n\
             client.properties line 1: unknown key `lingre.ms`; did you mean `linger.ms`?\n\
             client.properties line 2: `buffer.memory`: `-5` will not do: give 0 or more\n\
             client.properties line 4: unknown key `zzz`\n\
             `--set`: unknown key `linger_sm`; did you mean `linger_ms`?\n\
             `bootstrap.servers` is not set and has no default"
        );
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let mut settings = Settings::new();
        settings.file("/nonexistent/server.properties");
        assert!(errors(&settings).starts_with("`/nonexistent/server.properties` cannot be read: "));
    }

    #[test]
    fn aliases_and_snake_case_mean_the_same_key_in_their_own_unit() {
        let mut settings = Settings::new();
        settings
            .set("metadata.broker.list", "a:1, b:2")
            .set("queue.buffering.max.kbytes", "64")
            .set("linger_ms", "7");
        let values = PRODUCER.parse(&settings).unwrap();
        assert_eq!(values.list("bootstrap.servers"), ["a:1", "b:2"]);
        assert_eq!(values.i64("buffer.memory"), 65536);
        assert_eq!(values.i64("linger.ms"), 7);
    }

    #[test]
    fn a_variable_says_whose_key_it_is_once() {
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", "a:1").env("OTTLA_", [("OTTLA_SHARDS", "3")]);
        assert_eq!(PRODUCER.parse(&settings).unwrap().i32("ottla.shards"), 3);
        settings.set("shards", "4");
        assert!(PRODUCER.parse(&settings).is_err(), "elsewhere a key has its whole name");
    }

    #[test]
    fn two_names_of_one_key_must_agree() {
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", "a:1").set("metadata.broker.list", "a:1");
        PRODUCER.parse(&settings).unwrap();
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", "a:1").set("metadata.broker.list", "b:1");
        assert_eq!(
            errors(&settings),
            "configuration: `metadata.broker.list` is the same setting as `bootstrap.servers` (configuration), \
             with another value; keep one"
        );
    }

    #[test]
    fn known_keys_prefixes_and_relatives_warn_and_so_do_strange_variables() {
        let mut settings = Settings::new();
        settings
            .set("bootstrap.servers", "a:1")
            .set("key.serializer", "org.Foo")
            .set("listener.name.x.y", "1")
            .set("own.x.y", "1")
            .set("retries", "3")
            .env("OTTLA_", [("OTTLA_SERVICE_HOST", "10.0.0.1"), ("OTTLA_LINGER_SM", "1")]);
        let values = PRODUCER.parse(&settings).unwrap();
        let warnings: Vec<_> = values.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "configuration: `listener.name.x.y` has no effect: no listeners here",
                "configuration: `retries` has no effect: it is a key of the topic",
                "environment variable `OTTLA_SERVICE_HOST`: `service_host` has no effect: no such key",
                "environment variable `OTTLA_LINGER_SM`: `linger_sm` has no effect: no such key; \
                 did you mean `linger_ms`?",
                "configuration: `key.serializer` has no effect: hand over bytes",
            ]
        );
    }

    #[test]
    fn settings_that_begin_alike_are_taken_out_and_go_over_the_others() {
        let mut settings = Settings::new();
        settings
            .set("bootstrap.servers", "a:1")
            .set("linger.ms", "1")
            .set("own.a-b.linger.ms", "2")
            .env("OTTLA_", [("OTTLA_OWN_A_B_BUFFER_MEMORY", "3")]);
        let mut own = settings.take_beginning("own.A-B.");
        let base = PRODUCER.parse(&settings).unwrap();
        let values = PRODUCER.parse_over(&base, &own).unwrap();
        assert_eq!((values.i64("linger.ms"), values.i64("buffer.memory")), (2, 3));
        assert_eq!(base.i64("linger.ms"), 1);
        own.set("linger.sm", "1");
        assert!(
            PRODUCER.parse_over(&base, &own).unwrap_err().to_string().contains("did you mean `linger.ms`?")
        );
    }

    #[test]
    fn passwords_are_hidden_everywhere() {
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", "a:1").set("ssl.key.password", "s3cret");
        let values = PRODUCER.parse(&settings).unwrap();
        assert_eq!(values.opt_secret("ssl.key.password").unwrap().reveal(), "s3cret");
        let shown = format!("{settings:?} {values:?} {}", values.opt_secret("ssl.key.password").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(values.value("ssl.key.password").to_text(), None);
    }

    #[test]
    fn a_topic_takes_the_first_synonym_that_is_set() {
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", "a:1");
        let inherited = TOPIC.inherit(&PRODUCER.parse(&settings).unwrap()).unwrap();
        assert_eq!(inherited.i64("flush.ms"), 9);
        settings.set("linger.ms", "2");
        let inherited = TOPIC.inherit(&PRODUCER.parse(&settings).unwrap()).unwrap();
        assert_eq!(
            (inherited.i64("flush.ms"), inherited.inherited_from("flush.ms")),
            (120_000, Some("linger.ms"))
        );
        let mut own = Settings::new();
        own.add(Setting { key: "flush.ms".into(), value: "1".into(), source: Source::DynamicTopic });
        let values = TOPIC.parse_over(&inherited, &own).unwrap();
        assert_eq!((values.i64("flush.ms"), values.inherited_from("flush.ms")), (1, None));
    }

    #[test]
    fn faults_of_a_table_are_found() {
        assert_eq!(PRODUCER.faults(), Vec::<String>::new());
        static BAD_KEYS: [Key; 2] = [
            Key { name: "a.b", kind: Type::I32, default: Some("x"), ..Key::EMPTY },
            Key { name: "a-b", ..Key::EMPTY },
        ];
        static BAD: Table = Table { name: "bad", parts: &[&BAD_KEYS], prefixes: &[], relatives: &[] };
        assert_eq!(BAD.faults().len(), 4, "{:?}", BAD.faults());
    }
}
