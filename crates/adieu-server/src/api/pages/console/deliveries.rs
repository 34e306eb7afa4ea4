//! The deliveries to receivers of webhooks and logout tokens, and the events that were received.

use axum::{extract::State, response::Response};

use super::{Answer, Client, Fields, Operator, Pages, Refusal, answer, conclude, done, encoded, input, quoted, url};
use crate::{
    calendar,
    deliveries::DeliveryState,
    error::ApiError,
    pages::{
        Confirm, ConsoleMessages, DeliveriesPage, DeliveryRow, Health, ReceivedEvent, ReceivedRow, RejectedRow, Section,
    },
};

/// `GET /console/deliveries`, with `replay` or `skip` for a receiver to confirm.
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    let action = match operator.query.get("skip") {
        Some(receiver) => Some(Action::Skip(receiver)),
        None => operator.query.get("replay").map(Action::Replay),
    };
    answer(&operator.visit, page(&pages, &operator, action).await)
}

/// What can be done for a receiver.
enum Action {
    Replay(String),
    Skip(String),
}

impl Action {
    fn confirm(self, all: &[DeliveryState], c: &ConsoleMessages) -> Option<Confirm> {
        let state = |receiver: &str| all.iter().find(|state| state.receiver == receiver);
        let confirm = Confirm { back: Section::Deliveries.path().to_owned(), ..Confirm::default() };
        Some(match self {
            Self::Replay(receiver) => state(&receiver).map(|_| Confirm {
                title: format!("{} {receiver}", c.replay),
                effects: vec![c.effect_replay.to_owned()],
                command: format!("adieu delivery replay {}", quoted(&receiver)),
                call: format!("POST /deliveries/{}/replay", encoded(&receiver)),
                action: "/console/deliveries/replay".to_owned(),
                fields: vec![("receiver", receiver)],
                ..confirm
            })?,
            Self::Skip(receiver) => {
                let state = state(&receiver)?;
                let message_id = state.message_id.clone()?;
                let call = format!("POST /deliveries/{}/skip", encoded(&receiver));
                Confirm {
                    title: format!("{}: {receiver}", c.skip_message),
                    effects: vec![
                        c.effect_skip.to_owned(),
                        format!("{}: {message_id} ({})", c.message, state.error.as_deref().unwrap_or_default()),
                    ],
                    command: format!("adieu delivery skip {} {}", quoted(&receiver), quoted(&message_id)),
                    call: url(&call, &[("message_id", &message_id)]),
                    action: "/console/deliveries/skip".to_owned(),
                    fields: vec![("receiver", receiver), ("message_id", message_id)],
                    is_dangerous: true,
                    ..confirm
                }
            }
        })
    }
}

async fn page(pages: &Pages, operator: &Operator, action: Option<Action>) -> Answer<DeliveriesPage> {
    let (page, frame) = operator.frame(pages, Section::Deliveries).await?;
    let states = pages.api.deliveries().await?;
    let confirm = action.and_then(|action| action.confirm(&states, page.messages().console));
    let rows = states.into_iter().map(|state| DeliveryRow {
        path: encoded(&state.receiver),
        failing: state.failing_since.map(calendar::written),
        behind: state.behind.to_string(),
        delivered: state.delivered_at.map(calendar::written).unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        next_attempt: state.next_attempt_at.map(calendar::written).unwrap_or_default(),
        is_blocked: state.message_id.is_some(),
        receiver: state.receiver,
    });
    let deliveries = rows.collect();
    let (events, now) = (&pages.api.node.events, operator.now(pages));
    let tallies = events.journal().tallies();
    let silent = events.issuers().into_iter().filter(|issuer| !tallies.iter().any(|tally| tally.issuer == *issuer));
    let mut received: Vec<_> = silent.map(|issuer| ReceivedRow { issuer: issuer.to_string(), event: None }).collect();
    received.extend(tallies.into_iter().map(|tally| ReceivedRow {
        issuer: tally.issuer.to_string(),
        event: Some(ReceivedEvent {
            kind: tally.kind,
            outcome: tally.outcome,
            health: Health::of_event(tally.outcome),
            count: tally.count,
            last: page.ago(tally.last, now),
        }),
    }));
    let rejected = events.journal().last_rejected().into_iter().map(|rejected| RejectedRow {
        at: page.ago(rejected.at, now),
        kind: rejected.kind,
        named: rejected.named.map(|issuer| issuer.to_string()).unwrap_or_default(),
        reason: rejected.reason,
    });
    let rejected = rejected.collect();
    Ok(DeliveriesPage { page, frame, confirm, deliveries, received, rejected })
}

/// `POST /console/deliveries/replay`, with `receiver`: sends it everything again.
pub(super) async fn replay(
    State(pages): State<Pages>,
    operator: Operator,
    client: Client,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let replayed = async {
        let receiver = form.text("receiver")?;
        pages.api.replay(&receiver, operator.by(&client)).await?;
        Ok(done(Section::Deliveries.path()))
    };
    let replayed = replayed.await;
    conclude(&operator.visit, replayed, page(&pages, &operator, None)).await
}

/// `POST /console/deliveries/skip`, with `receiver` and `message_id`: passes over the message if it still blocks the receiver.
pub(super) async fn skip(
    State(pages): State<Pages>,
    operator: Operator,
    client: Client,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let skipped = async {
        let (receiver, message_id) = (form.text("receiver")?, form.text("message_id")?);
        match pages.api.skip(&receiver, &message_id, operator.by(&client)).await {
            Ok(()) => Ok(done(Section::Deliveries.path())),
            Err(error @ ApiError::Conflict(_)) => Err(Refusal::known(error, |t| t.console.not_blocked)),
            Err(error) => Err(error.into()),
        }
    };
    let skipped = skipped.await;
    conclude(&operator.visit, skipped, page(&pages, &operator, None)).await
}
