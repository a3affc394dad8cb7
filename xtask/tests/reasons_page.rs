//! `docs/reasons.md` is generated from the one table of reasons. `PROCURA_UPDATE_DOCS=1` writes it anew.
#![expect(clippy::unwrap_used, reason = "a fault of the test's own setting ends it")]

use std::{fmt::Write, fs, path::Path};

use procura_wire::Reason;

#[test]
fn the_page_lists_every_reason_as_the_table_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    let page = page();
    if std::env::var_os("PROCURA_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "docs/reasons.md is not current: run PROCURA_UPDATE_DOCS=1 cargo test -p xtask --test reasons_page"
    );
}

fn page() -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         Every error answer carries one of these in `reason`, and every record of a refusal. The codes are stable; the\n\
         sentences may improve. Some stand in the log only: callers are told another one instead, which the last column\n\
         names, so that they cannot tell what exists. Generated from `broker/wire/src/reason.rs`.\n\n\
         | reason | `error` | status | meaning | callers are told |\n\
         |---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let (code, told) = (reason.code(), reason.on_the_wire());
        let told = if told == *reason {
            String::new()
        } else {
            format!("`{}`", told.code())
        };
        let (error, status, text) = (reason.error().as_str(), reason.status(), reason.text());
        writeln!(
            page,
            "| <a id=\"{code}\"></a>`{code}` | `{error}` | {status} | {text} | {told} |"
        )
        .unwrap();
    }
    page
}
