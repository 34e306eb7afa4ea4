//! Signing keys.

use adieu::{
    session::retained_until,
    token::{DEFAULT_PUBLICATION_DELAY, active_key_at},
};
use axum::{extract::State, response::Response};

use super::{
    Answer, Client, Fields, MoreTime, Operator, Pages, Refusal, answer, conclude, done, done_everywhere, encoded,
    input, quoted,
};
use crate::{
    calendar,
    error::ApiError,
    keys,
    pages::{Confirm, KeyRow, KeysPage, Section},
};

/// `GET /console/keys`, with `rotate` or `remove` for an action to confirm.
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    let action = match operator.query.get("remove") {
        Some(id) => Some(Action::Remove(id)),
        None => operator.query.get("rotate").map(|_| Action::Rotate),
    };
    answer(&operator.visit, page(&pages, &operator, action).await)
}

enum Action {
    Rotate,
    Remove(String),
}

async fn page(pages: &Pages, operator: &Operator, action: Option<Action>) -> Answer<KeysPage> {
    let (page, frame) = operator.frame(pages, Section::Keys).await?;
    let c = page.messages().console;
    let now = operator.now(pages);
    let stored = keys::all(pages.api.node.stores()).await?;
    let signing = active_key_at(&stored, now).map(|key| key.id.clone());
    let confirm = action.and_then(|action| match action {
        Action::Rotate => Some(Confirm {
            title: c.rotate.to_owned(),
            effects: vec![c.effect_rotate.to_owned()],
            command: "adieu key rotate".to_owned(),
            action: "/console/keys/rotate".to_owned(),
            needs_password: true,
            back: Section::Keys.path().to_owned(),
            ..Confirm::default()
        }),
        Action::Remove(id) => stored.iter().any(|key| key.id == id).then(|| Confirm {
            title: format!("{} {id}", c.remove_key),
            effects: vec![
                if signing.as_ref() == Some(&id) { c.effect_remove_signing } else { c.effect_remove }.to_owned(),
                c.effect_key.to_owned(),
            ],
            command: format!("adieu key remove {}", quoted(&id)),
            action: "/console/keys/remove".to_owned(),
            fields: vec![("key", id)],
            needs_password: true,
            is_dangerous: true,
            back: Section::Keys.path().to_owned(),
            ..Confirm::default()
        }),
    });
    let mut is_old = true;
    let rows = stored.iter().map(|key| {
        let is_signing = signing.as_ref() == Some(&key.id);
        is_old &= !is_signing;
        let until = retained_until(&stored, &key.id, pages.api.settings.session_lifetime);
        KeyRow {
            id: key.id.clone(),
            path: encoded(&key.id),
            algorithm: key.algorithm.as_str(),
            created: page.ago(key.created_at, now),
            is_signing,
            signs: match (is_signing, is_old) {
                (true, _) => c.signs_now.to_owned(),
                (false, true) => c.signs_no_more.to_owned(),
                (false, false) => format!("{} {}", c.signs_from, calendar::written(key.signs_from)),
            },
            kept_until: until.map(calendar::written).unwrap_or_default(),
        }
    });
    let keys = rows.collect();
    Ok(KeysPage { page, frame, confirm, keys })
}

/// `POST /console/keys/rotate`, with `password`.
pub(super) async fn rotate(
    State(pages): State<Pages>,
    operator: Operator,
    client: Client,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let rotated = async {
        operator.confirm(&pages, &mut form, &client).await?;
        let (stores, now) = (pages.api.node.stores(), operator.now(&pages));
        keys::rotate(stores, None, now, DEFAULT_PUBLICATION_DELAY, Some(operator.subject())).await?;
        Ok(done(Section::Keys.path()))
    };
    conclude(&operator.visit, rotated.await, page(&pages, &operator, Some(Action::Rotate))).await
}

/// `POST /console/keys/remove`, with `key` and `password`.
pub(super) async fn remove(
    State(pages): State<Pages>,
    operator: Operator,
    client: Client,
    time: MoreTime,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let mut id = String::new();
    let removed = async {
        id = form.text("key")?;
        operator.confirm(&pages, &mut form, &client).await?;
        let now = operator.now(&pages);
        let removed = keys::remove(&pages.api.node, &id, now, Some(operator.subject())).await?;
        removed.ok_or(Refusal::known(ApiError::NotFound, |t| t.console.no_such_key))?;
        done_everywhere(&pages, time, &mut form, 0, Section::Keys.path()).await
    };
    let removed = removed.await;
    conclude(&operator.visit, removed, page(&pages, &operator, Some(Action::Remove(id)))).await
}
