//! Where a token comes from.

use std::path::{Path, PathBuf};

use procura_wire::Secret;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::http::{Server, parse, unwanted};
use crate::{
    cache::Trouble,
    config::{RoleLogIn, VaultConfig},
    file::read_private,
};

/// How a source comes to its token.
pub(crate) enum LogIn {
    /// Somebody else keeps a token in this file.
    TokenFile(PathBuf),
    /// The broker asks an auth method for one.
    Method(Method),
}

/// An auth method that takes a name and a proof.
pub(crate) struct Method {
    /// `auth/MOUNT`
    path: String,
    /// Key of the name in the request, and the name.
    name: (&'static str, String),
    /// Key of the proof in the request.
    proof: &'static str,
    /// The proof, looked at at each log-in, and how the configuration calls it.
    file: (&'static str, PathBuf),
}

impl LogIn {
    /// The one that is configured; the error says what to write.
    pub(crate) fn of(config: &VaultConfig) -> Result<Self, String> {
        let by_role = |kind: &'static str, file: &'static str, keys: &RoleLogIn| {
            let method = Method {
                path: format!("auth/{}", keys.mount.as_deref().unwrap_or(kind)),
                name: ("role", keys.role.clone()),
                proof: "jwt",
                file: (file, keys.token_file.clone()),
            };
            (kind, Self::Method(method))
        };
        let token = config.token_file.iter().cloned().map(Self::TokenFile);
        let approle = config.approle.iter().map(|keys| Method {
            path: format!("auth/{}", keys.mount.as_deref().unwrap_or("approle")),
            name: ("role_id", keys.role_id.clone()),
            proof: "secret_id",
            file: ("approle.secret_id_file", keys.secret_id_file.clone()),
        });
        let jwt = config.jwt.iter().map(|keys| by_role("jwt", "jwt.token_file", keys));
        let kubernetes = config.kubernetes.iter();
        let kubernetes = kubernetes.map(|keys| by_role("kubernetes", "kubernetes.token_file", keys));
        let token = token.map(|login| ("token_file", login));
        let approle = approle.map(|method| ("approle", Self::Method(method)));
        let (keys, mut ways): (Vec<_>, Vec<_>) = token.chain(approle).chain(jwt).chain(kubernetes).unzip();
        match (ways.pop(), ways.is_empty()) {
            (Some(way), true) => Ok(way),
            (Some(_), false) => Err(format!("{}: name one way to log in only", keys.join(", "))),
            (None, _) => Err("name one way to log in: token_file, approle, jwt or kubernetes".to_owned()),
        }
    }

    /// What an operator looks at when a token that is there is refused.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::TokenFile(file) => format!("check its policies, or put a valid token into {}", file.display()),
            Self::Method(method) => format!("check the policies that {} gives to {}", method.path, method.name.0),
        }
    }
}

impl Method {
    /// Asks for a token. Answers `auth` of the answer with the token taken out of it.
    pub(super) async fn ask(&self, server: &Server) -> Result<(Secret, Value), Trouble> {
        let (key, file) = &self.file;
        let proof = read_file(key, file).await?;
        #[expect(clippy::disallowed_methods, reason = "the proof is presented to its own server")]
        let body = json!({ (self.name.0): self.name.1, (self.proof): proof.expose() });
        let path = format!("{}/login", self.path);
        let mut answer = match server.post(&path, &Secret::new(body.to_string())).await? {
            (StatusCode::OK, body) => parse(&body)?,
            (status @ (StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND), _) => {
                return Err(self.refused(status));
            }
            (status, _) => return Err(unwanted(status)),
        };
        let mut auth = answer["auth"].take();
        match auth["client_token"].take() {
            Value::String(token) if !token.is_empty() => Ok((Secret::new(token), auth)),
            _ => Err(Trouble::Away(format!("{path} answers without a token"))),
        }
    }

    fn refused(&self, status: StatusCode) -> Trouble {
        let (path, name, file) = (&self.path, self.name.0, self.file.1.display());
        let number = status.as_u16();
        Trouble::Away(format!(
            "{path} refuses the log-in ({number}); check mount, namespace, {name} and what {file} holds"
        ))
    }
}

/// Reads a file that the key of the configuration names. The secrets are still there when their token is not, so
/// that the last good value may serve.
pub(super) async fn read_file(key: &str, path: &Path) -> Result<Secret, Trouble> {
    let file = path.to_owned();
    match tokio::task::spawn_blocking(move || read_private(&file)).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(Trouble::Away(problem) | Trouble::Gone(problem))) => Err(Trouble::Away(format!("{key} {problem}"))),
        Err(_) => Err(Trouble::Away(format!("{key}: the read was interrupted"))),
    }
}
