//! Pages for people: HTML from plain values.
//!
//! 1. Nothing here knows the API, the accounts or the store: the handlers are in `api::pages`, and call what the API calls.
//! 2. Values from outside reach a page through askama only, which escapes them. Those that may have any characters are in a `<bdi>`,
//!    so that they do not change the direction of the text around them.
//! 3. A page loads its style and its scripts from this server, by the nonce of its response ([`Nonce`]), and nothing else. It works
//!    without scripts: each change is a form.
//! 4. Each text is in [`Messages`], in each [`Language`].

/// Implements [`Render`] for pages with a field `page`.
macro_rules! render {
    ($($page:ident)+) => {
        $(impl $crate::pages::Render for $page {
            fn page(&self) -> &Page {
                &self.page
            }
        })+
    };
}

mod account;
mod assets;
mod console;
mod device;
mod language;

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

pub(crate) use account::{
    AccountPage, Area, Entry, EntryPage, EventRow, Events, Form, NoticePage, ResumePage, SessionRow,
};
pub(crate) use assets::{Asset, VERSION};
pub(crate) use console::*;
pub(crate) use language::{ConsoleMessages, EventMessages, Language, Messages, short};

/// The random value that lets the style and the scripts of one response run (CSP Level 3 §2.3.1).
#[derive(Debug)]
pub(crate) struct Nonce(String);

impl Nonce {
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn policy(&self) -> String {
        let nonce = &self.0;
        format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    }
}

/// What all pages have: the language, the nonce, and where the assets are.
#[derive(Debug)]
pub(crate) struct Page {
    /// The texts.
    t: &'static Messages,
    /// The texts of the console.
    c: &'static ConsoleMessages,
    nonce: Nonce,
    assets: &'static str,
}

impl Page {
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn new(language: Language) -> Result<Self, getrandom::Error> {
        let t = language.messages();
        Ok(Self { t, c: t.console, nonce: Nonce::random()?, assets: &VERSION })
    }

    /// Returns the texts.
    pub(crate) fn messages(&self) -> &'static Messages {
        self.t
    }
}

/// A page that can be rendered.
pub(crate) trait Render: Template {
    /// Returns what the page has in common with the others.
    fn page(&self) -> &Page;

    /// Returns the document, and sets the headers that it needs.
    ///
    /// # Errors
    /// If the template fails, or the nonce is no header, which would be a mistake in this module.
    fn document(&self, headers: &mut HeaderMap) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let policy = HeaderValue::try_from(self.page().nonce.policy())?;
        let document = self.render()?;
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Forms send their origin with it, which tells a form of another site from ours.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(document)
    }
}
