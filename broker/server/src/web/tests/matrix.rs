//! Every route of the page and of operators, for everybody.

use axum::http::{Request, header};
use procura_core::ids::{IssuanceId, SessionId};
use procura_wire::Secret;

use super::kit::{Answer, Stage, with_cookie};
use crate::{
    testing::ISSUER,
    web::{guard, tests::rights::ABSENT},
};

/// Nobody, somebody whose cookie or token nobody gave out, an operator without rights, the reader of one target, the
/// reader of all, who reads all and may end sessions, and who may do everything.
const ROLES: [&str; 7] = ["nobody", "stranger", "mallory", "one", "all", "ender", "operator"];

const OPEN: [u16; 7] = [200; 7];
/// Pages for readers of anything, of all, and for those who may end sessions.
const READERS: [u16; 7] = [303, 303, 403, 200, 200, 200, 200];
const HIDDEN: [u16; 7] = [303, 303, 403, 404, 200, 200, 200];
const ABSENT_PAGE: [u16; 7] = [303, 303, 403, 404, 404, 404, 404];
const ALL_PAGE: [u16; 7] = [303, 303, 403, 403, 200, 200, 200];
const ENDERS: [u16; 7] = [303, 303, 403, 403, 403, 200, 200];
const HIDDEN_ENDERS: [u16; 7] = [303, 303, 403, 404, 403, 200, 200];
/// The same at `/v1`.
const V1_READERS: [u16; 7] = [401, 401, 403, 200, 200, 200, 200];
const V1_ALL: [u16; 7] = [401, 401, 403, 403, 200, 200, 200];
const V1_ENDERS: [u16; 7] = [401, 401, 403, 403, 403, 200, 200];
const V1_OPERATOR: [u16; 7] = [401, 401, 403, 403, 403, 403, 200];

/// The route as the router has it, what is asked for, and what each role is answered. `API` and `OTHER` are the records
/// of the target that `one` may read and of another, `API_SESSION` and `OTHER_SESSION` their sessions; those with `FRESH`
/// are made for each request.
const CASES: &[(&str, &str, [u16; 7])] = &[
    ("GET /ui/login", "/ui/login", OPEN),
    ("GET /ui/style.css", "/ui/style.css", OPEN),
    ("GET /ui/icon.svg", "/ui/icon.svg", OPEN),
    // The issuer of this stage does not answer.
    ("GET /ui/login/start", "/ui/login/start", [503; 7]),
    ("GET /ui/callback", "/ui/callback?code=x&state=y", [400; 7]),
    ("GET /ui/", "/ui/", READERS),
    ("GET /ui/records", "/ui/records", READERS),
    ("GET /ui/records", "/ui/records?target=payroll&outcome=issued", READERS),
    ("GET /ui/records", "/ui/records?q=target+%3D+payroll", READERS),
    ("GET /ui/records", "/ui/records?session=OTHER_SESSION", READERS),
    ("GET /ui/records/{id}", "/ui/records/API", READERS),
    ("GET /ui/records/{id}", "/ui/records/OTHER", HIDDEN),
    ("GET /ui/records/{id}", "/ui/records/ABSENT", ABSENT_PAGE),
    ("GET /ui/sessions", "/ui/sessions", READERS),
    ("GET /ui/sessions", "/ui/sessions?subject=dev/alice-payroll", READERS),
    ("GET /ui/sessions/{id}", "/ui/sessions/API_SESSION", READERS),
    ("GET /ui/sessions/{id}", "/ui/sessions/OTHER_SESSION", HIDDEN),
    ("GET /ui/sessions/{id}", "/ui/sessions/ABSENT", ABSENT_PAGE),
    ("GET /ui/sessions/{id}/end", "/ui/sessions/API_SESSION/end", ENDERS),
    (
        "GET /ui/sessions/{id}/end",
        "/ui/sessions/OTHER_SESSION/end",
        HIDDEN_ENDERS,
    ),
    ("POST /ui/sessions/{id}/end", "/ui/sessions/API_FRESH/end", ENDERS),
    (
        "POST /ui/sessions/{id}/end",
        "/ui/sessions/OTHER_FRESH/end",
        HIDDEN_ENDERS,
    ),
    ("GET /ui/servers", "/ui/servers", READERS),
    ("GET /ui/servers/{name}", "/ui/servers/tickets", READERS),
    ("GET /ui/servers/{name}", "/ui/servers/salaries", HIDDEN),
    ("GET /ui/servers/{name}", "/ui/servers/absent", ABSENT_PAGE),
    ("GET /ui/blast-radius", "/ui/blast-radius", READERS),
    (
        "GET /ui/blast-radius",
        "/ui/blast-radius?by=server&what=tickets",
        READERS,
    ),
    ("GET /ui/blast-radius", "/ui/blast-radius?by=issuer&what=dev", READERS),
    (
        "GET /ui/blast-radius",
        "/ui/blast-radius?by=target&what=payroll",
        ALL_PAGE,
    ),
    ("GET /ui/log", "/ui/log", ALL_PAGE),
    ("POST /ui/logout", "/ui/logout", [303, 303, 303, 303, 303, 303, 303]),
    ("GET /v1/issuances", "/v1/issuances", V1_READERS),
    ("GET /v1/issuances", "/v1/issuances?format=jsonl", V1_READERS),
    ("GET /v1/issuances", "/v1/issuances?target=payroll", V1_ALL),
    ("GET /v1/issuances/stream", "/v1/issuances/stream", V1_READERS),
    ("GET /v1/issuances/{id}", "/v1/issuances/API", V1_READERS),
    ("GET /v1/issuances/{id}", "/v1/issuances/OTHER", V1_ALL),
    (
        "GET /v1/issuances/{id}",
        "/v1/issuances/ABSENT",
        [401, 401, 403, 403, 404, 404, 404],
    ),
    ("GET /v1/issuances/{id}/proof", "/v1/issuances/API/proof", V1_READERS),
    ("GET /v1/issuances/{id}/proof", "/v1/issuances/OTHER/proof", V1_ALL),
    ("GET /v1/log/export", "/v1/log/export", V1_ALL),
    ("GET /v1/bundles/{digest}", "/v1/bundles/BUNDLE", V1_OPERATOR),
    ("GET /v1/sessions", "/v1/sessions", V1_ALL),
    ("GET /v1/sessions/{id}", "/v1/sessions/API_SESSION", V1_ALL),
    ("DELETE /v1/sessions/{id}", "/v1/sessions/API_FRESH", V1_ENDERS),
    ("GET /v1/leases", "/v1/leases", V1_ALL),
    ("GET /v1/leases", "/v1/leases?target=api", V1_READERS),
    ("DELETE /v1/leases/{id}", "/v1/leases/API", V1_OPERATOR),
    ("GET /v1/inventory", "/v1/inventory", V1_ALL),
    (
        "POST /v1/targets/{name}/rotate",
        "/v1/targets/api/rotate",
        [401, 401, 403, 403, 403, 403, 200],
    ),
    (
        "GET /v1/whois",
        "/v1/whois?issuance=API",
        [401, 401, 404, 200, 200, 200, 200],
    ),
    (
        "GET /v1/whois",
        "/v1/whois?issuance=OTHER",
        [401, 401, 404, 404, 200, 200, 200],
    ),
    (
        "GET /v1/reports/blast-radius",
        "/v1/reports/blast-radius?server=tickets",
        V1_READERS,
    ),
    (
        "GET /v1/reports/blast-radius",
        "/v1/reports/blast-radius?target=payroll",
        V1_ALL,
    ),
    // Malformed, which is looked at behind the right.
    (
        "GET /v1/reports/unused",
        "/v1/reports/unused?days=0",
        [401, 401, 403, 403, 403, 403, 400],
    ),
    ("GET /v1/reports/novel", "/v1/reports/novel", V1_READERS),
    ("GET /v1/openapi.json", "/v1/openapi.json", OPEN),
    ("GET /log/checkpoint", "/log/checkpoint", OPEN),
    ("GET /log/keys", "/log/keys", OPEN),
    ("GET /log/tile/{level}/{*place}", "/log/tile/0/000.p/2", OPEN),
    ("GET /log/tile/{level}/{*place}", "/log/tile/entries/000.p/2", V1_ALL),
];

/// Routes below `/v1` that are for servers.
const OF_SERVERS: [&str; 1] = ["POST /v1/uses"];

const PAYROLL: &str = "kind = \"jwt\"\nowner = \"hr@example.com\"\naudience = \"https://payroll.example\"\n\
                       [grants.read]\nrisk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"read\"]\n";

const SALARIES: &str = "owner = \"hr@example.com\"\nresource = \"https://salaries.example/mcp\"\n\
                        auth = { method = \"builtin:dev\" }\ngrants = [\"payroll/read\"]\n";

/// What tells of the other target.
const TELLS: [&str; 4] = ["payroll", "salaries", "OTHER_SESSION", "OTHER"];

struct Ids {
    api: (String, String),
    other: (String, String),
    bundle: String,
}

impl Ids {
    async fn of(stage: &Stage) -> Self {
        let text = |(record, session): (IssuanceId, SessionId)| (record.to_string(), session.to_string());
        let api = stage.issued("api", |_| {}).await;
        let other = stage.issued("payroll", |_| {}).await;
        Self {
            api: text(api),
            other: text(other),
            bundle: stage.broker.ports.active.snapshot().judge.digest().to_string(),
        }
    }

    /// The longer words first.
    async fn fill(&self, stage: &Stage, path: &str) -> String {
        let mut path = path
            .replace("API_SESSION", &self.api.1)
            .replace("OTHER_SESSION", &self.other.1)
            .replace("ABSENT", ABSENT)
            .replace("BUNDLE", &self.bundle);
        for (word, target) in [("API_FRESH", "api"), ("OTHER_FRESH", "payroll")] {
            if path.contains(word) {
                path = path.replace(word, &stage.issued(target, |_| {}).await.1.to_string());
            }
        }
        path.replace("API", &self.api.0).replace("OTHER", &self.other.0)
    }
}

async fn stage() -> Stage {
    let stage = Stage::set().await;
    stage.write("targets/payroll.toml", PAYROLL);
    stage.write("servers/salaries.toml", SALARIES);
    stage.reload().await;
    let bundle = crate::bundle::load(&stage.folder.path().join("bundle"), crate::dev::OPTIONS);
    let (bundle, ledger) = (bundle.expect("bundle").0, &stage.broker.ports.ledger);
    let digest = stage.broker.ports.active.snapshot().judge.digest();
    ledger.keep_bundle(digest, bundle.content()).await.expect("kept");
    stage
}

/// One request as a browser or a program of that role sends it.
async fn ask(stage: &Stage, role: &str, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    if !path.starts_with("/ui") {
        let request = match role {
            "nobody" => request,
            "stranger" => request.header(header::AUTHORIZATION, "Bearer x"),
            _ => request.header(header::AUTHORIZATION, authorization(&stage.bearer(role))),
        };
        return stage.ask(request, String::new()).await;
    }
    let cookie = match role {
        "nobody" => None,
        "stranger" => Some(crate::cli::keys::new_secret(stage.broker.ports.entropy.as_ref())),
        _ => Some(stage.log_in(role).await),
    };
    let request = with_cookie(request, cookie.as_ref());
    match method {
        "POST" => {
            let token = cookie.as_ref().map(guard::form_token).unwrap_or_default();
            let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            stage
                .ask(request.header(header::ORIGIN, ISSUER), format!("token={token}"))
                .await
        }
        _ => stage.ask(request, String::new()).await,
    }
}

#[expect(clippy::disallowed_methods, reason = "an operator sends it")]
pub(super) fn authorization(token: &Secret) -> String {
    format!("Bearer {}", token.expose())
}

#[tokio::test]
async fn attack_208_every_route_answers_each_role_what_it_may_have() {
    let stage = stage().await;
    let ids = Ids::of(&stage).await;
    stage.count().await;
    stage.publish().await;
    let mut wrong = Vec::new();
    for (route, path, expected) in CASES {
        let method = route.split(' ').next().expect("method");
        let mut seen = Vec::new();
        for role in ROLES {
            let filled = ids.fill(&stage, path).await;
            let answer = ask(&stage, role, method, &filled).await;
            seen.push(answer.status.as_u16());
            if role == "one" {
                wrong.extend(told(&answer, path, &ids).map(|what| format!("{method} {path} tells `one` of {what}")));
            }
        }
        if seen != expected {
            wrong.push(format!("{method} {path}: {seen:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What an answer to `one` says of the other target, beside what they asked for themselves.
fn told(answer: &Answer, path: &str, ids: &Ids) -> Option<&'static str> {
    let text = |what: &str| match what {
        "OTHER" => ids.other.0.clone(),
        "OTHER_SESSION" => ids.other.1.clone(),
        what => what.to_owned(),
    };
    let untold = |what: &&&str| !path.contains(**what);
    TELLS
        .iter()
        .filter(untold)
        .find(|what| answer.body.contains(&text(what)))
        .copied()
}

/// The routes that the routers have, with their methods.
fn routes() -> Vec<String> {
    let (http, ui) = (include_str!("../../http/mod.rs"), include_str!("../mod.rs"));
    let part = |text: &'static str, name: &str| -> &'static str {
        let at = text.find(name).expect("a function of routes");
        text[at..].split("\n}").next().expect("its end")
    };
    let mut found = Vec::new();
    for (prefix, text) in [
        ("/v1", part(http, "fn api()")),
        ("/log", part(http, "fn tree()")),
        ("/ui", part(ui, "fn routes()")),
    ] {
        for line in text.split(".route(").skip(1) {
            let path = line.split('"').nth(1).expect("a path");
            let methods = ["get", "post", "delete", "put", "patch"].into_iter();
            let methods: Vec<_> = methods.filter(|method| line.contains(&format!("{method}("))).collect();
            assert!(!methods.is_empty(), "{path}");
            found.extend(
                methods
                    .iter()
                    .map(|method| format!("{} {prefix}{path}", method.to_uppercase())),
            );
        }
    }
    found
}

#[test]
fn no_route_is_missing_in_the_matrix() {
    let routes = routes();
    assert!(routes.len() > 30, "{routes:?}");
    for route in routes {
        let is_there = CASES.iter().any(|(case, ..)| *case == route) || OF_SERVERS.contains(&&*route);
        assert!(is_there, "{route} has no line in CASES");
    }
}

/// Without what changes from request to request, and what everybody is told: how far the sums count and how large the
/// tree is. What is left of a remaining time is its end.
fn steady(page: &str) -> String {
    let changes = ["Counted up to", "name=\"token\"", "records, its signature verified"];
    let lines = page
        .lines()
        .filter(|line| !changes.iter().any(|what| line.contains(what)));
    let ends = |line: &str| match line.starts_with("<p>Worst remaining validity") {
        true => line.split(", until ").last().unwrap_or_default().to_owned(),
        false => line.to_owned(),
    };
    lines.map(ends).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn attack_208_no_number_on_a_page_tells_the_reader_of_one_target_of_another() {
    let stage = stage().await;
    let ids = Ids::of(&stage).await;
    let paths = [
        "/ui/",
        "/ui/records",
        "/ui/records/API",
        "/ui/sessions",
        "/ui/sessions/API_SESSION",
        "/ui/servers",
        "/ui/servers/tickets",
        "/ui/blast-radius?by=server&what=tickets",
        "/ui/blast-radius?by=issuer&what=dev",
        "/ui/blast-radius?by=subject&what=dev/alice-api",
    ];
    let pages = async || {
        stage.count().await;
        stage.publish().await;
        let mut pages = Vec::new();
        for path in paths {
            let path = ids.fill(&stage, path).await;
            let answer = ask(&stage, "one", "GET", &path).await;
            assert_eq!(answer.status, 200, "{path}");
            pages.push(steady(&answer.body));
        }
        pages
    };
    let before = pages().await;
    for _ in 0..3 {
        let (_, session) = stage.issued("payroll", |_| {}).await;
        let in_both = |draft: &mut procura_core::record::Draft| draft.facts.session = ids.api.1.parse().ok();
        stage.issued("payroll", in_both).await;
        assert_ne!(session.to_string(), ids.api.1);
    }
    for (path, (before, after)) in paths.iter().zip(before.iter().zip(pages().await)) {
        assert_eq!(*before, after, "{path}");
    }
}
