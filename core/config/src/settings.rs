//! What the user wrote, and where.

use std::{fmt, fs::File, io::Read, path::Path, sync::Arc};

use crate::{
    error::{ConfigError, Problem},
    key::begins,
    properties,
};

/// What the name of an environment variable begins with: `OTTLA_LOG_DIRS` sets `log.dirs`.
pub const ENV_PREFIX: &str = "OTTLA_";
/// Largest `.properties` file that is read.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a value came from. A later variant goes before an earlier one, but for [`Self::Program`] and
/// [`Self::Flag`], which are equals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table's default.
    Default,
    /// A `.properties` file.
    File {
        /// Its name, as it was given.
        name: Arc<str>,
        /// The line, from 1.
        line: u32,
    },
    /// An environment variable.
    Env {
        /// Its name.
        variable: Arc<str>,
    },
    /// `--set key=value` on the command line.
    Flag,
    /// The program's own code.
    Program,
    /// The default of all brokers, changed while they run: `DYNAMIC_DEFAULT_BROKER_CONFIG`.
    DynamicDefaultBroker,
    /// One broker's own, changed while it runs: `DYNAMIC_BROKER_CONFIG`.
    DynamicBroker,
    /// A topic's own: `DYNAMIC_TOPIC_CONFIG`.
    DynamicTopic,
    /// A group's own: `DYNAMIC_GROUP_CONFIG`.
    DynamicGroup,
}

impl Source {
    /// Which source goes before which: the higher wins.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Env { .. } => 2,
            Self::Flag | Self::Program => 3,
            Self::DynamicDefaultBroker => 4,
            Self::DynamicBroker => 5,
            Self::DynamicTopic | Self::DynamicGroup => 6,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name} line {line}"),
            Self::Env { variable } => write!(f, "environment variable `{variable}`"),
            Self::Flag => f.write_str("`--set`"),
            Self::Program => f.write_str("configuration"),
            Self::DynamicDefaultBroker => f.write_str("dynamic default of all brokers"),
            Self::DynamicBroker => f.write_str("dynamic configuration of the broker"),
            Self::DynamicTopic => f.write_str("configuration of the topic"),
            Self::DynamicGroup => f.write_str("configuration of the group"),
        }
    }
}

/// One key and value as written.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name: Kafka's, in snake case, or an alias; of a variable, what follows [`ENV_PREFIX`].
    pub key: String,
    /// The value as text.
    pub value: String,
    /// Where it was written.
    pub source: Source,
}

impl fmt::Debug for Setting {
    /// Leaves the value out: only a table knows whether it is a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("key", &self.key)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// All that the user wrote, from every source. The order of the calls does not matter between sources: a flag goes
/// before the environment, which goes before files; within one source the last wins.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub(crate) settings: Vec<Setting>,
    /// What could not even be read; reported by `Table::parse` with the rest.
    pub(crate) errors: Vec<ConfigError>,
}

impl Settings {
    /// Nothing: every key has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out what begins with `prefix`, which is taken off: from `listener.name.internal.ssl.keystore.type` what
    /// begins with `listener.name.internal.` gives `ssl.keystore.type`. Case does not matter, nor what separates words.
    pub fn take_beginning(&mut self, prefix: &str) -> Self {
        let (taken, left) =
            std::mem::take(&mut self.settings).into_iter().partition(|setting| begins(&setting.key, prefix));
        self.settings = left;
        let mut taken = Self { settings: taken, errors: Vec::new() };
        for setting in &mut taken.settings {
            setting.key.drain(..prefix.len());
        }
        taken
    }

    /// The settings whose names begin with `prefix`. Case does not matter, nor what separates words.
    pub fn beginning(&self, prefix: &str) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(move |setting| begins(&setting.key, prefix))
    }

    /// The names of the keys, as they were written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|setting| setting.key.as_str())
    }

    /// Adds a `.properties` file from disk. One that cannot be read is an error of [`Table::parse`](crate::Table::parse).
    pub fn file(&mut self, path: impl AsRef<Path>) -> &mut Self {
        let path = path.as_ref();
        let name = path.display().to_string();
        match read_file(path) {
            Ok(text) => self.properties(&name, &text),
            Err(problem) => {
                let source = Source::File { name: name.into(), line: 0 };
                self.errors.push(ConfigError { source, key: String::new(), problem });
                self
            }
        }
    }

    /// Adds the text of a `.properties` file called `name`.
    pub fn properties(&mut self, name: &str, text: &[u8]) -> &mut Self {
        let name: Arc<str> = name.into();
        for property in properties::parse(text) {
            match property {
                Ok(properties::Property { line, key, value }) => {
                    let source = Source::File { name: name.clone(), line };
                    self.settings.push(Setting { key, value, source });
                }
                Err(error) => self.errors.push(ConfigError {
                    source: Source::File { name: name.clone(), line: error.line },
                    key: String::new(),
                    problem: Problem::Syntax(error.to_string()),
                }),
            }
        }
        self
    }

    /// Adds the variables that begin with `prefix`, which is [`ENV_PREFIX`] everywhere but in programs that embed
    /// Ottla under a name of their own. They come from `std::env::vars_os`, or from a test.
    ///
    /// One that names no key is only warned about: the environment is shared, and Kubernetes adds variables such as
    /// `OTTLA_SERVICE_HOST` for a service called `ottla`.
    pub fn env<K: AsRef<std::ffi::OsStr>, V: AsRef<std::ffi::OsStr>>(
        &mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        for (variable, value) in variables {
            let Some(variable) = variable.as_ref().to_str() else { continue };
            let Some(key) = variable.strip_prefix(prefix) else { continue };
            let source = Source::Env { variable: variable.into() };
            let key = key.to_ascii_lowercase();
            match value.as_ref().to_str() {
                Some(value) => self.settings.push(Setting { key, value: value.to_owned(), source }),
                None => self.errors.push(ConfigError {
                    source,
                    key,
                    problem: Problem::Syntax("the value is not UTF-8".into()),
                }),
            }
        }
        self
    }

    /// Adds `key=value` from the command line.
    pub fn flag(&mut self, text: &str) -> &mut Self {
        match text.split_once('=') {
            Some((key, value)) => self.settings.push(Setting {
                key: key.trim().to_owned(),
                value: value.to_owned(),
                source: Source::Flag,
            }),
            None => self.errors.push(ConfigError {
                source: Source::Flag,
                key: text.to_owned(),
                problem: Problem::Syntax(format!("`{text}` has no `=`; write `--set key=value`")),
            }),
        }
        self
    }

    /// Adds a setting of the program's own.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.add(Setting { key: key.into(), value: value.into(), source: Source::Program })
    }

    /// Adds a setting with its source.
    pub fn add(&mut self, setting: Setting) -> &mut Self {
        self.settings.push(setting);
        self
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: std::io::Error| Problem::Unreadable(error.to_string());
    let mut text = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Problem::Unreadable(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
