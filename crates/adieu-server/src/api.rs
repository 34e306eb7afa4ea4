//! The REST API.
//!
//! 1. Handlers are thin: they read the request, call [`Accounts`](crate::accounts::Accounts) or
//!    [`Sessions`], and build the response. The extractors of [`adieu_axum`] verify tokens,
//!    with the one evaluator.
//! 2. The OpenAPI document is generated from the handlers, so that it covers all of them.
//! 3. All errors have one shape ([`ApiError`]); a panic becomes a 500 without details.
//! 4. No request header, body or query is ever logged.
//! 5. A handler that needs both a body and a verified token takes both with [`AfterBody`](adieu_axum::AfterBody): a
//!    client may send the body long after its token was logged out.

mod account;
mod admin;
mod alias;
mod client;
mod deliveries;
mod discovery;
mod docs;
mod events;
mod feed;
mod health;
mod introspect;
mod invites;
mod issued;
mod middleware;
mod origins;
mod pages;
mod push_error;
mod relay;
mod revocation;
mod service;
mod session;
mod session_events;
mod time_limit;
mod token_revocation;
mod verify;
mod view;

use std::{
    convert::Infallible,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use adieu::session::Sessions;
use adieu_axum::Guard;
use arc_swap::ArcSwap;
use axum::{
    BoxError, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRef, Request},
    middleware::from_fn_with_state,
    response::Response,
    routing::get,
};
use tower::Service;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

pub(crate) use middleware::REQUEST_LOG_TARGET;
pub use pages::AtConsole;
pub use relay::relay_router;

use self::{
    middleware::Middleware,
    origins::Origins,
    verify::{Sources, Verdicts},
};
use crate::{
    address::TrustedProxies, clients::Clients, config::Settings, error::ApiError, feed::Feed, metrics::Metrics,
    node::Node, traces::Traces,
};

/// The state that handlers share.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    node: Arc<Node>,
    settings: Settings,
    proxies: TrustedProxies,
    guard: Guard,
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<Api> for Guard {
    fn from_ref(api: &Api) -> Self {
        api.guard.clone()
    }
}

impl FromRef<Api> for Arc<Sessions> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.node.sessions)
    }
}

impl FromRef<Api> for Clients {
    fn from_ref(api: &Api) -> Self {
        api.node.clients.clone()
    }
}

impl FromRef<Api> for Feed {
    fn from_ref(api: &Api) -> Self {
        api.node.feed.clone()
    }
}

/// The API of a server: a [`Router`], and in front of it the routes that decide about a token in memory. Clones share everything.
///
/// Every response passes through the same middleware, which counts and logs it, ends what takes too long, and turns a panic into a 500.
///
/// The routes hold the settings. A reload builds new routes and replaces all of them at once, so that a request sees the old settings
/// or the new ones.
#[derive(Clone)]
pub struct ApiService(Arc<ArcSwap<Routes>>);

struct Routes {
    middleware: Middleware,
    verdicts: Verdicts,
    router: Router,
}

impl ApiService {
    fn new(router: Router, verdicts: Verdicts, settings: &Settings, metrics: Arc<Metrics>, traces: Traces) -> Self {
        let scheme = if settings.tls_certificate.is_some() { "https" } else { "http" };
        let middleware = Middleware::new(metrics, settings.request_timeout).with_origins(Origins::new(settings));
        let middleware = middleware.with_traces(traces, scheme);
        let router = router
            .fallback(async || ApiError::NotFound)
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .layer(middleware.clone());
        Self(Arc::new(ArcSwap::from_pointee(Routes { middleware, verdicts, router })))
    }

    /// Answers requests from now on, at all clones, as `newer` does.
    pub(crate) fn replace(&self, newer: &Self) {
        self.0.store(newer.0.load_full());
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(route) = verify::Route::find(request.uri().path()) else {
            let mut router = self.0.load().router.clone();
            return Box::pin(router.call(request));
        };
        let routes = self.0.load_full();
        Box::pin(async move {
            let verdict = |request: Request<B>| routes.verdicts.answer(route, request.into_parts().0);
            Ok(routes.middleware.answer_at_once(route.template(), request, verdict).await)
        })
    }
}

/// Returns the API of this node.
///
/// # Errors
/// Fails if the settings of cookies are invalid.
pub fn router(node: Arc<Node>, settings: Settings) -> Result<ApiService, adieu::Error> {
    let (sources, metrics) = (Sources::new(&settings), Arc::clone(&node.metrics));
    let traces = node.traces.clone();
    let guard = sources.guarded(Guard::from_sessions(&node.sessions))?;
    let issuer = node.sessions.issuer().clone();
    let verdicts = Verdicts::new(guard.clone(), sources, issuer, Arc::clone(&node.clock)).recording(Arc::clone(&node));
    let proxies = TrustedProxies::new(settings.trusted_proxies.clone());
    let api = Api(Arc::new(Shared { node, settings: settings.clone(), proxies, guard }));

    let pages = match settings.pages {
        true => pages::router(api.clone())?,
        false => Router::new(),
    };
    let (router, document) = documented(settings.max_body_bytes.get()).split_for_parts();
    let router = router
        .route_layer(from_fn_with_state(api.clone(), feed::also_when_it_has_ended_before))
        .with_state(api)
        .merge(pages)
        // By default the page would show a badge from a validator on the network.
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document).config(Config::default().validator_url("none")));
    Ok(ApiService::new(router, verdicts, &settings, metrics, traces))
}

/// Returns the OpenAPI document of the routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    documented(usize::MAX).into_openapi()
}

/// The documented routes that are not routes of the router.
#[derive(OpenApi)]
#[openapi(paths(verify::verify))]
struct BeforeRouting;

/// Returns all documented routes. Those that read a body read at most `max_body_bytes`.
fn documented(max_body_bytes: usize) -> OpenApiRouter<Api> {
    let read_bodies = OpenApiRouter::new()
        .routes(routes!(account::register))
        .routes(routes!(session::log_in))
        .routes(routes!(account::change_password))
        .routes(routes!(account::replace_password))
        .routes(routes!(account::reset_password))
        .routes(routes!(admin::set_password))
        .routes(routes!(admin::issue_reset_for_client))
        .routes(routes!(invites::invite))
        .routes(routes!(revocation::revoke))
        .routes(routes!(alias::add_alias))
        .routes(routes!(alias::remove_aliases))
        .routes(routes!(introspect::introspect))
        .routes(routes!(token_revocation::revoke_token))
        .routes(routes!(events::backchannel_logout))
        .routes(routes!(events::security_event))
        .routes(routes!(events::global_token_revocation))
        .routes(routes!(events::webhook))
        .layer(from_fn_with_state(max_body_bytes, middleware::limit_body))
        .layer(DefaultBodyLimit::max(max_body_bytes));
    let document = docs::Document::openapi().merge_from(BeforeRouting::openapi());
    let mut router = OpenApiRouter::with_openapi(document)
        .merge(read_bodies)
        .routes(routes!(feed::follow))
        .routes(routes!(session::refresh))
        .routes(routes!(session::log_out))
        .routes(routes!(session::list))
        .routes(routes!(session::end))
        .routes(routes!(session_events::events))
        .routes(routes!(account::show, account::delete))
        .routes(routes!(admin::list_users))
        .routes(routes!(admin::disable))
        .routes(routes!(admin::enable))
        .routes(routes!(admin::promote))
        .routes(routes!(admin::demote))
        .routes(routes!(admin::require_password_change))
        .routes(routes!(admin::issue_reset))
        .routes(routes!(admin::list_sessions_of_user, admin::end_sessions_of_user))
        .routes(routes!(admin::list_sessions))
        .routes(routes!(invites::list_invites))
        .routes(routes!(invites::revoke_invite))
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::replay_deliveries))
        .routes(routes!(deliveries::skip_delivery))
        .routes(routes!(alias::list_aliases))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(discovery::keys))
        .routes(routes!(discovery::metadata))
        .route("/.well-known/oauth-authorization-server/{*path}", get(discovery::metadata_below));
    docs::complete(router.get_openapi_mut());
    router
}
