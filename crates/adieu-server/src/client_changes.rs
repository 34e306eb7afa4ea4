//! Changes of the clients by an operator: on stable storage, and in the audit trail.

use adieu::{
    Error,
    restore::LogState,
    revocation::{Cursor, Position},
};

use crate::{
    audit::{Entry, Event, Operator},
    clients::{Capability, Client, ClientName, Limits, Secret},
    deliveries::name_of_client,
    store::Stores,
};

/// The reason why a client was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientChangeError {
    #[error("a client with the name {0} already exists")]
    NameTaken(ClientName),
    #[error("no client with the name {0}")]
    Unknown(ClientName),
    #[error("a client that can't revoke has no limits on it")]
    LimitsWithoutRevoke,
    #[error("a client needs a capability, or a URL for logout tokens")]
    NoCapability,
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Adds a client. A relying party gets the revocations from now on, whenever a server notices it.
///
/// # Errors
/// Fails if the name is taken, if the client is not possible, or if the store can't be written.
pub(crate) async fn add(stores: &Stores, client: &Client, by: Operator<'_>) -> Result<(), ClientChangeError> {
    check(client)?;
    let now = match (stores.core().restorable(), &client.backchannel_logout) {
        (Some(log), Some(_)) => Some(log.inspect(Position::START).await?),
        _ => None,
    };
    if !stores.clients().add_client(client.clone()).await? {
        return Err(ClientChangeError::NameTaken(client.name.clone()));
    }
    if let Some(LogState { lineage, head, .. }) = now {
        let end = Cursor { log: lineage, position: head };
        if let Err(error) = stores.deliveries().begin(&name_of_client(&client.name), &end).await {
            // Its secret will not be printed.
            stores.clients().remove_client(&client.name).await?;
            return Err(error.into());
        }
    }
    record(by, Event::ClientAdded, &client.name).await;
    Ok(())
}

/// Changes the capabilities and the limits of a client, and returns it. Running servers apply them within a second.
///
/// # Errors
/// Fails if there is no such client, if the changed client is not possible, or if the store can't be read or written.
pub(crate) async fn change(
    stores: &Stores,
    name: &ClientName,
    edit: impl FnOnce(&mut Client),
    by: Operator<'_>,
) -> Result<Client, ClientChangeError> {
    let unknown = || ClientChangeError::Unknown(name.clone());
    let known = stores.clients().clients().await?.into_iter().find(|client| client.name == *name);
    let mut client = known.ok_or_else(unknown)?;
    let could = client.can.clone();
    edit(&mut client);
    check(&client)?;
    let can = (client.can != could).then_some(&*client.can);
    if !stores.clients().change_client(name, can, client.limits).await? {
        return Err(unknown());
    }
    record(by, Event::ClientChanged, name).await;
    Ok(client)
}

/// Gives a client a new secret, and returns it. Running servers reject the old one within a second.
///
/// # Errors
/// Fails if there is no such client, if the system provides no randomness, or if the store can't be written.
pub(crate) async fn rotate_secret(
    stores: &Stores,
    name: &ClientName,
    by: Operator<'_>,
) -> Result<Secret, ClientChangeError> {
    let secret = Secret::random()?;
    if !stores.clients().set_client_secret(name, secret.hash()).await? {
        return Err(ClientChangeError::Unknown(name.clone()));
    }
    record(by, Event::ClientSecretChanged, name).await;
    Ok(secret)
}

/// Removes a client. Running servers reject it within a second.
///
/// # Errors
/// Fails if there is no such client, or if the store can't be written.
pub(crate) async fn remove(stores: &Stores, name: &ClientName, by: Operator<'_>) -> Result<(), ClientChangeError> {
    if !stores.clients().remove_client(name).await? {
        return Err(ClientChangeError::Unknown(name.clone()));
    }
    record(by, Event::ClientRemoved, name).await;
    Ok(())
}

fn check(client: &Client) -> Result<(), ClientChangeError> {
    if client.can.is_empty() && client.backchannel_logout.is_none() {
        return Err(ClientChangeError::NoCapability);
    }
    if client.limits != Limits::default() && !client.can(Capability::Revoke) {
        return Err(ClientChangeError::LimitsWithoutRevoke);
    }
    Ok(())
}

async fn record(by: Operator<'_>, event: Event, name: &ClientName) {
    by.record(event, Entry { client: Some(name.clone()), ..Entry::default() }).await;
}
