//! Where a revocation holds already: node by node.

use std::time::Duration;

use adieu::revocation::Cursor;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use tokio::time::timeout;

use super::{Answer, MoreTime, Operator, Pages, Refusal, Wait, answer, url};
use crate::{
    error::ApiError,
    feed::Everywhere,
    pages::{Page, Progress, ProgressPage, ProgressRow, Section},
};

/// How long the end of the log is waited for. Without it, the answer comes once the revocation holds everywhere.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// `GET /console/progress`, with the end of the log after the revocation as `at`. With `wait=everywhere`, answers once it holds everywhere.
pub(super) async fn show(State(pages): State<Pages>, operator: Operator, time: MoreTime) -> Response {
    let shown = async {
        let head: Cursor = operator.query.text("at").parse().map_err(|_| ApiError::NotFound)?;
        let is_waited_for = operator.query.text("wait") == "everywhere";
        let everywhere = match is_waited_for {
            true => Wait::new(Some(()), time).until_everywhere(&pages.api.node.feed).await,
            false => Ok(None),
        };
        let (page, mut frame) = operator.frame(&pages, Section::Revocations).await?;
        let is_unknown = everywhere.is_err();
        frame.progress = Some(progress(&pages, &page, &head, everywhere.ok().flatten()).await?);
        frame.problem = is_unknown.then(|| page.messages().console.done_not_everywhere.to_owned());
        Ok(ProgressPage { page, frame })
    };
    answer(&operator.visit, shown.await)
}

/// Returns which nodes and followers have applied the log up to `head`.
pub(super) async fn progress(
    pages: &Pages,
    page: &Page,
    head: &Cursor,
    everywhere: Option<Everywhere>,
) -> Answer<Progress> {
    let c = page.messages().console;
    let node = &pages.api.node;
    let has = |cursor: Option<&Cursor>| {
        cursor.is_some_and(|cursor| cursor.log == head.log && cursor.position >= head.position)
    };
    let own = node.core.applied().borrow().clone();
    let mut rows = vec![ProgressRow { name: c.this_server.to_owned(), kind: String::new(), has_it: has(own.as_ref()) }];
    for other in node.feed.other_nodes().await? {
        let kind = format!("{}, {} × {}", c.other_server, c.follower, other.followers);
        rows.push(ProgressRow { name: other.node, kind, has_it: has(other.applied.as_ref()) });
    }
    let mut followers = node.feed.followers(Some(head));
    followers.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows.extend(followers.into_iter().map(|(client, group)| ProgressRow {
        name: client,
        kind: format!("{} × {}", c.follower, group.followers),
        has_it: group.applied >= head.position,
    }));
    Ok(Progress {
        url: url("/console/progress", &[("at", &head.to_string())]),
        everywhere: everywhere.map(|everywhere| everywhere.text(c)),
        rows,
    })
}

/// Goes to a page that shows where a revocation holds. Returns `None` if the end of the log is not known.
pub(super) async fn watched(pages: &Pages, sessions: usize, to: &str) -> Result<Option<Response>, Refusal> {
    let Ok(Ok(head)) = timeout(HEAD_TIMEOUT, pages.api.node.feed.hub.head()).await else { return Ok(None) };
    let parameters = [("done", &*sessions.to_string()), ("at", &*head.to_string())];
    Ok(Some(Redirect::to(&url(to, &parameters)).into_response()))
}
