//! What a rule is about, for reports.

use procura_core::{
    catalogue::Catalogue,
    judgement::{RuleFacts, Whom},
};
use procura_wire::QualifiedId;

use crate::rules::Rule;

impl Rule {
    /// What it is about, its conditions apart.
    pub(crate) fn facts(&self, catalogue: &Catalogue) -> RuleFacts {
        let whom = self.principal.as_ref().and_then(|uid| {
            let id = uid.id().unescaped().to_owned();
            match uid.type_name().basename() {
                "User" => Some(Whom::User(id)),
                "Agent" => Some(Whom::Agent(id)),
                "Group" => Some(Whom::Group(id)),
                _ => None,
            }
        });
        RuleFacts {
            id: self.id.clone(),
            permits: self.permits,
            whom,
            grants: self.grants(catalogue),
        }
    }

    fn grants(&self, catalogue: &Catalogue) -> Vec<QualifiedId> {
        let mut grants = Vec::new();
        for (name, target) in &catalogue.targets {
            if self.target.as_ref().is_some_and(|only| only != name.as_str()) {
                continue;
            }
            for (grant, declared) in &target.grants {
                let id = QualifiedId::new(name.clone(), grant.as_str());
                let actions = &self.actions;
                if actions.all || actions.risks.contains(&declared.risk) || actions.ids.contains(&id.to_string()) {
                    grants.push(id);
                }
            }
        }
        grants
    }
}
