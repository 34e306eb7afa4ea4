//! A short name for a `User-Agent`, for people who look for their devices. The header says what the client likes.

use crate::text::is_invisible;

/// The kind of a device, which decides its icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Computer,
    Phone,
    Tablet,
    /// A program that is not a browser.
    Program,
}

/// A device, as far as its user agent tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) kind: Kind,
    /// The browser or the program; empty if unknown.
    pub(crate) program: String,
    /// The operating system; empty if unknown.
    pub(crate) system: &'static str,
}

/// The longest name of a program that is not a known browser, in characters.
const MAX_PROGRAM: usize = 40;

/// The mark of each browser; the first that occurs decides, because browsers also carry the marks of others.
const BROWSERS: [(&str, &str); 12] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str, Kind); 9] = [
    ("iPhone", "iPhone", Kind::Phone),
    ("iPad", "iPad", Kind::Tablet),
    ("Android", "Android", Kind::Phone),
    ("CrOS", "ChromeOS", Kind::Computer),
    ("Windows", "Windows", Kind::Computer),
    ("Macintosh", "macOS", Kind::Computer),
    ("FreeBSD", "FreeBSD", Kind::Computer),
    ("Linux", "Linux", Kind::Computer),
    ("X11", "Unix", Kind::Computer),
];

impl Device {
    pub(crate) fn of(user_agent: &str) -> Self {
        let browser = BROWSERS.iter().find(|(mark, _)| user_agent.contains(mark));
        let Some((_, name)) = browser.filter(|_| user_agent.starts_with("Mozilla/")) else {
            return Self { kind: Kind::Program, program: first_product(user_agent), system: "" };
        };
        let system = SYSTEMS.iter().find(|(mark, ..)| user_agent.contains(mark));
        let (system, mut kind) = system.map_or(("", Kind::Computer), |(_, name, kind)| (*name, *kind));
        if system == "Android" && !user_agent.contains("Mobile") {
            kind = Kind::Tablet;
        }
        Self { kind, program: (*name).to_owned(), system }
    }
}

/// Returns the name of the first product (RFC 9110 §10.1.5), without invisible characters.
fn first_product(user_agent: &str) -> String {
    let end = user_agent.find([' ', '/', '(']).unwrap_or(user_agent.len());
    let product = user_agent.get(..end).unwrap_or_default();
    product.chars().filter(|letter| !is_invisible(*letter)).take(MAX_PROGRAM).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_as_people_know_it() {
        for (user_agent, program, system, kind) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
                "Firefox",
                "Linux",
                Kind::Computer,
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0",
                "Edge",
                "Windows",
                Kind::Computer,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
                "Safari",
                "iPhone",
                Kind::Phone,
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Mobile Safari/537.36",
                "Chrome",
                "Android",
                Kind::Phone,
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; Tab) AppleWebKit/537.36 Chrome/142.0 Safari/537.36",
                "Chrome",
                "Android",
                Kind::Tablet,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/26.0 Safari/605.1.15",
                "Safari",
                "macOS",
                Kind::Computer,
            ),
            ("Mozilla/5.0 Firefox/1", "Firefox", "", Kind::Computer),
            ("curl/8.10.1", "curl", "", Kind::Program),
            ("python-requests/2.32 (x)", "python-requests", "", Kind::Program),
            ("", "", "", Kind::Program),
            ("\u{202e}evil\u{200b}/1 Chrome/1", "evil", "", Kind::Program),
            ("<script>alert(1)</script>", "<script>alert", "", Kind::Program),
        ] {
            assert_eq!(Device::of(user_agent), Device { kind, program: program.to_owned(), system }, "{user_agent}");
        }
        assert_eq!(Device::of(&"ä".repeat(10_240)).program, "ä".repeat(MAX_PROGRAM));
    }
}
