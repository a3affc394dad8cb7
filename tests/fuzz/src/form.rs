//! Bodies of token requests, and the header that says who sends them.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode;
use procura_core::{
    request::{MAX_TOKEN, PresentedSubject, TokenRequest},
    revoke::RevokeRequest,
};
use procura_wire::{Form, FormFault, Reason, basic, unescape};
use url::form_urlencoded;

/// Values by name, in the order of the body.
type Values = BTreeMap<String, Vec<String>>;

/// A body; the same bytes are tried as what stands behind `Basic`.
///
/// What is accepted is what any other reader of forms finds in it, and the same again when it is written anew. What is plain is never
/// malformed. A fault names a parameter that has it.
pub fn form(data: &[u8]) -> bool {
    basic_is_written_and_read(data);
    let others = others_read(data);
    let Ok(form) = Form::decode(data) else {
        let plain = data.iter().all(|byte| byte.is_ascii() && *byte != b'%');
        let few = data.split(|byte| *byte == b'&').count() <= 64;
        assert!(!(plain && few), "a plain body is refused");
        return false;
    };
    let text = percent_decode(data).decode_utf8();
    assert!(text.is_ok(), "what is no text is accepted");
    let values = values(form);
    assert_eq!(values, others, "another reader finds something else");
    let mut again = form_urlencoded::Serializer::new(String::new());
    for (name, all) in &values {
        again.extend_pairs(all.iter().map(|value| (name, value)));
    }
    assert_eq!(
        self::values(decoded(again.finish().as_bytes())),
        values,
        "written anew it is another"
    );
    revocation(data, &values);
    exchange(data, &values)
}

fn decoded(data: &[u8]) -> Form {
    Form::decode(data).expect("it was accepted before")
}

fn values(mut form: Form) -> Values {
    let names: Vec<String> = form.rest().map(str::to_owned).collect();
    let take = |name: String| {
        let all = form
            .take_all(&name)
            .iter()
            .map(|value| value.expose().to_owned())
            .collect();
        (name, all)
    };
    names.into_iter().map(take).collect()
}

/// What the library of the WHATWG's URL standard reads; empty values count as absent.
fn others_read(data: &[u8]) -> Values {
    let mut values = Values::new();
    for (name, value) in form_urlencoded::parse(data).filter(|(_, value)| !value.is_empty()) {
        values.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    values
}

fn exchange(data: &[u8], values: &Values) -> bool {
    match TokenRequest::read(&mut decoded(data)) {
        Err(fault) => {
            check(fault, values);
            false
        }
        Ok(request) => {
            let names_itself = match &request.subject {
                PresentedSubject::Token(token) => {
                    assert_eq!(token.value.expose(), values["subject_token"][0]);
                    assert!(token.value.len() <= MAX_TOKEN && token.declared.is_presentable());
                    false
                }
                PresentedSubject::IdJag(_) => true,
            };
            assert!(names_itself || !request.targets.is_empty() && !request.scope.is_empty());
            assert!(request.targets.len() <= 8 && request.scope.is_sorted());
            assert_eq!(
                request.actor.is_some(),
                values.contains_key("actor_token"),
                "an actor that is lost"
            );
            assert_eq!(
                request.tool.is_some(),
                values.contains_key("tool"),
                "a tool that is lost"
            );
            assert!(request.tool.is_none_or(|tool| (1..=128).contains(&tool.len())));
            assert!(request.requested_ttl.is_none_or(|ttl| !ttl.is_zero()));
            true
        }
    }
}

fn revocation(data: &[u8], values: &Values) {
    if let Err(fault) = RevokeRequest::read(&mut decoded(data)) {
        check(fault, values);
    }
}

/// Whether the fault is one of the parameter that it names.
fn check(fault: FormFault, values: &Values) {
    let name = fault.param.expect("the form was read: a parameter is at fault");
    let count = values.get(name).map_or(0, Vec::len);
    match fault.reason {
        // A scope of spaces names none.
        Reason::ParamMissing => assert!(count == 0 || values[name][0].trim().is_empty(), "{name} is there"),
        Reason::ParamRepeated => assert!(count > 1, "{name} stands once"),
        Reason::ParamTooLarge => assert!(values[name][0].len() > 255, "{name} is short"),
        _ => assert!(count > 0, "{name} is at fault and is not there"),
    }
}

/// Id and secret as a client writes them lead back to the same, and what is read can be written.
fn basic_is_written_and_read(data: &[u8]) {
    let write = |id: &str, secret: &str| {
        let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{}:{}", escape(id), escape(secret)))
        )
    };
    let read = |header: &str| basic(header).map(|(id, secret)| (id, secret.expose().to_owned()));
    let mut headers = vec![format!("Basic {}", BASE64_STANDARD.encode(data))];
    headers.extend(str::from_utf8(data).map(str::to_owned));
    for (id, secret) in headers.iter().filter_map(|header| read(header)) {
        // What was written shorter than clients do may be too long in their way.
        if let Some(again) = read(&write(&id, &secret)) {
            assert_eq!(again, (id, secret));
        }
    }
    if let Some(text) = unescape(data) {
        let escaped: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        assert_eq!(unescape(escaped.as_bytes()).as_deref(), Some(text.as_str()));
    }
}
