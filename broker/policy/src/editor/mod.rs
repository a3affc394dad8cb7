//! JSON Schemas of a bundle's TOML, so that editors complete keys and underline what the loader would refuse. The
//! loader alone decides: what passes a schema may still be refused. A test compares both, key by key.

mod files;
mod identities;

use procura_core::kind::Kind;
use serde_json::{Map, Value, json};

/// A key of a table.
pub(crate) struct Row {
    name: &'static str,
    required: bool,
    ty: Ty,
    doc: &'static str,
}

/// A key that must be there.
fn need(name: &'static str, ty: Ty, doc: &'static str) -> Row {
    Row {
        name,
        required: true,
        ty,
        doc,
    }
}

/// A key that may be there.
fn may(name: &'static str, ty: Ty, doc: &'static str) -> Row {
    Row {
        required: false,
        ..need(name, ty, doc)
    }
}

/// What stands at a key.
pub(crate) enum Ty {
    Text,
    Int,
    Bool,
    /// `90s`, `5m`, `8h`, `1d`
    Duration,
    /// `600/1m`
    Rate,
    /// A day or a moment.
    Moment,
    /// 64 lower-case hex digits.
    Digest,
    Word(Vec<&'static str>),
    Words(Vec<&'static str>),
    Texts,
    /// Texts by names of one's own.
    Map,
    Table(Vec<Row>),
    Tables(Vec<Row>),
    /// Tables by names of one's own.
    Named(Vec<Row>),
    /// A table whose members another file declares.
    Open,
    /// Tables that the kind itself checks.
    OpenTables,
}

impl Ty {
    fn schema(&self) -> Value {
        let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
        let list = |of: Value| json!({ "type": "array", "items": of });
        match self {
            Self::Text => json!({ "type": "string", "minLength": 1 }),
            Self::Int => json!({ "type": "integer" }),
            Self::Bool => json!({ "type": "boolean" }),
            Self::Duration => text("^[0-9]{1,6}[smhd]$"),
            Self::Rate => text("^[1-9][0-9]{0,6}/[0-9]{1,6}[smhd]$"),
            Self::Moment => json!({ "type": "string" }),
            Self::Digest => text("^[0-9a-f]{64}$"),
            Self::Word(words) => json!({ "enum": words }),
            Self::Words(words) => list(json!({ "enum": words })),
            Self::Texts => list(Self::Text.schema()),
            Self::Map => json!({ "type": "object", "additionalProperties": Self::Text.schema() }),
            Self::Table(rows) => object(rows),
            Self::Tables(rows) => list(object(rows)),
            Self::Named(rows) => json!({ "type": "object", "additionalProperties": object(rows) }),
            Self::Open => json!({ "type": "object" }),
            Self::OpenTables => list(Self::Open.schema()),
        }
    }
}

fn object(rows: &[Row]) -> Value {
    let property = |row: &Row| {
        let mut schema = row.ty.schema();
        if !row.doc.is_empty() {
            schema["description"] = row.doc.into();
        }
        (row.name.to_owned(), schema)
    };
    let properties: Map<_, _> = rows.iter().map(property).collect();
    let required: Vec<_> = rows.iter().filter(|row| row.required).map(|row| row.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The schemas by the names of their files: one for each kind of file of a bundle.
pub fn schemas(kinds: &[&'static Kind]) -> Vec<(&'static str, Value)> {
    let kinds_of_targets: Map<_, _> = kinds
        .iter()
        .map(|kind| (kind.name.to_owned(), object(&files::target(kind))))
        .collect();
    let one_of: Vec<_> = kinds
        .iter()
        .map(|kind| json!({ "$ref": format!("#/$defs/{}", kind.name) }))
        .collect();
    let mut issuer = object(&identities::issuer());
    issuer["anyOf"] = json!([{ "required": ["issuer", "algorithms"] }, { "required": ["preset"] }]);
    let schemas = [
        ("bundle.json", "bundle.toml", object(&files::bundle())),
        ("issuers.json", "issuers/*.toml", issuer),
        ("agents.json", "agents/*.toml", object(&files::agent())),
        ("servers.json", "servers/*.toml", object(&files::server())),
        (
            "targets.json",
            "targets/*.toml",
            json!({ "oneOf": one_of, "$defs": kinds_of_targets }),
        ),
        ("tests.json", "tests/*.toml", object(&files::cases())),
    ];
    let titled = |(name, title, mut schema): (_, &str, Value)| {
        schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
        schema["title"] = format!("Procura: {title}").into();
        (name, schema)
    };
    schemas.map(titled).into()
}
