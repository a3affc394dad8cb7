//! The digest of a tool's definition.

use serde_json::{Map, Value};

use crate::Digest;

/// Members of a tool's definition that its digest is made of.
const MEMBERS: [&str; 4] = ["name", "description", "inputSchema", "outputSchema"];

/// Name and digest of a tool, as it stands in the answer to MCP's `tools/list`: SHA-256 over the RFC 8785 form of an
/// object of its `name`, `description`, `inputSchema` and `outputSchema`, those that it has. `None` where it has no
/// name or is no object.
pub fn tool_definition(tool: &Value) -> Option<(&str, Digest)> {
    let name = tool.get("name")?.as_str()?;
    let member = |member: &&str| Some(((*member).to_owned(), tool.get(member)?.clone()));
    let signed: Map<String, Value> = MEMBERS.iter().filter_map(member).collect();
    let canonical = serde_json_canonicalizer::to_vec(&signed).ok()?;
    Some((name, Digest::of(&canonical)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(tool: &Value) -> String {
        tool_definition(tool).expect("a tool").1.to_string()
    }

    #[test]
    fn req_124_a_definition_is_digested_in_its_canonical_form() {
        let tool = json!({
            "outputSchema": {"type": "object"},
            "name": "list_issues",
            "inputSchema": {"required": ["b", "a"], "properties": {"n": {"maximum": 1e3, "const": "\u{20ac}\u{f}"}}},
            "description": "Lists \"issues\"",
        });
        let canonical = "{\"description\":\"Lists \\\"issues\\\"\",\"inputSchema\":{\"properties\":{\"n\":{\"const\":\
            \"\u{20ac}\\u000f\",\"maximum\":1000}},\"required\":[\"b\",\"a\"]},\"name\":\"list_issues\",\
            \"outputSchema\":{\"type\":\"object\"}}";
        assert_eq!(digest(&tool), Digest::of(canonical.as_bytes()).to_string());
    }

    #[test]
    fn req_124_only_what_a_caller_acts_on_is_digested() {
        let tool = |change: &str, value: Value| {
            let mut tool = json!({"name": "list", "description": "d", "inputSchema": {}});
            tool[change] = value;
            digest(&tool)
        };
        let same = tool("name", "list".into());
        assert_eq!(tool("title", "List".into()), same);
        assert_eq!(tool("annotations", json!({})), same);
        for (member, value) in [
            ("name", json!("lists")),
            ("description", json!("d.")),
            ("inputSchema", json!({"type": "object"})),
            ("outputSchema", json!({})),
        ] {
            assert_ne!(tool(member, value), same, "{member}");
        }
        assert!(tool_definition(&json!({"description": "d"})).is_none());
        assert!(tool_definition(&json!("list")).is_none());
    }
}
