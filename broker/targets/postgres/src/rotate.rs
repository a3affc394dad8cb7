//! The administrator's own log-in: proving a new version of its secret, and two log-ins that take turns.

use procura_core::{
    ids::{Handle, IssuanceId},
    kind::{ProofError, RotateError, Rotated},
    source::SourceSecret,
};
use procura_wire::Secret;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    access::{Login, user_and_password},
    fault::Fault,
    mint::{MEMBERSHIP_OPTIONS, memberships},
    minter::{PostgresMinter, trying},
    quote::{ident, literal},
    scram::new_password,
};

/// Held while a log-in is given a password or loses it, by whichever replica.
const LOCK: i64 = 0x0070_726f_6375_7261;

/// Does what a mint does, and takes all of it back.
pub(crate) async fn prove(minter: &PostgresMinter, secret: &SourceSecret) -> Result<(), ProofError> {
    let login = minter.access.other_login(secret).map_err(unproved)?;
    let proof = trying(&login, || true, || prove_once(minter, &login)).await;
    proof.map_err(unproved)
}

async fn prove_once(minter: &PostgresMinter, login: &Login) -> Result<(), Fault> {
    let access = &minter.access;
    let issuance = IssuanceId::new(access.clock.now(), &*minter.entropy);
    let role = Handle::new(&minter.installation, issuance);
    let mut connection = login.acquire().await?;
    let options = connection.server_version_num() >= Some(MEMBERSHIP_OPTIONS);
    // What a grant names and is not there yet fails every mint: that is no fault of this version.
    let named: Vec<&String> = access.settings.groups.iter().collect();
    let groups: Vec<String> = sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1)")
        .bind(named)
        .fetch_all(&mut *connection)
        .await?;
    let mut transaction = connection.begin().await?;
    for statement in [
        format!("CREATE ROLE {} NOLOGIN", ident(role.as_str())),
        row(&role, issuance),
        format!("DELETE FROM procura.session WHERE role = {}", literal(role.as_str())),
        memberships(role.as_str(), &groups.into_iter().collect(), options),
    ] {
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    }
    Ok(transaction.rollback().await?)
}

fn row(role: &Handle, issuance: IssuanceId) -> String {
    format!(
        "INSERT INTO procura.session (role, issuance, session, subject, subject_kind, server, grants, params, until)
         VALUES ({}, '{issuance}', '{issuance}', '', 'user', '', '{{}}', '{{}}', clock_timestamp())",
        literal(role.as_str())
    )
}

/// Gives the log-in whose turn it is a new password, proves it and writes it to the source. The one in use stays.
pub(crate) async fn rotate(minter: &PostgresMinter) -> Result<Rotated, RotateError> {
    let access = &minter.access;
    let logins = access.settings.logins.as_ref().ok_or(RotateError::Unable)?;
    let failed = |problem: &dyn ToString| RotateError::Failed(problem.to_string());
    let secret = access.source.current().await.map_err(|error| failed(&error))?;
    let (user, _) = user_and_password(&secret.value, None).map_err(|fault| failed(&fault))?;
    let next = match logins {
        [one, other] if *one == user => other,
        [other, one] if *one == user => other,
        _ => {
            let text = format!("the source's secret names {user}, which is none of rotate_logins");
            return Err(RotateError::Failed(text));
        }
    };
    let (password, verifier) = new_password(&*minter.entropy);
    let new = SourceSecret {
        value: successor(&secret.value, next, &password).map_err(|fault| failed(&fault))?,
        version: "new".to_owned(),
    };
    let login = access.login(&secret).map_err(|fault| failed(&fault))?;
    // The lock is held until the source has the password, and ends with the connection.
    let mut connection = lock(login.connect().await).await.map_err(|fault| failed(&fault))?;
    // Whoever held it before may have given this log-in the password that the source has now.
    let newest = access.source.newest().await.map_err(|error| failed(&error))?;
    if newest != secret.version {
        return Err(failed(
            &"the source has another version by now; try again when it is in use",
        ));
    }
    set_login(&mut connection, next, Some(&verifier))
        .await
        .map_err(|fault| failed(&fault))?;
    failpoint!("postgres-rotate-before-write");
    prove(minter, &new).await.map_err(|error| failed(&error))?;
    let version = access.source.write(&new.value, &secret.version).await;
    failpoint!("postgres-rotate-after-write");
    let version = version.map_err(|error| failed(&error))?;
    // It ends anyway.
    let _ = connection.close().await;
    Ok(Rotated {
        did: format!("log-in {next} has a new password; {user} keeps its own for the grace time"),
        version: Some(version),
    })
}

/// Takes the password of the log-in away whose turn is over, unless it has another by now.
pub(crate) async fn retire(
    minter: &PostgresMinter,
    old: &SourceSecret,
    active: &SourceSecret,
) -> Result<(), ProofError> {
    let access = &minter.access;
    let Some(logins) = &access.settings.logins else {
        return Ok(());
    };
    let (Ok((user, _)), Ok((in_use, _))) = (
        user_and_password(&old.value, None),
        user_and_password(&active.value, None),
    ) else {
        return Ok(());
    };
    if user == in_use || !logins.contains(&user) {
        return Ok(());
    }
    let login = access.login(active).map_err(unproved)?;
    let mut connection = lock(login.connect().await).await.map_err(unproved)?;
    // Somebody may have put the old password back into the source.
    let newest = access.source.newest().await;
    if newest.map_err(|error| ProofError::Failed(error.to_string()))? != active.version {
        return Err(ProofError::Failed("the source has another version by now".to_owned()));
    }
    // Under the lock: if it logs in, the password is the old one still.
    let old = access.other_login(old).map_err(unproved)?;
    match old.connect().await {
        Ok(connection) => connection.close().await.map_err(|error| unproved(error.into()))?,
        Err(fault) if fault.is_refusal() => return Ok(()),
        Err(fault) => return Err(unproved(fault)),
    }
    set_login(&mut connection, &user, None).await.map_err(unproved)
}

async fn lock(connection: Result<PgConnection, Fault>) -> Result<PgConnection, Fault> {
    let mut connection = connection?;
    let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(&mut connection)
        .await?;
    match locked {
        true => Ok(connection),
        false => Err(Fault::Other(
            "another rotation of this database is under way".to_owned(),
        )),
    }
}

async fn set_login(connection: &mut PgConnection, login: &str, verifier: Option<&str>) -> Result<(), Fault> {
    let set = sqlx::query("SELECT procura.set_login($1::text::name, $2)");
    set.bind(login).bind(verifier).execute(connection).await?;
    Ok(())
}

/// The secret with another log-in and its password; what else the source keeps there stays.
fn successor(secret: &Secret, login: &str, password: &str) -> Result<Secret, Fault> {
    #[expect(clippy::disallowed_methods, reason = "the next version of the secret is made of it")]
    let members = serde_json::from_str::<Map<String, Value>>(secret.expose());
    let mut members = members.map_err(|_| Fault::Other("the source's secret is no JSON object".to_owned()))?;
    members.insert("username".to_owned(), login.into());
    members.insert("password".to_owned(), password.into());
    Ok(Secret::new(Value::Object(members).to_string()))
}

/// Whether a version is at fault, or the way to the target.
fn unproved(fault: Fault) -> ProofError {
    match fault.is_of_the_secret() {
        true => ProofError::Refused(fault.to_string()),
        false => ProofError::Failed(fault.to_string()),
    }
}
