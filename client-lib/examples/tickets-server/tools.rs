//! The tools. Each asks for the credential that it needs, begins to use it, and says how that ended.

use std::sync::Arc;

use axum::http::{StatusCode, request::Parts};
use procura_client::{Error, Session, UseOutcome};
use rmcp::{
    RoleServer, ServerHandler,
    handler::server::wrapper::Parameters,
    schemars::{self, JsonSchema},
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use serde::{Deserialize, Serialize};

use crate::rows::Connections;

/// The MCP server.
#[derive(Clone)]
pub(crate) struct Tickets {
    connections: Arc<Connections>,
    http: reqwest::Client,
    api: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct ReadRows {
    /// Only tickets whose title contains this; all of them if empty.
    #[serde(default)]
    contains: String,
}

#[tool_router]
impl Tickets {
    pub(crate) fn new(api: String) -> Result<Self, reqwest::Error> {
        Ok(Self {
            connections: Arc::default(),
            http: reqwest::Client::builder().build()?,
            api,
        })
    }

    #[tool(description = "Reads the user's own tickets from the database.")]
    async fn read_rows(
        &self,
        Parameters(arguments): Parameters<ReadRows>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, String> {
        let (session, call) = caller(&context)?;
        let asked = session.postgres("tickets-db", "read-rows");
        let credential = asked.tool("read_rows").tool_call_id(&call).get().await;
        let credential = credential.map_err(refused)?;
        let mut using = credential.begin(&call).await.map_err(refused)?;
        using.arguments(&serde_json::to_vec(&arguments).map_err(|error| error.to_string())?);
        match self.connections.read(&credential, &using, &arguments.contains).await {
            Ok(rows) => {
                using.finish(UseOutcome::Ok, Some(rows.len() as u64));
                Ok(rows)
            }
            Err(error) => {
                // The role may be gone, because the session was ended. The next call asks the broker anew.
                credential.forget();
                Err(format!("the database ended the connection or refused it: {error}"))
            }
        }
    }

    #[tool(description = "Lists the user's tickets from the ticket API.")]
    async fn list_tickets(&self, context: RequestContext<RoleServer>) -> Result<String, String> {
        let (session, call) = caller(&context)?;
        let asked = session.bearer("api", "read-tickets");
        let credential = asked.tool("list_tickets").tool_call_id(&call).get().await;
        let credential = credential.map_err(refused)?;
        let using = credential.begin(&call).await.map_err(refused)?;
        #[expect(clippy::disallowed_methods, reason = "the API takes the token as it is")]
        let request = self.http.get(&self.api).bearer_auth(using.value().expose());
        let answer = request.send().await.map_err(|error| format!("the API: {error}"))?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            credential.forget();
        }
        let answer = answer
            .error_for_status()
            .map_err(|error| format!("the API refuses: {error}"))?;
        let tickets = answer.text().await.map_err(|error| format!("the API: {error}"))?;
        using.finish(UseOutcome::Ok, Some(tickets.len() as u64));
        Ok(tickets)
    }
}

#[tool_handler]
impl ServerHandler for Tickets {}

/// Whose call this is, and its JSON-RPC id.
fn caller(context: &RequestContext<RoleServer>) -> Result<(Session, String), String> {
    let parts = context.extensions.get::<Parts>();
    let session = parts.and_then(|parts| parts.extensions.get::<Session>());
    let session = session.ok_or("the request came without a token")?;
    Ok((session.clone(), context.id.to_string()))
}

/// What the broker's answer means to the model that called: not permitted, or not now.
fn refused(error: Error) -> String {
    match error {
        Error::Refused(refusal) => format!("403 forbidden: {refusal}"),
        other => format!("503 unavailable: {other}"),
    }
}
