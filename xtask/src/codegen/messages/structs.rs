//! A struct and its `Wire` implementation, for each struct of a schema.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::super::schema::{Field, Kind, Range, Schema, Section, Type};
use super::code;

/// A struct as the schema defines it, wherever in the file.
pub struct Struct<'a> {
    pub docs: &'a [String],
    /// Kafka's name.
    pub name: String,
    pub versions: Range,
    pub fields: &'a [Field],
    /// The message itself, not a part of it.
    pub top: bool,
}

/// The structs of a section, the message first, each before those inside it.
pub fn collect<'a>(schema: &'a Schema, section: &'a Section) -> Vec<Struct<'a>> {
    let Some(versions) = schema.versions else { return Vec::new() };
    let name = schema.message_name(section);
    let mut structs = vec![Struct { docs: &schema.docs, name, versions, fields: &section.fields, top: true }];
    collect_nested(&section.fields, &mut structs);
    for shared in &section.shared {
        structs.push(Struct {
            docs: &shared.docs,
            name: shared.name.clone(),
            versions: shared.versions,
            fields: &shared.fields,
            top: false,
        });
        collect_nested(&shared.fields, &mut structs);
    }
    structs
}

fn collect_nested<'a>(fields: &'a [Field], structs: &mut Vec<Struct<'a>>) {
    for field in fields {
        if let (Some(inner), Some(name)) = (&field.fields, field.ty.struct_name()) {
            let name = name.to_owned();
            structs.push(Struct {
                docs: &field.docs,
                name,
                versions: field.versions,
                fields: inner,
                top: false,
            });
            collect_nested(inner, structs);
        }
    }
}

/// What Kafka's struct names become: a name that request and response define differently is told apart.
pub struct RustNames {
    ambiguous: BTreeSet<String>,
    /// Defined twice, the same: written once, with the request.
    repeated: BTreeSet<String>,
    /// Fewest bytes that a value takes, by section and name.
    bytes_min: BTreeMap<(String, String), usize>,
}

impl RustNames {
    pub fn of(schema: &Schema) -> Self {
        let mut names =
            Self { ambiguous: BTreeSet::new(), repeated: BTreeSet::new(), bytes_min: BTreeMap::new() };
        if let [request, response] = schema.sections.as_slice() {
            let theirs = collect(schema, response);
            for ours in collect(schema, request).iter().filter(|s| !s.top) {
                let Some(other) = theirs.iter().find(|s| s.name == ours.name) else { continue };
                let shape = |s: &Struct<'_>| format!("{:?} {:?}", s.versions, without_docs(s.fields));
                let set =
                    if shape(ours) == shape(other) { &mut names.repeated } else { &mut names.ambiguous };
                set.insert(ours.name.clone());
            }
        }
        // A repeated struct that holds an ambiguous one differs after all.
        while let Some(name) = names.repeated_with_ambiguous_inside(schema) {
            names.repeated.remove(&name);
            names.ambiguous.insert(name);
        }
        for section in &schema.sections {
            let structs = collect(schema, section);
            for s in &structs {
                let bytes = struct_bytes_min(schema.flexible, s.versions, s.fields, &structs);
                names.bytes_min.insert((section.word.clone(), s.name.clone()), bytes);
            }
        }
        names
    }

    fn repeated_with_ambiguous_inside(&self, schema: &Schema) -> Option<String> {
        let section = schema.sections.first()?;
        collect(schema, section)
            .into_iter()
            .filter(|s| self.repeated.contains(&s.name))
            .find(|s| s.fields.iter().filter_map(|f| f.ty.struct_name()).any(|n| self.ambiguous.contains(n)))
            .map(|s| s.name)
    }

    pub fn rust_name(&self, section: &str, name: &str) -> String {
        if !self.ambiguous.contains(name) {
            return name.to_owned();
        }
        let prefix = if section == "request" { "Request" } else { "Response" };
        format!("{prefix}{name}")
    }

    fn element_bytes_min(&self, ty: &Type, section: &str, flexible: Option<i16>, versions: Range) -> usize {
        let Type::Array(element) = ty else { return 0 };
        match &**element {
            Type::Struct(name) => self.bytes_min[&(section.to_owned(), name.clone())],
            other => type_bytes_min(other, flexible.is_some_and(|f| f <= versions.last)),
        }
    }
}

fn without_docs(fields: &[Field]) -> Vec<Field> {
    let mut fields = fields.to_vec();
    for field in &mut fields {
        field.docs.clear();
        field.fields = field.fields.as_deref().map(without_docs);
    }
    fields
}

fn type_bytes_min(ty: &Type, flexible: bool) -> usize {
    match code::wire(ty) {
        Type::Bool | Type::I8 => 1,
        Type::I16 | Type::U16 => 2,
        Type::I32 | Type::U32 => 4,
        Type::I64 | Type::F64 => 8,
        Type::Uuid => 16,
        Type::Str if !flexible => 2,
        Type::Bytes | Type::Records | Type::Array(_) if !flexible => 4,
        _ => 1,
    }
}

/// The fewest bytes over all versions.
fn struct_bytes_min(
    flexible: Option<i16>,
    versions: Range,
    fields: &[Field],
    structs: &[Struct<'_>],
) -> usize {
    let in_version = |version: i16| -> usize {
        let flex = flexible.is_some_and(|f| version >= f);
        let fields = fields.iter().filter(|f| f.versions.contains(version) && f.tag.is_none());
        let bytes: usize = fields
            .map(|f| match &f.ty {
                Type::Struct(_) if f.nullable.is_some_and(|n| n.contains(version)) => 1,
                Type::Struct(name) => {
                    let inner =
                        structs.iter().find(|s| s.name == *name).expect("a struct is defined in its section");
                    let versions = Range { first: version, last: version };
                    struct_bytes_min(flexible, versions, inner.fields, structs)
                }
                ty => type_bytes_min(ty, flex && !f.rigid),
            })
            .sum();
        bytes + usize::from(flex)
    };
    versions.iter().map(in_version).min().unwrap_or(0)
}

pub fn write_section(
    out: &mut String,
    schema: &Schema,
    section: &Section,
    names: &RustNames,
) -> anyhow::Result<()> {
    for s in collect(schema, section) {
        if section.word == "response" && names.repeated.contains(&s.name) {
            continue;
        }
        let name = names.rust_name(&section.word, &s.name);
        let writer = StructWriter { schema, section: &section.word, names, s: &s, name };
        writer.definition(out);
        writer.default(out);
        writer.wire(out);
    }
    Ok(())
}

struct StructWriter<'a> {
    schema: &'a Schema,
    section: &'a str,
    names: &'a RustNames,
    s: &'a Struct<'a>,
    name: String,
}

impl StructWriter<'_> {
    fn definition(&self, out: &mut String) {
        let s = self.s;
        for doc in s.docs {
            let _ = writeln!(out, "/// {}", code::doc_text(doc));
        }
        if s.top && self.schema.kind == Kind::Api {
            let versions = s.versions;
            let _ = writeln!(
                out,
                "///\n/// The {}, versions {} to {}.",
                self.section, versions.first, versions.last
            );
        }
        let rusts_default = s
            .fields
            .iter()
            .all(|f| code::default_is_rusts(&f.ty, f.nullable.is_some(), f.default.as_deref()));
        let default = if rusts_default { "Default, " } else { "" };
        let _ = writeln!(out, "#[derive(Clone, Debug, {default}PartialEq)]\npub struct {} {{", self.name);
        for field in s.fields {
            if field.fields.is_none() {
                for doc in &field.docs {
                    let _ = writeln!(out, "/// {}", code::doc_text(doc));
                }
            }
            if let Some(condition) = versions_text(field.versions, s.versions) {
                let lead = if field.docs.is_empty() || field.fields.is_some() { "" } else { "///\n" };
                let _ = writeln!(out, "{lead}/// {condition}");
            }
            let mut ty = self.names.rust_type(&field.ty, self.section);
            if field.nullable.is_some() {
                ty = format!("Option<{ty}>");
            }
            let _ = writeln!(out, "pub {}: {ty},", code::identifier(&field.name));
        }
        out.push_str("}\n\n");
    }

    fn default(&self, out: &mut String) {
        let fields = self.s.fields;
        if fields.iter().all(|f| code::default_is_rusts(&f.ty, f.nullable.is_some(), f.default.as_deref())) {
            return;
        }
        let _ = writeln!(out, "impl Default for {} {{ fn default() -> Self {{ Self {{", self.name);
        for field in fields {
            let default = code::default(&field.ty, field.nullable.is_some(), field.default.as_deref());
            let _ = writeln!(out, "{}: {default},", code::identifier(&field.name));
        }
        out.push_str("} } }\n\n");
    }

    fn wire(&self, out: &mut String) {
        let flexible = code::flexible(self.schema.flexible, self.s.versions);
        let _ = writeln!(out, "impl Wire for {} {{", self.name);
        self.read(out, flexible);
        self.write(out, flexible);
        out.push_str("}\n\n");
    }

    fn read(&self, out: &mut String, flexible: &str) {
        let versions = self.s.versions;
        let uses_version = self.s.fields.iter().any(|f| {
            code::condition(f.versions, versions).is_some()
                || f.ty.struct_name().is_some()
                || f.nullable.is_some_and(|n| n != f.versions)
        }) || self.s.top
            || flexible == "flex";
        let v = if uses_version { "v" } else { "_v" };
        let _ = writeln!(out, "fn read(r: &mut Reader, {v}: i16) -> Result<Self, Malformed> {{");
        if self.s.top {
            let _ = writeln!(
                out,
                "if !({}..={}).contains(&v) {{ return Err(r.malformed(Fault::Version(v))); }}",
                versions.first, versions.last
            );
        }
        if flexible == "flex" {
            let _ = writeln!(out, "let flex = v >= {};", self.schema.flexible.unwrap_or_default());
        }
        if self.s.fields.is_empty() && flexible == "false" {
            out.push_str("let _ = r; Ok(Self::default()) }\n");
            return;
        }
        let mutable = if self.s.fields.is_empty() { "" } else { "mut " };
        let _ = writeln!(out, "let {mutable}it = Self::default();");
        for field in self.s.fields.iter().filter(|f| f.tag.is_none()) {
            let read = format!("it.{} = {};", code::identifier(&field.name), self.read_field(field));
            match code::condition(field.versions, versions) {
                Some(condition) => _ = writeln!(out, "if {condition} {{ {read} }}"),
                None => _ = writeln!(out, "{read}"),
            }
        }
        let tags = self.read_tags();
        match flexible {
            "false" => {}
            "true" => out.push_str(&tags),
            _ => _ = writeln!(out, "if flex {{ {tags} }}"),
        }
        out.push_str("Ok(it) }\n\n");
    }

    fn read_field(&self, field: &Field) -> String {
        let flex = if field.rigid { "false" } else { code::flexible(self.schema.flexible, field.versions) };
        let min = self.names.element_bytes_min(&field.ty, self.section, self.schema.flexible, field.versions);
        let read = |nullable| {
            let read = self.names.read(&field.ty, self.section, nullable, flex, field.tag.is_some(), min);
            format!("{read}.in_field(\"{}\")?", field.name)
        };
        match field.nullable {
            None => read(false),
            Some(nullable) => match code::condition(nullable, field.versions) {
                None => read(true),
                Some(condition) => {
                    format!("if {condition} {{ {} }} else {{ Some({}) }}", read(true), read(false))
                }
            },
        }
    }

    fn read_tags(&self) -> String {
        let tagged: Vec<&Field> = self.s.fields.iter().filter(|f| f.tag.is_some()).collect();
        if tagged.is_empty() {
            return "r.tags(|_, _| Ok(false))?;\n".to_owned();
        }
        let mut arms = String::new();
        for field in tagged {
            let guard = code::condition(field.versions, self.s.versions)
                .map(|c| format!(" if {c}"))
                .unwrap_or_default();
            let _ = writeln!(
                arms,
                "{}{guard} => {{ it.{} = {}; Ok(true) }}",
                field.tag.unwrap_or_default(),
                code::identifier(&field.name),
                self.read_field(field)
            );
        }
        format!("r.tags(|r, tag| match tag {{ {arms} _ => Ok(false), }})?;\n")
    }

    fn write(&self, out: &mut String, flexible: &str) {
        let versions = self.s.versions;
        let mut body = String::new();
        if self.s.top {
            let _ = writeln!(
                body,
                "if !({}..={}).contains(&v) {{ return Err(Unsupported {{ field: \"{}\", version: v }}); }}",
                versions.first, versions.last, self.name
            );
        }
        for field in self.s.fields.iter().filter(|f| f.tag.is_none()) {
            let write = self.write_field(field);
            let (present, absent) = (code::condition(field.versions, versions), self.refuse_if_set(field));
            match (present, absent) {
                (None, _) => _ = writeln!(body, "{write}"),
                (Some(condition), None) => _ = writeln!(body, "if {condition} {{ {write} }}"),
                (Some(condition), Some(refuse)) => {
                    let _ = writeln!(body, "if {condition} {{ {write} }} else {refuse}");
                }
            }
        }
        for field in self.s.fields.iter().filter(|f| f.tag.is_some()) {
            // A tagged field comes with some version and stays.
            let first = field.versions.first;
            if let (true, Some(refuse)) = (first > versions.first, self.refuse_if_set(field)) {
                let _ = writeln!(body, "{}", refuse.replacen("if ", &format!("if v < {first} && "), 1));
            }
        }
        let tags = self.write_tags();
        match flexible {
            "false" => {}
            "true" => body.push_str(&tags),
            _ => _ = writeln!(body, "if flex {{ {tags} }}"),
        }
        if body.contains("flex") {
            let flex = format!("let flex = v >= {};\n", self.schema.flexible.unwrap_or_default());
            body.insert_str(0, if flexible == "flex" { &flex } else { "" });
        }
        let v = if body.contains("(w, v)")
            || body.contains("v >=")
            || body.contains("v <=")
            || body.contains("v ==")
            || body.contains("&v")
            || body.contains(": v")
        {
            "v"
        } else {
            "_v"
        };
        let w = if body.contains("w.") || body.contains("(w,") { "w" } else { "_w" };
        let _ = writeln!(
            out,
            "fn write(&self, {w}: &mut Writer, {v}: i16) -> Result<(), Unsupported> {{\n{body}Ok(()) }}"
        );
    }

    fn write_field(&self, field: &Field) -> String {
        let flex = if field.rigid { "false" } else { code::flexible(self.schema.flexible, field.versions) };
        let value = format!("self.{}", code::identifier(&field.name));
        match field.nullable {
            None => code::write(&field.ty, &value, flex),
            Some(nullable) => {
                let or_null = code::write_nullable(&field.ty, &value, flex, field.tag.is_some());
                match code::condition(nullable, field.versions) {
                    None => or_null,
                    Some(condition) => {
                        let refuse = self.unsupported(field);
                        let write = code::write(&field.ty, "it", flex).replace("&it,", "it,");
                        format!(
                            "if {condition} {{ {or_null} }} else {{ match &{value} {{ Some(it) => {{ {write} }} None => {refuse} }} }}"
                        )
                    }
                }
            }
        }
    }

    fn unsupported(&self, field: &Field) -> String {
        format!("return Err(Unsupported {{ field: \"{}.{}\", version: v }}),", self.name, field.name)
    }

    fn refuse_if_set(&self, field: &Field) -> Option<String> {
        if field.ignorable {
            return None;
        }
        let value = format!("self.{}", code::identifier(&field.name));
        let set = code::is_set(&field.ty, &value, field.nullable.is_some(), field.default.as_deref());
        let refuse = self.unsupported(field).replace("),", ");");
        Some(format!("if {set} {{ {refuse} }}"))
    }

    fn write_tags(&self) -> String {
        let mut tagged: Vec<&Field> = self.s.fields.iter().filter(|f| f.tag.is_some()).collect();
        if tagged.is_empty() {
            return "w.uvarint(0);\n".to_owned();
        }
        tagged.sort_by_key(|f| f.tag);
        let (mut present, mut count, mut writes) = (String::new(), Vec::new(), String::new());
        for field in tagged {
            let tag = field.tag.unwrap_or_default();
            let value = format!("self.{}", code::identifier(&field.name));
            let set = code::is_set(&field.ty, &value, field.nullable.is_some(), field.default.as_deref());
            let condition = code::condition(field.versions, self.s.versions)
                .map(|c| format!("{c} && "))
                .unwrap_or_default();
            let _ = writeln!(present, "let tag_{tag} = {condition}{set};");
            count.push(format!("u32::from(tag_{tag})"));
            let _ = writeln!(
                writes,
                "if tag_{tag} {{ w.tag({tag}, |w| {{ {} Ok(()) }})?; }}",
                self.write_field(field)
            );
        }
        format!("{present}w.uvarint({});\n{writes}", count.join(" + "))
    }
}

/// When a field is there, in words; `None` if always.
fn versions_text(versions: Range, parent: Range) -> Option<String> {
    match (versions.first > parent.first, versions.last < parent.last) {
        (false, false) => None,
        (true, false) => Some(format!("Versions {}+.", versions.first)),
        _ if versions.first == versions.last => Some(format!("Version {} only.", versions.first)),
        _ => Some(format!("Versions {} to {}.", versions.first, versions.last)),
    }
}
