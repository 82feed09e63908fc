//! `cargo xtask codegen --against`: compares every field of every version with Kafka's own schema files.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::ensure;

use super::{Field, Kind, Schema, Section, kafka_json};

/// Prints each difference; fails if there is one.
pub fn run(jars: &[PathBuf]) -> anyhow::Result<()> {
    let ours: BTreeMap<_, _> = Schema::read_all()?.into_iter().map(|s| (s.path(), s)).collect();
    let (mut differences, mut messages, mut versions, mut fields) = (Vec::new(), 0, 0, 0);
    for jar in jars {
        for theirs in kafka_json::read_jar(jar)? {
            let Some(ours) = ours.get(&theirs.path()) else {
                differences.push(format!("{}: MISSING", theirs.path().display()));
                continue;
            };
            let mut report = |what: String| differences.push(format!("{}: {what}", theirs.name));
            let head = |s: &Schema| {
                format!(
                    "{:?} {:?} key {:?} versions {:?} flexible {:?} unstable {} on {:?}",
                    s.kind, s.name, s.key, s.versions, s.flexible, s.unstable, s.listeners
                )
            };
            if head(ours) != head(&theirs) {
                report(format!("ours is {}, Kafka's {}", head(ours), head(&theirs)));
                continue;
            }
            let Some(all) = theirs.versions else { continue };
            messages += theirs.sections.len();
            for (our_section, their_section) in ours.sections.iter().zip(&theirs.sections) {
                for version in all.iter() {
                    versions += usize::from(theirs.kind == Kind::Api);
                    let (our_layout, their_layout) =
                        (layout(our_section, version), layout(their_section, version));
                    fields += their_layout.len();
                    for line in their_layout.iter().filter(|l| !our_layout.contains(l)) {
                        report(format!("{} v{version}: Kafka has {line}", their_section.word));
                    }
                    for line in our_layout.iter().filter(|l| !their_layout.contains(l)) {
                        report(format!("{} v{version}: only ours has {line}", their_section.word));
                    }
                    if our_layout != their_layout && our_layout.len() == their_layout.len() {
                        report(format!("{} v{version}: the order differs", their_section.word));
                    }
                }
            }
        }
    }
    for difference in &differences {
        eprintln!("{difference}");
    }
    eprintln!(
        "against {} jars: {messages} messages, {versions} request and response versions, {fields} fields over all versions, {} differences",
        jars.len(),
        differences.len()
    );
    ensure!(differences.is_empty(), "the schemas differ from Kafka's");
    Ok(())
}

/// One line per field that `version` has, nested ones by their path, in wire order.
fn layout(section: &Section, version: i16) -> Vec<String> {
    let mut lines = vec![format!("header {:?}", section.header)];
    fields_of(&section.fields, "", version, &mut lines);
    for shared in section.shared.iter().filter(|s| s.versions.contains(version)) {
        fields_of(&shared.fields, &format!("{}.", shared.name), version, &mut lines);
    }
    lines
}

fn fields_of(fields: &[Field], prefix: &str, version: i16, lines: &mut Vec<String>) {
    for field in fields.iter().filter(|f| f.versions.contains(version)) {
        let path = format!("{prefix}{}", field.name);
        lines.push(format!(
            "{path}: {}{}{}{}{}{}",
            field.ty,
            if field.nullable.is_some_and(|n| n.contains(version)) { "?" } else { "" },
            field.default.as_ref().map(|d| format!(" = {d}")).unwrap_or_default(),
            field.tag.map(|t| format!(" tag {t}")).unwrap_or_default(),
            if field.ignorable { " ~" } else { "" },
            if field.rigid { " rigid" } else { "" },
        ));
        fields_of(field.fields.as_deref().unwrap_or_default(), &format!("{path}."), version, lines);
    }
}
