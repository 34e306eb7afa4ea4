//! The texts of the pages. To add a language, add a variant to [`Language`] and a table of [`Messages`]: the compiler asks for every
//! text.

mod console;
mod events;

use std::time::Duration;

use axum::http::{HeaderMap, header};

pub(crate) use console::{ConsoleMessages, short};
pub(crate) use events::EventMessages;

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    German,
}

impl Language {
    /// Returns the language that the browser prefers (RFC 9110 §12.5.4), or English if it prefers none that there is.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let header = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best = (Self::English, 0.0);
        for entry in header.split(',') {
            let (range, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let language = match range.trim().split('-').next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "en" | "*" => Self::English,
                "de" => Self::German,
                _ => continue,
            };
            let quality = parameters.trim().strip_prefix("q=").map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            if quality > best.1 {
                best = (language, quality);
            }
        }
        best.0
    }

    /// Returns the texts in this language.
    pub(crate) const fn messages(self) -> &'static Messages {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
        }
    }
}

/// Formats a number of units of time that have passed.
type Ago = fn(u64) -> String;

/// The texts in one language.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) console: &'static ConsoleMessages,
    pub(crate) events: &'static EventMessages,
    pub(crate) code: &'static str,
    pub(crate) log_in: &'static str,
    pub(crate) log_out: &'static str,
    pub(crate) username: &'static str,
    pub(crate) password: &'static str,
    pub(crate) no_account: &'static str,
    pub(crate) register: &'static str,
    pub(crate) register_title: &'static str,
    pub(crate) has_account: &'static str,
    pub(crate) must_change_title: &'static str,
    pub(crate) must_change: &'static str,
    pub(crate) current_password: &'static str,
    pub(crate) new_password: &'static str,
    pub(crate) change_password: &'static str,
    pub(crate) change_password_hint: &'static str,
    pub(crate) sessions_title: &'static str,
    pub(crate) this_device: &'static str,
    pub(crate) unknown_device: &'static str,
    pub(crate) on: &'static str,
    pub(crate) logged_in: &'static str,
    pub(crate) last_used: &'static str,
    pub(crate) active_now: &'static str,
    pub(crate) nowhere_else: &'static str,
    pub(crate) log_out_others: &'static str,
    pub(crate) log_out_all: &'static str,
    pub(crate) log_out_all_hint: &'static str,
    pub(crate) ended_just_now: &'static str,
    pub(crate) session_ended: &'static str,
    pub(crate) others_ended: &'static str,
    pub(crate) password_changed: &'static str,
    pub(crate) registered: &'static str,
    pub(crate) invite: &'static str,
    pub(crate) wrong_invite: &'static str,
    pub(crate) logged_out: &'static str,
    pub(crate) logged_out_all: &'static str,
    pub(crate) ended_elsewhere: &'static str,
    pub(crate) no_cookies: &'static str,
    pub(crate) resume_title: &'static str,
    pub(crate) resume: &'static str,
    pub(crate) go_on: &'static str,
    pub(crate) back: &'static str,
    pub(crate) error_title: &'static str,
    pub(crate) offline: &'static str,
    pub(crate) stale: &'static str,
    pub(crate) wrong_credentials: &'static str,
    pub(crate) wrong_password: &'static str,
    pub(crate) same_password: &'static str,
    pub(crate) bad_username: &'static str,
    pub(crate) bad_password: &'static str,
    pub(crate) name_taken: &'static str,
    pub(crate) registration_closed: &'static str,
    pub(crate) too_many: &'static str,
    pub(crate) not_found: &'static str,
    pub(crate) expired_form: &'static str,
    pub(crate) unavailable: &'static str,
    pub(crate) just_now: &'static str,
    pub(crate) password_length: fn(usize) -> String,
    minutes_ago: Ago,
    hours_ago: Ago,
    days_ago: Ago,
}

impl Messages {
    /// Says how long ago something was, in the largest unit that is not zero.
    pub(crate) fn ago(&self, passed: Duration) -> String {
        let minutes = passed.as_secs() / 60;
        match (minutes, minutes / 60, minutes / (60 * 24)) {
            (0, ..) => self.just_now.to_owned(),
            (minutes, 0, _) => (self.minutes_ago)(minutes),
            (_, hours, 0) => (self.hours_ago)(hours),
            (.., days) => (self.days_ago)(days),
        }
    }
}

static ENGLISH: Messages = Messages {
    console: &console::ENGLISH,
    events: &events::ENGLISH,
    code: "en",
    log_in: "Log in",
    log_out: "Log out",
    username: "User name",
    password: "Password",
    no_account: "No account yet?",
    register: "Register",
    register_title: "Create an account",
    has_account: "Already registered?",
    must_change_title: "Choose a new password",
    must_change: "Your password has to be changed before you can log in.",
    current_password: "Current password",
    new_password: "New password",
    change_password: "Change password",
    change_password_hint: "All other sessions end.",
    sessions_title: "Where you are logged in",
    this_device: "this device",
    unknown_device: "Unknown device",
    on: "on",
    logged_in: "logged in",
    last_used: "last used",
    active_now: "active now",
    nowhere_else: "You are logged in nowhere else.",
    log_out_others: "Log out everywhere else",
    log_out_all: "Log out everywhere, here too",
    log_out_all_hint: "Enter your password to end all sessions. You log in again afterwards.",
    ended_just_now: "ended just now",
    session_ended: "The session has been ended.",
    others_ended: "All other sessions have been ended.",
    password_changed: "The password has been changed, and all other sessions have ended.",
    registered: "Your account has been created. Log in now.",
    invite: "Invitation code",
    wrong_invite: "This invitation code is not valid, or not any more.",
    logged_out: "You have logged out.",
    logged_out_all: "You have logged out everywhere.",
    ended_elsewhere: "Your session has ended: it was logged out elsewhere, or has expired.",
    no_cookies: "Your browser did not keep the session. Allow cookies for this site, and open it over HTTPS.",
    resume_title: "Continue your session",
    resume: "You are still logged in. Continue to see your sessions.",
    go_on: "Continue",
    back: "Back to your sessions",
    error_title: "This did not work",
    offline: "You are offline. What you see may no longer be true.",
    stale: "The server does not respond. This is as of",
    wrong_credentials: "The user name or the password is wrong.",
    wrong_password: "This is not the current password.",
    same_password: "Choose another password than the current one.",
    bad_password: "A password has at most 1024 bytes, and no null characters.",
    bad_username: "Choose a name of 1 to 80 visible characters.",
    name_taken: "This name is taken.",
    registration_closed: "Registration is closed.",
    too_many: "Too many attempts. Try again later.",
    not_found: "This session has already ended.",
    expired_form: "This page was out of date. Try again.",
    unavailable: "The server can't do this now, and nothing was changed. Try again.",
    just_now: "just now",
    password_length: |minimum| format!("Choose a password of at least {minimum} characters."),
    minutes_ago: |n| format!("{n} minute{} ago", if n == 1 { "" } else { "s" }),
    hours_ago: |n| format!("{n} hour{} ago", if n == 1 { "" } else { "s" }),
    days_ago: |n| format!("{n} day{} ago", if n == 1 { "" } else { "s" }),
};

static GERMAN: Messages = Messages {
    console: &console::GERMAN,
    events: &events::GERMAN,
    code: "de",
    log_in: "Anmelden",
    log_out: "Abmelden",
    username: "Benutzername",
    password: "Passwort",
    no_account: "Noch kein Konto?",
    register: "Registrieren",
    register_title: "Konto anlegen",
    has_account: "Schon registriert?",
    must_change_title: "Neues Passwort wählen",
    must_change: "Das Passwort muss geändert werden, bevor Sie sich anmelden können.",
    current_password: "Aktuelles Passwort",
    new_password: "Neues Passwort",
    change_password: "Passwort ändern",
    change_password_hint: "Alle anderen Sitzungen enden.",
    sessions_title: "Wo Sie angemeldet sind",
    this_device: "dieses Gerät",
    unknown_device: "Unbekanntes Gerät",
    on: "unter",
    logged_in: "angemeldet",
    last_used: "zuletzt benutzt",
    active_now: "jetzt aktiv",
    nowhere_else: "Sie sind nirgendwo sonst angemeldet.",
    log_out_others: "Überall sonst abmelden",
    log_out_all: "Überall abmelden, auch hier",
    log_out_all_hint: "Geben Sie Ihr Passwort ein, um alle Sitzungen zu beenden. Danach melden Sie sich neu an.",
    ended_just_now: "gerade beendet",
    session_ended: "Die Sitzung wurde beendet.",
    others_ended: "Alle anderen Sitzungen wurden beendet.",
    password_changed: "Das Passwort wurde geändert, und alle anderen Sitzungen wurden beendet.",
    registered: "Das Konto wurde angelegt. Melden Sie sich jetzt an.",
    invite: "Einladungscode",
    wrong_invite: "Dieser Einladungscode ist nicht oder nicht mehr gültig.",
    logged_out: "Sie haben sich abgemeldet.",
    logged_out_all: "Sie haben sich überall abgemeldet.",
    ended_elsewhere: "Ihre Sitzung ist beendet: Sie wurde anderswo abgemeldet oder ist abgelaufen.",
    no_cookies: "Der Browser hat die Sitzung nicht behalten. Erlauben Sie Cookies für diese Seite, und öffnen Sie sie über HTTPS.",
    resume_title: "Sitzung fortsetzen",
    resume: "Sie sind noch angemeldet. Fahren Sie fort, um Ihre Sitzungen zu sehen.",
    go_on: "Weiter",
    back: "Zurück zu Ihren Sitzungen",
    error_title: "Das hat nicht geklappt",
    offline: "Sie sind offline. Diese Angaben sind vielleicht überholt.",
    stale: "Der Server antwortet nicht. Stand:",
    wrong_credentials: "Benutzername oder Passwort ist falsch.",
    wrong_password: "Das ist nicht das aktuelle Passwort.",
    same_password: "Wählen Sie ein anderes als das aktuelle Passwort.",
    bad_password: "Ein Passwort hat höchstens 1024 Bytes und keine Nullzeichen.",
    bad_username: "Wählen Sie einen Namen aus 1 bis 80 sichtbaren Zeichen.",
    name_taken: "Dieser Name ist vergeben.",
    registration_closed: "Die Registrierung ist geschlossen.",
    too_many: "Zu viele Versuche. Versuchen Sie es später noch einmal.",
    not_found: "Diese Sitzung ist bereits beendet.",
    expired_form: "Die Seite war veraltet. Versuchen Sie es noch einmal.",
    unavailable: "Der Server kann das gerade nicht ausführen; nichts wurde geändert. Versuchen Sie es noch einmal.",
    just_now: "gerade eben",
    password_length: |minimum| format!("Wählen Sie ein Passwort mit mindestens {minimum} Zeichen."),
    minutes_ago: |n| format!("vor {n} Minute{}", if n == 1 { "" } else { "n" }),
    hours_ago: |n| format!("vor {n} Stunde{}", if n == 1 { "" } else { "n" }),
    days_ago: |n| format!("vor {n} Tag{}", if n == 1 { "" } else { "en" }),
};

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_browser_chooses_the_language() {
        for (header, expected) in [
            ("de", Language::German),
            ("de-AT,de;q=0.9,en;q=0.8", Language::German),
            ("en-GB, de;q=0.9", Language::English),
            ("fr, de;q=0.5, en;q=0.4", Language::German),
            ("fr, *;q=0.5, de;q=0.4", Language::English),
            ("fr", Language::English),
            ("de;q=x", Language::English),
            ("", Language::English),
            (";;;,,,de;q=0", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(header));
            assert_eq!(Language::of(&headers), expected, "{header}");
        }
        assert_eq!(Language::of(&HeaderMap::new()), Language::English);
    }

    #[test]
    fn the_time_that_has_passed_is_in_the_largest_unit() {
        let said = |seconds| Language::German.messages().ago(Duration::from_secs(seconds));
        assert_eq!(
            [said(59), said(60), said(7_199), said(86_399), said(86_400)],
            ["gerade eben", "vor 1 Minute", "vor 1 Stunde", "vor 23 Stunden", "vor 1 Tag"]
        );
        assert_eq!(Language::English.messages().ago(Duration::from_secs(172_800)), "2 days ago");
    }
}
