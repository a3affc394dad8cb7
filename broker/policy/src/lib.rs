//! Policy bundles: read safely, checked whole, judged by.
//!
//! [`Bundle`] is a folder's files; [`load`] turns one into [`Loaded`], which is core's `Judge`, or into
//! every [`Mistake`] that it has. Cedar is used in this crate only.
//!
//! In rules the principal is the subject, the action the grant and the resource its target. For
//! `act_for` the principal is the agent and the resource the subject. Operators' actions have a
//! `Target` as their resource, or `Log::"all"` where they are about the records of all targets.

mod bundle;
mod case;
mod check;
mod declare;
mod editor;
mod explain;
mod folder;
mod judge;
mod load;
mod meant;
mod mistake;
mod names;
mod near;
mod reach;
mod rule_text;
mod rules;
mod schema;
mod slices;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod unused;
mod wide;

pub use bundle::{Bundle, MalformedContent, SUM};
pub use case::{Case, Expect};
pub use editor::schemas;
pub use explain::Explanation;
pub use load::{Loaded, Options, load};
pub use mistake::Mistake;
pub use rule_text::RuleText;
pub use unused::{Idle, Unused, unused};
