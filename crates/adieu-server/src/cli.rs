//! The command line.
//!
//! 1. Every command works on the store of the server's settings, also while a server runs on it: within
//!    `max_staleness` the server rejects what a command revokes. A command whose issuer is not that of the server fails.
//! 2. A command does not create a store, except `user add`, so that an administrator can exist before the first
//!    start; with `--create` also `user import` and `client add`. A command that lists, checks, copies or explains does not
//!    migrate the store.
//! 3. Results go to standard output. An error goes to standard error in one line, with status 1; invalid usage has
//!    status 2. `doctor` has a status for each outcome.
//! 4. A command that changes something records it in the audit trail, if the settings name a file for it: the command
//!    runs only if the file can be opened, and records the change after it is done.
//! 5. No password, key or password hash is printed, not even in errors, and none is accepted as an argument. The
//!    secret of a new client and a token that resets a password are printed by the command that creates them, and by no other.

mod alias;
mod client;
mod completions;
mod delivery;
mod doctor;
mod health;
mod key;
mod log;
mod man;
mod on_store;
mod output;
mod progress;
mod prompt;
mod relay;
mod revoke;
mod session;
mod settings;
mod status;
mod store;
mod stream;
mod target;
mod token;
mod user;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use adieu_sqlite::wait_until_closed;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::Extension;
use clap::{Parser, Subcommand};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::Layer as _;

use crate::{
    api::{self, ApiService, AtConsole},
    audit::{Trail, Via},
    config::{Flags, ListenAddress, Registration, Settings, StoreAddress, redacted, written_duration},
    deliveries::{Deliveries, Receiver},
    exposure::exposures,
    listen::{
        Bounds, Drained, HttpService, Listeners, LiveBounds, Tls, asked_to_stop, outlive_file_size_limit,
        raise_descriptor_limit, serve,
    },
    logging::{self, Logging},
    metrics::{self, Metrics},
    node::Node,
    relay::{Relay, followed},
};
#[cfg(unix)]
use crate::{
    listen::asked_to_reload,
    notify::Notifier,
    reload::{Reload, Server},
};

/// Delay before a store is tried again at the start.
const START_PAUSE: Duration = Duration::from_millis(500);
/// How long the process waits at its end for its SQLite files to be closed: a write-ahead log is short.
const CLOSING: Duration = Duration::from_secs(5);

/// Connection limit of `metrics_listen`: one address, for example that of Prometheus, gets a quarter of them.
const METRICS_CONNECTIONS: usize = 32;
/// Connection limit of `console_listen`. A browser opens several.
const CONSOLE_CONNECTIONS: usize = 128;

/// Logout for JSON Web Tokens: a server that issues, verifies and revokes them.
#[derive(Debug, Parser)]
#[command(name = "adieu", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server; the default without a command
    Serve(Flags),
    /// Start a relay, for example beside a service: it follows a node, answers /verify for it, and can be followed
    Relay(relay::Arguments),
    /// Add, list, change, delete, import and export users
    User(user::Arguments),
    /// Add, list, change and remove clients: services that call the server
    Client(client::Arguments),
    /// Add, list and remove e-mail addresses and other aliases: names of users in the events of trusted issuers
    Alias(alias::Arguments),
    /// Create, check, verify, enable and delete the stream of security events from a trusted issuer
    Stream(stream::Arguments),
    /// List and end sessions
    Session(session::Arguments),
    /// Inspect or revoke a token
    Token(token::Arguments),
    /// Revoke all tokens of a subject, with a claim or of a key, or all tokens
    Revoke(revoke::Arguments),
    /// List, rotate and remove signing keys
    Key(key::Arguments),
    /// List, repeat and skip deliveries of webhooks and logout tokens
    Delivery(delivery::Arguments),
    /// Back up, restore and copy stores
    Store(store::Arguments),
    /// Show the state of the revocation log, and accept a restored backup
    Log(log::Arguments),
    /// Check the settings, files, clock, disk, limits, store, certificate, proxies and issuers; changes nothing. Status 0 if all
    /// is well, 1 with a warning, 2 with a failure
    Doctor(doctor::Arguments),
    /// Ask a node whether it is ready, for health checks of containers
    Health(health::Arguments),
    /// Show how fresh running nodes are, their followers, and how many logins and logouts there were, from their metrics. Status 1
    /// if a node is stale, has detected a restored backup or gives no answer
    Status(status::Arguments),
    /// Print a sample of the settings file, or the effective settings
    Config(settings::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
    /// Write the man pages to a folder, for packages
    #[command(hide = true)]
    Man(man::Arguments),
}

impl Arguments {
    /// Parses the command line. Prints errors to standard error, without the passwords of URLs.
    ///
    /// # Errors
    /// The status to exit with; also after the help, which goes to standard output.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            if !error.use_stderr() {
                let _printed = error.print();
                return ExitCode::SUCCESS;
            }
            let text = error.render();
            let text = match io::IsTerminal::is_terminal(&io::stderr()) {
                true => text.ansi().to_string(),
                false => text.to_string(),
            };
            let _told = io::stderr().write_all(redacted(&text).as_bytes());
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        })
    }

    /// Runs the command. On an error, prints one line to standard error and returns status 1.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let outcome = self.command.unwrap_or(Command::Serve(self.flags)).run();
        // The last process to close the file moves its write-ahead log into it and removes the log. Nothing is lost
        // if this does not finish.
        wait_until_closed(CLOSING);
        match outcome {
            Ok(status) => status,
            Err(error) => {
                // Without standard error there is no place to report this.
                let _told = writeln!(io::stderr(), "error: {}", output::visible(&redacted(&format!("{error:#}"))));
                ExitCode::FAILURE
            }
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(flags) => {
                let settings = Settings::load(&flags, std::env::vars_os())?;
                serve_until_stopped(flags, settings).map(|()| ExitCode::SUCCESS)
            }
            Self::Relay(arguments) => arguments.run().map(|()| ExitCode::SUCCESS),
            Self::User(arguments) => wait_for(arguments.run()),
            Self::Client(arguments) => wait_for(arguments.run()),
            Self::Alias(arguments) => wait_for(arguments.run()),
            Self::Stream(arguments) => wait_for(arguments.run()),
            Self::Session(arguments) => wait_for(arguments.run()),
            Self::Token(arguments) => wait_for(arguments.run()),
            Self::Revoke(arguments) => wait_for(arguments.run()),
            Self::Key(arguments) => wait_for(arguments.run()),
            Self::Delivery(arguments) => wait_for(arguments.run()),
            Self::Store(arguments) => wait_for(arguments.run()),
            Self::Log(arguments) => wait_for(arguments.run()),
            Self::Doctor(arguments) => wait_for(arguments.run()),
            Self::Health(arguments) => wait_for(arguments.run()),
            Self::Status(arguments) => wait_for(arguments.run()),
            Self::Config(arguments) => arguments.run().map(|()| ExitCode::SUCCESS),
            Self::Completions(arguments) => arguments.run().map(|()| ExitCode::SUCCESS),
            Self::Man(arguments) => arguments.run().map(|()| ExitCode::SUCCESS),
        }
    }
}

/// Runs the server.
fn serve_until_stopped(flags: Flags, settings: Settings) -> anyhow::Result<()> {
    let trail = Trail::new(settings.audit_log.clone(), Via::Server);
    let logging = Arc::new(logging::start(settings.log_format, settings.log_level, trail));
    let process = Process { flags, logging, descriptors: raise_descriptor_limit() };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?
        .block_on(start(process, settings))
}

/// Runs a command other than the server.
fn wait_for(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?
        .block_on(async {
            outlive_file_size_limit().context("signals can't be received")?;
            command.await
        })
}

/// What a server needs besides its settings.
#[cfg_attr(not(unix), expect(dead_code, reason = "for a reload, which a signal asks for"))]
struct Process {
    flags: Flags,
    /// Kept until the end, so that all lines are written.
    logging: Arc<Logging>,
    /// How many files may be open.
    descriptors: Option<u64>,
}

async fn start(process: Process, settings: Settings) -> anyhow::Result<()> {
    #[cfg(unix)]
    let hangups = asked_to_reload().context("signals can't be received")?;
    for exposure in exposures(&settings) {
        tracing::warn!("{exposure}");
    }
    let receivers = Receiver::of(&settings)?;
    let listeners = Listeners::bind(&settings).await?;
    let metrics_listener = bind("metrics_listen", settings.metrics_listen).await?;
    let console_listener = bind("console_listen", settings.console_listen).await?;
    let mut stop = pin!(asked_to_stop().context("signals can't be received")?);
    outlive_file_size_limit().context("signals can't be received")?;
    let addresses = listeners.addresses().context("the address is unknown")?;
    let descriptors = descriptors_for_clients(&settings, process.descriptors);
    let bounds: LiveBounds = Arc::new(ArcSwap::from_pointee(Bounds::from(&settings).within(descriptors)));
    #[cfg(unix)]
    let reload = |server, settings, api: &ApiService, beside: [&ServedBeside; 2], notifier| {
        let (api, bounds, tls) = (api.clone(), Arc::clone(&bounds), listeners.tls().cloned());
        let (flags, logging) = (process.flags.clone(), Arc::clone(&process.logging));
        let beside = beside.into_iter().flat_map(|beside| beside.bounds.clone()).collect();
        let reload = Reload { flags, settings, server, api, bounds, beside, descriptors, tls, logging, notifier };
        tokio::spawn(reload.at(hangups))
    };
    if let Some(url) = followed(&settings)? {
        let relay = tokio::select! {
            relay = once_reachable(&settings, async || Relay::open(&settings, url).await) => Arc::new(relay?),
            () = &mut stop => return Ok(()),
        };
        let watching = relay.clients.start_watching();
        print(&format!("{}\nit follows {}\n", listens_on(&addresses, &settings), redacted(url)))?;
        let router = api::relay_router(Arc::clone(&relay), &settings)?;
        listeners.tls().into_iter().for_each(|tls| relay.metrics.watch_certificate(tls.clone()));
        let metrics = serve_metrics(metrics_listener, &relay.metrics, &settings)?;
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        #[cfg(unix)]
        let notifier = Arc::new(Notifier::start(router.clone()));
        #[cfg(unix)]
        let reloading = reload(
            Server::Relay(Arc::clone(&relay)),
            Arc::clone(&settings),
            &router,
            [&metrics, &ServedBeside::default()],
            Arc::clone(&notifier),
        );
        let stop = async {
            stop.await;
            #[cfg(unix)]
            {
                reloading.abort();
                notifier.stopping();
            }
            relay.is_leaving.send_replace(true);
            sleep(settings.load().shutdown_delay).await;
            relay.feed.hub.end_waiting();
        };
        let drained = serve(listeners, router, Arc::clone(&bounds), stop).await;
        drop(watching);
        relay.traces.end().await;
        metrics.end().await?;
        tracing::info!(abandoned = drained.abandoned, "stopped");
        return Ok(());
    }
    let node = tokio::select! {
        node = once_reachable(&settings, async || Node::open(&settings).await) => Arc::new(node?),
        () = &mut stop => return Ok(()),
    };
    let router = api::router(Arc::clone(&node), settings.clone())?;
    print(&banner(&addresses, &settings))?;
    listeners.tls().into_iter().for_each(|tls| node.metrics.watch_certificate(tls.clone()));
    let metrics = serve_metrics(metrics_listener, &node.metrics, &settings)?;
    let mut console = serve_console(console_listener, &router, listeners.tls(), &settings)?;

    #[cfg(unix)]
    let notifier = Arc::new(Notifier::start(router.clone()));
    let (housekeeping, watching) = (node.start_housekeeping(), node.clients.start_watching());
    let recording = node.accounts.start_recording_logins();
    let deliveries = Deliveries::start(receivers, node.source_of_deliveries());
    #[cfg(unix)]
    let reloading = {
        let server = Server::Node(Arc::clone(&node), deliveries.receivers());
        reload(server, Arc::clone(&node.settings), &router, [&metrics, &console], Arc::clone(&notifier))
    };
    let console_serves = console.serves.take();
    let stop = async {
        stop.await;
        #[cfg(unix)]
        {
            reloading.abort();
            notifier.stopping();
        }
        node.is_leaving.send_replace(true);
        sleep(node.settings.load().shutdown_delay).await;
        drop(console_serves);
        // Answers waiting requests immediately, instead of after their wait.
        node.feed.hub.end_waiting();
    };
    let drained = serve(listeners, router, Arc::clone(&bounds), stop).await;
    console.end().await?;
    drop((housekeeping, watching, recording));
    deliveries.end().await;
    metrics.end().await?;
    node.close().await;
    tracing::info!(abandoned = drained.abandoned, "stopped");
    Ok(())
}

/// Opens a store that may still be starting, for up to `start_timeout`. Other errors are returned at once.
async fn once_reachable<T>(settings: &Settings, open: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let give_up_at = Instant::now() + settings.start_timeout;
    let mut has_told = false;
    loop {
        let error = match open().await {
            Err(error) if is_unavailable(settings, &error) && Instant::now() < give_up_at => error,
            outcome => return outcome,
        };
        if !has_told {
            let within = written_duration(settings.start_timeout);
            tracing::warn!(
                error = &*error as &dyn std::error::Error,
                within,
                "the store can't be reached yet; trying again"
            );
            has_told = true;
        }
        sleep(START_PAUSE.min(give_up_at - Instant::now())).await;
    }
}

/// Returns whether the error is that of a server that may still start. A file does not.
fn is_unavailable(settings: &Settings, error: &anyhow::Error) -> bool {
    let is_of_a_server = settings.revocations.is_some() || matches!(settings.store, Some(StoreAddress::Postgres(_)));
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    is_of_a_server && causes.any(|cause| matches!(cause, adieu::Error::Unavailable(_)))
}

/// Returns how many files may be open besides those for metrics and console.
fn descriptors_for_clients(settings: &Settings, descriptors: Option<u64>) -> Option<u64> {
    let for_metrics = settings.metrics_listen.map_or(0, |_| METRICS_CONNECTIONS as u64);
    let for_console = settings.console_listen.map_or(0, |_| CONSOLE_CONNECTIONS as u64);
    descriptors.map(|descriptors| descriptors.saturating_sub(for_metrics + for_console))
}

async fn bind(setting: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    Ok(Some(listener.with_context(|| format!("cannot listen on {address} ({setting})"))?))
}

/// Serves the metrics, if there is an address for them. They end last: until then, they show how many requests remain.
fn serve_metrics(
    listener: Option<TcpListener>,
    metrics: &Arc<Metrics>,
    settings: &Settings,
) -> anyhow::Result<ServedBeside> {
    let Some(listener) = listener else { return Ok(ServedBeside::default()) };
    let address = listener.local_addr().context("the address is unknown")?;
    print(&format!("metrics:  curl http://{address}/metrics\n"))?;
    let bounds = Bounds { max_connections: METRICS_CONNECTIONS, ..Bounds::from(settings) };
    Ok(ServedBeside::start(listener.into(), metrics::router(Arc::clone(metrics)), bounds))
}

/// Serves everything at the address of the console, if it has one.
fn serve_console(
    listener: Option<TcpListener>,
    api: &ApiService,
    tls: Option<&Tls>,
    settings: &Settings,
) -> anyhow::Result<ServedBeside> {
    let Some(listener) = listener else { return Ok(ServedBeside::default()) };
    let address = listener.local_addr().context("the address is unknown")?;
    if settings.pages && settings.console {
        print(&format!("console:  {}://{address}/console\n", scheme(settings)))?;
    }
    let bounds = Bounds { max_connections: CONSOLE_CONNECTIONS, ..Bounds::from(settings) };
    let service = Extension(AtConsole).layer(api.clone());
    Ok(ServedBeside::start(Listeners::new(listener, tls.cloned()), service, bounds))
}

/// A listener beside those for clients, with an address and connections of its own.
#[derive(Default)]
struct ServedBeside {
    /// Dropped when it is to end.
    serves: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Drained>>,
    bounds: Option<LiveBounds>,
}

impl ServedBeside {
    fn start(listeners: Listeners, service: impl HttpService, bounds: Bounds) -> Self {
        let bounds: LiveBounds = Arc::new(ArcSwap::from_pointee(bounds));
        let (serves, ended) = oneshot::channel();
        let stop = async move { drop(ended.await) };
        let task = tokio::spawn(serve(listeners, service, Arc::clone(&bounds), stop));
        Self { serves: Some(serves), task: Some(task), bounds: Some(bounds) }
    }

    /// Answers the requests in progress, and returns.
    async fn end(self) -> anyhow::Result<()> {
        drop(self.serves);
        if let Some(task) = self.task {
            task.await.context("serving failed")?;
        }
        Ok(())
    }
}

/// Returns the line with the version and all addresses.
fn listens_on(addresses: &[ListenAddress], settings: &Settings) -> String {
    let address = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => format!("{}://{address}", scheme(settings)),
        ListenAddress::Unix(_) => address.to_string(),
    };
    let addresses: Vec<_> = addresses.iter().map(address).collect();
    format!("adieu {} listens on {}", env!("CARGO_PKG_VERSION"), addresses.join(" and "))
}

/// Returns the scheme of the URLs of TCP addresses.
fn scheme(settings: &Settings) -> &'static str {
    if settings.tls_certificate.is_some() { "https" } else { "http" }
}

/// Returns what a start prints: all that a user needs for the first login.
fn banner(addresses: &[ListenAddress], settings: &Settings) -> String {
    let data = match (&settings.store, &settings.revocations) {
        (None, None) => settings.data.display().to_string(),
        (Some(store), None) => store.to_string(),
        (_, Some(revocations)) => format!("{} and {revocations}", crate::store::address(settings)),
    };
    let tcp = addresses.iter().find(|address| matches!(address, ListenAddress::Tcp(_)));
    let (options, url) = match (tcp, addresses.first()) {
        (None, Some(ListenAddress::Unix(path))) => {
            (format!("--unix-socket '{}' ", path.display()), "http://localhost".to_owned())
        }
        (tcp, _) => {
            (String::new(), tcp.map_or_else(String::new, |address| format!("{}://{address}", scheme(settings))))
        }
    };
    let curl = |route: &str| {
        let body = r#"'{"username":"jose","password":"1234"}'"#;
        format!("curl {options}{url}{route} -H 'Content-Type: application/json' -d {body}")
    };
    let mut text = format!("{}\ndata is in {data}, documentation at {url}/docs\n", listens_on(addresses, settings));
    match settings.registration() {
        Registration::Open => text += &format!("register: {}\n", curl("/register")),
        Registration::Invite => text += "registration needs an invitation: adieu user invite\n",
        Registration::Closed => text += "registration is closed; add a user with: adieu user add NAME\n",
    }
    text + &format!("log in:   {}\n", curl("/login"))
}

/// Prints to standard output. A reader that has closed its end (`adieu config | head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}
