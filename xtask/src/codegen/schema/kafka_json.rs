//! Kafka's own schema files, read from the jars that carry them.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Field, Kind, Range, Schema, Section, Shared, Type, parse, snake_case};

/// Which folder the messages of a jar belong to, by the jar's name without its version.
const FOLDERS: [(&str, &str); 7] = [
    ("kafka-clients", "data"),
    ("kafka-group-coordinator", "group"),
    ("kafka-metadata", "metadata"),
    ("kafka-raft", "raft"),
    ("kafka-share-coordinator", "share"),
    ("kafka-storage", "storage"),
    ("kafka-transaction-coordinator", "transaction"),
];

/// Where in a jar the schema files lie.
const DIRECTORIES: [&str; 3] = ["common/message/", "common/metadata/", "message/"];

/// All schemas of one jar. Documentation is not taken along: it is written in our own words.
pub fn read_jar(path: &Path) -> anyhow::Result<Vec<Schema>> {
    let jar_name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let (_, folder) = FOLDERS
        .into_iter()
        .find(|(artifact, _)| jar_name.strip_prefix(artifact).is_some_and(|rest| rest.starts_with("-4")))
        .with_context(|| format!("`{jar_name}` is none of the jars that hold schemas"))?;
    let mut jar =
        zip::ZipArchive::new(File::open(path).with_context(|| format!("opening {}", path.display()))?)?;
    let names: Vec<String> = jar
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .filter(|name| name.ends_with(".json") && DIRECTORIES.iter().any(|d| name.starts_with(d)))
        .collect();
    let mut requests: BTreeMap<i64, Value> = BTreeMap::new();
    let mut responses: BTreeMap<i64, Value> = BTreeMap::new();
    let mut schemas = Vec::new();
    for name in names {
        let mut text = String::new();
        jar.by_name(&name)?.read_to_string(&mut text)?;
        let json: Value = serde_json::from_str(&without_comments(&text)).with_context(|| name.clone())?;
        match json["type"].as_str() {
            Some("request") => _ = requests.insert(json["apiKey"].as_i64().context("apiKey")?, json),
            Some("response") => _ = responses.insert(json["apiKey"].as_i64().context("apiKey")?, json),
            _ => schemas.push(single(folder, &json).with_context(|| name.clone())?),
        }
    }
    for (key, request) in &requests {
        let response = responses.get(key).with_context(|| format!("API {key} has no response"))?;
        schemas.push(api(request, response).with_context(|| format!("API {key}"))?);
    }
    Ok(schemas)
}

fn api(request: &Value, response: &Value) -> anyhow::Result<Schema> {
    let name =
        request["name"].as_str().and_then(|n| n.strip_suffix("Request")).context("a request's name")?;
    let mut schema = base("", Kind::Api, name, request)?;
    schema.listeners = request["listeners"]
        .as_array()
        .map(|l| l.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    schema.listeners.sort();
    schema.destination = "any".to_owned();
    let all = schema.versions;
    schema.sections = vec![section("request", request, all)?, section("response", response, all)?];
    Ok(schema)
}

fn single(folder: &str, json: &Value) -> anyhow::Result<Schema> {
    let kind = match json["type"].as_str().context("type")? {
        "header" => Kind::Header,
        "data" => Kind::Data,
        "coordinator-key" => Kind::Key,
        "coordinator-value" => Kind::Value,
        "metadata" => Kind::Record,
        other => bail!("messages of type `{other}` are not known"),
    };
    let mut schema = base(folder, kind, json["name"].as_str().context("name")?, json)?;
    schema.sections = vec![section("", json, schema.versions)?];
    Ok(schema)
}

fn base(folder: &str, kind: Kind, name: &str, json: &Value) -> anyhow::Result<Schema> {
    let all = Range { first: 0, last: i16::MAX };
    let versions = match json["validVersions"].as_str().context("validVersions")? {
        "none" => None,
        text => Some(parse::range(text, all)?),
    };
    let flexible = match json["flexibleVersions"].as_str() {
        None | Some("none") => None,
        Some(text) => Some(parse::range(text, all)?.first),
    };
    Ok(Schema {
        folder: folder.to_owned(),
        docs: Vec::new(),
        kind,
        name: name.to_owned(),
        key: json["apiKey"].as_i64().map(i16::try_from).transpose()?,
        versions,
        flexible,
        unstable: json["latestVersionUnstable"].as_bool().unwrap_or(false),
        listeners: Vec::new(),
        destination: String::new(),
        notes: BTreeMap::new(),
        sections: Vec::new(),
    })
}

fn section(word: &str, json: &Value, all: Option<Range>) -> anyhow::Result<Section> {
    // Kafka's only response whose header never turns flexible, in ApiMessageType.
    let header = (word == "response" && json["apiKey"] == 18).then_some(0);
    let mut section = Section { word: word.to_owned(), header, fields: Vec::new(), shared: Vec::new() };
    let Some(all) = all else { return Ok(section) };
    section.fields = fields(&json["fields"], all)?;
    for shared in json["commonStructs"].as_array().into_iter().flatten() {
        let versions = clip(shared["versions"].as_str().context("versions")?, all)?;
        let Some(versions) = versions else { continue };
        section.shared.push(Shared {
            docs: Vec::new(),
            name: shared["name"].as_str().context("name")?.to_owned(),
            versions,
            fields: fields(&shared["fields"], versions)?,
        });
    }
    Ok(section)
}

/// Fields that no living version has are left out.
fn fields(json: &Value, parent: Range) -> anyhow::Result<Vec<Field>> {
    let mut out = Vec::new();
    for json in json.as_array().into_iter().flatten() {
        let name = json["name"].as_str().context("name")?;
        if let Some(field) = field(name, json, parent).with_context(|| name.to_owned())? {
            out.push(field);
        }
    }
    Ok(out)
}

fn field(name: &str, json: &Value, parent: Range) -> anyhow::Result<Option<Field>> {
    // A tagged field may leave its versions out.
    let versions = json["versions"].as_str().or(json["taggedVersions"].as_str()).context("versions")?;
    let Some(versions) = clip(versions, parent)? else { return Ok(None) };
    let nullable = match json["nullableVersions"].as_str() {
        Some(text) => clip(text, versions)?,
        None => None,
    };
    let default = match &json["default"] {
        // Null is what Kafka's generator takes a missing default for; only the string "null" is the value.
        Value::Null => None,
        Value::String(text) => default(text),
        other => default(&other.to_string()),
    };
    let kafka_type = json["type"].as_str().context("type")?;
    Ok(Some(Field {
        docs: Vec::new(),
        name: snake_case(name),
        ty: ty(kafka_type, name, json["entityType"].as_str())?,
        versions,
        nullable,
        default,
        tag: json["tag"].as_u64().map(u32::try_from).transpose()?,
        ignorable: json["ignorable"].as_bool().unwrap_or(false),
        rigid: json["flexibleVersions"].as_str() == Some("none"),
        fields: match json.get("fields") {
            Some(inner) => Some(fields(inner, versions)?),
            None => None,
        },
    }))
}

/// A default other than the type's own.
fn default(text: &str) -> Option<String> {
    match text {
        "" | "0" | "false" | "False" => None,
        "0x7fffffff" => Some(i32::MAX.to_string()),
        other => Some(other.to_owned()),
    }
}

fn ty(kafka: &str, field: &str, entity: Option<&str>) -> anyhow::Result<Type> {
    if let Some(element) = kafka.strip_prefix("[]") {
        return Ok(Type::Array(Box::new(ty(element, field, entity)?)));
    }
    let word = match (kafka, entity) {
        (_, Some("topicName")) => "TopicName",
        (_, Some("groupId")) => "GroupId",
        (_, Some("brokerId")) => "BrokerId",
        (_, Some("producerId")) => "ProducerId",
        (_, Some("transactionalId")) => "TransactionalId",
        (_, Some(other)) => bail!("entity `{other}` is not known"),
        ("int16", _) if field.ends_with("ErrorCode") => "ErrorCode",
        ("bool" | "bytes" | "records" | "uuid", _) => kafka,
        ("int8", _) => "i8",
        ("int16", _) => "i16",
        ("uint16", _) => "u16",
        ("int32", _) => "i32",
        ("uint32", _) => "u32",
        ("int64", _) => "i64",
        ("float64", _) => "f64",
        ("string", _) => "str",
        (name, _) if name.starts_with(char::is_uppercase) => name,
        (other, _) => bail!("type `{other}` is not known"),
    };
    Ok(parse::named_type(word))
}

/// Kafka writes versions without regard to those that still live.
fn clip(text: &str, parent: Range) -> anyhow::Result<Option<Range>> {
    if text == "none" {
        return Ok(None);
    }
    Ok(parse::range(text, Range { first: 0, last: i16::MAX })?.and(parent))
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
