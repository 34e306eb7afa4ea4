//! Aliases.

use std::collections::HashMap;

use adieu::{Issuer, Subject, time::Timestamp};
use adieu_events::{Alias, AliasKind};
use adieu_server::aliases::{AliasFilter, AliasStore, KnownAlias, MAX_SUBJECTS, Named, Removal};

use crate::Place;

every_engine! {
    an_alias_names_the_subjects_of_one_issuer
    aliases_are_listed_in_order_and_in_pages
    aliases_are_removed_by_name_and_by_subject
    of_too_many_subjects_those_that_were_seen_last_stay
    an_alias_that_is_seen_again_gets_the_later_time
    aliases_are_there_when_the_store_is_opened_again
}

const HERE: &str = "https://login.example";
const THERE: &str = "https://other.example";

fn issuer(name: &str) -> Issuer {
    Issuer::new(name).unwrap()
}

fn subject(id: &str) -> Subject {
    Subject::new(id).unwrap()
}

fn email(value: &str) -> Alias {
    Alias::new(AliasKind::Email, value).unwrap()
}

fn known(issuer_name: &str, alias: Alias, id: &str, seen_at: u64) -> KnownAlias {
    let named = Named { issuer: issuer(issuer_name), alias, subject: subject(id) };
    KnownAlias { named, seen_at: Timestamp::from_unix(seen_at) }
}

async fn all(store: &impl AliasStore) -> Vec<KnownAlias> {
    store.aliases(&AliasFilter::default(), None, 1_000).await.unwrap()
}

async fn subjects(store: &impl AliasStore, issuer_name: &str, alias: &Alias) -> Vec<String> {
    let mut found = store.subjects_with(&issuer(issuer_name), vec![alias.clone()]).await.unwrap();
    let mut ids: Vec<_> = found.remove(alias).unwrap_or_default().iter().map(Subject::to_string).collect();
    assert!(found.is_empty());
    ids.sort_unstable();
    ids
}

async fn an_alias_names_the_subjects_of_one_issuer<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert_eq!(store.add_aliases(vec![]).await.unwrap(), 0);
    let phone = Alias::new(AliasKind::PhoneNumber, "+12065550100").unwrap();
    // The same text as another kind.
    let uri = Alias::new(AliasKind::Uri, "jose@example.com").unwrap();
    let unusual = email("\u{1f980} '\"; DROP TABLE alias; --%_\\@example.com");
    let added = vec![
        known(HERE, email("jose@example.com"), "jose", 1),
        known(HERE, email("jose@example.com"), "jose", 1),
        known(HERE, email("jose@example.com"), "ana", 1),
        known(HERE, phone.clone(), "jose", 1),
        known(HERE, unusual.clone(), "\0'\u{1}", Timestamp::MAX.as_unix()),
        known(THERE, email("jose@example.com"), "zoe", 1),
        known(THERE, uri.clone(), "kim", 1),
    ];
    assert_eq!(store.add_aliases(added).await.unwrap(), 0);
    assert_eq!(subjects(&store, HERE, &email("jose@example.com")).await, ["ana", "jose"]);
    assert_eq!(subjects(&store, HERE, &phone).await, ["jose"]);
    assert_eq!(subjects(&store, HERE, &unusual).await, ["\0'\u{1}"]);
    assert_eq!(subjects(&store, HERE, &uri).await, [""; 0]);
    assert_eq!(subjects(&store, THERE, &email("jose@example.com")).await, ["zoe"]);
    assert_eq!(subjects(&store, "https://third.example", &email("jose@example.com")).await, [""; 0]);
    // Several at once, of which one is unknown.
    let wanted = vec![phone.clone(), email("other@example.com"), email("jose@example.com")];
    let found = store.subjects_with(&issuer(THERE), wanted.clone()).await.unwrap();
    assert_eq!(found, HashMap::from([(email("jose@example.com"), vec![subject("zoe")])]));
    assert_eq!(store.subjects_with(&issuer(HERE), wanted).await.unwrap().len(), 2);
    assert!(store.subjects_with(&issuer(HERE), vec![]).await.unwrap().is_empty());
    assert!(all(&store).await.iter().any(|known| known.seen_at == Timestamp::MAX));
}

async fn aliases_are_listed_in_order_and_in_pages<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    // Sorted by their bytes, whatever the language of the database.
    let did = Alias::new(AliasKind::Did, "did:example:1").unwrap();
    let expected = [
        known(HERE, did, "z", 7),
        known(HERE, email("_@example.com"), "a", 1),
        known(HERE, email("a@example.com"), "\0", 2),
        known(HERE, email("a@example.com"), "B", 3),
        known(HERE, email("a@example.com"), "a", 4),
        known(HERE, email("é@example.com"), "a", 5),
        known(THERE, email("a@example.com"), "a", 6),
    ];
    store.add_aliases(expected.iter().rev().cloned().collect()).await.unwrap();
    assert_eq!(all(&store).await, expected);
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.aliases(&AliasFilter::default(), after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.named.clone());
        listed.extend(page);
    }
    assert_eq!(listed, expected);
    let filters = [
        (Some(THERE), None, None, vec![6]),
        (None, Some("a@example.com"), None, vec![2, 3, 4, 6]),
        (None, None, Some("a"), vec![1, 4, 5, 6]),
        (Some(HERE), Some("a@example.com"), Some("a"), vec![4]),
        (Some(THERE), None, Some("B"), vec![]),
    ];
    for (issuer_name, value, id, seen_at) in filters {
        let (issuer, alias, subject) = (issuer_name.map(issuer), value.map(email), id.map(subject));
        let found = store.aliases(&AliasFilter { issuer, alias, subject }, None, 10).await.unwrap();
        assert_eq!(found.iter().map(|known| known.seen_at.as_unix()).collect::<Vec<_>>(), seen_at);
    }
}

async fn aliases_are_removed_by_name_and_by_subject<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let (shared, own) = (email("office@example.com"), email("jose@example.com"));
    let added = [
        (HERE, &shared, "jose"),
        (HERE, &shared, "ana"),
        (HERE, &own, "jose"),
        (THERE, &own, "jose"),
        (THERE, &shared, "zoe"),
    ];
    store.add_aliases(added.map(|(issuer, alias, id)| known(issuer, alias.clone(), id, 1)).into()).await.unwrap();
    let remove = async |issuer_name, which| store.remove_aliases(&issuer(issuer_name), &which).await.unwrap();
    assert_eq!(remove(HERE, Removal::Alias(shared.clone(), Some(subject("zoe")))).await, 0);
    assert_eq!(remove(HERE, Removal::Alias(shared.clone(), Some(subject("ana")))).await, 1);
    assert_eq!(subjects(&store, HERE, &shared).await, ["jose"]);
    assert_eq!(remove(HERE, Removal::Subject(subject("jose"))).await, 2);
    assert_eq!(remove(HERE, Removal::Subject(subject("jose"))).await, 0);
    assert_eq!(all(&store).await.len(), 2, "those of the other issuer stay");
    store.add_aliases(vec![known(THERE, shared.clone(), "kim", 1)]).await.unwrap();
    assert_eq!(remove(THERE, Removal::Alias(shared.clone(), None)).await, 2);
    assert_eq!(all(&store).await, [known(THERE, own, "jose", 1)]);
}

async fn of_too_many_subjects_those_that_were_seen_last_stay<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let (shared, other) = (email("office@example.com"), email("other@example.com"));
    let add =
        async |id: &str, seen_at| store.add_aliases(vec![known(HERE, shared.clone(), id, seen_at)]).await.unwrap();
    for number in 0..MAX_SUBJECTS {
        // The later ones were seen earlier.
        assert_eq!(add(&format!("{number:02}"), 100_000 - number as u64).await, 0);
    }
    store
        .add_aliases(vec![known(THERE, shared.clone(), "zoe", 1), known(HERE, other.clone(), "zoe", 1)])
        .await
        .unwrap();
    assert_eq!(add("07", 200_000).await, 0, "it is one of them");
    assert_eq!(add("new", 5).await, 1);
    let stayed = subjects(&store, HERE, &shared).await;
    assert_eq!(stayed.len(), MAX_SUBJECTS);
    assert!(
        stayed.contains(&"new".to_owned()) && stayed.contains(&"07".to_owned()) && !stayed.contains(&"15".to_owned())
    );
    // Several at once.
    let several = (0..3).map(|number| known(HERE, shared.clone(), &format!("more {number}"), 300_000));
    assert_eq!(store.add_aliases(several.collect()).await.unwrap(), 3);
    let stayed = subjects(&store, HERE, &shared).await;
    assert_eq!(stayed.len(), MAX_SUBJECTS);
    assert!(["00", "07", "more 0", "more 1", "more 2"].iter().all(|id| stayed.contains(&(*id).to_owned())));
    assert!(!["new", "14", "13"].iter().any(|id| stayed.contains(&(*id).to_owned())));
    assert_eq!(
        (subjects(&store, THERE, &shared).await, subjects(&store, HERE, &other).await),
        (vec!["zoe".into()], vec!["zoe".into()])
    );
}

async fn an_alias_that_is_seen_again_gets_the_later_time<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    for (seen_at, kept) in [(10_000, 10_000), (13_599, 10_000), (13_600, 13_600), (10_000, 13_600)] {
        store.add_aliases(vec![known(HERE, email("jose@example.com"), "jose", seen_at)]).await.unwrap();
        assert_eq!(all(&store).await, [known(HERE, email("jose@example.com"), "jose", kept)]);
    }
}

async fn aliases_are_there_when_the_store_is_opened_again<P: Place>() {
    let place = P::empty().await;
    let jose = known(HERE, email("jose@example.com"), "jose", 1);
    place.open().await.add_aliases(vec![jose.clone()]).await.unwrap();
    assert_eq!(all(&place.open().await).await, [jose]);
}
