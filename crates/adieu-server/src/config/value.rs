//! Parses setting values: the text of a value has the same form in every source.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, ops::Deref, path::PathBuf, str::FromStr, time::Duration};

use adieu::{revocation::ClaimName, token::StalePolicy};
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::claim_path::ClaimPath;

/// A kind of value that a setting can have.
pub(super) trait Value: Sized {
    /// Completes the error "`"x"` is not …".
    const WANTED: &'static str;

    /// Whether the value may be written as a list of texts.
    const IS_LIST: bool = false;

    /// Whether errors must not repeat the value.
    const HOLDS_A_SECRET: bool = false;

    /// Parses `text`. Returns `None` if it is invalid.
    fn read(text: &str) -> Option<Self>;
}

/// Deserializes any [`Value`]. Numbers are read as text and lists with commas, so that one function parses values of
/// the file and of the environment.
pub(super) fn text<'de, D: Deserializer<'de>, V: Value>(deserializer: D) -> Result<V, D::Error> {
    let text = deserializer.deserialize_any(TextVisitor { wanted: V::WANTED, is_list: V::IS_LIST })?;
    V::read(&text).ok_or_else(|| {
        let commas = if V::IS_LIST { "; in one text, commas separate them" } else { "" };
        match V::HOLDS_A_SECRET {
            true => de::Error::custom(format_args!("the value is not {}{commas}", V::WANTED)),
            false => de::Error::custom(format_args!("{text:?} is not {}{commas}", V::WANTED)),
        }
    })
}

struct TextVisitor {
    wanted: &'static str,
    is_list: bool,
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.wanted)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<String, A::Error> {
        if !self.is_list {
            return Err(de::Error::custom(format_args!("a list is not {}", self.wanted)));
        }
        let mut texts = Vec::new();
        while let Some(text) = sequence.next_element::<String>()? {
            texts.push(text);
        }
        Ok(texts.join(","))
    }
}

impl Value for String {
    const WANTED: &'static str = "a text of 1 to 512 bytes";

    fn read(text: &str) -> Option<Self> {
        (1..=512).contains(&text.len()).then(|| text.to_owned())
    }
}

impl Value for ClaimPath {
    const WANTED: &'static str = r#"the name of a claim, such as "oid" or "user.id""#;

    fn read(text: &str) -> Option<Self> {
        Self::parse(text).filter(|(_, after)| after.is_none()).map(|(path, _)| path)
    }
}

impl Value for PathBuf {
    const WANTED: &'static str = "a path";

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| Self::from(text))
    }
}

impl Value for SocketAddr {
    const WANTED: &'static str = r#"an address with a port, such as "127.0.0.1:8080" or "[::]:8080""#;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for bool {
    const WANTED: &'static str = r#""true" or "false""#;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for NonZeroUsize {
    const WANTED: &'static str = "a whole number from 1";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A part of a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    /// Returns this part of a whole.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a ratio is not exact"
    )]
    pub fn of(self, whole: u64) -> u64 {
        (self.0 * whole as f64) as u64
    }
}

impl Value for Ratio {
    const WANTED: &'static str = r#"a number from 0 to 1, such as "0.1""#;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).map(Self)
    }
}

impl Value for CollectorUrl {
    const WANTED: &'static str = r#"the URL of a collector without credentials, such as "http://127.0.0.1:4318""#;
    // It may have credentials by mistake.
    const HOLDS_A_SECRET: bool = true;

    fn read(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        let is_plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        (is_http && is_plain).then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

/// The URL of a collector of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorUrl(String);

impl CollectorUrl {
    /// Returns the URL for traces.
    #[must_use]
    pub fn traces(&self) -> String {
        format!("{}/v1/traces", self.0)
    }
}

impl Value for tracing::Level {
    const WANTED: &'static str = r#""error", "warn", "info", "debug" or "trace""#;

    fn read(text: &str) -> Option<Self> {
        // The type's own `FromStr` also accepts numbers, which are hard to read in a file.
        text.parse().ok().filter(|_| text.chars().all(|letter| letter.is_ascii_lowercase()))
    }
}

impl Value for Duration {
    const WANTED: &'static str = r#"a duration, such as "15m""#;

    fn read(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut total = Self::ZERO;
        loop {
            let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
            let (number, after) = rest.split_at_checked(digits)?;
            let end = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at_checked(end)?;
            let number: u64 = number.parse().ok()?;
            let part = match unit.trim_end() {
                "ms" => Self::from_millis(number),
                "s" => Self::from_secs(number),
                "m" => Self::from_secs(number.checked_mul(60)?),
                "h" => Self::from_secs(number.checked_mul(3600)?),
                "d" => Self::from_secs(number.checked_mul(86_400)?),
                "w" => Self::from_secs(number.checked_mul(604_800)?),
                _ => return None,
            };
            total = total.checked_add(part)?;
            if after.is_empty() {
                return Some(total);
            }
            rest = after;
        }
    }
}

/// Formats a duration as in a setting.
pub(super) fn written(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if millis >= size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The longest period of a rate: it is counted in nanoseconds, in 64 bits.
const LONGEST_RATE: Duration = Duration::from_secs(366 * 24 * 3600);

/// A rate limit: `burst` at once, which become available again evenly over `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many at once; at least 1.
    pub burst: u32,
    /// The time in which all of them become available again; from a second to a year.
    pub per: Duration,
}

impl Rate {
    /// Reads a rate that was accepted before periods had a maximum: a longer one is taken for that.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        let rate = Self::unbounded(text)?;
        Some(Self { per: rate.per.min(LONGEST_RATE), ..rate })
    }

    fn unbounded(text: &str) -> Option<Self> {
        let (burst, per) = text.split_once(" per ")?;
        let rate = Self { burst: burst.trim().parse().ok()?, per: Duration::read(per.trim())? };
        (rate.burst > 0 && rate.per >= Duration::from_secs(1)).then_some(rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} per {}", self.burst, written(self.per))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| format!("not {}", Self::WANTED))
    }
}

impl Value for Rate {
    const WANTED: &'static str = r#"a rate, such as "10 per 5m", of a year at most"#;

    fn read(text: &str) -> Option<Self> {
        Self::unbounded(text).filter(|rate| rate.per <= LONGEST_RATE)
    }
}

/// The revocable claims of one issuer, at most [`MAX`](Self::MAX): each is one more look-up for a token that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocableClaims(Vec<ClaimName>);

impl RevocableClaims {
    /// The maximum number of names.
    pub const MAX: usize = 4;
}

impl Deref for RevocableClaims {
    type Target = [ClaimName];

    fn deref(&self) -> &[ClaimName] {
        &self.0
    }
}

impl Value for RevocableClaims {
    const WANTED: &'static str = "a list of at most 4 claims: 1 to 128 visible ASCII characters each, and none of iss, sub, aud, exp, nbf, iat, jti, sid, type and fresh";
    const IS_LIST: bool = true;

    fn read(text: &str) -> Option<Self> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<_> = names.map(ClaimName::new).collect::<Result<_, _>>().ok()?;
        (names.len() <= Self::MAX).then_some(Self(names))
    }
}

/// Returns the policy with this name, in a setting or in the query of the feed.
pub(crate) fn stale_policy(name: &str) -> Option<StalePolicy> {
    match name {
        "reject" => Some(StalePolicy::Reject),
        "accept" => Some(StalePolicy::Accept),
        _ => None,
    }
}

impl Value for StalePolicy {
    const WANTED: &'static str = r#""reject" or "accept""#;

    fn read(text: &str) -> Option<Self> {
        stale_policy(text)
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident: $wanted:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl Value for $name {
            const WANTED: &'static str = $wanted;

            fn read(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// Who may register.
    Registration: r#""open", "closed" or "invite""# {
        /// Everyone.
        Open = "open",
        /// Only the operator adds users.
        Closed = "closed",
        /// Everyone who has an invitation.
        Invite = "invite",
    }
}

choice! {
    /// The names of the cookies with tokens.
    TokenCookies: r#""adieu" or "flask-jwt-extended""# {
        /// Those of adieu-axum.
        Adieu = "adieu",
        /// Those of Flask-JWT-Extended.
        FlaskJwtExtended = "flask-jwt-extended",
    }
}

choice! {
    /// Where a request that opens a WebSocket may have a token.
    WebSocketToken: r#""query" or "protocol""# {
        /// In the query.
        Query = "query",
        /// Among the subprotocols.
        Protocol = "protocol",
    }
}

impl Value for Vec<WebSocketToken> {
    const WANTED: &'static str = r#"a list of "query" and "protocol""#;
    const IS_LIST: bool = true;

    fn read(text: &str) -> Option<Self> {
        let names = text.split(',').map(str::trim).filter(|_| !text.is_empty());
        names.map(WebSocketToken::read).collect()
    }
}

choice! {
    /// How a log line is written.
    LogFormat: r#""text" or "json""# {
        /// For people.
        Text = "text",
        /// An object a line.
        Json = "json",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("500ms", 500),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2w", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(Duration::read(text), Some(Duration::from_millis(millis)), "{text}");
            assert_eq!(Duration::read(&written(Duration::from_millis(millis))), Some(Duration::from_millis(millis)));
        }
        for text in
            ["", "15", "m", "15 minuets", "-1s", "1.5h", "15M", " 1s", "99999999999999999999s", "99999999999999999w"]
        {
            assert_eq!(Duration::read(text), None, "{text}");
        }
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(Rate::read("10 per 5m"), Some(Rate { burst: 10, per: Duration::from_secs(300) }));
        for text in ["0 per 5m", "10", "10 per 0s", "10/5m", "-1 per 5m", "10 per 5"] {
            assert_eq!((Rate::read(text), Rate::stored(text)), (None, None), "{text}");
        }
        let year = Rate { burst: 1, per: Duration::from_secs(366 * 86_400) };
        assert_eq!((Rate::read("1 per 366d"), Rate::stored("1 per 366d")), (Some(year), Some(year)));
        for text in ["1 per 367d", "1 per 213503d"] {
            assert_eq!((Rate::read(text), Rate::stored(text)), (None, Some(year)), "{text}");
        }
    }
}
