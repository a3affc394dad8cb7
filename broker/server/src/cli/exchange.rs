//! `procura exchange`

use std::path::PathBuf;

use procura_wire::{
    AwsCredential, Name, PostgresCredential, Secret, TOKEN_EXCHANGE, TokenResponse, TokenType, VaultCredential,
};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    Failure,
    api::{self, Connection},
    print,
};
use crate::{dev::DevFile, http::server_metadata_path};

/// Exchanges a subject token for a credential.
#[derive(Debug, clap::Args)]
pub(crate) struct Exchange {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    wanted: Wanted,
    /// How the credential is printed
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Development mode: the user
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// The server's client id, with --url
    #[arg(long, requires = "client_secret_file")]
    client: Option<String>,
    /// File with the server's secret, with --url
    #[arg(long, requires = "client")]
    client_secret_file: Option<PathBuf>,
}

/// How a credential is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The whole answer
    Json,
    /// Lines for a shell
    Env,
    /// The credential's URL
    Url,
}

/// What is asked for.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// The target, by its name
    #[arg(long)]
    target: String,
    /// A grant of the target; several only where they fit into one credential
    #[arg(long = "grant", required = true)]
    grants: Vec<String>,
    /// The tool that is served
    #[arg(long)]
    tool: Option<String>,
    /// Narrows the grant: NAME=VALUE, the value as JSON or plain text; several of one name make a set
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Lifetime asked for, seconds
    #[arg(long)]
    ttl: Option<u64>,
    /// `new`, or the id of a session
    #[arg(long)]
    session: Option<String>,
}

/// Who asks where.
struct Asker {
    base: String,
    client: String,
    secret: Secret,
    subject: Secret,
}

/// Runs the command.
pub(crate) async fn run(command: Exchange) -> Result<(), Failure> {
    let asker = asker(&command).await?;
    let answer = ask(&asker, &command.wanted).await?;
    match command.format {
        Format::Json => print::json(&answer),
        Format::Env => print::text(format_args!("{}", variables(read(answer)?)?)),
        Format::Url => print::line(format_args!("{}", url(read(answer)?)?)),
    }
    Ok(())
}

async fn asker(command: &Exchange) -> Result<Asker, Failure> {
    match (
        command.connection.given()?,
        &command.client,
        &command.client_secret_file,
    ) {
        ((Some(url), Some(subject)), Some(client), Some(file)) => Ok(Asker {
            base: url.as_str().trim_end_matches('/').to_owned(),
            client: client.clone(),
            secret: api::read_secret(file)?,
            subject,
        }),
        ((None, None), None, None) => {
            let dev = DevFile::read()?;
            Ok(Asker {
                subject: subject_token(&dev.subject_token_endpoint, command.user.as_deref()).await?,
                base: dev.issuer,
                client: dev.client_id,
                secret: dev.client_secret,
            })
        }
        _ => Err(Failure::usage(
            "beside ./.procura/dev.json, name all of --url, --client, --client-secret-file and the subject token \
             (--token-file or PROCURA_TOKEN)",
        )),
    }
}

/// A token of the built-in issuer.
async fn subject_token(url: &str, user: Option<&str>) -> Result<Secret, Failure> {
    let request = api::client(url)?.post(url).header("Procura-Dev", "1");
    let body: Vec<_> = user.map(|user| ("sub", user)).into_iter().collect();
    let mut answer = api::answer(request.form(&body)).await?;
    match answer["access_token"].take() {
        Value::String(token) => Ok(Secret::new(token)),
        _ => Err(Failure::found("the development issuer answered no token")),
    }
}

/// The first exchange of development mode.
#[expect(clippy::disallowed_methods, reason = "both sides are this process")]
pub(crate) async fn sample(dev: &DevFile, target: &Name, grant: &Name) -> Result<TokenResponse, Failure> {
    let asker = Asker {
        subject: subject_token(&dev.subject_token_endpoint, None).await?,
        base: dev.issuer.clone(),
        client: dev.client_id.clone(),
        secret: Secret::new(dev.client_secret.expose().to_owned()),
    };
    let wanted = Wanted {
        target: target.to_string(),
        grants: vec![grant.to_string()],
        tool: None,
        params: vec![],
        ttl: None,
        session: None,
    };
    read(ask(&asker, &wanted).await?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "credentials go to the broker that they are for"
)]
async fn ask(asker: &Asker, wanted: &Wanted) -> Result<Value, Failure> {
    let scope = wanted.grants.join(" ");
    let ttl = wanted.ttl.map(|ttl| ttl.to_string());
    let details = details(asker, &wanted.params).await?;
    let mut form = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", asker.subject.expose()),
        ("subject_token_type", TokenType::AccessToken.as_str()),
        ("audience", &wanted.target),
        ("scope", &scope),
    ];
    let optional = [
        ("tool", &wanted.tool),
        ("requested_expires_in", &ttl),
        ("session", &wanted.session),
        ("authorization_details", &details),
    ];
    form.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?))),
    );
    form.extend([
        ("client_id", asker.client.as_str()),
        ("client_secret", asker.secret.expose()),
    ]);
    let url = format!("{}/token", asker.base);
    api::answer(api::client(&url)?.post(url).form(&form)).await
}

/// `authorization_details`: the one kind that the broker serves, or that the first parameter names as `type`.
async fn details(asker: &Asker, params: &[String]) -> Result<Option<String>, Failure> {
    if params.is_empty() {
        return Ok(None);
    }
    let mut object = read_params(params)?;
    if !object.contains_key("type") {
        let mut url: Url = asker.base.parse().map_err(Failure::usage)?;
        url.set_path(&server_metadata_path(url.path()));
        let metadata = api::answer(api::client(url.as_str())?.get(url)).await?;
        match metadata["authorization_details_types_supported"]
            .as_array()
            .map(Vec::as_slice)
        {
            Some([only]) => object.insert("type".to_owned(), only.clone()),
            _ => {
                return Err(Failure::usage(
                    "the broker serves several kinds; say which with --param type=KIND",
                ));
            }
        };
    }
    Ok(Some(json!([object]).to_string()))
}

fn read_params(params: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut object = Map::new();
    for param in params {
        let (name, text) = param
            .split_once('=')
            .ok_or_else(|| Failure::usage("--param is NAME=VALUE"))?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        match object.get_mut(name) {
            None => {
                object.insert(name.to_owned(), value);
            }
            Some(Value::Array(items)) => items.push(value),
            Some(one) => *one = Value::from(vec![one.take(), value]),
        }
    }
    Ok(object)
}

fn read(answer: Value) -> Result<TokenResponse, Failure> {
    serde_json::from_value(answer).map_err(|_| Failure::found("the broker's answer is not a token response"))
}

#[expect(clippy::disallowed_methods, reason = "the credential document is inside")]
fn postgres(response: &TokenResponse) -> Result<PostgresCredential, Failure> {
    serde_json::from_str(response.access_token.expose())
        .map_err(|_| Failure::found("the credential document is not one for PostgreSQL"))
}

#[expect(clippy::disallowed_methods, reason = "the credential document is inside")]
fn aws(response: &TokenResponse) -> Result<AwsCredential, Failure> {
    serde_json::from_str(response.access_token.expose())
        .map_err(|_| Failure::found("the credential document is not one for AWS"))
}

#[expect(clippy::disallowed_methods, reason = "the user asked to see the credential")]
fn vault(response: &TokenResponse) -> Result<Vec<(&'static str, String)>, Failure> {
    let credential = serde_json::from_str(response.access_token.expose())
        .map_err(|_| Failure::found("the credential document is not one for Vault"))?;
    match credential {
        VaultCredential::Token {
            address,
            namespace,
            token,
            ..
        } => {
            let namespace = namespace.map(|namespace| ("VAULT_NAMESPACE", namespace));
            let pairs = [("VAULT_ADDR", address), ("VAULT_TOKEN", token.expose().to_owned())];
            Ok(pairs.into_iter().chain(namespace).collect())
        }
        VaultCredential::Secret { .. } => Err(Failure::usage(
            "what an engine of Vault makes has no variables of its own; use --format json",
        )),
    }
}

#[expect(clippy::disallowed_methods, reason = "the user asked to see the credential")]
fn variables(response: TokenResponse) -> Result<String, Failure> {
    let pairs = match response.issued_token_type {
        TokenType::AccessToken | TokenType::Jwt | TokenType::IdToken => {
            vec![("ACCESS_TOKEN", response.access_token.expose().to_owned())]
        }
        TokenType::Postgres => {
            let login = postgres(&response)?;
            vec![
                ("PGHOST", login.host),
                ("PGPORT", login.port.to_string()),
                ("PGDATABASE", login.dbname),
                ("PGUSER", login.user),
                ("PGPASSWORD", login.password.expose().to_owned()),
                ("PGSSLMODE", login.sslmode),
            ]
        }
        TokenType::Aws => {
            let session = aws(&response)?;
            vec![
                ("AWS_ACCESS_KEY_ID", session.access_key_id),
                ("AWS_SECRET_ACCESS_KEY", session.secret_access_key.expose().to_owned()),
                ("AWS_SESSION_TOKEN", session.session_token.expose().to_owned()),
                ("AWS_CREDENTIAL_EXPIRATION", session.expiration),
            ]
        }
        TokenType::Vault => vault(&response)?,
    };
    let line = |(name, value): (&str, String)| format!("export {name}='{}'\n", value.replace('\'', r"'\''"));
    Ok(pairs.into_iter().map(line).collect())
}

#[expect(clippy::disallowed_methods, reason = "the user asked to see the credential")]
fn url(response: TokenResponse) -> Result<String, Failure> {
    match response.issued_token_type {
        TokenType::AccessToken | TokenType::Jwt | TokenType::IdToken => {
            Err(Failure::usage("a token has no URL; use --format json or env"))
        }
        TokenType::Postgres => Ok(postgres(&response)?.url.expose().to_owned()),
        TokenType::Aws => Err(Failure::usage("a session of AWS has no URL; use --format json or env")),
        TokenType::Vault => Err(Failure::usage("a secret of Vault has no URL; use --format json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(given: &[&str]) -> Result<Value, String> {
        let given: Vec<_> = given.iter().map(|param| (*param).to_owned()).collect();
        read_params(&given)
            .map(Value::Object)
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn parameters_are_json_or_text_and_repeat_as_a_set() {
        assert_eq!(
            params(&["n=5", "on=true", "s=support-web", "r=a", "r=b", "r=c", "one=[\"x\"]"]),
            Ok(json!({"n": 5, "on": true, "s": "support-web", "r": ["a", "b", "c"], "one": ["x"]}))
        );
        assert_eq!(params(&["n"]), Err("--param is NAME=VALUE".to_owned()));
    }

    fn response(ty: TokenType, token: &str) -> TokenResponse {
        read(json!({
            "access_token": token, "issued_token_type": ty, "token_type": "x", "expires_in": 1,
            "scope": "s", "session": "x", "issuance_id": "x",
        }))
        .expect("response")
    }

    #[test]
    fn a_shell_reads_values_as_they_are() {
        let lines = variables(response(TokenType::AccessToken, "a'b$(x)"));
        assert_eq!(lines.expect("lines"), "export ACCESS_TOKEN='a'\\''b$(x)'\n");
    }

    #[test]
    fn a_login_is_printed_for_libpq() {
        let document = r#"{"version":1,"host":"db","port":5432,"dbname":"d","user":"u","password":"p",
            "sslmode":"disable","url":"postgresql://u:p@db:5432/d","expiration":"2026-11-20T09:00:00Z"}"#;
        let lines = variables(response(TokenType::Postgres, document)).expect("lines");
        assert!(lines.contains("export PGUSER='u'\nexport PGPASSWORD='p'\n"), "{lines}");
        let url = url(response(TokenType::Postgres, document)).expect("url");
        assert_eq!(url, "postgresql://u:p@db:5432/d");
        assert!(super::url(response(TokenType::AccessToken, "t")).is_err());
    }

    #[test]
    fn a_session_is_printed_for_the_sdks_of_aws() {
        let document = r#"{"Version":1,"AccessKeyId":"ASIA1","SecretAccessKey":"s","SessionToken":"t/+=",
            "Expiration":"2026-11-20T09:00:00Z"}"#;
        let lines = variables(response(TokenType::Aws, document)).expect("lines");
        let expected = "export AWS_ACCESS_KEY_ID='ASIA1'\nexport AWS_SECRET_ACCESS_KEY='s'\n\
                        export AWS_SESSION_TOKEN='t/+='\nexport AWS_CREDENTIAL_EXPIRATION='2026-11-20T09:00:00Z'\n";
        assert_eq!(lines, expected);
        assert!(url(response(TokenType::Aws, document)).is_err());
    }
}
