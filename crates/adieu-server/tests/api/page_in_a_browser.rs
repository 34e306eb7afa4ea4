//! The documentation page in a browser that may load nothing from other hosts.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_shown() {
    let app = TestApp::start().await;
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]);
    browser.args(["--disable-background-networking", "--disable-component-update"]);
    if rustix::process::geteuid().is_root() {
        // Chromium refuses to run as root inside its sandbox.
        browser.arg("--no-sandbox");
    }
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.args(["--virtual-time-budget=10000", "--dump-dom", &app.url("/docs")]);
    let shown = browser.stderr(Stdio::null()).kill_on_drop(true).output().await.expect("chromium is installed");
    let page = String::from_utf8(shown.stdout).unwrap();

    let document = adieu_server::api::document();
    assert!(document.paths.paths.len() > 10);
    for path in document.paths.paths.keys() {
        assert!(page.contains(&format!("data-path=\"{path}\"")), "{path} is not shown");
    }
}
