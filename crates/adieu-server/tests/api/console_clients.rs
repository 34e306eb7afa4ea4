//! Clients in the console.

use adieu_server::clients::{Capability, Limits};

use crate::{
    console_pages::client,
    pages::{Browser, header},
    support::{PASSWORD, TestApp},
};

#[tokio::test]
async fn administrators_add_change_and_remove_clients_and_each_secret_is_shown_once() {
    let app = TestApp::start().await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let get = async |query: &str| {
        let response = boss.get(&format!("/console/clients?{query}"), "text/html").await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let post = async |action: &str, form: &[(&str, String)], password: &str| {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let more = [("csrf_token", boss.cookie("__Host-csrf_access_token")), ("password", password)];
        let response = boss.post(&format!("/console/clients/{action}"), &[&form[..], &more].concat(), &[]).await;
        assert_eq!(header(response.headers(), "cache-control"), "no-store");
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let secret =
        |page: &str| page.split("<pre tabindex=\"0\"><code>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let is_accepted = async |secret: &str| app.node.clients.authenticate("shop", secret).await.is_ok();
    let stored = async || app.node.clients.store().clients().await.unwrap();

    let wanted = "name=shop&can=follow&can=revoke&quota=5+per+1m&horizon=1d&go=1";
    let (_, asked) = get(&format!("do=add&{wanted}")).await;
    let command = "adieu client add shop --capabilities follow,revoke --revocation-quota &#39;5 per 1m&#39; --revocation-horizon 1d<";
    assert!(asked.contains(command), "{asked}");
    assert_eq!(stored().await, []);
    assert_eq!(post("add", &client("shop"), "wrong").await.0, 401);
    assert_eq!(stored().await, []);
    let (status, page) = post("add", &client("shop"), PASSWORD).await;
    let first = secret(&page);
    assert_eq!((status, first.len()), (200, 43));
    assert!(is_accepted(&first).await);
    let (_, listed) = get("").await;
    assert!(
        listed.contains(">follow, revoke<") && listed.contains(">5/1m, ≤ 1d<") && !listed.contains(&first),
        "{listed}"
    );
    assert_eq!(post("add", &client("shop"), PASSWORD).await.0, 409);
    assert!(is_accepted(&first).await, "the client that was there before is unchanged");

    let (_, form) = get("do=change&name=shop").await;
    for given in
        ["value=\"follow\" checked", "value=\"revoke\" checked", "value=\"introspect\">", "\"5 per 1m\"", "\"1d\""]
    {
        assert!(form.contains(given), "{given}: {form}");
    }
    let follows = async |id: &str| {
        let request = boss.client.get(app.url(&format!("/revocations?follower={id}&max_staleness=2000")));
        request.basic_auth("shop", Some(&first)).send().await.unwrap().status().as_u16()
    };
    assert_eq!(follows("a").await, 200);
    let (_, asked) = get("do=change&name=shop&can=introspect&go=1").await;
    assert!(asked.contains("adieu client change shop --capabilities introspect<"), "{asked}");
    assert!(asked.contains("1 follower of this server gets no more revocations"), "{asked}");
    let less = [("name", "shop"), ("can", "introspect")].map(|(name, value)| (name, value.to_owned()));
    assert_eq!(post("change", &less, PASSWORD).await.0, 303);
    let changed = &stored().await[0];
    assert_eq!((&changed.can[..], changed.limits), (&[Capability::Introspect][..], Limits::default()));
    assert!(is_accepted(&first).await);

    let (_, asked) = get("do=rotate-secret&name=shop").await;
    assert!(asked.contains("adieu client rotate-secret shop<"), "{asked}");
    let (_, page) = post("rotate-secret", &client("shop"), PASSWORD).await;
    let second = secret(&page);
    assert!(second != first && is_accepted(&second).await && !is_accepted(&first).await);
    assert_eq!(stored().await[0].can, [Capability::Introspect]);
    assert!(get("do=remove&name=shop").await.1.contains("adieu client remove shop<"));
    assert_eq!(post("remove", &client("shop"), PASSWORD).await.0, 303);
    assert_eq!(stored().await, []);
    for action in ["change", "rotate-secret", "remove"] {
        let (status, page) = post(action, &client("shop"), PASSWORD).await;
        assert!(status == 404 && page.contains("There is no such client any more."), "{action}: {status}");
        assert!(get(&format!("do={action}&name=shop")).await.1.contains("There is no such client any more."));
    }
    assert_eq!(post("x", &[], PASSWORD).await.0, 404);
}

#[tokio::test]
async fn what_can_not_be_a_client_is_refused_with_the_reason() {
    let app = TestApp::start().await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let csrf = boss.cookie("__Host-csrf_access_token");
    let hostile = "\"><script>alert(1)</script>\u{202e}";
    let long = "x".repeat(10_240);
    for (field, value, said) in [
        ("name", hostile, "1 to 64 letters"),
        ("name", &long, "1 to 64 letters"),
        ("name", "", "1 to 64 letters"),
        ("can", "", "Choose what the client may do."),
        ("can", hostile, "Choose what the client may do."),
        ("quota", hostile, "500 per 1m"),
        ("quota", "0 per 1m", "500 per 1m"),
        ("horizon", &long, "500 per 1m"),
        ("horizon", "9999w", "500 per 1m"),
        ("can", "follow", "Only a client that can revoke"),
        ("logout_uri", hostile, "Logout tokens can&#39;t be sent"),
        ("logout_uri", "https://127.0.0.1/", "Logout tokens can&#39;t be sent"),
        ("logout_uri", "http://shop.example/", "Logout tokens can&#39;t be sent"),
    ] {
        let mut form = client("shop");
        form.iter_mut().find(|(name, _)| *name == field).unwrap().1 = value.to_owned();
        let query = form_urlencoded::Serializer::new("do=add&go=1&".to_owned()).extend_pairs(&form).finish();
        let asked = boss.get(&format!("/console/clients?{query}"), "text/html").await;
        form.extend([("csrf_token", csrf.to_owned()), ("password", PASSWORD.to_owned())]);
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let made = boss.post("/console/clients/add", &form, &[]).await;
        for response in [made, asked].into_iter().take(if value.len() > 4_096 { 1 } else { 2 }) {
            assert_eq!(response.status(), 400, "{field}={value}");
            let page = response.text().await.unwrap();
            let (_, problem) = page.split_once("id=\"problem\">").unwrap();
            assert!(
                problem.starts_with(said) || problem.split('<').next().unwrap().contains(said),
                "{field}={value}: {problem}"
            );
            assert!(!page.contains("<script>alert"), "{field}");
        }
    }
    assert_eq!(app.node.clients.store().clients().await.unwrap(), []);
}
