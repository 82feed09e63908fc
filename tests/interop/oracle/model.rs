//! A message in one version, as its schema describes it: what Kafka's JSON for a value is, and what Rust prints.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ottla_protocol::{error_code::ErrorCode, wire::Records};
use serde_json::{Map, Value, json};
use xtask::codegen::{
    messages::RustNames,
    schema::{Field, Schema, Section, Type},
};

/// One version of one message.
pub(crate) struct Model<'a> {
    pub(crate) message: String,
    pub(crate) version: i16,
    section: &'a Section,
    names: &'a RustNames,
    structs: BTreeMap<&'a str, &'a [Field]>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(schema: &'a Schema, section: &'a Section, names: &'a RustNames, version: i16) -> Self {
        let mut structs = BTreeMap::new();
        collect(&section.fields, &mut structs);
        for shared in &section.shared {
            structs.insert(shared.name.as_str(), shared.fields.as_slice());
            collect(&shared.fields, &mut structs);
        }
        Self { message: schema.message_name(section), version, section, names, structs }
    }

    /// The fields of the message itself.
    pub(crate) fn fields(&self) -> &'a [Field] {
        &self.section.fields
    }

    /// The fields of a struct inside it.
    pub(crate) fn fields_of(&self, name: &str) -> &'a [Field] {
        self.structs.get(name).copied().unwrap_or_else(|| panic!("{} has no struct {name}", self.message))
    }

    pub(crate) fn has(&self, field: &Field) -> bool {
        field.versions.contains(self.version)
    }

    pub(crate) fn may_be_null(&self, field: &Field) -> bool {
        field.nullable.is_some_and(|versions| versions.contains(self.version))
    }

    /// The default of a field, as JSON. A struct's is the empty object: all that it lacks is at its own default.
    pub(crate) fn default(&self, field: &Field) -> Value {
        match (field.nullable, field.default.as_deref()) {
            (Some(_), Some("null")) => Value::Null,
            // The one nullable type whose default is null although no schema says so.
            (Some(_), None) if field.ty == Type::Records => Value::Null,
            (_, Some(text)) => {
                serde_json::from_str(text).unwrap_or_else(|_| panic!("`{}` = `{text}`", field.name))
            }
            (_, None) => zero(&field.ty),
        }
    }

    /// Whether a tagged field of this value is left out on the wire and in Kafka's JSON.
    pub(crate) fn is_default(&self, field: &Field, value: &Value) -> bool {
        match (&field.ty, value) {
            (Type::Struct(name), Value::Object(object)) => self
                .fields_of(name)
                .iter()
                .filter(|f| self.has(f))
                .all(|f| object.get(&camel_case(&f.name)).is_none_or(|value| self.is_default(f, value))),
            _ => *value == self.default(field),
        }
    }

    /// What `{:?}` prints of the value that the JSON describes.
    pub(crate) fn debug(&self, json: &Value) -> String {
        self.debug_struct(&self.message, self.fields(), json)
    }

    fn debug_struct(&self, name: &str, fields: &[Field], json: &Value) -> String {
        let name = self.names.rust_name(&self.section.word, name);
        if fields.is_empty() {
            return name;
        }
        let field = |field: &Field| {
            let value = json.get(camel_case(&field.name)).cloned();
            let text = self.debug_field(field, &value.unwrap_or_else(|| self.default(field)));
            format!("{}: {text}", field.name)
        };
        format!("{name} {{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
    }

    fn debug_field(&self, field: &Field, value: &Value) -> String {
        match (field.nullable, value) {
            (Some(_), Value::Null) => "None".to_owned(),
            (Some(_), value) => format!("Some({})", self.debug_value(&field.ty, value)),
            (None, value) => self.debug_value(&field.ty, value),
        }
    }

    fn debug_value(&self, ty: &Type, value: &Value) -> String {
        match (ty, value) {
            (Type::Entity("ErrorCode", _), _) => {
                let code = value.as_i64().and_then(|n| n.try_into().ok()).expect("an error code is an i16");
                format!("{:?}", ErrorCode(code))
            }
            (Type::Entity(_, wire), _) => self.debug_value(wire, value),
            (Type::Struct(name), _) => self.debug_struct(name, self.fields_of(name), value),
            (Type::Array(element), Value::Array(values)) => {
                let values: Vec<String> = values.iter().map(|v| self.debug_value(element, v)).collect();
                format!("[{}]", values.join(", "))
            }
            (Type::Bytes, Value::String(text)) => format!("{:?}", from_base64(text)),
            (Type::Records, Value::String(text)) => format!("{:?}", Records::Here(from_base64(text))),
            (Type::Uuid, Value::String(text)) => text.clone(),
            (Type::Str, Value::String(text)) => format!("{text:?}"),
            // Kafka writes what JSON has no number for as a string.
            (Type::F64, Value::String(text)) => format!("{:?}", text.parse::<f64>().expect("a number")),
            (Type::F64, Value::Number(n)) => format!("{:?}", n.as_f64().expect("a finite number")),
            (_, Value::Bool(_) | Value::Number(_)) => value.to_string(),
            _ => panic!("{} v{}: {value} is no {ty}", self.message, self.version),
        }
    }

    /// The JSON as Kafka writes it: of records it tells the size only.
    pub(crate) fn without_records(&self, json: &Value) -> Value {
        self.strip_struct(self.fields(), json)
    }

    fn strip_struct(&self, fields: &[Field], json: &Value) -> Value {
        let mut out = Map::new();
        for field in fields {
            let name = camel_case(&field.name);
            match (&field.ty, json.get(&name)) {
                (_, None) => {}
                (Type::Records, Some(Value::String(text))) => {
                    out.insert(format!("{name}SizeInBytes"), json!(from_base64(text).len()));
                }
                (ty, Some(value)) => _ = out.insert(name, self.strip_value(ty, value)),
            }
        }
        Value::Object(out)
    }

    fn strip_value(&self, ty: &Type, value: &Value) -> Value {
        match (ty, value) {
            (Type::Struct(name), Value::Object(_)) => self.strip_struct(self.fields_of(name), value),
            (Type::Array(element), Value::Array(values)) => {
                values.iter().map(|v| self.strip_value(element, v)).collect()
            }
            _ => value.clone(),
        }
    }

    /// Whether any struct of the message carries records.
    pub(crate) fn carries_records(&self) -> bool {
        let mut all = self.structs.values().flat_map(|fields| fields.iter()).chain(self.fields());
        all.any(|field| field.ty == Type::Records)
    }
}

fn collect<'a>(fields: &'a [Field], structs: &mut BTreeMap<&'a str, &'a [Field]>) {
    for field in fields {
        if let (Some(inner), Some(name)) = (&field.fields, field.ty.struct_name()) {
            structs.insert(name, inner);
            collect(inner, structs);
        }
    }
}

fn zero(ty: &Type) -> Value {
    match ty {
        Type::Bool => json!(false),
        Type::F64 => json!(0.0),
        Type::Uuid => json!("AAAAAAAAAAAAAAAAAAAAAA"),
        Type::Str | Type::Bytes | Type::Records => json!(""),
        Type::Entity(_, wire) => zero(wire),
        Type::Struct(_) => json!({}),
        Type::Array(_) => json!([]),
        _ => json!(0),
    }
}

fn from_base64(text: &str) -> Bytes {
    STANDARD.decode(text).expect("base64").into()
}

/// `throttle_time_ms` as `throttleTimeMs`: Kafka's name in JSON.
pub(crate) fn camel_case(snake: &str) -> String {
    let mut camel = String::new();
    for (i, word) in snake.split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if i > 0 => camel.extend(first.to_uppercase()),
            Some(first) => camel.push(first),
            None => {}
        }
        camel.push_str(letters.as_str());
    }
    camel
}
