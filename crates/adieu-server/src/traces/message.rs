//! The messages of OTLP that are sent, in protobuf: `opentelemetry/proto/collector/trace/v1/trace_service.proto`, version 1.

use prost::Message;
use uuid::Uuid;

use super::Context;

/// What a span is about: the numbers of `Span.SpanKind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// `Status.StatusCode`.
const STATUS_ERROR: i32 = 2;

/// `SpanFlags`: whether the parent is known to be in another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The value of an attribute.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum AnyValue {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

pub(super) use AnyValue as Value;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Boxed {
    #[prost(oneof = "AnyValue", tags = "1, 3")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Boxed>,
}

impl Attribute {
    fn new(key: &str, value: Value) -> Self {
        Self { key: key.to_owned(), value: Some(Boxed { value: Some(value) }) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// What sends the spans.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

impl Resource {
    /// Names this process.
    pub(super) fn new() -> Self {
        let attributes = [
            ("service.name", "adieu".to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", Uuid::new_v4().to_string()),
        ];
        let attributes = attributes.map(|(key, value)| Attribute::new(key, Value::Text(value)));
        Self { attributes: attributes.into() }
    }
}

impl Span {
    /// Returns a span that has ended, with its `(start, end)` in nanoseconds.
    pub(super) fn new(
        context: &Context,
        parent: Option<[u8; 8]>,
        name: String,
        kind: Kind,
        (start, end): (u64, u64),
        attributes: Vec<(&'static str, Value)>,
        is_error: bool,
    ) -> Self {
        // The parent of a request that was received is in another process.
        let is_remote = if kind == Kind::Server && parent.is_some() { IS_REMOTE } else { 0 };
        Self {
            trace_id: context.trace.into(),
            span_id: context.span.into(),
            trace_state: context.state.as_ref().and_then(|state| state.to_str().ok()).unwrap_or_default().to_owned(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            name,
            kind: kind as i32,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes: attributes.into_iter().map(|(key, value)| Attribute::new(key, value)).collect(),
            status: is_error.then_some(Status { code: STATUS_ERROR }),
            flags: u32::from(context.is_sampled) | HAS_IS_REMOTE | is_remote,
        }
    }
}

/// Returns the body of a request to the collector.
pub(super) fn body(resource: &Resource, spans: Vec<Span>) -> Vec<u8> {
    let scope = Some(Scope { name: "adieu".to_owned() });
    let scope_spans = vec![ScopeSpans { scope, spans }];
    Request { resource_spans: vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }] }.encode_to_vec()
}
