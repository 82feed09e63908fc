//! `cargo xtask codegen --import`: brings the schemas to the state of another Kafka release.
//!
//! Names, types and versions come from the jars; documentation, destinations and notes stay as they are. What is
//! new has no documentation yet, and code generation asks for it.

use std::path::PathBuf;

use super::{Field, Range, Schema, kafka_json};
use crate::tree;

/// Rewrites the schemas of every message in `jars`.
pub fn run(jars: &[PathBuf]) -> anyhow::Result<()> {
    let ours = if tree::path(super::DIRECTORY).exists() { Schema::read_all()? } else { Vec::new() };
    for jar in jars {
        let mut changed = 0;
        let schemas = kafka_json::read_jar(jar)?;
        for mut theirs in schemas.iter().cloned() {
            let path = tree::path(theirs.path());
            if let Some(known) = ours.iter().find(|s| s.path() == theirs.path()) {
                keep_prose(&mut theirs, known);
            }
            note_versions(&mut theirs);
            let text = theirs.to_text();
            if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                std::fs::create_dir_all(path.parent().expect("a schema lies in a folder"))?;
                std::fs::write(&path, text)?;
                changed += 1;
            }
        }
        eprintln!("{}: {} schemas, {changed} changed", jar.display(), schemas.len());
    }
    Ok(())
}

fn keep_prose(theirs: &mut Schema, ours: &Schema) {
    theirs.docs.clone_from(&ours.docs);
    theirs.notes.clone_from(&ours.notes);
    theirs.destination.clone_from(&ours.destination);
    for (section, known) in theirs.sections.iter_mut().zip(&ours.sections) {
        keep_field_docs(&mut section.fields, &known.fields);
        for shared in &mut section.shared {
            if let Some(known) = known.shared.iter().find(|s| s.name == shared.name) {
                shared.docs.clone_from(&known.docs);
                keep_field_docs(&mut shared.fields, &known.fields);
            }
        }
    }
}

fn keep_field_docs(theirs: &mut [Field], ours: &[Field]) {
    for field in theirs {
        let Some(known) = ours.iter().find(|f| f.name == field.name) else { continue };
        field.docs.clone_from(&known.docs);
        if let (Some(fields), Some(known)) = (&mut field.fields, &known.fields) {
            keep_field_docs(fields, known);
        }
    }
}

/// Says of each version that has no note which fields it adds and drops.
fn note_versions(schema: &mut Schema) {
    for (version, changes) in schema.changes() {
        schema.notes.entry(version).or_insert(changes);
    }
}

impl Schema {
    /// What each version after the first changes, by version: fields added and dropped.
    pub fn changes(&self) -> Vec<(i16, String)> {
        let Some(all) = self.versions else { return Vec::new() };
        let mut changes = Vec::new();
        for version in all.first + 1..=all.last {
            let (mut added, mut dropped) = (Vec::new(), Vec::new());
            for section in &self.sections {
                let shared = section.shared.iter().flat_map(|s| &s.fields);
                for field in section.fields.iter().chain(shared) {
                    field_changes(field, all, version, &mut added, &mut dropped);
                }
            }
            let words = [("adds", added), ("drops", dropped)]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(verb, names)| format!("{verb} {}", names.join(", ")));
            let text = words.collect::<Vec<_>>().join("; ");
            if !text.is_empty() {
                changes.push((version, text));
            }
        }
        changes
    }
}

fn field_changes(
    field: &Field,
    parent: Range,
    version: i16,
    added: &mut Vec<String>,
    dropped: &mut Vec<String>,
) {
    let name = field.name.clone();
    if field.versions.first == version && version > parent.first {
        if !added.contains(&name) {
            added.push(name);
        }
        return; // the fields inside come with it
    }
    if field.versions.last + 1 == version && version <= parent.last {
        if !dropped.contains(&name) {
            dropped.push(name);
        }
        return;
    }
    for inner in field.fields.iter().flatten() {
        field_changes(inner, field.versions, version, added, dropped);
    }
}
