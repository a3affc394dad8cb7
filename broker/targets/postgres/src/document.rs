//! The credential document of a log-in.

use procura_core::{Timestamp, ids::Handle};
use procura_wire::Secret;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use crate::{fault::Fault, settings::Settings};

/// `{"version":1,"host","port","dbname","user","password","sslmode","url","expiration"}`
pub(crate) fn document(
    settings: &Settings,
    handle: &Handle,
    password: &Zeroizing<String>,
    end: Timestamp,
) -> Result<Secret, Fault> {
    let url = url(settings, handle, password).ok_or_else(|| Fault::Other("host and port make no URL".to_owned()))?;
    let document = json!({
        "version": 1,
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.dbname,
        "user": handle.as_str(),
        "password": password.as_str(),
        "sslmode": settings.sslmode,
        "url": url.as_str(),
        "expiration": end.to_string(),
    });
    Ok(Secret::new(document.to_string()))
}

fn url(settings: &Settings, handle: &Handle, password: &str) -> Option<Url> {
    let host = match settings.host.contains(':') {
        true => format!("[{}]", settings.host),
        false => settings.host.clone(),
    };
    let mut url = Url::parse(&format!("postgresql://{host}:{}", settings.port)).ok()?;
    url.set_username(handle.as_str()).ok()?;
    url.set_password(Some(password)).ok()?;
    url.path_segments_mut().ok()?.push(&settings.dbname);
    url.query_pairs_mut().append_pair("sslmode", settings.sslmode);
    Some(url)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sqlx::postgres::PgSslMode;

    use super::*;

    #[test]
    fn the_url_escapes_what_it_must() {
        let settings = Settings {
            host: "::1".to_owned(),
            port: 5433,
            dbname: "a/b c%?".to_owned(),
            sslmode: "verify-full",
            tls: PgSslMode::VerifyFull,
            ca_file: None,
            user: None,
            set_role: None,
            logins: None,
            groups: BTreeSet::new(),
        };
        let url = url(&settings, &Handle::from_kept("p_1".to_owned()), "pw-_").expect("url");
        assert_eq!(
            url.as_str(),
            "postgresql://p_1:pw-_@[::1]:5433/a%2Fb%20c%25%3F?sslmode=verify-full"
        );
    }
}
