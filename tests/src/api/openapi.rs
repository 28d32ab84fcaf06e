//! A client's view of the OpenAPI document: all operations with their bodies, whether a value conforms to a
//! schema, and the smallest value that does.
//!
//! Supports JSON Schema as far as the document uses it. It is stricter in one respect: properties that the
//! document does not name are errors, because clients could not know of them.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// For each schema, a well-formed ID or name that nobody has.
const WELL_FORMED: [(&str, &str); 7] = [
    ("AttemptId", "a999"),
    ("RunId", "r999"),
    ("PackageId", "p999"),
    ("DroneId", "d999"),
    ("Name", "nobody"),
    ("Cpv", "dev-libs/nothing-1"),
    ("Digest", "0000000000000000000000000000000000000000000000000000000000000000"),
];

pub struct Document(Value);

/// A method of a path.
#[derive(Debug, Clone)]
pub struct Operation {
    pub method: String,
    /// The path, with its parameters in braces.
    pub path: String,
    /// The roles whose credentials it accepts. Empty if it needs none.
    pub roles: Vec<String>,
    /// The body of the request.
    pub takes: Content,
    /// The body of a successful response.
    pub gives: Content,
}

/// The content of a body.
#[derive(Debug, Clone)]
pub enum Content {
    Nothing,
    /// JSON of this schema.
    Json(Value),
    /// Bytes of this media type.
    Bytes(String),
}

impl Content {
    fn of(value: &Value) -> Self {
        let Some((kind, content)) = value["content"].as_object().and_then(|all| all.iter().next()) else {
            return Self::Nothing;
        };
        match content.get("schema") {
            Some(schema) if kind == "application/json" => Self::Json(schema.clone()),
            _ => Self::Bytes(kind.clone()),
        }
    }
}

impl Document {
    #[must_use]
    pub fn new(document: Value) -> Self {
        Self(document)
    }

    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let security = operation["security"].as_array().into_iter().flatten();
                let roles = security.filter_map(|one| Some(one.as_object()?.keys().next()?.clone()));
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    roles: roles.collect(),
                    takes: Content::of(&operation["requestBody"]),
                    gives: Content::of(&operation["responses"]["200"]),
                });
            }
        }
        operations
    }

    /// The schema with this name.
    #[must_use]
    pub fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    /// The differences between a value and its schema, one line each.
    #[must_use]
    pub fn faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut faults = Vec::new();
        self.compare(schema, value, at, &mut faults);
        if let (Some(known), Some(object)) = (self.known(schema), value.as_object()) {
            let unknown = object.keys().filter(|name| !known.contains(*name));
            faults.extend(unknown.map(|name| format!("{at}.{name} is not documented")));
        }
        faults
    }

    fn compare(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some(target) = self.target(schema) {
            return self.compare(target, value, at, faults);
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            Value::String(one) => vec![one.as_str()],
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|kind| is_a(value, kind)) {
            faults.push(format!("{at} is {value} and not {}", types.join(" or ")));
            return;
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            faults.push(format!("{at} is {value}, which is not one of {}", schema["enum"]));
        }
        if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
            && number < least
        {
            faults.push(format!("{at} is {number} and less than {least}"));
        }
        for word in ["oneOf", "anyOf"] {
            let Some(alternatives) = schema[word].as_array() else { continue };
            let tried: Vec<_> = alternatives.iter().map(|one| self.faults(one, value, at)).collect();
            if tried.iter().all(|faults| !faults.is_empty()) {
                faults.push(format!("{at} is none of what it may be: {}", tried.concat().join("; ")));
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.compare(part, value, at, faults);
        }
        if let Some(list) = value.as_array()
            && schema["items"].is_object()
        {
            for (n, one) in list.iter().enumerate() {
                faults.extend(self.faults(&schema["items"], one, &format!("{at}[{n}]")));
            }
        }
        if let Some(object) = value.as_object() {
            self.compare_object(schema, object, at, faults);
        }
    }

    fn compare_object(
        &self,
        schema: &Value,
        object: &Map<String, Value>,
        at: &str,
        faults: &mut Vec<String>,
    ) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                faults.push(format!("{at}.{name} is missing"));
            }
        }
        for (name, one) in object {
            let at = format!("{at}.{name}");
            if schema["propertyNames"].is_object() {
                faults.extend(self.faults(&schema["propertyNames"], &json!(name), &at));
            }
            let (named, other) = (&schema["properties"][name], &schema["additionalProperties"]);
            let schema = if named.is_object() { named } else { other };
            if schema.is_object() {
                faults.extend(self.faults(schema, one, &at));
            }
        }
    }

    /// The properties that an object may have; `None` if the document allows others.
    fn known(&self, schema: &Value) -> Option<BTreeSet<String>> {
        if let Some(target) = self.target(schema) {
            return self.known(target);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().try_fold(BTreeSet::new(), |mut all, part| {
                all.extend(self.known(part)?);
                Some(all)
            });
        }
        if schema["additionalProperties"].is_object() {
            return None;
        }
        Some(schema["properties"].as_object()?.keys().cloned().collect())
    }

    fn target(&self, schema: &Value) -> Option<&Value> {
        self.0.pointer(schema["$ref"].as_str()?.trim_start_matches('#'))
    }

    /// The smallest value that conforms to a schema: required properties only, and the first alternative that
    /// works.
    ///
    /// # Panics
    /// The schema uses a feature that this function does not support.
    #[must_use]
    pub fn least(&self, schema: &Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            let known = WELL_FORMED.iter().find(|(known, _)| *known == name);
            return known.map_or_else(|| self.least(self.schema(name)), |(_, text)| json!(text));
        }
        if let Some(word) = schema["enum"].get(0) {
            return word.clone();
        }
        for word in ["oneOf", "anyOf"] {
            if let Some(first) = schema[word].get(0) {
                return self.least(first);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let objects = parts.iter().filter_map(|part| self.least(part).as_object().cloned());
            return Value::Object(objects.flatten().collect());
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
        match kind {
            "object" => {
                let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                names.map(|name| (name.to_owned(), self.least(&schema["properties"][name]))).collect()
            }
            "array" => json!([]),
            "string" => json!("x"),
            // Many are milliseconds. A shorter time would be over before it is processed.
            "integer" => json!(schema["minimum"].as_u64().unwrap_or(0).max(1000)),
            "number" => json!(0.5),
            "boolean" => json!(false),
            other => panic!("what is the least {other}?"),
        }
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_the_document_says_is_found() {
        let schemas = json!({
            "State": { "type": "string", "enum": ["blocked", "needed"] },
            "Order": { "type": "object", "properties": { "n": { "type": "integer", "minimum": 0 } }, "required": ["n"] },
            "Work": { "oneOf": [
                { "allOf": [{ "$ref": "#/components/schemas/Order" },
                    { "type": "object", "properties": { "kind": { "enum": ["build"] } }, "required": ["kind"] }] },
                { "type": "object", "properties": { "kind": { "enum": ["plan"] } }, "required": ["kind"] },
            ] },
            "Counts": { "type": "object", "propertyNames": { "$ref": "#/components/schemas/State" },
                "additionalProperties": { "type": "integer" } },
        });
        let document = Document::new(json!({ "components": { "schemas": schemas } }));
        let faults = |name: &str, value: Value| document.faults(document.schema(name), &value, "it");
        for (name, value) in [
            ("State", json!("needed")),
            ("Work", json!({ "kind": "build", "n": 3 })),
            ("Work", json!({ "kind": "plan" })),
            ("Counts", json!({ "needed": 1 })),
        ] {
            assert_eq!(faults(name, value), Vec::<String>::new());
        }
        for (name, value, said) in [
            ("State", json!("Needed"), "is not one of"),
            ("Work", json!({ "kind": "build" }), "it.n is missing"),
            ("Work", json!({ "kind": "build", "n": -1 }), "less than 0"),
            ("Work", json!({ "kind": "plan", "n": 1 }), "it.n is not documented"),
            ("Counts", json!({ "Needed": 1 }), "is not one of"),
            ("Counts", json!({ "needed": "1" }), "and not integer"),
            ("Order", json!([]), "and not object"),
        ] {
            assert!(faults(name, value).join("; ").contains(said), "{name} {said}");
        }
        assert_eq!(document.least(document.schema("Work")), json!({ "kind": "build", "n": 1000 }));
    }
}
