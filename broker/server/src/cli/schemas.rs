//! `procura policy schemas`

use std::{fs, path::Path};

use procura_policy::schemas;

use super::{Failure, print};
use crate::kinds::KINDS;

/// Writes the schemas of a bundle's files into a folder.
pub(super) fn write(folder: &Path) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| Failure::usage(format!("{path}: {error}"))
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, text) in files() {
        let path = folder.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
        print::line(format_args!("{} written", path.display()));
    }
    Ok(())
}

/// Names and content of the files.
fn files() -> impl Iterator<Item = (&'static str, String)> {
    schemas(&KINDS)
        .into_iter()
        .map(|(name, schema)| (name, format!("{schema:#}\n")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use jsonschema::Validator;
    use serde_json::Value;

    use super::*;

    fn policies() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
    }

    #[test]
    fn the_schemas_in_the_repository_are_current() {
        let folder = policies().join("schemas");
        for (name, text) in files() {
            let stored = fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(
                stored == text,
                "policies/schemas/{name} is not current: run `cargo run -- policy schemas`"
            );
        }
        let stored = fs::read_dir(folder).expect("folder").count();
        assert_eq!(stored, files().count(), "a file in policies/schemas is not one of ours");
    }

    fn validator(name: &str) -> Validator {
        let (_, schema) = schemas(&KINDS)
            .into_iter()
            .find(|(known, _)| *known == name)
            .expect("a schema");
        jsonschema::validator_for(&schema).expect("a schema that is one")
    }

    /// TOML as editors show it to schemas: times are texts.
    fn json(value: toml::Value) -> Value {
        match value {
            toml::Value::Datetime(time) => time.to_string().into(),
            toml::Value::Array(items) => items.into_iter().map(json).collect(),
            toml::Value::Table(entries) => Value::Object(entries.into_iter().map(|(k, v)| (k, json(v))).collect()),
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) => number.into(),
            toml::Value::Boolean(value) => value.into(),
        }
    }

    fn passes(schema: &Validator, text: &str) -> bool {
        schema.is_valid(&json(toml::Value::Table(text.parse().expect("TOML"))))
    }

    /// The TOML files of every bundle in the repository, with the name of their schema.
    fn examples() -> Vec<(PathBuf, String)> {
        let list = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).expect("folder");
            entries.map(|entry| entry.expect("entry").path()).collect()
        };
        let mut bundles = list(&policies().join("examples"));
        bundles.extend(["dev", "dev-postgres"].map(|name| policies().join(name)));
        let mut found = Vec::new();
        for bundle in bundles {
            found.push((bundle.join("bundle.toml"), "bundle.json".to_owned()));
            for folder in list(&bundle)
                .into_iter()
                .filter(|path| path.is_dir() && !path.ends_with("rules"))
            {
                let name = folder.file_name().expect("name").to_string_lossy().into_owned();
                found.extend(list(&folder).into_iter().map(|file| (file, format!("{name}.json"))));
            }
        }
        found
    }

    #[test]
    fn every_bundle_of_the_repository_passes() {
        let examples = examples();
        assert!(examples.len() > 30, "{}", examples.len());
        for (path, name) in examples {
            let text = fs::read_to_string(&path).expect("text");
            assert!(passes(&validator(&name), &text), "{} against {name}", path.display());
        }
    }

    #[test]
    fn what_the_loader_refuses_for_its_form_is_underlined() {
        let target = "kind = \"jwt\"\nowner = \"o\"\naudience = \"a\"\n[grants.a]\nrisk = \"read\"\nmax_ttl = \"5m\"\n";
        for (name, text) in [
            ("bundle.json", ""),
            ("bundle.json", "format = \"1\""),
            ("bundle.json", "format = 1\nlimits.server = \"600\""),
            (
                "issuers.json",
                "issuer = \"https://x.example\"\nalgorithms = [\"none\"]",
            ),
            (
                "issuers.json",
                "issuer = \"https://x.example\"\nalgoritms = [\"ES256\"]",
            ),
            ("agents.json", "issuer = \"corp\"\nsub = \"\"\nowner = \"o\""),
            ("servers.json", "owner = \"o\"\nresource = \"https://x.example\""),
            ("targets.json", target),
            ("targets.json", &format!("{target}scopes = \"a\"")),
            ("targets.json", &format!("{target}scopes = [\"a\"]\nlimit = \"many\"")),
            ("tests.json", "[[case]]\nname = \"n\"\nsubject = {}\nserver = \"s\""),
        ] {
            assert!(!passes(&validator(name), text), "{name} lets this pass:\n{text}");
        }
        let whole = format!("{target}scopes = [\"a\"]\nlimit = \"30/1m\"");
        assert!(passes(&validator("targets.json"), &whole));
    }
}
