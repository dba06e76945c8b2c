//! docs/control.schema.json, and whether something is what it says; and docs/CONTROL.md.
//!
//! As much of JSON Schema as the file uses. Stricter in one thing: what has a field that is not
//! described there is refused, so that none is forgotten.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bip324_control::{Answer, Event, Request, parse};
use bip324_proxy::stats::Reason;
use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../../docs/control.schema.json")).unwrap()
});

const DOCUMENT: &str = include_str!("../../../../../docs/CONTROL.md");

/// Whether `value` is a `request`, `answer` or `event`.
pub(super) fn check(definition: &str, value: &Value) -> Result<(), String> {
    let schema = &SCHEMA["$defs"][definition];
    matches(schema, value)?;
    let undescribed: BTreeSet<_> = fields(value, String::new())
        .difference(&described(schema, value, String::new()))
        .cloned()
        .collect();
    if undescribed.is_empty() { Ok(()) } else { Err(format!("not described: {undescribed:?}")) }
}

fn matches(schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "description" | "$defs" | "properties" | "additionalProperties" => true,
            "$ref" => return matches(resolve(wanted), value),
            "oneOf" => {
                let all = wanted.as_array().unwrap();
                let results: Vec<_> = all.iter().map(|schema| matches(schema, value)).collect();
                if results.iter().filter(|result| result.is_ok()).count() != 1 {
                    return Err(format!("none of, or more than one: {results:?}"));
                }
                true
            }
            "allOf" => {
                wanted.as_array().unwrap().iter().try_for_each(|schema| matches(schema, value))?;
                true
            }
            "const" => wanted == value,
            "enum" => wanted.as_array().unwrap().contains(value),
            "type" => kinds(wanted).any(|kind| is(kind, value)),
            "minimum" => value.as_i64().is_none_or(|number| number >= wanted.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= wanted.as_i64().unwrap()),
            "minItems" => value.as_array().unwrap().len() as u64 >= wanted.as_u64().unwrap(),
            "maxItems" => value.as_array().unwrap().len() as u64 <= wanted.as_u64().unwrap(),
            "items" => {
                value.as_array().unwrap().iter().try_for_each(|item| matches(wanted, item))?;
                true
            }
            "required" => wanted.as_array().unwrap().iter().all(|key| {
                value.as_object().is_some_and(|fields| fields.contains_key(key.as_str().unwrap()))
            }),
            other => panic!("the schema has {other}, which is not checked"),
        };
        if !holds {
            return Err(format!("{value} is not {keyword} {wanted}"));
        }
    }
    let properties = &schema["properties"];
    for (key, value) in value.as_object().into_iter().flatten() {
        match (properties.get(key), &schema["additionalProperties"]) {
            (Some(schema), _) => matches(schema, value).map_err(|why| format!("{key}: {why}"))?,
            (None, Value::Bool(false)) => return Err(format!("{key} is one too many")),
            (None, schema @ Value::Object(_)) => matches(schema, value)?,
            (None, _) => {}
        }
    }
    Ok(())
}

fn resolve(reference: &Value) -> &'static Value {
    let name = reference.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
    &SCHEMA["$defs"][name]
}

fn kinds(wanted: &Value) -> impl Iterator<Item = &str> {
    let many = wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
    wanted.as_str().into_iter().chain(many)
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the schema has type {other}"),
    }
}

/// Where there are fields in `value`.
fn fields(value: &Value, at: String) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let at = format!("{at}/{key}");
                found.extend(fields(value, at.clone()));
                found.insert(at);
            }
        }
        Value::Array(items) => {
            found.extend(items.iter().flat_map(|item| fields(item, format!("{at}/-"))));
        }
        _ => {}
    }
    found
}

/// Where `schema` describes any in it.
fn described(schema: &Value, value: &Value, at: String) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(reference) = schema.get("$ref") {
        return described(resolve(reference), value, at);
    }
    let empty = Vec::new();
    for part in schema["oneOf"].as_array().unwrap_or(&empty) {
        if matches(part, value).is_ok() {
            found.extend(described(part, value, at.clone()));
        }
    }
    for part in schema["allOf"].as_array().unwrap_or(&empty) {
        found.extend(described(part, value, at.clone()));
    }
    for item in value.as_array().unwrap_or(&empty) {
        found.extend(described(&schema["items"], item, format!("{at}/-")));
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let inner = schema["properties"]
            .get(key)
            .or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()));
        if let Some(inner) = inner {
            let at = format!("{at}/{key}");
            found.extend(described(inner, value, at.clone()));
            found.insert(at);
        }
    }
    found
}

/// Every property that the schema has anywhere.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            let here = object.get("properties").and_then(Value::as_object);
            found.extend(here.into_iter().flatten().map(|(key, _)| key.clone()));
            object.values().for_each(|inner| properties(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| properties(inner, found)),
        _ => {}
    }
}

#[test]
fn the_examples_of_the_document_are_what_the_schema_and_the_types_say() {
    let mut seen = 0;
    let table = DOCUMENT.split('`').filter(|text| text.starts_with("{\""));
    let blocks = DOCUMENT.lines().filter_map(|line| line.strip_prefix("    {"));
    for text in table.map(str::to_owned).chain(blocks.map(|rest| format!("{{{rest}"))) {
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
        let kind =
            ["request", "answer", "event"].into_iter().find(|kind| value.get(kind).is_some());
        check(kind.unwrap(), &value).unwrap_or_else(|why| panic!("{text}: {why}"));
        let again = match kind.unwrap() {
            "request" => serde_json::to_value(parse::<Request>(text.as_bytes()).unwrap()),
            "answer" => serde_json::to_value(parse::<Answer>(text.as_bytes()).unwrap()),
            _ => serde_json::to_value(parse::<Event>(text.as_bytes()).unwrap()),
        };
        assert_eq!(again.unwrap(), value, "{text}");
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} examples");
}

#[test]
fn the_document_names_every_field_value_and_reason() {
    let mut names = BTreeSet::new();
    properties(&SCHEMA, &mut names);
    assert!(names.len() > 50);
    names.extend(Reason::ALL.iter().map(|reason| reason.name().to_owned()));
    for name in names {
        let named =
            DOCUMENT.contains(&format!("`{name}`")) || DOCUMENT.contains(&format!("\"{name}\":"));
        assert!(named, "docs/CONTROL.md does not name {name}");
    }
}

#[test]
fn what_is_not_in_the_schema_is_found() {
    let request = |text: &str| check("request", &serde_json::from_str(text).unwrap());
    assert!(request(r#"{"request":"log"}"#).is_ok());
    for text in [
        r#"{"request":"reboot"}"#,
        r#"{"request":"log","more":1}"#,
        r#"{"request":"session"}"#,
        r#"{"request":"session","id":-1}"#,
        r#"{"request":"subscribe","interval":99}"#,
    ] {
        assert!(request(text).is_err(), "{text}");
    }
    let more = r#"{"answer":"closed","id":1,"more":2}"#;
    let why = check("answer", &serde_json::from_str(more).unwrap()).unwrap_err();
    assert!(why.contains("/more"), "{why}");
}
