//! The schemas for editors have what the loader knows: what it says of a key or a word that it does not know tells.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{BASE, DATABASE, JWT, refused, try_load};
use crate::schemas;

type Names = BTreeSet<String>;

/// What stands between two texts in each line that has both.
fn told(report: &str, before: &str, after: &str) -> Vec<Names> {
    let lines = report.lines().filter_map(|line| {
        let names = line.split_once(before)?.1;
        let names = if after.is_empty() {
            names
        } else {
            names.split_once(after)?.0
        };
        Some(names.split(", ").map(str::to_owned).collect())
    });
    lines.collect()
}

/// The report of the valid bundle with one file that says this.
fn report(path: &str, text: &str) -> String {
    assert!(text.contains("zzz"), "{text}");
    let fixed = BASE.iter().any(|(known, _)| *known == path);
    refused(try_load(&[(if fixed { path } else { "targets/x.toml" }, text)]))
}

/// The schema of a table of this file: `pointer` is a JSON pointer.
fn schema(path: &str, pointer: &str) -> Value {
    let file = path.split(['/', '.']).next().unwrap_or_default();
    let all = schemas(&[&JWT, &DATABASE]);
    let (_, schema) = all
        .iter()
        .find(|(name, _)| *name == format!("{file}.json"))
        .expect("a schema");
    schema
        .pointer(pointer)
        .unwrap_or_else(|| panic!("{file}.json has no {pointer}"))
        .clone()
}

fn names(of: &Value) -> Names {
    match of {
        Value::Object(members) => members.keys().cloned().collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Names::new(),
    }
}

const SERVER: &str = "owner = \"o\"\nresource = \"https://x.example\"\n";
const DEV: &str = "auth = { method = \"builtin:dev\" }\n";
const GRANT: &str = "owner = \"o\"\naudience = \"a\"\nkind = \"jwt\"\n[grants.a]\n";
const WHOLE_GRANT: &str = "risk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"s\"]\n";
const ISSUER: &str = "issuer = \"https://x.example\"\nalgorithms = [\"ES256\"]\n";
const CASE: &str = "[[case]]\nname = \"n\"\nserver = \"tickets\"\ngrant = \"github/read-issues\"\n";

/// File, text with a key that is not known in one table of it, place of that table in the schema.
fn tables() -> Vec<(&'static str, String, &'static str)> {
    let (jwt, database) = ("/$defs/jwt", "/$defs/database");
    let param = "/$defs/jwt/properties/grants/additionalProperties/properties/params/additionalProperties";
    let of = |text: &[&str]| text.concat();
    let mut tables = vec![
        ("bundle.toml", of(&["zzz = 1\n"]), ""),
        (
            "bundle.toml",
            of(&["format = 1\nlimits = { zzz = 1 }\n"]),
            "/properties/limits",
        ),
        ("issuers/corp.toml", of(&["zzz = 1\n"]), ""),
        (
            "issuers/corp.toml",
            of(&[ISSUER, "groups = { zzz = 1 }\n"]),
            "/properties/groups",
        ),
        ("agents/triage-bot.toml", of(&["zzz = 1\n"]), ""),
        ("servers/tickets.toml", of(&["zzz = 1\n"]), ""),
        (
            "servers/tickets.toml",
            of(&[SERVER, DEV, "limits = { zzz = 1 }\n"]),
            "/properties/limits",
        ),
        (
            "servers/tickets.toml",
            of(&[SERVER, DEV, "[tools.a]\nzzz = 1\n"]),
            "/properties/tools/additionalProperties",
        ),
        (
            "servers/tickets.toml",
            of(&[
                SERVER,
                "auth = { method = \"client_secret\", secret_sha256 = [{ zzz = 1 }] }\n",
            ]),
            "/properties/auth/properties/secret_sha256/items",
        ),
        ("targets/x.toml", of(&["kind = \"jwt\"\nzzz = 1\n"]), jwt),
        ("targets/x.toml", of(&["kind = \"database\"\nzzz = 1\n"]), database),
        (
            "targets/x.toml",
            of(&[GRANT, "zzz = 1\n"]),
            "/$defs/jwt/properties/grants/additionalProperties",
        ),
        ("tests/support.toml", of(&["zzz = 1\n"]), ""),
        (
            "tests/support.toml",
            of(&["[[case]]\nzzz = 1\n"]),
            "/properties/case/items",
        ),
        (
            "tests/support.toml",
            of(&[CASE, "subject = { zzz = 1 }\n"]),
            "/properties/case/items/properties/subject",
        ),
    ];
    for part in ["session", "auth"] {
        let text = format!("{CASE}subject = {{ user = \"corp/a\" }}\n{part} = {{ zzz = 1 }}\n");
        let pointer = match part {
            "session" => "/properties/case/items/properties/session",
            _ => "/properties/case/items/properties/auth",
        };
        tables.push(("tests/support.toml", text, pointer));
    }
    // These know other keys with each method and type.
    for method in words(
        "servers/tickets.toml",
        &[SERVER, "auth = { method = \"zzz\" }\n"].concat(),
    ) {
        let auth = format!("{SERVER}auth = {{ method = \"{method}\", zzz = 1 }}\n");
        tables.push(("servers/tickets.toml", auth, "/properties/auth"));
    }
    for ty in words(
        "targets/x.toml",
        &[GRANT, WHOLE_GRANT, "params.a = { type = \"zzz\" }\n"].concat(),
    ) {
        let more = match ty.as_str() {
            "enum" => "values = [\"a\"], ",
            "int" => "min = 1, max = 2, ",
            _ => "",
        };
        let text = format!("{GRANT}{WHOLE_GRANT}params.a = {{ type = \"{ty}\", {more}zzz = 1 }}\n");
        tables.push(("targets/x.toml", text, param));
    }
    tables
}

/// The words that the loader knows where the text has `zzz`.
fn words(path: &str, text: &str) -> Names {
    let report = report(path, text);
    let known = told(&report, "`zzz` is not known here; write one of: ", "");
    known.into_iter().next().unwrap_or_else(|| panic!("{report}"))
}

/// Whether the tables of this place are many in one: by method, by type.
fn varies(pointer: &str) -> bool {
    pointer == "/properties/auth" || pointer.ends_with("/params/additionalProperties")
}

#[test]
fn every_key_that_the_loader_knows_is_in_the_schema_and_no_other() {
    let mut seen: Vec<(&str, &str, Names)> = Vec::new();
    for (path, text, pointer) in tables() {
        let report = report(path, &text);
        let known = told(&report, "`zzz` is not a key here; the keys are: ", "");
        assert_eq!(
            known.len(),
            1,
            "{path} does not come to the key that is not known:\n{text}\n{report}"
        );
        match seen
            .iter_mut()
            .find(|(file, place, _)| (*file, *place) == (path, pointer))
        {
            Some((_, _, names)) => names.extend(known.into_iter().flatten()),
            None => seen.extend(known.into_iter().map(|names| (path, pointer, names))),
        }
    }
    for (path, pointer, known) in seen {
        let has = names(&schema(path, pointer)["properties"]);
        assert_eq!(
            has, known,
            "left: the schema, right: the loader, for {path} {pointer}. Add or take away a row in \
             broker/policy/src/editor/files.rs, then run `cargo run -- policy schemas`"
        );
    }
}

#[test]
fn what_must_be_there_for_the_loader_must_be_there_for_the_schema() {
    for (path, text, pointer) in tables().into_iter().filter(|(_, _, pointer)| !varies(pointer)) {
        let missing: Names = told(&report(path, &text), ": `", "` is missing;")
            .into_iter()
            .flatten()
            .collect();
        let schema = schema(path, pointer);
        let mut required = names(&schema["required"]);
        // What must be there where nothing else stands for it.
        required.extend(names(&schema["anyOf"][0]["required"]));
        if pointer.starts_with("/$defs") && !pointer.contains("grants") {
            required.remove("kind");
        }
        assert_eq!(
            required, missing,
            "left: the schema, right: the loader, for {path} {pointer}; `need` or `may` in \
             broker/policy/src/editor/files.rs says which"
        );
    }
}

#[test]
fn the_words_of_the_schema_are_those_of_the_loader() {
    let case = [CASE, "subject = { user = \"corp/a\" }\nexpect = \"zzz\"\n"].concat();
    let issuer = |from: &str, to: &str| [&ISSUER.replace(from, "zzz"), to].concat();
    for (path, text, pointer) in [
        ("issuers/corp.toml", issuer("ES256", ""), "/properties/algorithms/items"),
        (
            "issuers/corp.toml",
            issuer("-", "token_types = [\"zzz\"]\n"),
            "/properties/token_types/items",
        ),
        (
            "issuers/corp.toml",
            issuer("-", "actor_from = \"zzz\"\n"),
            "/properties/actor_from",
        ),
        (
            "servers/tickets.toml",
            [SERVER, "auth = { method = \"zzz\" }\n"].concat(),
            "/properties/auth/properties/method",
        ),
        (
            "targets/x.toml",
            [GRANT, &WHOLE_GRANT.replace("\"read\"", "\"zzz\"")].concat(),
            "/$defs/jwt/properties/grants/additionalProperties/properties/risk",
        ),
        (
            "targets/x.toml",
            [GRANT, WHOLE_GRANT, "params.a = { type = \"zzz\" }\n"].concat(),
            "/$defs/jwt/properties/grants/additionalProperties/properties/params/additionalProperties/properties/type",
        ),
        ("tests/support.toml", case, "/properties/case/items/properties/expect"),
    ] {
        assert_eq!(
            names(&schema(path, pointer)["enum"]),
            words(path, &text),
            "left: the schema, right: the loader, for {path} {pointer}: change broker/policy/src/editor/files.rs"
        );
    }
    let kinds = words("targets/x.toml", "kind = \"zzz\"\n");
    assert_eq!(names(&schema("targets/x.toml", "/$defs")), kinds);
}
