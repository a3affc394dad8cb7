//! A bundle as a whole: parse, cross-check, validate, try, run its tests.

use cedar_policy::{Authorizer, Schema};
use procura_core::{catalogue::Catalogue, kind::Kind};
use procura_wire::Digest;

use crate::{
    bundle::Bundle,
    case::{self, Listed},
    check, declare,
    mistake::Mistake,
    names::Names,
    rules::{self, Rule},
    schema,
    slices::Slices,
};

/// What a bundle may hold beside what `serve` accepts. The default is `serve`'s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `builtin:dev` as issuer and as a server's authentication.
    pub allow_builtin: bool,
    /// `http:` issuers on a literal loopback address.
    pub allow_http_loopback: bool,
}

/// A bundle that may be put in force.
pub struct Loaded {
    pub(crate) catalogue: Catalogue,
    pub(crate) digest: Digest,
    pub(crate) rules: Vec<Rule>,
    pub(crate) slices: Slices,
    pub(crate) engine: Authorizer,
    pub(crate) names: Names,
    schema: String,
}

impl Loaded {
    /// The Cedar schema that its rules were validated against, as Cedar schema text.
    pub fn schema_text(&self) -> &str {
        &self.schema
    }

    /// How many rules it has.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }
}

/// Loads a bundle for these kinds of targets. Whole or not at all: the error holds every mistake that
/// can be told, in the order of files and lines. Rules are compared with the catalogue only if that
/// could be read, and the tests run only where nothing else is wrong.
pub fn load(bundle: &Bundle, kinds: &[&'static Kind], options: Options) -> Result<Loaded, Vec<Mistake>> {
    let declared = declare::read(bundle, kinds, options);
    let mut mistakes = declared.mistakes;
    let rules = rules::read(bundle, &mut mistakes);
    let mut cases = Vec::new();
    let mut loaded = None;
    if declared.complete {
        cases = case::read_all(bundle, &declared.catalogue, &mut mistakes);
        match judge(bundle, declared.catalogue, rules, &mut mistakes) {
            Ok(judge) => loaded = Some(judge),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if let Some(loaded) = loaded.filter(|_| mistakes.is_empty()) {
        mistakes.extend(
            cases
                .iter()
                .filter_map(|Listed { case, place }| loaded.run(case, place)),
        );
        if mistakes.is_empty() {
            return Ok(loaded);
        }
    }
    mistakes.sort();
    mistakes.dedup();
    Err(mistakes)
}

fn judge(
    bundle: &Bundle,
    catalogue: Catalogue,
    rules: Vec<Rule>,
    mistakes: &mut Vec<Mistake>,
) -> Result<Loaded, Mistake> {
    let failed = |text: String| Mistake::of_file("bundle.toml", text);
    let text = schema::text(&catalogue);
    let (schema, _) = Schema::from_cedarschema_str(&text).map_err(|error| failed(format!("schema: {error}")))?;
    let names = Names::new().map_err(|error| failed(error.0))?;
    mistakes.extend(check::rules(&rules, schema.clone(), &catalogue, bundle));
    let slices = Slices::new(&rules, &catalogue, &schema, &names).map_err(|error| failed(error.0))?;
    Ok(Loaded {
        digest: bundle.digest(),
        catalogue,
        rules,
        slices,
        engine: Authorizer::new(),
        names,
        schema: text,
    })
}
