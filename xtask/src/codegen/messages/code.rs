//! Pieces of generated code: how a value of each type is read, written, compared and made.

use super::super::schema::{Range, Type};
use super::structs::RustNames;

/// Documentation as rustdoc shows it: brackets and generics must not look like links or tags.
pub fn doc_text(text: &str) -> String {
    text.replace('<', "\\<").replace('[', "\\[")
}

/// A field's name where it would be a keyword.
pub fn identifier(name: &str) -> String {
    match name {
        "type" | "match" | "self" | "ref" | "move" | "mod" | "use" => format!("r#{name}"),
        _ => name.to_owned(),
    }
}

/// The condition under which a version of `parent` has what `range` has; `None` if always.
pub fn condition(range: Range, parent: Range) -> Option<String> {
    match (range.first > parent.first, range.last < parent.last) {
        (false, false) => None,
        (true, false) => Some(format!("v >= {}", range.first)),
        (false, true) => Some(format!("v <= {}", range.last)),
        (true, true) if range.first == range.last => Some(format!("v == {}", range.first)),
        (true, true) => Some(format!("({}..={}).contains(&v)", range.first, range.last)),
    }
}

/// Whether values in `range` are in the flexible encoding, as Rust.
pub fn flexible(flexible: Option<i16>, range: Range) -> &'static str {
    match flexible {
        None => "false",
        Some(first) if first > range.last => "false",
        Some(first) if first <= range.first => "true",
        Some(_) => "flex",
    }
}

impl RustNames {
    pub fn rust_type(&self, ty: &Type, section: &str) -> String {
        match ty {
            Type::Bool => "bool".into(),
            Type::I8 => "i8".into(),
            Type::I16 => "i16".into(),
            Type::U16 => "u16".into(),
            Type::I32 => "i32".into(),
            Type::U32 => "u32".into(),
            Type::I64 => "i64".into(),
            Type::F64 => "f64".into(),
            Type::Uuid => "Uuid".into(),
            Type::Str => "Str".into(),
            Type::Bytes => "Bytes".into(),
            Type::Records => "Records".into(),
            Type::Entity(name, _) => (*name).into(),
            Type::Struct(name) => self.rust_name(section, name),
            Type::Array(element) => format!("Vec<{}>", self.rust_type(element, section)),
        }
    }

    /// An expression of type `Result<T, Malformed>`, or `Result<Option<T>, Malformed>` if `nullable`.
    pub fn read(
        &self,
        ty: &Type,
        section: &str,
        nullable: bool,
        flex: &str,
        tagged: bool,
        element_bytes_min: usize,
    ) -> String {
        let or_null = if nullable { "_or_null" } else { "" };
        match ty {
            Type::Str => format!("r.str{or_null}({flex})"),
            Type::Bytes => format!("r.bytes{or_null}({flex})"),
            Type::Records => format!("r.records{or_null}({flex})"),
            Type::Entity(name, wire) => {
                let inner = self.read(wire, section, nullable, flex, tagged, element_bytes_min);
                if nullable {
                    format!("{inner}.map(|it| it.map({name}))")
                } else {
                    format!("{inner}.map({name})")
                }
            }
            Type::Struct(name) if nullable => {
                let tagged = if tagged { "tagged_" } else { "" };
                format!("r.{tagged}struct_or_null::<{}>(v)", self.rust_name(section, name))
            }
            Type::Struct(name) => format!("{}::read(r, v)", self.rust_name(section, name)),
            Type::Array(element) => {
                let read = match &**element {
                    Type::Struct(name) => format!("|r| {}::read(r, v)", self.rust_name(section, name)),
                    Type::Entity(..) | Type::Str | Type::Bytes | Type::Records => {
                        format!("|r| {}", self.read(element, section, false, flex, false, 0))
                    }
                    primitive => format!("Reader::{primitive}"),
                };
                format!("r.array{or_null}({flex}, {element_bytes_min}, {read})")
            }
            primitive => format!("r.{primitive}()"),
        }
    }
}

/// A statement that writes `value`, a place expression, of a type that is not null here.
pub fn write(ty: &Type, value: &str, flex: &str) -> String {
    match ty {
        Type::Str => format!("w.str(&{value}, {flex});"),
        Type::Bytes => format!("w.bytes(&{value}, {flex});"),
        Type::Records => format!("w.records(&{value}, {flex});"),
        Type::Entity(_, wire) => write(wire, &format!("{value}.0"), flex),
        Type::Struct(_) => format!("{value}.write(w, v)?;"),
        Type::Array(element) => {
            let inner =
                write(element, "it", flex).replace("&it,", "it,").replace("w.uuid(it)", "w.uuid(*it)");
            let inner = match &**element {
                Type::Struct(_) | Type::Str | Type::Bytes | Type::Records | Type::Entity(..) | Type::Uuid => {
                    inner
                }
                primitive => format!("w.{primitive}(*it);"),
            };
            match &**element {
                Type::Struct(_) => format!("w.array(&{value}, {flex}, |w, it| it.write(w, v))?;"),
                _ => format!("w.array(&{value}, {flex}, |w, it| {{ {inner} Ok(()) }})?;"),
            }
        }
        primitive => format!("w.{primitive}({value});"),
    }
}

/// A statement that writes `value`, an `Option`, in versions where null is allowed.
pub fn write_nullable(ty: &Type, value: &str, flex: &str, tagged: bool) -> String {
    match ty {
        Type::Struct(_) => {
            let present = if tagged { "tagged_present" } else { "present" };
            format!("w.{present}({value}.is_some()); if let Some(it) = &{value} {{ it.write(w, v)?; }}")
        }
        _ => {
            let some = write(ty, "it", flex).replace("&it,", "it,");
            let null = match wire(ty) {
                Type::Str => format!("w.str_or_null(None, {flex})"),
                _ => format!("w.null({flex})"),
            };
            format!("match &{value} {{ Some(it) => {{ {some} }} None => {null}, }}")
        }
    }
}

/// What a type is on the wire.
pub fn wire(ty: &Type) -> &Type {
    match ty {
        Type::Entity(_, wire) => wire,
        other => other,
    }
}

/// Whether Rust's own `Default` for the type is the field's default.
pub fn default_is_rusts(ty: &Type, nullable: bool, default: Option<&str>) -> bool {
    if nullable { default == Some("null") || *ty == Type::Records } else { default.is_none() }
}

/// The default as an expression.
pub fn default(ty: &Type, nullable: bool, default: Option<&str>) -> String {
    match (nullable, default) {
        (true, Some("null")) => "None".into(),
        (true, None) if *ty == Type::Records => "None".into(),
        (true, None) => "Some(Default::default())".into(),
        (false, None) => "Default::default()".into(),
        (_, Some(text)) => {
            let value = match ty {
                Type::Entity(name, _) => format!("{name}({text})"),
                _ => text.to_owned(),
            };
            if nullable { format!("Some({value})") } else { value }
        }
    }
}

/// Whether `value` is other than the default, as an expression.
pub fn is_set(ty: &Type, value: &str, nullable: bool, default: Option<&str>) -> String {
    let empty_test = matches!(wire(ty), Type::Str | Type::Bytes | Type::Records | Type::Array(_));
    match (nullable, default) {
        (true, Some("null")) => format!("{value}.is_some()"),
        (true, None) if *ty == Type::Records => format!("{value}.is_some()"),
        (true, _) if empty_test => format!("{value}.as_ref().is_none_or(|it| !it.is_empty())"),
        (true, _) => format!("{value} != {}", self::default(ty, nullable, default)),
        (false, _) if empty_test => format!("!{value}.is_empty()"),
        (false, _) if *ty == Type::Bool && default.is_none() => value.to_owned(),
        (false, _) if *ty == Type::Bool => format!("!{value}"),
        (false, None) => match ty {
            Type::Uuid => format!("{value} != Uuid::ZERO"),
            Type::Entity(name, _) => format!("{value} != {name}(0)"),
            Type::F64 => format!("{value} != 0.0"),
            Type::Struct(_) => format!("{value} != Default::default()"),
            _ => format!("{value} != 0"),
        },
        (false, Some(_)) => format!("{value} != {}", self::default(ty, nullable, default)),
    }
}
