//! `meta.properties`: whose data directory this is.
//!
//! The file is Kafka's, version 1, with one key more, `ottla.format`: what lies in the directory is nearly but not
//! wholly what Kafka would write, so neither must take the other's for its own.

use std::{collections::HashMap, path::Path};

use ottla_protocol::types::Uuid;

use super::{error::LogError, vfs::Disk};

/// The name of the file in a data directory.
pub(crate) const META_PROPERTIES: &str = "meta.properties";

/// Kafka's version of the file.
const VERSION: &str = "1";
/// Our version of everything in the directory.
const FORMAT: &str = "1";

/// What a data directory says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MetaProperties {
    /// The cluster that the data belongs to: 22 characters of base64url, by convention.
    pub cluster_id: String,
    /// The broker that the data belongs to: `node.id`.
    pub node_id: i32,
    /// The directory's own id (KIP-858).
    pub directory_id: Uuid,
}

impl MetaProperties {
    /// Reads the file of a data directory; `None` if it is not there.
    ///
    /// # Errors
    /// If it is Kafka's, or another release's, or malformed.
    pub(crate) fn read(disk: &Disk, directory: &Path) -> Result<Option<Self>, LogError> {
        let path = directory.join(META_PROPERTIES);
        let Some(bytes) = disk.read_file(&path)? else { return Ok(None) };
        let properties = parse(&String::from_utf8_lossy(&bytes));
        let property = |key: &str| properties.get(key).map(String::as_str);
        match property("ottla.format") {
            Some(FORMAT) => {}
            Some(other) => {
                let why = format!(
                    "its format is `{other}`, and this release knows `{FORMAT}`: use a newer release"
                );
                return Err(LogError::foreign(directory, why));
            }
            None => {
                let why = "it is Apache Kafka's (`meta.properties` does not name `ottla.format`): give this broker an \
                           empty directory, and copy the topics over by consuming and producing";
                return Err(LogError::foreign(directory, why));
            }
        }
        if property("version") != Some(VERSION) {
            return Err(LogError::malformed(&path, format!("`version` is not {VERSION}")));
        }
        let missing = |key| LogError::malformed(&path, format!("`{key}` is missing, or no such value"));
        Ok(Some(Self {
            cluster_id: property("cluster.id").ok_or_else(|| missing("cluster.id"))?.to_owned(),
            node_id: property("node.id").and_then(|v| v.parse().ok()).ok_or_else(|| missing("node.id"))?,
            directory_id: property("directory.id")
                .and_then(Uuid::parse)
                .ok_or_else(|| missing("directory.id"))?,
        }))
    }

    /// Writes the file; it is on the medium when this returns.
    pub(crate) fn write(&self, disk: &Disk, directory: &Path) -> Result<(), LogError> {
        let text = format!(
            "# Written once, when the directory was given to its broker. Do not edit.\n\
             cluster.id={}\ndirectory.id={}\nnode.id={}\nottla.format={FORMAT}\nversion={VERSION}\n",
            escape(&self.cluster_id),
            self.directory_id,
            self.node_id,
        );
        disk.replace_file_durably(&directory.join(META_PROPERTIES), text.as_bytes())
    }
}

/// The pairs of a Java `.properties` file, as far as Kafka's tools write it.
fn parse(text: &str) -> HashMap<String, String> {
    let lines = text.lines().map(str::trim_start).filter(|l| !l.starts_with(['#', '!']));
    lines
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (unescape(k.trim_end()), unescape(v.trim())))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    plain
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '=' | ':' | '#' | '!') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogErrorKind;

    #[test]
    fn the_file_reads_what_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MetaProperties::read(&Disk::Real, dir.path()).unwrap(), None);
        let meta =
            MetaProperties { cluster_id: "a=b\\c:#d".into(), node_id: 7, directory_id: Uuid(0x1234_5678) };
        meta.write(&Disk::Real, dir.path()).unwrap();
        assert_eq!(MetaProperties::read(&Disk::Real, dir.path()).unwrap(), Some(meta));
    }

    #[test]
    fn kafkas_directory_and_a_future_release_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let kafkas = "#\n#Sat Nov 21 05:03:04 UTC 2026\ncluster.id=b3R0bGEtcGVlci1rYWZrYQ\nversion=1\n\
                      directory.id=ASNFZ4mrze8BI0VniavN7w\nnode.id=1\n";
        std::fs::write(dir.path().join(META_PROPERTIES), kafkas).unwrap();
        let error = MetaProperties::read(&Disk::Real, dir.path()).unwrap_err();
        assert!(matches!(error.kind(), LogErrorKind::Foreign { .. }));
        assert!(error.to_string().contains("Apache Kafka"), "{error}");

        std::fs::write(dir.path().join(META_PROPERTIES), format!("{kafkas}ottla.format=2\n")).unwrap();
        let error = MetaProperties::read(&Disk::Real, dir.path()).unwrap_err();
        assert!(matches!(error.kind(), LogErrorKind::Foreign { .. }), "{error}");

        // With our key, Kafka's form of the file is read.
        std::fs::write(dir.path().join(META_PROPERTIES), format!("{kafkas}ottla.format=1\n")).unwrap();
        let meta = MetaProperties::read(&Disk::Real, dir.path()).unwrap().unwrap();
        assert_eq!((meta.cluster_id.as_str(), meta.node_id), ("b3R0bGEtcGVlci1rYWZrYQ", 1));
    }
}
