//! The console, as requests: what a browser does with it is tested in `tests/browser`.

use std::time::Duration;

use adieu::{Issuer, Subject, time::Timestamp};
use adieu_events::{Alias, AliasKind};
use adieu_server::{
    accounts::Account,
    aliases::{AliasFilter, KnownAlias, Named},
    clients::Capability,
    text::Username,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::{
    pages::{Browser, header},
    provider::Provider,
    support::{PASSWORD, TestApp},
};

/// The path of a change of the console, a form that is complete but for the CSRF value, and whether it needs the password.
type Change = (String, Vec<(&'static str, String)>, bool);

fn alias(value: &str) -> Vec<(&'static str, String)> {
    [("issuer", "https://login.example"), ("subject", "00u1"), ("format", "email"), ("value", value)]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
}

/// The form of a client.
pub(crate) fn client(name: &str) -> Vec<(&'static str, String)> {
    [("name", name), ("can", "follow,revoke"), ("quota", "5 per 1m"), ("horizon", "1d"), ("logout_uri", "")]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
}

/// The form that removes an alias.
fn removal(subject: &str, value: &str) -> Vec<(&'static str, String)> {
    let [issuer, value, subject] = ["https://login.example", value, subject].map(|text| URL_SAFE_NO_PAD.encode(text));
    vec![("which", format!("{issuer}.email.{value}.{subject}"))]
}

fn changes(user: &str, key: &str) -> Vec<Change> {
    let change = |action: &str, needs_password| (format!("/console/users/{user}/{action}"), vec![], needs_password);
    let revocation = |kind: &str, value: &str, needs_password| {
        let form = vec![("kind", kind.to_owned()), ("value", value.to_owned()), ("typed", "everything".to_owned())];
        ("/console/revocations".to_owned(), form, needs_password)
    };
    vec![
        change("disable", false),
        change("enable", false),
        change("promote", true),
        change("demote", false),
        change("require-password-change", false),
        change("reset-token", true),
        change("end-sessions", false),
        revocation("user", user, false),
        revocation("subject", "x", false),
        revocation("session", "x", false),
        revocation("token", "x", false),
        revocation("key", "x", true),
        revocation("everything", "", true),
        ("/console/keys/rotate".to_owned(), vec![], true),
        ("/console/keys/remove".to_owned(), vec![("key", key.to_owned())], true),
        ("/console/clients/add".to_owned(), client("new"), true),
        ("/console/clients/change".to_owned(), client("shop"), true),
        ("/console/clients/rotate-secret".to_owned(), client("shop"), true),
        ("/console/clients/remove".to_owned(), client("shop"), true),
        ("/console/aliases".to_owned(), vec![], false),
        ("/console/aliases/add".to_owned(), alias("jose@example.com"), true),
        ("/console/aliases/remove".to_owned(), removal("00u1", "jose@example.com"), true),
        ("/console/deliveries/replay".to_owned(), vec![("receiver", "x".to_owned())], false),
        (
            "/console/deliveries/skip".to_owned(),
            vec![("receiver", "x".to_owned()), ("message_id", "x".to_owned())],
            false,
        ),
        ("/console/token".to_owned(), vec![("token", "x".to_owned())], false),
    ]
}

#[tokio::test]
async fn the_console_changes_nothing_without_an_administrator_the_csrf_value_and_where_needed_the_password() {
    let app = TestApp::with(&[("login_attempts_per_account", "10000 per 1m")])
        .await
        .with_user("jose")
        .await
        .with_admin("boss")
        .await;
    let [jose, boss] = [Browser::logged_in(&app, "jose").await, Browser::logged_in(&app, "boss").await];
    let user = app.claims(&app.log_in("jose").await).subject;
    let key = app.node.core.signing_key().verifying_key().key_id().unwrap().to_string();
    app.client("shop", &[Capability::Introspect]).await;
    let clients = app.node.clients.store().clients().await.unwrap();
    let (head, keys) = (app.node.core.applied().borrow().clone(), app.node.core.signing_keys().len());
    for (path, form, needs_password) in changes(user.as_str(), &key) {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(Browser::new(&app).post(&path, &form, &[]).await.status(), 401, "{path}");
        for csrf in [&[][..], &[("csrf_token", "x")]] {
            assert_eq!(boss.post(&path, &[&form, csrf].concat(), &[]).await.status(), 401, "{path}");
        }
        for (browser, headers) in [
            (&jose, &[][..]),
            (&boss, &[("sec-fetch-site", "cross-site")]),
            (&boss, &[("origin", "https://a.example")]),
        ] {
            let csrf = ("csrf_token", browser.cookie("__Host-csrf_access_token"));
            assert_eq!(browser.post(&path, &[&form[..], &[csrf]].concat(), headers).await.status(), 403, "{path}");
        }
        if needs_password {
            for password in ["", "wrong"] {
                let more = [("csrf_token", boss.cookie("__Host-csrf_access_token")), ("password", password)];
                assert_eq!(boss.post(&path, &[&form[..], &more].concat(), &[]).await.status(), 401, "{path}");
            }
        }
    }
    assert_eq!(*app.node.core.applied().borrow(), head, "nothing was revoked");
    assert_eq!(app.node.core.signing_keys().len(), keys);
    assert_eq!(app.node.clients.store().clients().await.unwrap(), clients);
    let account = app.node.accounts.store().by_id(&user).await.unwrap().unwrap();
    assert!(!account.is_admin && !account.is_disabled && !account.must_change_password);
    assert!(jose.is_logged_in().await && boss.is_logged_in().await);
}

#[tokio::test]
async fn no_page_of_the_console_is_for_others_and_no_get_changes_anything() {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let [jose, boss] = [Browser::logged_in(&app, "jose").await, Browser::logged_in(&app, "boss").await];
    let user = app.claims(&app.log_in("jose").await).subject;
    let head = app.node.core.applied().borrow().clone();
    for page in [
        "",
        "/users",
        &format!("/users/{user}?do=disable"),
        "/sessions?find=x&after=x",
        "/revocations?kind=everything",
        "/token",
        "/progress?at=x.1&wait=everywhere",
        "/clients",
        "/clients?do=add",
        "/clients?do=rotate-secret&name=x",
        "/aliases",
        "/keys?remove=x",
        "/deliveries?replay=x",
        "/deliveries?skip=x",
        "/audit?export",
    ] {
        let path = format!("/console{page}");
        for (browser, status) in [(&jose, 403), (&boss, 200)] {
            let response = browser.get(&path, "text/html").await;
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(header(response.headers(), "cache-control"), "no-store", "{path}");
        }
        let stranger = Browser::new(&app).get(&path, "text/html").await.text().await.unwrap();
        assert!(stranger.contains("name=\"password\"") && !stranger.contains("boss"), "{path}");
    }
    for missing in ["/users/x", "/users/%00", "/users/%FF", "/x"] {
        assert_eq!(boss.get(&format!("/console{missing}"), "text/html").await.status(), 404, "{missing}");
    }
    for junk in ["0.18446744073709551615.0.0", "1.2.3", "x", "1.2.3.4.5"] {
        assert_eq!(boss.get(&format!("/console/users?done={junk}"), "text/html").await.status(), 200, "{junk}");
    }
    assert_eq!(*app.node.core.applied().borrow(), head);
}

#[tokio::test]
async fn users_are_sorted_and_each_order_has_every_user_once() {
    let app = TestApp::start().await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let store = app.node.accounts.store();
    let one = store.by_username(&Username::new("boss").unwrap()).await.unwrap().unwrap();
    let many = (0..119_u64).map(|number| Account {
        id: Subject::new(format!("{number:08}")).unwrap(),
        username: Username::new(&format!("user {:03}", number * 5 % 119)).unwrap(),
        last_login_at: (number % 3 > 0).then(|| Timestamp::from_unix(number * 11 % 5)),
        is_admin: false,
        ..one.clone()
    });
    let many: Vec<_> = many.collect();
    store.add(many.clone()).await.unwrap();
    let listed = async |query: &str| {
        let (mut path, mut names, mut pages) = (format!("/console/users?name=user&{query}"), Vec::new(), 0);
        loop {
            let page = boss.get(&path, "text/html").await.text().await.unwrap();
            let rows = page.split("<bdi class=\"name\">user ").skip(1);
            names.extend(rows.map(|row| row.split('<').next().unwrap().parse::<u64>().unwrap()));
            pages += 1;
            let Some((_, next)) = page.split_once("<p class=\"more\"><a class=\"button\" href=\"") else { break };
            path = next.split('"').next().unwrap().replace("&#38;", "&");
        }
        assert_eq!(pages, 3, "{query}");
        names
    };
    let number = |account: &Account| account.username.as_str().strip_prefix("user ").unwrap().parse::<u64>().unwrap();
    let mut by_login = many.clone();
    by_login.sort_by_key(|account| (account.last_login_at, account.id.clone()));
    for (sort, ascending) in [
        ("created", many.iter().map(number).collect::<Vec<_>>()),
        ("name", (0..119).collect()),
        ("login", by_login.iter().map(number).collect()),
    ] {
        assert_eq!(listed(&format!("sort={sort}&order=asc")).await, ascending, "{sort}");
        let descending: Vec<_> = ascending.iter().copied().rev().collect();
        assert_eq!(listed(&format!("sort={sort}&order=desc")).await, descending, "{sort}");
        if sort == "created" {
            assert_eq!(listed("sort=x&order=x").await, ascending);
        }
    }
    for place in ["x", ".", "1.", ".x", "-1.x", "99999999999999999999.x", "1.%00", "%FF"] {
        let path = format!("/console/users?sort=login&after={place}");
        assert_eq!(boss.get(&path, "text/html").await.status(), 200, "{place}");
    }
}

#[tokio::test]
async fn the_console_shows_each_follower_and_the_version_that_it_states() {
    let app = TestApp::start().await.with_admin("boss").await;
    let billing = app.client("billing", &[Capability::Follow]).await;
    let boss = Browser::logged_in(&app, "boss").await;
    let follow = async |id: &str, agent: &[u8]| {
        let url = app.url(&format!("/revocations?follower={id}&max_staleness=2000"));
        let request = boss.client.get(url).basic_auth(&billing.name, Some(&billing.secret));
        let response = request.header("user-agent", HeaderValue::from_bytes(agent).unwrap()).send().await.unwrap();
        assert_eq!(response.status(), 200);
    };
    let shown = async || {
        let page = boss.get("/console/clients", "text/html").await.text().await.unwrap();
        let (_, followers) = page.split_once("followers-title\">Followers").unwrap();
        let rows =
            followers.split("<tr><th scope=\"row\">").skip(1).map(|row| row.split("</tr>").next().unwrap().to_owned());
        (rows.collect::<Vec<_>>(), page.clone())
    };
    assert!(shown().await.1.contains("No followers."));
    follow("a", b"adieu-node/0.0.9").await;
    follow("a", b"adieu-node/0.1.0").await;
    follow("b", format!("<script>{}", "x".repeat(1_000)).as_bytes()).await;
    follow("c", b"\xe2\x80\xae\xff").await;
    let (rows, page) = shown().await;
    assert_eq!(rows.len(), 3);
    assert!(rows[0].contains("billing") && rows[0].contains(">adieu-node/0.1.0<") && !page.contains("0.0.9"));
    assert!(rows[1].contains(&format!(">&#60;script&#62;{}<", "x".repeat(64 - "<script>".len()))), "{}", rows[1]);
    assert!(rows[2].contains(">unknown<"), "{}", rows[2]);
    assert!(!app.node.metrics.render().unwrap().contains("adieu-node"));
}

#[tokio::test]
async fn administrators_add_find_and_remove_aliases_and_no_url_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef".repeat(4)).unwrap();
    let trusted = format!(r#"[{{name = "https://login.example", secret_file = "{}"}}]"#, secret.display());
    let app = TestApp::with(&[("trusted_issuer", &trusted)]).await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let post = async |path: &str, form: &[(&str, String)], more: &[(&str, &str)]| {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let csrf = [("csrf_token", boss.cookie("__Host-csrf_access_token"))];
        let response = boss.post(&format!("/console/aliases{path}"), &[&form[..], &csrf, more].concat(), &[]).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let stored = async || app.node.aliases.store().aliases(&AliasFilter::default(), None, 9).await.unwrap().len();
    let (right, wrong) = ([("password", PASSWORD)], [("password", "wrong")]);

    let (_, asked) = post("", &alias("Jose@Example.com"), &[("do", "add")]).await;
    let command = "adieu alias add --issuer https://login.example --subject 00u1 -- email jose@example.com";
    assert!(asked.contains(command) && asked.contains("POST /aliases\n"), "{asked}");
    assert_eq!(stored().await, 0);
    assert_eq!(post("/add", &alias("jose@example.com"), &wrong).await.0, 401);
    assert_eq!(stored().await, 0);
    assert_eq!(post("/add", &alias("Jose@Example.com"), &right).await.0, 303);
    assert_eq!(stored().await, 1);
    for (name, value, said) in [
        ("issuer", "https://other.example", "This is not a trusted issuer of the settings."),
        ("subject", "", "Give the subject of the user&#39;s tokens"),
        ("format", "x", "This can&#39;t be an alias of this format."),
        ("value", "\u{1}", "This can&#39;t be an alias of this format."),
    ] {
        let mut form = alias("ana@example.com");
        form.iter_mut().find(|(named, _)| *named == name).unwrap().1 = value.to_owned();
        for (path, more) in [("/add", &right), ("", &[("do", "add")])] {
            let (status, page) = post(path, &form, more).await;
            let (_, problem) = page.split_once("id=\"problem\">").unwrap();
            assert!((400..500).contains(&status) && problem.starts_with(said), "{name}: {status}, {problem}");
        }
    }
    assert_eq!(stored().await, 1);

    const ROW: &str = "<tr><th scope=\"row\"><bdi class=\"name\">jose@example.com</bdi></th>";
    let search = |name: &'static str, value: &str| {
        let empty = ["issuer", "subject", "format", "value"].map(|name| (name, String::new()));
        let mut form: Vec<_> = empty.into_iter().filter(|(named, _)| *named != name).collect();
        form.push((name, value.to_owned()));
        form
    };
    for (form, is_found) in [
        (search("subject", "00u1"), true),
        (search("subject", "00u2"), false),
        (search("issuer", "https://login.example"), true),
        ([search("value", "JOSE@example.com"), vec![]].concat(), false),
    ] {
        assert_eq!(post("", &form, &[]).await.1.contains(ROW), is_found, "{form:?}");
    }
    let by_value = |value: &str| vec![("format", "email".to_owned()), ("value", value.to_owned())];
    assert!(post("", &by_value("JOSE@example.com"), &[]).await.1.contains(ROW));
    assert!(!post("", &by_value("ana@example.com"), &[]).await.1.contains(ROW));

    let hostile = vec![("format", "uri".to_owned()), ("value", "\"><script>alert(1)</script>".to_owned())];
    let hostile = [alias("x").into_iter().take(2).collect(), hostile].concat();
    assert_eq!(post("/add", &hostile, &right).await.0, 303);
    let page = boss.get("/console/aliases", "text/html").await.text().await.unwrap();
    assert!(page.contains(ROW) && !page.contains("<script>alert"));
    for attribute in ["href=\"", "action=\""] {
        let urls = page.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap());
        assert!(urls.into_iter().all(|url| !url.contains("jose") && !url.contains("00u1")), "personal data in a URL");
    }

    let (_, asked) = post("", &removal("00u1", "jose@example.com"), &[("do", "remove")]).await;
    assert!(asked.contains("adieu alias remove") && asked.contains("POST /aliases/remove\n"), "{asked}");
    assert_eq!(post("/remove", &removal("00u1", "jose@example.com"), &wrong).await.0, 401);
    assert_eq!(stored().await, 2);
    assert_eq!(post("/remove", &removal("00u1", "jose@example.com"), &right).await.0, 303);
    assert_eq!(stored().await, 1);
    assert_eq!(post("/remove", &removal("00u1", "jose@example.com"), &right).await.0, 404);

    // A browser sends a line break as CRLF.
    let broken = Named {
        issuer: Issuer::new("https://login.example").unwrap(),
        alias: Alias::new(AliasKind::Email, "lines@example.com").unwrap(),
        subject: Subject::new("two\nlines").unwrap(),
    };
    let known = KnownAlias { named: broken, seen_at: Timestamp::from_unix(1) };
    app.node.aliases.store().add_aliases(vec![known]).await.unwrap();
    let page = boss.get("/console/aliases", "text/html").await.text().await.unwrap();
    let form = removal("two\nlines", "lines@example.com");
    assert!(page.contains(&format!("name=\"which\" value=\"{}\"", form[0].1)), "{page}");
    let (_, asked) = post("", &form, &[("do", "remove")]).await;
    assert!(asked.contains(&format!("name=\"which\" value=\"{}\"", form[0].1)), "{asked}");
    let before = stored().await;
    assert_eq!((post("/remove", &form, &right).await.0, stored().await), (303, before - 1));
    for which in ["", "x", "...", "\u{202e}"] {
        assert_eq!(post("/remove", &[("which", which.to_owned())], &right).await.0, 404);
    }

    let named = |number: u32| Named {
        issuer: Issuer::new("https://login.example").unwrap(),
        alias: Alias::new(AliasKind::Email, &format!("{number:03}@example.com")).unwrap(),
        subject: Subject::new("00u9").unwrap(),
    };
    let known = (0..101).map(|number| KnownAlias { named: named(number), seen_at: Timestamp::from_unix(1) });
    app.node.aliases.store().add_aliases(known.collect()).await.unwrap();
    let (_, first) = post("", &search("subject", "00u9"), &[]).await;
    let (_, after) = first.split_once("name=\"after\" value=\"").unwrap();
    let (_, second) = post("", &search("subject", "00u9"), &[("after", after.split('"').next().unwrap())]).await;
    let rows = |page: &str| page.matches("@example.com</bdi></th>").count();
    assert_eq!((rows(&first), rows(&second)), (100, 1));
    assert!(second.contains(">100@example.com<"));
}

#[tokio::test]
async fn a_revocation_is_shown_node_by_node_until_it_holds_everywhere() {
    let app = TestApp::with(&[("max_staleness", "10s")]).await.with_admin("boss").await;
    let billing = app.client("billing", &[Capability::Follow]).await;
    let boss = Browser::logged_in(&app, "boss").await;
    let follow = async |max_staleness: u32, after: &str| {
        let url = app.url(&format!("/revocations?follower=a&max_staleness={max_staleness}{after}"));
        let response = boss.client.get(url).basic_auth(&billing.name, Some(&billing.secret)).send().await.unwrap();
        let page: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        format!("&after={}", page["cursor"].as_str().unwrap())
    };
    let before = follow(10_000, "").await;
    follow(10_000, &before).await;
    let revoke = async |more: &[(&str, &str)]| {
        let csrf = [("csrf_token", boss.cookie("__Host-csrf_access_token"))];
        let form = [&[("kind", "subject"), ("value", "x")][..], &csrf, more].concat();
        let response = boss.post("/console/revocations", &form, &[]).await;
        assert_eq!(response.status(), 303);
        header(response.headers(), "location").to_owned()
    };
    let to = revoke(&[("progress", "1")]).await;
    let at = to.strip_prefix("/console/revocations?done=0&at=").unwrap().to_owned();
    let shown = async |path: &str| boss.get(path, "text/html").await.text().await.unwrap();
    let row = |state: &str| format!("{state}</span> <bdi class=\"name\">billing</bdi>");
    for path in [&to, &format!("/console/progress?at={at}")] {
        let mut page = shown(path).await;
        while page.contains("Confirmed: 0/2") {
            page = shown(path).await;
        }
        assert!(page.contains("Confirmed: 1/2") && page.contains(&row("warn\">not yet")), "{page}");
    }
    let path = format!("/console/progress?at={at}&wait=everywhere");
    let ending = tokio::join!(shown(&path), async {
        let after = follow(10_000, &before).await;
        follow(10_000, &after).await
    });
    assert!(ending.0.contains("It holds everywhere: 2 confirmed it.") && ending.0.contains(&row("ok\">has it")));
    assert!(shown(&to).await.contains("Confirmed: 2/2"));

    // Without the field, the answer comes once it holds everywhere: here, after the silent follower must reject.
    follow(5_000, &ending.1).await;
    assert_eq!(revoke(&[]).await, "/console/revocations?done=0.0.1.0");
    for at in ["", "x", "a.b", "a.99999999999999999999", "%FF"] {
        assert_eq!(boss.get(&format!("/console/progress?at={at}"), "text/html").await.status(), 404, "{at}");
        assert_eq!(boss.get(&format!("/console/keys?at={at}"), "text/html").await.status(), 200, "{at}");
    }
    let other = shown("/console/progress?at=other.1").await;
    assert!(other.contains("Confirmed: 0/1"), "a position in another log");
}

#[tokio::test]
async fn the_console_shows_what_issuers_have_sent_and_why_it_was_rejected() {
    let provider = Provider::start().await;
    let app = provider.app().await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let shown = async || boss.get("/console/deliveries", "text/html").await.text().await.unwrap();
    assert!(shown().await.contains("none since the start of this server"));
    let send =
        async |token: &str| app.post("/backchannel-logout").form(format!("logout_token={token}")).send().await.status;
    for sid in ["s1", "s2"] {
        assert_eq!(send(&provider.logout_token(json!({ "sid": sid }))).await, 200);
    }
    assert_eq!(send(&provider.logout_token(json!({"sid": "s1", "exp": null}))).await, 400);
    for _ in 0..30 {
        assert_eq!(send("<script>alert(1)</script>").await, 400);
    }
    assert_eq!(send(&provider.logout_token(json!({"sid": "s1", "aud": "other"}))).await, 400);
    let page = shown().await;
    let received =
        "<td>backchannel-logout</td><td><span class=\"pill ok\">revoked</span></td><td class=\"number\">2</td>";
    assert!(page.contains(received) && !page.contains("none since the start"), "{page}");
    let (_, rejected) = page.split_once("rejected-title").unwrap();
    assert_eq!(
        rejected.matches("<th scope=\"row\">backchannel-logout</th>").count(),
        20,
        "only the last ones are kept"
    );
    let first = rejected.split("<th scope=\"row\">").nth(1).unwrap();
    assert!(first.contains(&provider.issuer) && first.contains("aud"), "{first}");
    assert!(!page.contains("<script>alert"));
}

#[tokio::test]
async fn wrong_confirmations_and_failed_logins_have_counts_of_their_own() {
    let app = TestApp::with(&[("login_attempts_per_account", "2 per 1h"), ("login_attempts_per_address", "3 per 1h")])
        .await
        .with_admin("boss")
        .await;
    let [boss, other] = [Browser::logged_in(&app, "boss").await, Browser::logged_in(&app, "boss").await];
    let rotate = async |browser: &Browser<'_>, password: &str| {
        let form = [("csrf_token", browser.cookie("__Host-csrf_access_token")), ("password", password)];
        browser.post("/console/keys/rotate", &form, &[]).await.status().as_u16()
    };
    assert_eq!(
        [rotate(&boss, "wrong").await, rotate(&boss, "wrong").await, rotate(&boss, PASSWORD).await],
        [401, 401, 429]
    );
    assert_eq!(rotate(&other, PASSWORD).await, 303, "another session of the same user");
    let log_in = async |password: &str| {
        let body = json!({"username": "boss", "password": password});
        app.post("/login").json(body).send().await.status
    };
    assert_eq!(log_in(PASSWORD).await, 200, "the confirmations do not count as logins");
    assert_eq!([log_in("x").await, log_in("x").await, log_in(PASSWORD).await], [401, 401, 429]);
    assert_eq!(rotate(&other, PASSWORD).await, 303, "the failed logins do not count as confirmations");
}

#[tokio::test]
async fn the_word_that_confirms_can_not_be_given_twice() {
    let app = TestApp::start().await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let csrf = boss.cookie("__Host-csrf_access_token");
    let form = [
        ("kind", "everything"),
        ("value", ""),
        ("password", PASSWORD),
        ("csrf_token", csrf),
        ("typed", "a"),
        ("typed", "b"),
    ];
    assert_eq!(boss.post("/console/revocations", &form, &[]).await.status(), 400);
    assert!(boss.is_logged_in().await);
}

#[tokio::test]
async fn what_another_issuer_has_signed_is_revoked_under_its_name() {
    const OTHER: &str = "https://login.example";
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef".repeat(4)).unwrap();
    let claims = r#"revocable_claims = ["tenant"]"#;
    let trusted = format!(r#"[{{name = "{OTHER}", secret_file = "{}", {claims}}}]"#, secret.display());
    let app = TestApp::with(&[("trusted_issuer", &trusted)]).await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let page = boss.get("/console/revocations", "text/html").await.text().await.unwrap();
    assert!(page.contains(&format!("<option selected>adieu</option><option>{OTHER}</option>")), "{page}");
    let newest = async || app.node.core.log().read(None, Duration::ZERO).await.unwrap().entries.pop().unwrap();
    for (kind, value, command) in [
        ("key", "shop-1", Some("adieu revoke --key shop-1 --issuer https://login.example")),
        ("subject", "42", Some("adieu revoke --subject 42 --issuer https://login.example")),
        ("claim", "tenant=acme", Some("adieu revoke --claim tenant=acme --issuer https://login.example")),
        ("session", "s", None),
        ("token", "t", None),
    ] {
        let query = [("kind", kind), ("value", value), ("issuer", OTHER)];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let asked = boss.get(&format!("/console/revocations?{query}"), "text/html").await.text().await.unwrap();
        assert!(asked.contains(&format!("<input type=\"hidden\" name=\"issuer\" value=\"{OTHER}\">")), "{asked}");
        assert!(asked.contains("&#34;issuer&#34;:&#34;https://login.example&#34;"), "{asked}");
        assert_eq!(asked.contains("<code>adieu "), command.is_some(), "{asked}");
        assert!(command.is_none_or(|command| asked.contains(command)), "{asked}");
        let csrf = boss.cookie("__Host-csrf_access_token");
        let form = [("kind", kind), ("value", value), ("issuer", OTHER), ("csrf_token", csrf), ("password", PASSWORD)];
        assert_eq!(boss.post("/console/revocations", &form, &[]).await.status(), 303, "{kind}");
        let revoked = newest().await;
        assert_eq!((revoked.issuer.as_str(), revoked.target.parts().kind.name()), (OTHER, kind));
        let form = [("kind", kind), ("value", value), ("issuer", "https://else.example"), ("csrf_token", csrf)];
        assert_eq!(boss.post("/console/revocations", &form, &[]).await.status(), 404, "{kind}");
    }
    let before = newest().await;
    for (kind, value) in [("user", "boss"), ("everything", "")] {
        let csrf = boss.cookie("__Host-csrf_access_token");
        let typed = [("typed", "everything"), ("password", PASSWORD), ("csrf_token", csrf)];
        let form = [&[("kind", kind), ("value", value), ("issuer", OTHER)][..], &typed].concat();
        assert_eq!(boss.post("/console/revocations", &form, &[]).await.status(), 404, "{kind}");
    }
    assert_eq!(newest().await, before);
}

#[tokio::test]
async fn the_last_revocations_come_first_and_a_search_finds_all() {
    let app = TestApp::start().await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let token = app.log_in("boss").await.access;
    let revocations: Vec<_> = (0..250).map(|number| json!({ "token_id": format!("token-{number:03}") })).collect();
    app.post("/revocations").token(&token).json(json!({ "revocations": revocations })).send().await.is(200);
    let shown = async |query: &str| {
        let page = boss.get(&format!("/console/revocations{query}"), "text/html").await.text().await.unwrap();
        let ids = page.split("<bdi class=\"name\">token-").skip(1);
        ids.map(|rest| rest.split('<').next().unwrap().parse().unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(shown("").await, (150..250).rev().collect::<Vec<_>>());
    assert_eq!(shown("?find=token-1").await, (100..200).collect::<Vec<_>>());
    assert_eq!(shown("?find=token-999").await, Vec::<u32>::new());
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_not_called_a_session() {
    let app = TestApp::start().await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let csrf = ("csrf_token", boss.cookie("__Host-csrf_access_token"));
    for (action, form) in [("replay", &[("receiver", "x")][..]), ("skip", &[("receiver", "x"), ("message_id", "x")])] {
        let response = boss.post(&format!("/console/deliveries/{action}"), &[form, &[csrf]].concat(), &[]).await;
        assert_eq!(response.status(), 404);
        let page = response.text().await.unwrap();
        assert!(page.contains("There is nothing here.") && !page.contains("already ended"), "{action}: {page}");
    }
}
