//! The database, read with the log-in role of one session. What it may see the database decides.

use std::{collections::HashMap, sync::Arc};

use procura_client::{Credential, PostgresCredential, Use};
use serde_json::json;
use sqlx::{Connection, Error, PgConnection};
use tokio::{sync::Mutex, time::Instant};

/// One open connection for each credential, for as long as that lives.
#[derive(Default)]
pub(crate) struct Connections(Mutex<HashMap<String, Open>>);

struct Open {
    end: Instant,
    connection: Arc<Mutex<PgConnection>>,
}

impl Connections {
    /// Tickets whose title contains that, as JSON.
    pub(crate) async fn read(
        &self,
        credential: &Credential<PostgresCredential>,
        using: &Use<PostgresCredential>,
        contains: &str,
    ) -> Result<String, Error> {
        let connection = self.connection(credential, using).await?;
        let rows = sqlx::query_as::<_, (i32, String, String)>(
            "SELECT id, owner, title FROM support.tickets WHERE strpos(title, $1) > 0 ORDER BY id",
        )
        .bind(contains)
        .fetch_all(&mut *connection.lock().await)
        .await;
        if rows.is_err() {
            self.0.lock().await.remove(credential.issuance_id());
        }
        let tickets: Vec<_> = rows?
            .into_iter()
            .map(|(id, owner, title)| json!({"id": id, "owner": owner, "title": title}))
            .collect();
        Ok(json!(tickets).to_string())
    }

    async fn connection(
        &self,
        credential: &Credential<PostgresCredential>,
        using: &Use<PostgresCredential>,
    ) -> Result<Arc<Mutex<PgConnection>>, Error> {
        let mut open = self.0.lock().await;
        open.retain(|_, open| Instant::now() < open.end);
        if let Some(open) = open.get(credential.issuance_id()) {
            return Ok(Arc::clone(&open.connection));
        }
        #[expect(clippy::disallowed_methods, reason = "the driver logs in with it")]
        let connection = PgConnection::connect(using.value().url.expose()).await?;
        let connection = Arc::new(Mutex::new(connection));
        let entry = Open {
            end: Instant::now() + credential.expires_in(),
            connection: Arc::clone(&connection),
        };
        open.insert(credential.issuance_id().to_owned(), entry);
        Ok(connection)
    }
}
