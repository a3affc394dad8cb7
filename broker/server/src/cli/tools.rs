//! `procura policy tool-digest`

use procura_wire::{Digest, json, tool_definition};
use serde_json::Value;

use super::{Failure, print};

/// Prints the digests of the tools in the answer to `tools/list`, as they stand in a server's file.
pub(super) fn print_digests(text: &str) -> Result<(), Failure> {
    for (name, digest) in digests(text)? {
        print::line(format_args!(
            "[tools.{}]\ndefinition_sha256 = \"{digest}\"\n",
            key(&name)
        ));
    }
    Ok(())
}

/// Takes the whole answer, its `result`, the list of tools or one tool.
fn digests(text: &str) -> Result<Vec<(String, Digest)>, Failure> {
    let found = |problem: &str| Failure::found(problem);
    let answer = json::strict(text.as_bytes()).map_err(|_| found("the file is not JSON, or names a member twice"))?;
    let answer = answer.get("result").unwrap_or(&answer);
    let tools = match answer.get("tools").unwrap_or(answer) {
        Value::Array(tools) => tools.iter().collect(),
        tool => vec![tool],
    };
    let digest = |tool: &Value| {
        let (name, digest) = tool_definition(tool).ok_or_else(|| found("there is a tool without a name"))?;
        Ok((name.to_owned(), digest))
    };
    tools.into_iter().map(digest).collect()
}

/// A key of TOML, in quotes where it needs them.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(bare) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_124_reads_tools_wherever_they_stand() {
        let tool = r#"{"name":"list","inputSchema":{}}"#;
        let one = digests(tool).expect("digests");
        for text in [
            format!("[{tool}]"),
            format!(r#"{{"tools":[{tool}]}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tool}]}}}}"#),
        ] {
            assert_eq!(digests(&text).expect("digests"), one);
        }
        for bad in ["", "1", "{}", r#"{"tools":[{}]}"#, r#"{"name":"a","name":"b"}"#] {
            assert!(digests(bad).is_err(), "{bad}");
        }
        assert_eq!(key("list_issues"), "list_issues");
        assert_eq!(key("issues.list"), "\"issues.list\"");
    }
}
