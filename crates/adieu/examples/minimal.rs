//! Logs in, verifies a token, refreshes and logs out, with a store in memory.
//!
//!     cargo run --package adieu --example minimal

#![allow(clippy::print_stdout, reason = "an example prints")]

use adieu::{
    Issuer, Node, Subject,
    session::{Scope, SessionError},
    store::Memory,
    token::TokenError,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder(Issuer::new("https://shop.example")?).start(Memory::new()).await?;
    let sessions = node.sessions();

    // The application has checked the credentials of this subject.
    let first = sessions.log_in(Subject::new("jose")?).await?;
    let claims = node.verifier().verify(&first.access)?;
    println!("{} is logged in; the token expires at {}", claims.subject, claims.expires_at.as_unix());

    let refresh = sessions.inspect(&first.refresh)?;
    let second = sessions.refresh(&refresh).await?;

    // Either token ends the whole session: the access token from before the refresh is rejected too.
    let ended = sessions.log_out(&second.access, Scope::This).await?;
    println!("{} session has ended", ended.sessions);
    for token in [&first.access, &second.access] {
        assert!(matches!(node.verifier().verify(token), Err(TokenError::Revoked(_))));
    }
    let refresh = sessions.inspect(&second.refresh);
    assert!(matches!(refresh, Err(TokenError::Revoked(_))));
    let again = sessions.log_out(&second.access, Scope::This).await;
    assert!(matches!(again, Err(SessionError::InvalidToken(TokenError::Revoked(_)))));
    Ok(())
}
