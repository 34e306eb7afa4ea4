//! W3C Trace Context: the place in a trace that a request comes from, and that it is passed on with.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// How much of the vendors' state is passed on (§3.3.1.5): less would lose entries, and more is not required.
const MAX_STATE_BYTES: usize = 512;

/// A place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) is_sampled: bool,
    /// The state of vendors, which is passed on as it is.
    pub(super) state: Option<HeaderValue>,
}

/// The id of a trace, in hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceId([u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl Context {
    /// Reads the context of a caller. An invalid one is none; an invalid state is left out (§4.3).
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(PARENT).iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        let (trace, span, is_sampled) = parse(parent.as_bytes())?;
        Some(Self { trace, span, is_sampled, state: state(headers) })
    }

    /// Begins a trace. It is sampled if its random id is below this part of 2⁶³, as every other part of a system would decide it
    /// (`TraceIdRatioBased`). `None` without random numbers.
    pub(super) fn root(sampled_below: u64) -> Option<Self> {
        let (trace, span): ([u8; 16], [u8; 8]) = (random()?, random()?);
        let [.., a, b, c, d, e, f, g, h] = trace;
        let is_sampled = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < sampled_below;
        Some(Self { trace, span, is_sampled, state: None })
    }

    /// Returns a place below this one. `None` without random numbers.
    pub(super) fn child(&self) -> Option<Self> {
        Some(Self { span: random()?, ..self.clone() })
    }

    /// Returns the id of the trace.
    pub(crate) fn trace(&self) -> TraceId {
        TraceId(self.trace)
    }

    /// Adds the headers with which a request continues the trace.
    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        let (span, flags) = (u64::from_be_bytes(self.span), u8::from(self.is_sampled));
        if let Ok(parent) = HeaderValue::try_from(format!("00-{}-{span:016x}-{flags:02x}", self.trace())) {
            headers.insert(PARENT, parent);
            if let Some(state) = &self.state {
                headers.insert(STATE, state.clone());
            }
        }
    }
}

/// Parses `version-trace-parent-flags` (§3.2). A later version may have more at its end.
fn parse(text: &[u8]) -> Option<([u8; 16], [u8; 8], bool)> {
    let (head, rest) = text.split_at_checked(55)?;
    let mut parts = head.split(|byte| *byte == b'-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let [version]: [u8; 1] = bytes(version)?;
    let (trace, span, [flags]): ([u8; 16], [u8; 8], [u8; 1]) = (bytes(trace)?, bytes(span)?, bytes(flags)?);
    let is_complete = rest.is_empty() || (version > 0 && rest.starts_with(b"-"));
    let is_valid = parts.next().is_none() && version != 0xff && trace != [0; 16] && span != [0; 8];
    (is_complete && is_valid).then_some((trace, span, flags & 1 == 1))
}

/// Decodes exactly this many bytes from lower-case hexadecimal digits.
fn bytes<const LENGTH: usize>(digits: &[u8]) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let is_lower = digits.iter().all(|digit| !digit.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(digits, &mut bytes).is_ok()).then_some(bytes)
}

/// Returns the state of vendors; several headers are one list.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(STATE).iter();
    let first = all.next()?.clone();
    let state = match all.next() {
        None => first,
        Some(second) => {
            let rest: Vec<_> = [&first, second].into_iter().chain(all).map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&rest.join(&b',')).ok()?
        }
    };
    (state.len() <= MAX_STATE_BYTES && state.to_str().is_ok()).then_some(state)
}

fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).ok()?;
    // An id of zeros is none (§3.2.2.3).
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_valid_parent_is_read_and_passed_on() {
        for (parent, is_sampled) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), true),
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), false),
            (format!("00-{TRACE}-00f067aa0ba902b7-ff"), true),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01"), true),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be-like"), true),
        ] {
            let context = Context::of(&headers(&[("traceparent", &parent)])).unwrap();
            assert_eq!((context.trace().to_string().as_str(), context.is_sampled), (TRACE, is_sampled), "{parent}");
            let child = context.child().unwrap();
            let mut sent = HeaderMap::new();
            child.put(&mut sent);
            assert_eq!(Context::of(&sent).unwrap(), child);
            assert!(child.trace == context.trace && child.span != context.span);
        }
    }

    #[test]
    fn an_invalid_parent_is_none() {
        for parent in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-00f067aa0ba902b7-01."),
            format!("cc-{TRACE}-00f067aa0ba902b7-01.more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-00f067aa0ba902b-701"),
            format!("00-{TRACE}-00f067aa0ba902bg-01"),
            format!("00_{TRACE}_00f067aa0ba902b7_01"),
            "00-é".to_owned(),
        ] {
            assert_eq!(Context::of(&headers(&[("traceparent", &parent)])), None, "{parent}");
        }
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(Context::of(&headers(&[("traceparent", &parent), ("traceparent", &parent)])), None, "two");
    }

    #[test]
    fn the_state_is_passed_on_unless_it_is_too_long() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let state = |states: &[&str]| {
            let states = states.iter().map(|state| ("tracestate", *state));
            let all: Vec<_> = std::iter::once(("traceparent", parent.as_str())).chain(states).collect();
            Context::of(&headers(&all)).unwrap().state.map(|state| state.to_str().unwrap().to_owned())
        };
        assert_eq!(state(&["congo=t61rcWkgMzE"]).unwrap(), "congo=t61rcWkgMzE");
        assert_eq!(
            state(&["congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7"]).unwrap(),
            "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
        );
        assert_eq!(state(&[&format!("a={}", "x".repeat(511))]), None);
        assert_eq!(state(&["a=é"]), None);
    }

    #[test]
    fn the_ratio_of_new_traces_is_sampled() {
        let sampled = |below| (0..2000).filter(|_| Context::root(below).unwrap().is_sampled).count();
        assert_eq!((sampled(0), sampled(1 << 63)), (0, 2000));
        // The probability of more or fewer is below 10⁻⁹.
        assert!((350..650).contains(&sampled(1 << 61)), "a quarter");
    }
}
