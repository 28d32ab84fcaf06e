//! Generates the OpenAPI 3.1 document from the list of routes.

use super::{
    list,
    route::{Content, Role, Route, Schemas},
};
use serde_json::{Map, Value, json};
use swarm_common::wire::{API_PREFIX, problem::Problem};
use utoipa::{PartialSchema as _, ToSchema as _};

/// The OpenAPI document, as served and as committed in `docs/openapi.json`.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    schemas.insert(Problem::name().into_owned(), serde_json::to_value(Problem::schema()).unwrap_or_default());
    let mut paths = Map::new();
    for route in super::routes() {
        schemas.extend(route.schemas.clone());
        // OpenAPI has no syntax for a parameter that may contain slashes.
        let path = format!("{API_PREFIX}{}", route.path.replace("{*", "{"));
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_lowercase()] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Build Swarm",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The orchestrator's API. Errors are RFC 9457 problems. Requests that change \
             something accept an Idempotency-Key header; a repeated request gets the first \
             response.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "admin": { "type": "http", "scheme": "bearer", "description": "The admin token." },
                "drone": { "type": "http", "scheme": "bearer", "description": "A drone's credential." },
            },
        },
    })
}

/// The document as indented text with sorted keys, so that diffs are small.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path
        .map(|name| name.trim_start_matches('*'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let pages = list::QUERIES.iter().filter(|_| route.paged);
    let in_query = route.queries.iter().chain(pages).map(|(name, about)| {
        json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } })
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let security = match route.role {
        Role::Anyone => json!([]),
        Role::Drone => json!([{ "drone": [] }]),
        Role::Admin => json!([{ "admin": [] }]),
        Role::AdminOrDrone => json!([{ "admin": [] }, { "drone": [] }]),
    };
    let mut done = json!({ "description": "Done." });
    if let Some(content) = content(&route.gives) {
        done["content"] = content;
    }
    if route.is_tagged() {
        let tag = "Of this response; with If-None-Match, an unchanged one is answered with 304.";
        done["headers"]["ETag"] = json!({ "description": tag, "schema": { "type": "string" } });
    }
    if route.paged {
        let link = "The address of the next page, if there is one.";
        done["headers"]["Link"] = json!({ "description": link, "schema": { "type": "string" } });
    }
    let problem =
        json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let mut operation = json!({
        "summary": route.about,
        "parameters": parameters,
        "security": security,
        "responses": {
            "200": done,
            "default": { "description": "A problem.", "content": problem },
        },
    });
    if let Some(content) = content(&route.takes) {
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn content(content: &Content) -> Option<Value> {
    match content {
        Content::Nothing => None,
        Content::Json { name, list } => {
            let one = json!({ "$ref": format!("#/components/schemas/{name}") });
            let schema = if *list { json!({ "type": "array", "items": one }) } else { one };
            Some(json!({ "application/json": { "schema": schema } }))
        }
        Content::Events(name) => {
            let data = json!({ "$ref": format!("#/components/schemas/{name}") });
            Some(json!({ "text/event-stream": { "schema": data } }))
        }
        Content::Bytes(kind) => Some(json!({ *kind: {} })),
    }
}
