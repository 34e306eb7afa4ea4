//! Sessions of all users.

use adieu::time::Timestamp;
use axum::{Json, extract::State, response::Response};

use super::{
    super::super::view::{Part, SessionCursor, SessionDetails},
    Operator, Pages, answer, encoded, url,
};
use crate::{
    error::ApiError,
    pages::{Page, Section, SessionOfUser, SessionsPage},
};

/// Sessions on one page.
const PAGE: usize = 50;

/// How many sessions a search reads before it shows what it has found.
const SEARCHED: usize = 10_000;

/// `GET /console/sessions`, with `find` for a part of the device or the address, and `after`.
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    let found = async {
        let (page, frame) = operator.frame(&pages, Section::Sessions).await?;
        let find = operator.query.text("find");
        let wanted = find.to_lowercase();
        let is_wanted = |session: &SessionDetails| {
            let address = session.address.map(|address| address.to_string()).unwrap_or_default();
            let device = page.device(session.user_agent.as_deref()).to_lowercase();
            let agent = session.user_agent.as_deref().unwrap_or_default().to_lowercase();
            address.contains(&wanted) || device.contains(&wanted) || agent.contains(&wanted)
        };
        let mut after = SessionCursor::try_from(operator.query.text("after")).ok();
        let (mut sessions, mut read) = (Vec::new(), 0);
        let limit = if find.is_empty() { PAGE } else { Part::<SessionCursor>::longest().limit };
        let next = loop {
            let Json(listed) = pages.api.sessions(None, &Part { after, limit }, &operator.token).await?;
            read += limit;
            sessions.extend(listed.sessions.into_iter().filter(|session| find.is_empty() || is_wanted(session)));
            let Some(next) = listed.next else { break None };
            if find.is_empty() || sessions.len() >= PAGE || read >= SEARCHED {
                break Some(next);
            }
            after = SessionCursor::try_from(next).ok();
        };
        let next = next.map(|after| url(Section::Sessions.path(), &[("find", &find), ("after", &after)]));
        let sessions = rows(&pages, &page, sessions, operator.now(&pages)).await?;
        Ok(SessionsPage { page, frame, find, sessions, with_users: true, labelled_by: "title", next })
    };
    answer(&operator.visit, found.await)
}

/// Returns the rows of sessions, with the names of their users.
pub(super) async fn rows(
    pages: &Pages,
    page: &Page,
    sessions: Vec<SessionDetails>,
    now: Timestamp,
) -> Result<Vec<SessionOfUser>, ApiError> {
    let names = pages.api.names(sessions.iter().map(|session| session.user_id.as_str()).collect()).await?;
    let mut rows = Vec::with_capacity(sessions.len());
    for session in sessions {
        let name = names.get(&session.user_id).unwrap_or(&session.user_id).clone();
        let [logged_in, last_used] =
            [session.created_at, session.last_seen_at].map(|time| page.ago(Timestamp::from_unix(time), now));
        rows.push(SessionOfUser {
            path: encoded(&session.id),
            user: (name, encoded(&session.user_id)),
            device: page.device(session.user_agent.as_deref()),
            address: session.address.map(|address| address.to_string()).unwrap_or_default(),
            logged_in,
            last_used,
            is_current: session.current,
        });
    }
    Ok(rows)
}
