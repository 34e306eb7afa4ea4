//! Which settings a reload (SIGHUP) applies, and which need a restart.

use super::Settings;

/// What a reload changes.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// The settings in effect after the reload.
    pub settings: Settings,
    /// The names of the changed settings that are in effect after the reload.
    pub applied: Vec<&'static str>,
    /// The names of the changed settings that need a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Defines the table. A setting that is in neither list does not compile.
macro_rules! table {
    (reload: $($reload:ident)+; restart: $($restart:ident)+;) => {
        /// The settings that a reload applies.
        const RELOAD: &[&str] = &[$(stringify!($reload)),+];

        impl Settings {
            /// Returns what a reload changes when the sources say `new`.
            #[must_use]
            pub fn reloaded(&self, new: Self) -> Reloaded {
                let (mut settings, mut applied, mut needs_restart) = (self.clone(), Vec::new(), Vec::new());
                let Self { $($reload,)+ $($restart,)+ } = new;
                $(if $reload != self.$reload {
                    settings.$reload = $reload;
                    applied.push(stringify!($reload));
                })+
                $(if $restart != self.$restart {
                    needs_restart.push(stringify!($restart));
                })+
                // A certificate can be replaced; but a socket keeps speaking TLS or not, and asking for certificates or not.
                let uses = |settings: &Self| (settings.tls_certificate.is_some(), settings.tls_client_ca.is_some());
                if uses(&settings) != uses(self) {
                    settings.tls_certificate.clone_from(&self.tls_certificate);
                    settings.tls_key.clone_from(&self.tls_key);
                    settings.tls_client_ca.clone_from(&self.tls_client_ca);
                    let (of_tls, others) = applied.into_iter().partition(|name| name.starts_with("tls_"));
                    applied = others;
                    needs_restart = [of_tls, needs_restart].concat();
                }
                Reloaded { settings, applied, needs_restart }
            }
        }
    };
}

table! {
    reload:
        tls_certificate tls_key tls_client_ca max_token_bytes
        trusted_issuer revocable_claims token_cookies send_cookies_from_every_site websocket_token allowed_origins
        access_lifetime refresh_lifetime session_lifetime rotation_grace max_sessions_per_user
        registration pages console min_password_length
        login_attempts_per_account login_attempts_per_address client_revocation_quota client_revocation_horizon client_reset_quota event_quota
        max_body_bytes max_connections header_timeout keep_alive_timeout request_timeout shutdown_delay drain_timeout
        trusted_proxies webhook log_level audit_log;
    restart:
        listen unix_socket_mode unix_socket_owner unix_socket_group metrics_listen console_listen
        data high_water_file store revocations allow_weaker_durability
        issuer audience token_cache_entries leeway
        max_staleness stale_policy follow follow_client follow_secret_file follow_ca follow_certificate follow_key
        hashing_threads hashing_queue start_timeout log_format otlp_endpoint otlp_sample_ratio;
}

/// Returns whether a reload applies a change of this setting.
#[must_use]
pub(super) fn is_reloadable(name: &str) -> bool {
    RELOAD.contains(&name)
}
