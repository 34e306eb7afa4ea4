//! Accounts.

use adieu::{Issuer, Subject, time::Timestamp};
use adieu_server::{
    accounts::{
        Account, AccountStore, Change, Direction, Filter, Invite, Invited, KnownAddress, LastAdmin, NextLogin, Order,
        PasswordReset, Whose,
    },
    clients::SecretHash,
    password::PasswordHash,
    text::{NamePart, Username},
};
use tokio::task::JoinSet;

use crate::Place;

every_engine! {
    an_account_comes_back_as_it_was
    names_are_taken_once
    all_accounts_are_added_or_none
    of_many_that_take_a_name_at_once_one_gets_it
    accounts_are_listed_by_id_and_in_pages
    accounts_are_listed_in_each_order_and_in_pages
    a_search_finds_the_accounts_that_meet_every_condition
    the_last_login_is_recorded_once_for_many
    each_change_changes_what_it_says
    a_token_resets_a_password_once
    an_invitation_is_used_once
    of_many_that_use_an_invitation_at_once_one_is_added
    the_last_administrator_stays
    of_two_administrators_who_demote_each_other_one_stays
    a_rehash_does_not_undo_a_new_password
    of_two_changes_of_one_password_one_applies
    where_users_log_in_from_is_kept_until_it_lapses
    the_issuer_of_their_tokens_is_the_one_recorded_last
}

const HASHES: [&str; 2] = [
    "$pbkdf2-sha256$29000$oDQGACCEMEZI6X3vXcsZ4w$Db3pJ3z5tRr1j9iFgW6zfLkoWjZEx7P3Ot9lzjIoLM4",
    "$pbkdf2-sha256$29000$fk8JofRey1krBcB4j9EaAw$csNWI6CcyIX5fZS.rxuy3aRSXgf0uMoporfLokq3pbQ",
];

fn hash(which: usize) -> PasswordHash {
    PasswordHash::parse(HASHES[which]).unwrap()
}

pub(crate) fn account(id: &str, name: &str) -> Account {
    Account {
        id: Subject::new(id).unwrap(),
        username: Username::new(name).unwrap(),
        password: hash(0),
        password_version: 1,
        is_admin: false,
        is_disabled: false,
        created_at: Timestamp::from_unix(1_800_000_000),
        last_login_at: None,
        must_change_password: false,
        reset: None,
    }
}

/// The comparable fields of an account.
pub(crate) fn facts(account: &Account) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        account.id.to_string(),
        account.username.as_str().to_owned(),
        account.password.as_str().to_owned(),
        account.password_version,
        account.is_admin,
        account.is_disabled,
        account.created_at,
        account.last_login_at,
        account.must_change_password,
        account.reset.clone(),
    )
}

async fn an_account_comes_back_as_it_was<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let plain = account("1", "jose");
    let unusual = Account {
        password: hash(1),
        password_version: i64::MAX,
        is_admin: true,
        is_disabled: true,
        created_at: Timestamp::MAX,
        last_login_at: Some(Timestamp::MAX),
        must_change_password: true,
        reset: Some(PasswordReset { secret: SecretHash::of("x"), expires_at: Timestamp::MAX }),
        ..account("\0'; DROP TABLE account; --\u{1}", "Zoë Ωmega 🦀 %_'\"\\")
    };
    assert_eq!(store.add(vec![plain.clone(), unusual.clone()]).await.unwrap(), [true, true]);
    assert!(store.add(vec![]).await.unwrap().is_empty());
    for account in [&plain, &unusual] {
        let by_id = store.by_id(&account.id).await.unwrap().unwrap();
        let by_name = store.by_username(&account.username).await.unwrap().unwrap();
        assert_eq!(facts(&by_id), facts(account));
        assert_eq!(facts(&by_name), facts(account));
    }
    assert!(store.by_id(&Subject::new("2").unwrap()).await.unwrap().is_none());
    assert!(store.by_id(&Subject::new("\0").unwrap()).await.unwrap().is_none());
    // Names are compared byte by byte.
    assert!(store.by_username(&Username::new("Jose").unwrap()).await.unwrap().is_none());
}

async fn names_are_taken_once<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let several = vec![account("3", "jose"), account("2", "ana"), account("1", "jose"), account("4", "Jose")];
    assert_eq!(store.add(several).await.unwrap(), [true, true, false, true], "the first of them has it");
    assert_eq!(store.add(vec![account("5", "ana"), account("6", "zoe")]).await.unwrap(), [false, true]);
    let jose = store.by_username(&Username::new("jose").unwrap()).await.unwrap().unwrap();
    assert_eq!(jose.id.as_str(), "3");
    // An id that is taken is the caller's mistake, and the whole operation is rolled back.
    assert!(store.add(vec![account("7", "new"), account("3", "other")]).await.is_err());
    assert!(store.by_username(&Username::new("new").unwrap()).await.unwrap().is_none());
}

async fn all_accounts_are_added_or_none<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let name = |name: &str| Username::new(name).unwrap();
    // More than one statement takes.
    let many = || (0..12_001).map(|number| account(&format!("id {number}"), &format!("user {number}")));
    let last_name_twice = many().chain([account("other", "user 12000")]).collect();
    assert!(!store.add_all(last_name_twice).await.unwrap());
    assert!(store.list(&Filter::default(), None, 1).await.unwrap().is_empty());
    let last_id_twice: Vec<_> = many().chain([account("id 12000", "other")]).collect();
    assert!(store.add_all(last_id_twice).await.is_err());
    assert!(store.list(&Filter::default(), None, 1).await.unwrap().is_empty());
    assert!(store.add_all(many().collect()).await.unwrap());
    assert!(store.add_all(Vec::new()).await.unwrap());
    assert_eq!(store.list(&Filter::default(), None, 20_000).await.unwrap().len(), 12_001);
    let asked = ["user 0", "user 12000", "user 12001", "USER 0", ""].iter().filter_map(|name| Username::new(name).ok());
    let taken = store.taken(asked.collect()).await.unwrap();
    assert_eq!(taken, [name("user 0"), name("user 12000")].into());
    assert!(store.taken(Vec::new()).await.unwrap().is_empty());
    let has_conflict = vec![account("new", "new"), account("again", "user 7")];
    assert!(!store.add_all(has_conflict).await.unwrap());
    assert!(store.by_username(&name("new")).await.unwrap().is_none());
}

async fn of_many_that_take_a_name_at_once_one_gets_it<P: Place>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    let mut adding = JoinSet::new();
    for number in 0..20 {
        let store = if number % 2 == 0 { here.clone() } else { there.clone() };
        // The same names, in different orders.
        let mut names = ["ana", "jose", "zoe"];
        names.rotate_left(number % 3);
        let accounts = names.iter().map(|name| account(&format!("{name} {number}"), name)).collect();
        adding.spawn(async move { store.add(accounts).await.unwrap().into_iter().filter(|&added| added).count() });
    }
    assert_eq!(adding.join_all().await.into_iter().sum::<usize>(), 3);
    assert_eq!(here.list(&Filter::default(), None, 100).await.unwrap().len(), 3);
}

async fn accounts_are_listed_by_id_and_in_pages<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    // Sorted by the bytes of their ids, whatever the language of the database.
    let ids = ["\0", "\u{1}", "B", "_", "a", "b", "é", "漢"];
    let accounts = ids.iter().rev().enumerate().map(|(number, id)| account(id, &format!("user {number}"))).collect();
    store.add(accounts).await.unwrap();
    let mut listed = Vec::new();
    loop {
        let last: Option<Subject> = listed.last().cloned();
        let page = store.list(&Filter::default(), last.as_ref(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        listed.extend(page.into_iter().map(|account| account.id));
    }
    assert_eq!(listed.iter().map(Subject::as_str).collect::<Vec<_>>(), ids);
    assert!(store.list(&Filter::default(), None, 0).await.unwrap().is_empty());
}

async fn accounts_are_listed_in_each_order_and_in_pages<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let highest = "\u{10fffd}".repeat(80);
    let names = ["B", "a", "e\u{301}", "Z", "zoe", "漢", &highest, "0"];
    let logins = [None, Some(7), Some(5), None, Some(7), Some(0), Some(1 << 40), None];
    let accounts = names.iter().zip(logins).enumerate().map(|(number, (name, login))| Account {
        last_login_at: login.map(Timestamp::from_unix),
        ..account(&format!("{number}"), name)
    });
    store.add(accounts.collect()).await.unwrap();
    let listed = async |mut order: Order, filter: &Filter, size: usize| {
        let mut ids = String::new();
        loop {
            let page = store.list_in(&order, filter, size).await.unwrap();
            assert!(page.len() <= size);
            let Some(last) = page.last() else { return ids };
            order = order.after(last);
            ids.extend(page.iter().map(|account| account.id.to_string()));
        }
    };
    let all = Filter::default();
    let with_a_letter = Filter { name: NamePart::new("z").ok(), ..Filter::default() };
    let orders = |direction| {
        [
            (Order::Id(direction, None), "01234567", "34"),
            (Order::Name(direction, None), "70314256", "34"),
            (Order::LastLogin(direction, None), "03752146", "34"),
        ]
    };
    for direction in [Direction::Ascending, Direction::Descending] {
        for (order, ids, of_letter) in orders(direction) {
            let in_direction = |ids: &str| match direction {
                Direction::Ascending => ids.to_owned(),
                Direction::Descending => ids.chars().rev().collect(),
            };
            for size in [1, 2, 3, 7, 8, 9] {
                assert_eq!(listed(order.clone(), &all, size).await, in_direction(ids), "{order:?} {size}");
                assert_eq!(listed(order.clone(), &with_a_letter, size).await, in_direction(of_letter), "{order:?}");
            }
            // Who is added, removed or logs in between two pages moves no other.
            let first = store.list_in(&order, &all, 4).await.unwrap();
            let last = first.last().unwrap();
            store.change(&last.id, Change::Delete(LastAdmin::MayGo)).await.unwrap();
            let rest = listed(order.after(last), &all, 3).await;
            store.add(vec![last.clone()]).await.unwrap();
            assert_eq!(rest, in_direction(ids)[4..], "{order:?}");
        }
    }
}

async fn a_search_finds_the_accounts_that_meet_every_condition<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let at = Timestamp::from_unix;
    let logged_in = |id: &str, name: &str, last_login: u64| Account {
        created_at: at(100),
        last_login_at: Some(at(last_login)),
        ..account(id, name)
    };
    let accounts = vec![
        Account { is_admin: true, ..logged_in("1", "Ana Smith", 200) },
        Account { is_disabled: true, ..logged_in("2", "smithers", 300) },
        Account { is_admin: true, is_disabled: true, created_at: at(400), ..account("3", "ÉLAN_100%") },
        Account { created_at: at(100), ..account("4", "élan*") },
        logged_in("5", "zoe'--", 300),
    ];
    store.add(accounts).await.unwrap();
    let found = async |filter: Filter| {
        let ids =
            |accounts: Vec<Account>| accounts.into_iter().map(|account| account.id.to_string()).collect::<String>();
        let all = ids(store.list(&filter, None, 10).await.unwrap());
        // The same, one by one.
        let (mut one_by_one, mut after) = (String::new(), None);
        while let Some(next) = store.list(&filter, after.as_ref(), 1).await.unwrap().pop() {
            one_by_one.push_str(next.id.as_str());
            after = Some(next.id);
        }
        assert_eq!(all, one_by_one);
        all
    };
    for (part, ids) in [
        ("smith", "12"),
        ("SMITH", "12"),
        ("a s", "1"),
        ("lan", "34"),
        ("É", "3"),
        ("e\u{301}lan", "4"),
        ("%", "3"),
        ("_", "3"),
        ("*", "4"),
        ("'", "5"),
        ("?", ""),
    ] {
        let name = Some(NamePart::new(part).unwrap());
        assert_eq!(found(Filter { name, ..Filter::default() }).await, ids, "{part}");
    }
    assert_eq!(found(Filter::default()).await, "12345");
    for (is_admin, is_disabled, ids) in [
        (Some(true), None, "13"),
        (Some(false), None, "245"),
        (None, Some(true), "23"),
        (None, Some(false), "145"),
        (Some(true), Some(false), "1"),
    ] {
        assert_eq!(found(Filter { is_admin, is_disabled, ..Filter::default() }).await, ids);
    }
    for (before, since, ids) in [
        (Some(300), None, "14"),
        (Some(301), None, "1245"),
        (Some(100), None, ""),
        (Some(401), None, "12345"),
        (None, Some(300), "25"),
        (None, Some(0), "125"),
        (Some(300), Some(200), "1"),
    ] {
        let [last_login_before, last_login_since] = [before, since].map(|seconds: Option<u64>| seconds.map(at));
        assert_eq!(found(Filter { last_login_before, last_login_since, ..Filter::default() }).await, ids);
    }
    let name = Some(NamePart::new("smith").unwrap());
    assert_eq!(found(Filter { name, is_disabled: Some(true), ..Filter::default() }).await, "2");
}

async fn the_last_login_is_recorded_once_for_many<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let (jose, ana, nobody) = (account("1", "jose"), account("2", "ana"), Subject::new("3").unwrap());
    store.add(vec![jose.clone(), ana.clone()]).await.unwrap();
    let last_logins = async || {
        let accounts = store.list(&Filter::default(), None, 10).await.unwrap();
        accounts.iter().map(|account| account.last_login_at.map(Timestamp::as_unix)).collect::<Vec<_>>()
    };
    store.record_logins(vec![]).await.unwrap();
    assert_eq!(last_logins().await, [None, None]);
    let record = async |logins: &[(&Subject, u64)]| {
        let logins = logins.iter().map(|(id, at)| ((*id).clone(), Timestamp::from_unix(*at)));
        store.record_logins(logins.collect()).await.unwrap();
    };
    record(&[(&jose.id, 10), (&nobody, 10)]).await;
    record(&[(&ana.id, 20), (&jose.id, 9)]).await;
    assert_eq!(last_logins().await, [Some(10), Some(20)], "a late record does not replace a later login");
}

async fn each_change_changes_what_it_says<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let (jose, ana) = (account("1", "jose"), account("2", "ana"));
    store.add(vec![jose.clone(), ana.clone()]).await.unwrap();
    let now = async || facts(&store.by_id(&jose.id).await.unwrap().unwrap());

    assert!(store.change(&jose.id, Change::Password(hash(1), NextLogin::NeedsNewPassword)).await.unwrap());
    let mut expected = Account { password: hash(1), password_version: 2, must_change_password: true, ..jose.clone() };
    assert_eq!(now().await, facts(&expected));
    assert!(store.change(&jose.id, Change::OwnPassword(hash(0), 2)).await.unwrap());
    expected = Account { password: hash(0), password_version: 3, must_change_password: false, ..expected };
    assert_eq!(now().await, facts(&expected));
    assert!(store.change(&jose.id, Change::RequirePasswordChange).await.unwrap());
    expected.must_change_password = true;
    assert_eq!(now().await, facts(&expected));
    for (change, is_admin) in [(Change::Promote, true), (Change::Demote(LastAdmin::MayGo), false)] {
        assert!(store.change(&jose.id, change).await.unwrap());
        expected.is_admin = is_admin;
        assert_eq!(now().await, facts(&expected));
    }
    assert!(store.change(&jose.id, Change::Disable(LastAdmin::Stays)).await.unwrap());
    assert!(store.change(&jose.id, Change::Disable(LastAdmin::Stays)).await.unwrap());
    expected.is_disabled = true;
    assert_eq!(now().await, facts(&expected));
    assert!(store.change(&jose.id, Change::Enable).await.unwrap());
    expected.is_disabled = false;
    assert_eq!(now().await, facts(&expected));
    assert!(store.change(&jose.id, Change::Delete(LastAdmin::Stays)).await.unwrap());
    for change in [
        Change::Delete(LastAdmin::MayGo),
        Change::Enable,
        Change::Password(hash(0), NextLogin::Allowed),
        Change::Rehash(hash(0), 2),
    ] {
        assert!(!store.change(&jose.id, change).await.unwrap());
    }
    assert!(store.by_id(&jose.id).await.unwrap().is_none());
    assert_eq!(facts(&store.by_id(&ana.id).await.unwrap().unwrap()), facts(&ana));
}

fn invite(id: &str, from: u64) -> Invite {
    let [created_at, expires_at] = [from, from + 100].map(Timestamp::from_unix);
    Invite { id: id.into(), secret: SecretHash::of(id), created_at, expires_at }
}

async fn an_invitation_is_used_once<P: Place>() {
    let place = P::empty().await;
    let (store, now) = (place.open().await, Timestamp::from_unix(1_050));
    let secret = SecretHash::of;
    store.add(vec![account("1", "jose")]).await.unwrap();
    for (id, from) in [("old", 900), ("one", 1_000), ("two", 1_010)] {
        store.add_invite(invite(id, from)).await.unwrap();
    }
    assert_eq!(store.invites(now, 10).await.unwrap(), [invite("one", 1_000), invite("two", 1_010)]);
    assert_eq!(store.invites(now, 1).await.unwrap(), [invite("one", 1_000)]);
    assert_eq!(store.invite(&secret("one"), now).await.unwrap(), Some(invite("one", 1_000)));
    assert_eq!(store.invite(&secret("one"), Timestamp::from_unix(1_100)).await.unwrap(), None);

    let add = async |id: &str, name: &str, code: &str| {
        let outcome = store.add_invited(account(id, name), &secret(code), now).await.unwrap();
        assert_eq!(store.by_id(&Subject::new(id).unwrap()).await.unwrap().is_some(), outcome == Invited::Added);
        outcome
    };
    assert_eq!(add("2", "ana", "none").await, Invited::NotInvited);
    assert_eq!(add("2", "ana", "old").await, Invited::NotInvited);
    assert_eq!(add("2", "jose", "one").await, Invited::NameTaken);
    assert_eq!(add("2", "ana", "one").await, Invited::Added);
    assert_eq!(add("3", "eva", "one").await, Invited::NotInvited);
    let later = store.add_invited(account("3", "eva"), &secret("two"), Timestamp::from_unix(1_110)).await.unwrap();
    assert_eq!(later, Invited::NotInvited, "it has expired");

    assert!(store.remove_invite("two").await.unwrap() && !store.remove_invite("two").await.unwrap());
    assert_eq!(add("3", "eva", "two").await, Invited::NotInvited);
    // The next invitation deletes those that have expired.
    store.add_invite(invite("new", 2_000)).await.unwrap();
    assert!(!store.remove_invite("old").await.unwrap());
}

async fn of_many_that_use_an_invitation_at_once_one_is_added<P: Place>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    for round in 0..5 {
        let code = format!("round {round}");
        here.add_invite(invite(&code, 1_000)).await.unwrap();
        let mut adding = JoinSet::new();
        for number in 0..8 {
            let (store, secret) = (if number % 2 == 0 { here.clone() } else { there.clone() }, SecretHash::of(&code));
            let account = account(&format!("{round}-{number}"), &format!("user {round}-{number}"));
            adding
                .spawn(async move { store.add_invited(account, &secret, Timestamp::from_unix(1_050)).await.unwrap() });
        }
        let outcomes = adding.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Invited::Added).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Invited::NotInvited).count(), 7, "{outcomes:?}");
    }
    assert_eq!(here.list(&Filter::default(), None, 50).await.unwrap().len(), 5);
}

async fn a_token_resets_a_password_once<P: Place>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    let jose = account("1", "jose");
    here.add(vec![jose.clone()]).await.unwrap();
    let secret = |text: &str| SecretHash::of(text);
    let issue = async |text: &str| {
        let reset = PasswordReset { secret: secret(text), expires_at: Timestamp::from_unix(1_900_000_000) };
        let issued = here.change(&jose.id, Change::IssueReset(reset.clone(), Whose::Anyone)).await.unwrap();
        let found = here.by_id(&jose.id).await.unwrap().unwrap().reset;
        assert_eq!(found, issued.then_some(reset));
        issued
    };
    let reset = |text: &str| here.change(&jose.id, Change::Reset(hash(1), secret(text)));

    assert!(!reset("none").await.unwrap());
    assert!(issue("one").await && issue("two").await);
    assert!(!reset("one").await.unwrap(), "the newer one has replaced it");
    let other = there.change(&jose.id, Change::Reset(hash(0), secret("two")));
    let (one, other) = tokio::join!(reset("two"), other);
    assert!(one.unwrap() != other.unwrap(), "of two uses at once, one applies");
    assert_eq!(here.by_id(&jose.id).await.unwrap().unwrap().password_version, 2);

    here.change(&jose.id, Change::RequirePasswordChange).await.unwrap();
    assert!(issue("three").await && reset("three").await.unwrap());
    let found = here.by_id(&jose.id).await.unwrap().unwrap();
    assert!(!found.must_change_password && found.reset.is_none() && found.password_version == 3);
    for change in [
        Change::Password(hash(0), NextLogin::Allowed),
        Change::OwnPassword(hash(0), 4),
        Change::Disable(LastAdmin::Stays),
    ] {
        assert!(issue("void").await);
        assert!(here.change(&jose.id, change).await.unwrap());
        assert!(!reset("void").await.unwrap());
    }
    assert!(!issue("disabled").await);
    assert!(here.change(&jose.id, Change::Enable).await.unwrap());
    assert!(!reset("void").await.unwrap());
    assert!(issue("kept").await);
    assert!(here.change(&jose.id, Change::Rehash(hash(0), 5)).await.unwrap());
    assert!(reset("kept").await.unwrap(), "the password is the same");

    // Of a user who becomes an administrator, none that a client may have issued is left, and none can be issued.
    let of_client = async || {
        let reset = PasswordReset { secret: secret("client"), expires_at: Timestamp::from_unix(1_900_000_000) };
        there.change(&jose.id, Change::IssueReset(reset, Whose::User)).await.unwrap()
    };
    assert!(of_client().await);
    assert!(here.change(&jose.id, Change::Promote).await.unwrap());
    assert!(!reset("client").await.unwrap() && !of_client().await && !reset("client").await.unwrap());
    assert!(issue("anyone").await && reset("anyone").await.unwrap());
    let (issued, promoted) = tokio::join!(of_client(), here.change(&jose.id, Change::Demote(LastAdmin::MayGo)));
    assert!(promoted.unwrap() && (issued || of_client().await), "a user again");
}

async fn the_last_administrator_stays<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let admin = |id: &str, name: &str| Account { is_admin: true, ..account(id, name) };
    let (ana, boss, jose) = (admin("1", "ana"), admin("2", "boss"), account("3", "jose"));
    let disabled = Account { is_disabled: true, ..admin("4", "zoe") };
    store.add(vec![ana.clone(), boss.clone(), jose.clone(), disabled.clone()]).await.unwrap();
    let losses = [Change::Demote, Change::Disable, Change::Delete];
    assert!(store.change(&ana.id, Change::Demote(LastAdmin::Stays)).await.unwrap(), "there is another");
    for loss in losses {
        assert!(!store.change(&boss.id, loss(LastAdmin::Stays)).await.unwrap());
        assert_eq!(facts(&store.by_id(&boss.id).await.unwrap().unwrap()), facts(&boss));
        // Those who are not the last administrator are changed as ever.
        for id in [&jose.id, &disabled.id] {
            assert!(store.change(id, loss(LastAdmin::Stays)).await.unwrap());
        }
    }
    assert!(store.change(&boss.id, Change::Disable(LastAdmin::MayGo)).await.unwrap());
    assert!(store.change(&boss.id, Change::Demote(LastAdmin::Stays)).await.unwrap(), "it is none any more");
    assert!(!store.change(&Subject::new("5").unwrap(), Change::Demote(LastAdmin::Stays)).await.unwrap());
}

async fn of_two_administrators_who_demote_each_other_one_stays<P: Place>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    let admin = |id: &str, name: &str| Account { is_admin: true, ..account(id, name) };
    for round in 0..20 {
        let (ana, boss) =
            (admin(&format!("a{round}"), &format!("ana{round}")), admin(&format!("b{round}"), &format!("boss{round}")));
        here.add(vec![ana.clone(), boss.clone()]).await.unwrap();
        let (one, other) = tokio::join!(
            here.change(&ana.id, Change::Demote(LastAdmin::Stays)),
            there.change(&boss.id, Change::Disable(LastAdmin::Stays)),
        );
        assert!(one.unwrap() != other.unwrap());
        let admins = Filter { is_admin: Some(true), is_disabled: Some(false), ..Filter::default() };
        let [only] = here.list(&admins, None, 10).await.unwrap().try_into().expect("one administrator");
        assert!(here.change(&only.id, Change::Delete(LastAdmin::MayGo)).await.unwrap());
    }
}

async fn a_rehash_does_not_undo_a_new_password<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let jose = account("1", "jose");
    store.add(vec![jose.clone()]).await.unwrap();
    assert!(store.change(&jose.id, Change::Rehash(hash(1), 1)).await.unwrap());
    let found = store.by_id(&jose.id).await.unwrap().unwrap();
    assert_eq!((found.password.as_str(), found.password_version), (HASHES[1], 1));
    store.change(&jose.id, Change::Password(hash(0), NextLogin::Allowed)).await.unwrap();
    assert!(!store.change(&jose.id, Change::Rehash(hash(1), 1)).await.unwrap());
    assert_eq!(store.by_id(&jose.id).await.unwrap().unwrap().password.as_str(), HASHES[0]);
}

async fn of_two_changes_of_one_password_one_applies<P: Place>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    let jose = account("1", "jose");
    here.add(vec![jose.clone()]).await.unwrap();
    let (one, other) = tokio::join!(
        here.change(&jose.id, Change::OwnPassword(hash(0), 1)),
        there.change(&jose.id, Change::OwnPassword(hash(1), 1)),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one != other, "{one} {other}");
    let found = here.by_id(&jose.id).await.unwrap().unwrap();
    assert_eq!((found.password.as_str(), found.password_version), (HASHES[usize::from(other)], 2));
    assert!(here.change(&jose.id, Change::OwnPassword(hash(0), 2)).await.unwrap());
    assert!(!here.change(&Subject::new("2").unwrap(), Change::OwnPassword(hash(0), 1)).await.unwrap());
}

async fn where_users_log_in_from_is_kept_until_it_lapses<P: Place>() {
    let place = P::empty().await;
    let at = |seconds: u64| Timestamp::from_unix(1_800_000_000 + seconds);
    let known = |pair, until| KnownAddress { pair, until: at(until) };
    {
        let store = place.open().await;
        for address in [known(u64::MAX, 10), known(0, 20), known(7, 30), known(7, 40)] {
            store.remember_address(address, at(0)).await.unwrap();
        }
    }
    let store = place.open().await;
    assert_eq!(store.known_addresses(at(0), 10).await.unwrap(), [known(7, 40), known(0, 20), known(u64::MAX, 10)]);
    assert_eq!(store.known_addresses(at(10), 1).await.unwrap(), [known(7, 40)]);
    store.remember_address(known(8, 50), at(20)).await.unwrap();
    assert_eq!(store.known_addresses(at(0), 10).await.unwrap(), [known(8, 50), known(7, 40)], "what lapsed is gone");
}

async fn the_issuer_of_their_tokens_is_the_one_recorded_last<P: Place>() {
    let place = P::empty().await;
    assert_eq!(place.open().await.issuer().await.unwrap(), None);
    for name in ["adieu", "https://login.example", "a\u{e9}\u{1f600}"] {
        let issuer = Issuer::new(name).unwrap();
        place.open().await.record_issuer(&issuer).await.unwrap();
        assert_eq!(place.open().await.issuer().await.unwrap(), Some(issuer));
    }
}
