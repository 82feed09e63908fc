//! Writes the notation: what [`super::parse`] reads, it wrote the same.

use std::fmt::Write;

use super::{Field, Kind, Range, Schema};

/// Columns at which versions and flags begin, so that a schema reads as a table.
const VERSIONS_COLUMN: usize = 52;

impl Schema {
    /// The schema as its file's text.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        docs(&mut out, 0, &self.docs);
        let _ = write!(out, "{} {}", self.kind.word(), self.name);
        if let Some(key) = self.key {
            let _ = write!(out, " = {key}");
        }
        out.push('\n');
        let Some(all) = self.versions else {
            out.push_str("versions none\nrequest\nresponse\n");
            return out;
        };
        let _ = write!(out, "versions {}", exact(all));
        if let Some(flexible) = self.flexible {
            let _ = write!(out, "  flexible {flexible}+");
        }
        if self.unstable {
            out.push_str("  unstable");
        }
        if self.kind == Kind::Api {
            let _ = write!(out, "  on {}  to {}", self.listeners.join(","), self.destination);
        }
        out.push('\n');
        for (version, note) in &self.notes {
            let _ = writeln!(out, "@{version} {note}");
        }
        for section in &self.sections {
            if !section.word.is_empty() {
                let _ = write!(out, "{}", section.word);
                if let Some(header) = section.header {
                    let _ = write!(out, " header {header}");
                }
                out.push('\n');
            }
            fields(&mut out, 2, &section.fields, all);
            for shared in &section.shared {
                docs(&mut out, 0, &shared.docs);
                let _ = write!(out, "struct {}", shared.name);
                if shared.versions != all {
                    let _ = write!(out, "  {}", relative(shared.versions, all));
                }
                out.push('\n');
                fields(&mut out, 2, &shared.fields, shared.versions);
            }
        }
        out
    }
}

fn docs(out: &mut String, indent: usize, docs: &[String]) {
    for doc in docs {
        let _ = writeln!(out, "{:indent$}/// {doc}", "");
    }
}

fn fields(out: &mut String, indent: usize, fields: &[Field], parent: Range) {
    for field in fields {
        docs(out, indent, &field.docs);
        let mut line = format!("{:indent$}{}: {}", "", field.name, field.ty);
        match field.nullable {
            Some(versions) if versions == field.versions => line.push('?'),
            Some(versions) => {
                let _ = write!(line, "?{}", relative(versions, field.versions));
            }
            None => {}
        }
        if let Some(default) = &field.default {
            let _ = write!(line, " = {default}");
        }
        let mut flags = Vec::new();
        if field.versions != parent {
            flags.push(relative(field.versions, parent));
        }
        if let Some(tag) = field.tag {
            flags.push(format!("tag {tag}"));
        }
        if field.ignorable {
            flags.push("~".to_owned());
        }
        if field.rigid {
            flags.push("rigid".to_owned());
        }
        if flags.is_empty() {
            let _ = writeln!(out, "{line}");
        } else {
            let _ = writeln!(out, "{line:VERSIONS_COLUMN$} {}", flags.join(" "));
        }
        self::fields(out, indent + 2, field.fields.as_deref().unwrap_or_default(), field.versions);
    }
}

fn exact(range: Range) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

/// Versions as a reader of the next release would want them: open at the end if the parent is.
fn relative(range: Range, parent: Range) -> String {
    if range.last == parent.last { format!("{}+", range.first) } else { exact(range) }
}
