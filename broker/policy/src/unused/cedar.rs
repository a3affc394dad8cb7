//! Cuts rules, and actions out of rules, by their place in the text.

use std::ops::Range;

use cedar_policy::{ActionConstraint, Policy};

use super::Files;
use crate::text;

/// Cuts the rule of that id with the comment that stands directly above it.
pub(super) fn cut_rule(files: &mut Files, id: &str) {
    for (_, source) in rule_files(files) {
        let place = rules(source)
            .into_iter()
            .find(|place| id_of(&source[place.clone()]).as_deref() == Some(id));
        if let Some(place) = place {
            cut(source, place);
        }
    }
}

/// Takes an action out of every rule that is about it; a permit for nothing else goes.
/// The error: a forbid is about nothing else, and forbids are not taken out; or a rule names it in another place than
/// the list of its actions, and says something else without it.
pub(super) fn cut_action(files: &mut Files, action: &str) -> Result<(), String> {
    let name = format!("Action::{action:?}");
    for (path, source) in rule_files(files) {
        while let Some(place) = rules(source)
            .into_iter()
            .rev()
            .find(|place| source[place.clone()].contains(&name))
        {
            let rule = &source[place.clone()];
            match actions(rule).as_slice() {
                [only] if only == action && is_permit(rule) => cut(source, place),
                [only] if only == action => return Err(format!("{path}: a forbid names {name}")),
                before => {
                    let without = listed(rule, &name).map(|range| rule[..range.start].to_owned() + &rule[range.end..]);
                    let after: Vec<_> = before.iter().filter(|id| *id != action).cloned().collect();
                    let fits =
                        |new: &String| after.len() < before.len() && actions(new) == after && !new.contains(&name);
                    let Some(without) = without.filter(fits) else {
                        return Err(format!("{path}: a rule names {name} in a condition or a comment"));
                    };
                    source.replace_range(place, &without);
                }
            }
        }
    }
    Ok(())
}

/// The actions that a rule's scope lists, by their ids.
fn actions(rule: &str) -> Vec<String> {
    let constraint = Policy::parse(None, rule).map(|policy| policy.action_constraint());
    let uids = match constraint {
        Ok(ActionConstraint::Eq(uid)) => vec![uid],
        Ok(ActionConstraint::In(uids)) => uids,
        Ok(ActionConstraint::Any) | Err(_) => Vec::new(),
    };
    uids.iter().map(|uid| uid.id().unescaped().to_owned()).collect()
}

fn rule_files(files: &mut Files) -> impl Iterator<Item = (&String, &mut String)> {
    files.iter_mut().filter(|(path, _)| path.starts_with("rules/"))
}

/// Where the rules of a file stand.
fn rules(source: &str) -> Vec<Range<usize>> {
    let statements = text::statements(source).unwrap_or_default();
    statements
        .into_iter()
        .map(|statement| statement.start..statement.end)
        .collect()
}

fn id_of(rule: &str) -> Option<String> {
    Policy::parse(None, rule).ok()?.annotation("id").map(str::to_owned)
}

fn is_permit(rule: &str) -> bool {
    Policy::parse(None, rule).is_ok_and(|policy| policy.effect() == cedar_policy::Effect::Permit)
}

/// Where the name and one comma stand in a list of several.
fn listed(rule: &str, name: &str) -> Option<Range<usize>> {
    let at = rule.find(name)?;
    let (before, after) = (&rule[..at], &rule[at + name.len()..]);
    let spaces_after = after.len() - after.trim_start().len();
    let spaces_before = before.len() - before.trim_end().len();
    if before.trim_end().ends_with(['[', ',']) && after.trim_start().starts_with(',') {
        let comma = at + name.len() + spaces_after + 1;
        let rest = &rule[comma..];
        Some(at..comma + (rest.len() - rest.trim_start().len()))
    } else if before.trim_end().ends_with(',') && after.trim_start().starts_with(']') {
        Some(at - spaces_before - 1..at + name.len())
    } else {
        None
    }
}

/// With the comment lines directly above, and one of two empty lines.
fn cut(source: &mut String, place: Range<usize>) {
    let mut start = source[..place.start].rfind('\n').map_or(0, |end| end + 1);
    while start > 0 {
        let above = source[..start - 1].rfind('\n').map_or(0, |end| end + 1);
        if !source[above..start].trim_start().starts_with("//") {
            break;
        }
        start = above;
    }
    let mut end = source[place.end..]
        .find('\n')
        .map_or(source.len(), |line| place.end + line + 1);
    if source[end..].starts_with('\n') {
        end += 1;
    } else if end == source.len() && source[..start].ends_with("\n\n") {
        start -= 1;
    }
    source.replace_range(start..end, "");
}
