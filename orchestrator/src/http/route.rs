//! Declaration of a route: path, role, input and output. Both the router and the OpenAPI document are made
//! from one list of routes, so neither lacks a route, and every route has a role.

pub(super) use super::role::Role;

use super::{
    auth, body,
    list::{self, Page},
    plain,
    problem::ApiError,
};
use crate::app::App;
use axum::{
    Router,
    body::Body,
    extract::Request,
    handler::Handler,
    http::{Method, header},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use std::{collections::BTreeMap, pin::Pin, sync::Arc};
use utoipa::ToSchema;

/// Largest body of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// 1 MiB, for requests of people and heartbeats.
    Small,
    /// `plan_size` of `[limits]`: plans are the largest reports.
    Plan,
    /// `log_piece_size` of `[limits]`.
    LogPiece,
    /// `upload_size` of `[limits]`.
    Upload,
    /// `snapshot_size` of `[limits]`.
    Snapshot,
    /// `image_size` of `[limits]`.
    Image,
}

impl Limit {
    fn bytes(self, app: &App) -> u64 {
        let limits = &app.config.limits;
        match self {
            Self::Small => 1 << 20,
            Self::Plan => limits.plan_size.bytes(),
            Self::LogPiece => limits.log_piece_size.bytes(),
            Self::Upload => limits.upload_size.bytes(),
            Self::Snapshot => limits.snapshot_size.bytes(),
            Self::Image => limits.image_size.bytes(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Nothing,
    Json {
        name: String,
        /// Whether it is a list.
        list: bool,
    },
    /// Bytes of this media type.
    Bytes(&'static str),
    /// Server-sent events whose data is JSON with the schema of this name.
    Events(String),
}

pub(super) type Schemas = BTreeMap<String, serde_json::Value>;

pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) role: Role,
    pub(super) about: &'static str,
    pub(super) limit: Limit,
    pub(super) takes: Content,
    pub(super) gives: Content,
    pub(super) queries: &'static [(&'static str, &'static str)],
    /// Whether the list that it gives comes in pages if the client asks for them.
    pub(super) paged: bool,
    pub(super) schemas: Schemas,
    handler: Box<dyn FnOnce(Gate) -> MethodRouter<Arc<App>>>,
}

impl Route {
    /// Declares a route; `path` is below the API's prefix.
    pub(super) fn new<H, T>(
        method: Method,
        path: &'static str,
        role: Role,
        about: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let filter = match method {
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            Method::PATCH => MethodFilter::PATCH,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        Self {
            method,
            path,
            role,
            about,
            limit: Limit::Small,
            takes: Content::Nothing,
            gives: Content::Nothing,
            queries: &[],
            paged: false,
            schemas: Schemas::new(),
            handler: Box::new(move |gate| on(filter, Gated { gate, handler })),
        }
    }

    /// Sets the request body to JSON of this type.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Content::Json { name: self.schema::<T>(), list: false };
        self
    }

    /// Sets the request body to bytes of a media type, up to `limit`.
    pub(super) fn takes_bytes(mut self, kind: &'static str, limit: Limit) -> Self {
        self.takes = Content::Bytes(kind);
        self.limit = limit;
        self
    }

    /// Sets the largest request body.
    pub(super) fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the response body to JSON of this type.
    pub(super) fn gives<T: ToSchema>(mut self) -> Self {
        self.gives = Content::Json { name: self.schema::<T>(), list: false };
        self
    }

    /// Sets the response body to a JSON list of this type.
    pub(super) fn gives_list<T: ToSchema>(mut self) -> Self {
        self.gives = Content::Json { name: self.schema::<T>(), list: true };
        self
    }

    /// Sets the response body to bytes of a media type.
    pub(super) fn gives_bytes(mut self, kind: &'static str) -> Self {
        self.gives = Content::Bytes(kind);
        self
    }

    /// Sets the response body to server-sent events whose data is JSON of this type.
    pub(super) fn gives_events<T: ToSchema>(mut self) -> Self {
        self.gives = Content::Events(self.schema::<T>());
        self
    }

    /// Declares query parameters: name and meaning.
    pub(super) fn queries(mut self, queries: &'static [(&'static str, &'static str)]) -> Self {
        self.queries = queries;
        self
    }

    /// Serves the list in pages; the handler returns a [`list::List`].
    pub(super) fn paged(mut self) -> Self {
        self.paged = true;
        self
    }

    /// Whether its responses have an entity tag.
    pub(super) fn is_tagged(&self) -> bool {
        self.method == Method::GET && matches!(self.gives, Content::Json { .. })
    }

    fn schema<T: ToSchema>(&mut self) -> String {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        for (name, schema) in found {
            // A schema is plain data and always has a JSON form.
            self.schemas.insert(name, serde_json::to_value(schema).unwrap_or_default());
        }
        T::name().into_owned()
    }

    /// Adds the route to a router.
    pub(super) fn mount(self, router: Router<Arc<App>>, prefix: &str) -> Router<Arc<App>> {
        let tagged = self.is_tagged();
        let handler = (self.handler)(Gate { role: self.role, limit: self.limit, paged: self.paged, tagged });
        router.route(&format!("{prefix}{}", self.path), handler)
    }
}

/// Checks every request before its handler runs: whether it may use this connection, who the caller is, and
/// how large the body is.
#[derive(Debug, Clone, Copy)]
struct Gate {
    role: Role,
    limit: Limit,
    paged: bool,
    tagged: bool,
}

impl Gate {
    fn pass(self, app: &App, request: &mut Request) -> Result<(), ApiError> {
        plain::check(app, self.role, request)?;
        let who = auth::authenticate(app, self.role, request)?;
        who.assign_connection(request)?;
        // Do not read the body of a command that cannot be executed here.
        if !request.method().is_safe() {
            app.engine.leads()?;
        }
        let limit = self.limit.bytes(app);
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(ApiError::BodyTooLarge { limit });
        }
        let idle = app.config.limits.body_idle();
        let guarded = std::mem::replace(request.body_mut(), Body::empty());
        *request.body_mut() = body::guard(guarded, limit, idle);
        Ok(())
    }
}

/// A handler behind a gate.
#[derive(Clone)]
struct Gated<H> {
    gate: Gate,
    handler: H,
}

impl<H: Handler<T, Arc<App>>, T: 'static> Handler<T, Arc<App>> for Gated<H> {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, app: Arc<App>) -> Self::Future {
        Box::pin(async move {
            let passed = self.gate.pass(&app, &mut request).and_then(|()| match self.gate.paged {
                true => Page::take(request.uri_mut()).map(Some),
                false => Ok(None),
            });
            let page = match passed {
                Ok(page) => page,
                Err(error) => return error.into_response(),
            };
            let asked = self.gate.tagged.then(|| request.headers().clone());
            let mut response = self.handler.call(request, app).await;
            if let Some(page) = page {
                response = page.of(response);
            }
            match asked {
                Some(asked) => list::tagged(&asked, response).await,
                None => response,
            }
        })
    }
}
