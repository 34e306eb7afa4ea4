//! A page of the feed, in all formats: every version that was ever written stays readable, and invalid input is rejected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{
        Cursor, HashedRevocation, Index, LogId, Page, Position, Revocation, RevocationHasher, RevokedBy, RevokedClaim,
        Target, TokenFacts,
    },
    time::Timestamp,
    token::KeyId,
};
use adieu_client::wire::{
    FeedPage, MAX_PAGE_ENTRIES, from_binary, from_hashed, from_json, to_binary, to_hashed, to_json,
};
use proptest::prelude::*;
use serde_json::json;

const JSON: &str = include_str!("fixtures/feed/v1.json");

fn binary() -> Vec<u8> {
    bytes_of(include_str!("fixtures/feed/v1.binary.hex"))
}

fn hashed() -> Vec<u8> {
    bytes_of(include_str!("fixtures/feed/v2.hashed.hex"))
}

/// The hasher of `v2.hashed.hex`.
fn hasher() -> RevocationHasher {
    RevocationHasher::from_key(std::array::from_fn(|place| place as u8))
}

fn hash(hasher: &RevocationHasher, page: &FeedPage) -> Vec<HashedRevocation> {
    let mut hashed: Vec<_> = hasher.hash_all(&page.page.entries).collect();
    sort(&mut hashed);
    hashed
}

/// The order in a page has no meaning.
fn sort(hashed: &mut [HashedRevocation]) {
    hashed.sort_by_key(|entry| (entry.parts().fingerprint, entry.parts().lapses_at, entry.parts().time));
}

fn without_entries(page: &FeedPage) -> FeedPage {
    FeedPage { page: Page { entries: Vec::new(), ..page.page.clone() }, ..page.clone() }
}

/// Returns the bytes in a fixture, which explains each of them.
fn bytes_of(text: &str) -> Vec<u8> {
    let digits: String = text.lines().map(|line| line.split('#').next().unwrap()).collect();
    hex::decode(digits.replace(' ', "")).unwrap()
}

fn expected() -> FeedPage {
    let adieu = Issuer::new("adieu").unwrap();
    let other = Issuer::new("https://other.example").unwrap();
    let at = Timestamp::from_unix;
    let entry = |issuer: &Issuer, target, lapses_at| Revocation { issuer: issuer.clone(), target, lapses_at };
    FeedPage {
        issuer: adieu.clone(),
        max_staleness: Duration::from_secs(2),
        page: Page {
            entries: vec![
                entry(
                    &adieu,
                    Target::Session { id: SessionId::new("01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22").unwrap() },
                    at(1_800_001_020),
                ),
                entry(
                    &adieu,
                    Target::Token {
                        id: TokenId::new("5d1f0a52-2f3b-4a40-9d0c-1d6f3f9b0e11").unwrap(),
                        expires_at: Some(at(1_800_000_910)),
                    },
                    at(1_800_001_030),
                ),
                entry(
                    &other,
                    Target::Token { id: TokenId::new("a-jti").unwrap(), expires_at: None },
                    at(1_802_592_120),
                ),
                entry(
                    &other,
                    Target::Subject { id: Subject::new("josé").unwrap(), issued_until: at(1_800_000_100) },
                    at(1_802_592_220),
                ),
                entry(&adieu, Target::Everything { issued_until: at(1_800_000_101) }, at(1_802_592_221)),
            ],
            cursor: "0f2d7c1a5b9e4e0f8a6d3c2b1a098765.1234567".parse().unwrap(),
            complete: true,
            from_start: false,
            age: Duration::from_millis(7),
            pruned_through: at(1_800_000_000),
        },
    }
}

#[test]
fn pages_of_version_1_are_still_read() {
    assert_eq!(from_json(JSON.as_bytes()), Ok(expected()));
    assert_eq!(from_binary(&binary()), Ok(expected()));
}

#[test]
fn and_still_written() {
    let compact: serde_json::Value = serde_json::from_str(JSON).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&to_json(&expected())).unwrap(), compact);
    assert_eq!(hex::encode(to_binary(&expected())), hex::encode(binary()));
}

#[test]
fn a_hashed_page_of_version_2_is_still_read_and_written() {
    let (page, mut entries) = from_hashed(&hashed(), &hasher()).unwrap();
    sort(&mut entries);
    assert_eq!((page, entries), (without_entries(&expected()), hash(&hasher(), &expected())));
    assert_eq!(hex::encode(to_hashed(&expected(), &hasher())), hex::encode(hashed()));
}

/// The page of `kinds.json`: revocations of keys and of claims.
fn kinds() -> FeedPage {
    let mut page = expected();
    let [adieu, other] = ["adieu", "https://other.example"].map(|issuer| Issuer::new(issuer).unwrap());
    let at = Timestamp::from_unix;
    let key = |issuer: &Issuer, id| {
        let target = Target::Key { id: KeyId::new(id).unwrap() };
        Revocation { issuer: issuer.clone(), target, lapses_at: Timestamp::MAX }
    };
    let claim = |issuer: &Issuer, name, value, issued_until, lapses_at| {
        let claim = RevokedClaim::new(name, value).unwrap();
        let target = Target::Claim { claim, issued_until: at(issued_until) };
        Revocation { issuer: issuer.clone(), target, lapses_at: at(lapses_at) }
    };
    page.page.entries.truncate(1);
    page.page.entries.extend([
        key(&adieu, "0d8f6a52-3c1b-4b7e-9a55-7e1f0c2d4b66"),
        key(&other, "kid-1"),
        claim(&other, "tenant", "acmé", 1_800_000_100, 1_802_592_220),
        claim(&adieu, "device", "7c9e6679-7425-40de-944b-e07fc1f90ae7", 1_800_000_101, 1_802_592_221),
        claim(&adieu, "tenant", "true", 1_800_000_102, 1_802_592_222),
        claim(&adieu, "tenant", "-5", 1_800_000_103, 1_802_592_223),
    ]);
    page
}

#[test]
fn pages_with_keys_and_claims_are_read_and_written() {
    let page = kinds();
    let json = include_str!("fixtures/feed/kinds.json");
    let binary = bytes_of(include_str!("fixtures/feed/kinds.binary.hex"));
    let hashed = bytes_of(include_str!("fixtures/feed/kinds.hashed.hex"));
    assert_eq!(from_json(json.as_bytes()).as_ref(), Ok(&page));
    let compact: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&to_json(&page)).unwrap(), compact);
    assert_eq!(from_binary(&binary).as_ref(), Ok(&page));
    assert_eq!(hex::encode(to_binary(&page)), hex::encode(binary));
    let (head, mut entries) = from_hashed(&hashed, &hasher()).unwrap();
    sort(&mut entries);
    assert_eq!((head, entries), (without_entries(&page), hash(&hasher(), &page)));
    assert_eq!(hex::encode(to_hashed(&page, &hasher())), hex::encode(hashed));
}

#[test]
fn an_index_that_reads_them_hashed_rejects_their_tokens() {
    let index = Index::new(Timestamp::from_unix(1_800_000_000));
    let hasher = RevocationHasher::from_key(*index.hasher().key());
    let (_, entries) = from_hashed(&to_hashed(&kinds(), &hasher), index.hasher()).unwrap();
    index.extend_hashed(&entries);
    let check = |issuer, key_id, claims: serde_json::Value, issued_at| {
        let claims = claims.as_object().unwrap();
        index.check(&TokenFacts {
            issuer,
            token_id: "x",
            session: None,
            subject: "x",
            issued_at: Some(Timestamp::from_unix(issued_at)),
            expires_at: Timestamp::from_unix(1_800_000_910),
            key_id,
            claims: Some(claims),
        })
    };
    let (other, now) = ("https://other.example", 1_800_000_100);
    assert_eq!(check(other, Some("kid-1"), json!({}), u64::MAX), Some(RevokedBy::Key));
    assert_eq!(check("adieu", Some("kid-1"), json!({}), 0), None);
    assert_eq!(check(other, None, json!({"tenant": ["x", "acmé"]}), now), Some(RevokedBy::Claim));
    assert_eq!(check(other, None, json!({"tenant": "acmé"}), now + 1), None);
    assert_eq!(check(other, None, json!({"tenant": "acme"}), now), None);
    assert_eq!(check("adieu", None, json!({"tenant": true}), now), Some(RevokedBy::Claim));
    assert_eq!(check("adieu", None, json!({"tenant": -5.0}), now), Some(RevokedBy::Claim));
    assert_eq!(check("adieu", None, json!({"device": true}), now), None);
}

#[test]
fn an_index_that_reads_a_hashed_page_has_what_is_in_it() {
    let index = Index::new(Timestamp::from_unix(1_800_000_000));
    let hasher = RevocationHasher::from_key(*index.hasher().key());
    let (_, entries) = from_hashed(&to_hashed(&expected(), &hasher), index.hasher()).unwrap();
    index.extend_hashed(&entries);
    assert_eq!(index.stats().entries, 5);
    let check = |issuer, token_id, session, subject, issued_at| {
        let issued_at = Some(Timestamp::from_unix(issued_at));
        let expires_at = Timestamp::from_unix(1_800_000_910);
        index.check(&TokenFacts {
            issuer,
            token_id,
            session,
            subject,
            issued_at,
            expires_at,
            key_id: None,
            claims: None,
        })
    };
    let (other, late) = ("https://other.example", 1_800_000_200);
    assert_eq!(check("adieu", "x", Some("01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22"), "x", late), Some(RevokedBy::Session));
    assert_eq!(check("adieu", "5d1f0a52-2f3b-4a40-9d0c-1d6f3f9b0e11", None, "x", late), Some(RevokedBy::Token));
    assert_eq!(check(other, "a-jti", None, "x", late), Some(RevokedBy::Token));
    assert_eq!(check(other, "x", None, "josé", 1_800_000_100), Some(RevokedBy::Subject));
    assert_eq!(check(other, "x", None, "josé", late), None);
    assert_eq!(check("adieu", "x", None, "x", 1_800_000_101), Some(RevokedBy::Everything));
    assert_eq!(check("adieu", "a-jti", Some("x"), "josé", late), None);
}

#[test]
fn an_entry_takes_ten_bytes_when_hashed() {
    let mut page = expected();
    let at = 1_800_001_000;
    page.page.entries = (0..2_048)
        .map(|number| {
            let (expires_at, lapses_at) = (at + number % 900, at + number % 900 + 120);
            let target = match number % 2 {
                0 => Target::Session { id: SessionId::random() },
                _ => Target::Token { id: TokenId::random(), expires_at: Some(Timestamp::from_unix(expires_at)) },
            };
            Revocation { issuer: page.issuer.clone(), target, lapses_at: Timestamp::from_unix(lapses_at) }
        })
        .collect();
    let bytes = to_hashed(&page, &hasher()).len();
    assert!(bytes <= 2_048 * 10 + 128, "{bytes} bytes");
}

/// A follower whose key or hash differs would find nothing, and accept revoked tokens.
#[test]
fn a_page_that_was_hashed_differently_is_none() {
    let other = RevocationHasher::from_key([9; 32]);
    let error = from_hashed(&hashed(), &other).unwrap_err().to_string();
    assert_eq!(error, "not a page of the feed: it is hashed differently");
    assert!(!format!("{other:?} {:?}", hash(&other, &expected())).contains("fingerprint"));
}

#[test]
fn a_hashed_page_with_a_wrong_group_is_none() {
    let empty = without_entries(&expected());
    let head = |count: u8| {
        let mut bytes = to_hashed(&empty, &hasher());
        // The count is before the sample.
        let place = bytes.len() - 10;
        assert_eq!(std::mem::replace(&mut bytes[place], count), 0);
        bytes
    };
    let read = |count, rest: &str| {
        let rest = rest
            .replace("entry", "010101010101010101")
            .replace("never", "000000000101010101")
            .replace("ever", "010101010101010100")
            .replace("max", "ffffffffffffffffff01");
        from_hashed(&[head(count), hex::decode(rest.replace(' ', "")).unwrap()].concat(), &hasher())
    };
    assert!(read(1, "02 01 entry 07").is_ok());
    assert!(read(1, "00 ef01 01 entry f801").is_ok());
    assert!(read(1, "05 01 entry 07").is_ok());
    assert!(read(1, "06 0178 ef01 01 entry f801").is_ok());
    for (count, rest, reason) in [
        (1, "07 01 entry 07", "an unknown kind 7: this follower is too old for the node"),
        (1, "06 03737562 00 01 entry 07", "the name of a revocable claim"),
        (1, "06 00 00 01 entry 07", "the name of a revocable claim"),
        (1, "06 0178 01 entry 07", "unexpected end"),
        (1, "02 00", "no entries, or too many"),
        (1, "02 02 entry 07 entry 07", "no entries, or too many"),
        (1, "02 max entry 07", "no entries, or too many"),
        (2, "02 01 entry 07", "unexpected end"),
        (1, "02 01 entry 07 00", "something follows"),
        (1, "02 01 never 07", "not one"),
        (1, "02 01 ever 07", "not one"),
        (1, "02 01 entry max", "out of its bounds"),
        (2, "02 02 entry 07 entry max", "out of its bounds"),
        (1, "00 max 01 entry 07", "out of its bounds"),
        (1, "00 0f 01 entry 07", "out of its bounds"),
        (1, "00 8000 01 entry 07", "longer than it needs to be"),
    ] {
        let error = read(count, rest).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} and not {reason}");
    }
}

#[test]
fn an_age_is_rounded_up() {
    let mut page = expected();
    page.page.age = Duration::from_micros(7_001);
    assert_eq!(from_json(&to_json(&page)).unwrap().page.age, Duration::from_millis(8));
    assert_eq!(from_binary(&to_binary(&page)).unwrap().page.age, Duration::from_millis(8));
}

#[test]
fn a_member_that_is_not_known_is_skipped_and_a_kind_is_not() {
    assert!(from_json(JSON.replace("\"complete\"", "\"new\": [], \"complete\"").as_bytes()).is_ok());
    assert!(from_json(JSON.replace("\"kind\": \"everything\"", "\"kind\": \"device\"").as_bytes()).is_err());
    let mut unknown = binary();
    let everything = unknown.iter().rposition(|byte| *byte == 4).unwrap();
    unknown[everything] = 7;
    let too_old = "not a page of the feed: an unknown kind 7: this follower is too old for the node";
    assert_eq!(from_binary(&unknown).unwrap_err().to_string(), too_old);
    let json = |kind: &str| from_json(JSON.replace("\"everything\"", kind).as_bytes()).unwrap_err().to_string();
    assert_eq!(
        json(r#""device""#),
        r#"not a page of the feed: an unknown kind "device": this follower is too old for the node"#
    );
    assert!(json(&format!("\"{}\"", "x".repeat(99))).contains(r#"kind "…":"#));
    assert!(json(r#""\n""#).contains(r#"kind "\n":"#));
    assert!(json("4").contains("wrong JSON"));
}

#[test]
fn a_time_after_the_year_9999_is_invalid() {
    for time in ["1800000000", "1800001020", "1800000910", "1800000101"] {
        assert!(from_json(JSON.replace(time, "253402300799").as_bytes()).is_ok(), "{time}");
        assert!(from_json(JSON.replace(time, "253402300800").as_bytes()).is_err(), "{time}");
    }
}

#[test]
fn another_version_is_named() {
    let mut newer = binary();
    newer[4] = 2;
    assert_eq!(
        from_binary(&newer).unwrap_err().to_string(),
        "not a page of the feed: it is of version 2, and 1 is what this program reads"
    );
    assert!(from_hashed(&binary(), &hasher()).unwrap_err().to_string().contains("of version 1, and 2 is"));
}

#[test]
fn a_page_that_ends_early_or_late_is_none() {
    let whole = binary();
    for length in 0..whole.len() {
        assert!(from_binary(&whole[..length]).is_err(), "{length} bytes");
    }
    assert!(from_binary(&[whole, vec![0]].concat()).is_err());
    let whole = hashed();
    for length in 0..whole.len() {
        assert!(from_hashed(&whole[..length], &hasher()).is_err(), "{length} bytes");
    }
    assert!(from_hashed(&[whole, vec![0]].concat(), &hasher()).is_err());
}

#[test]
fn what_is_wrong_with_json_is_told_without_what_stands_there() {
    let wrong = JSON.replace("\"complete\": true", "\"complete\": \"secret\"");
    let error = from_json(wrong.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("line 3") && !error.contains("secret"), "{error}");
}

/// Memory is allocated for the entries that can be there, not for the count that a peer claims.
#[test]
fn a_count_that_is_a_lie_is_found_out() {
    let mut page = expected();
    page.page.entries.clear();
    let mut lie = to_binary(&page);
    assert_eq!(lie.pop(), Some(0));
    lie.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert!(from_binary(&lie).is_err());
}

#[test]
fn a_page_of_too_many_entries_is_none() {
    let mut page = expected();
    let entry = page.page.entries[0].clone();
    page.page.entries = vec![entry; MAX_PAGE_ENTRIES];
    assert_eq!(from_binary(&to_binary(&page)).as_ref(), Ok(&page));
    assert_eq!(from_json(&to_json(&page)).as_ref(), Ok(&page));
    assert_eq!(from_hashed(&to_hashed(&page, &hasher()), &hasher()).unwrap().1.len(), MAX_PAGE_ENTRIES);
    page.page.entries.push(page.page.entries[0].clone());
    assert!(from_hashed(&to_hashed(&page, &hasher()), &hasher()).is_err());
    assert!(from_binary(&to_binary(&page)).is_err());
    assert!(from_json(&to_json(&page)).is_err());
}

#[test]
fn of_an_entry_as_json_every_member_that_it_needs_must_be_there() {
    let entry = |text: &str| from_json(JSON.replace("\"kind\": \"everything\"", text).as_bytes());
    assert!(entry(r#""kind": "everything", "new": {"id": [1]}"#).is_ok());
    for wrong in [
        r#""kind": "key""#,
        r#""kind": "claim""#,
        r#""kind": "claim", "name": "x""#,
        r#""kind": "claim", "value": "x""#,
        r#""kind": "claim", "name": "sub", "value": "x""#,
    ] {
        assert!(entry(wrong).is_err(), "{wrong}");
    }
    assert!(entry(r#""kind": "claim", "name": "x", "value": "y""#).is_ok());
    for wrong in [r#""kind": "session""#, r#""kind": "subject""#, r#""kind": "token", "id": """#, r#""kind": 4"#] {
        assert!(entry(wrong).is_err(), "{wrong}");
    }
    assert!(from_json(JSON.replace("\"issued_until\"", "\"until\"").as_bytes()).is_err());
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 16]>().prop_map(|bytes| uuid::Uuid::from_bytes(bytes).to_string()),
        any::<[u8; 16]>().prop_map(|bytes| uuid::Uuid::from_bytes(bytes).to_string().to_uppercase()),
        "\\PC{1,40}",
    ]
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![1_800_000_000..1_800_100_000_u64, 0..=Timestamp::MAX.as_unix()].prop_map(Timestamp::from_unix)
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (id(), proptest::option::of(time()))
            .prop_map(|(id, expires_at)| Target::Token { id: TokenId::new(id).unwrap(), expires_at }),
        id().prop_map(|id| Target::Session { id: SessionId::new(id).unwrap() }),
        (id(), time()).prop_map(|(id, issued_until)| Target::Subject { id: Subject::new(id).unwrap(), issued_until }),
        time().prop_map(|issued_until| Target::Everything { issued_until }),
        id().prop_map(|id| Target::Key { id: KeyId::new(id).unwrap() }),
        ("[ -~]{1,3}", id(), time()).prop_filter_map("a name", |(name, value, issued_until)| {
            let claim = RevokedClaim::new(&name, &value).ok()?;
            Some(Target::Claim { claim, issued_until })
        }),
    ]
}

fn entry() -> impl Strategy<Value = Revocation> {
    ("[ab]", target(), time()).prop_map(|(issuer, target, lapses_at)| Revocation {
        issuer: Issuer::new(issuer).unwrap(),
        target,
        lapses_at,
    })
}

fn page() -> impl Strategy<Value = FeedPage> {
    let entries = proptest::collection::vec(entry(), 0..20);
    (entries, any::<u64>(), any::<(bool, bool)>(), any::<(u32, u32)>(), time()).prop_map(
        |(entries, position, (complete, from_start), (age, max_staleness), pruned_through)| FeedPage {
            issuer: Issuer::new("a").unwrap(),
            max_staleness: Duration::from_millis(max_staleness.into()),
            page: Page {
                entries,
                cursor: Cursor { log: LogId::random(), position: Position::new(position) },
                complete,
                from_start,
                age: Duration::from_millis(age.into()),
                pruned_through,
            },
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(page in page()) {
        let (json, binary) = (from_json(&to_json(&page)), from_binary(&to_binary(&page)));
        prop_assert_eq!(json.as_ref(), Ok(&page));
        prop_assert_eq!(binary.as_ref(), Ok(&page));
        let (head, mut entries) = from_hashed(&to_hashed(&page, &hasher()), &hasher()).unwrap();
        sort(&mut entries);
        prop_assert_eq!((head, entries), (without_entries(&page), hash(&hasher(), &page)));
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_json(&bytes);
        let _ = from_binary(&bytes);
        let _ = from_binary(&[b"ADRV\x01\x01".as_slice(), &bytes].concat());
        let _ = from_hashed(&bytes, &hasher());
    }

    #[test]
    fn any_bytes_after_the_head_of_a_hashed_page_are_answered(
        page in page(),
        count in any::<u8>(),
        rest in proptest::collection::vec(prop_oneof![any::<u8>(), 0..8_u8, Just(0xff)], 0..100),
    ) {
        let page = without_entries(&page);
        let mut bytes = to_hashed(&page, &hasher());
        let place = bytes.len() - 10;
        bytes[place] = count % 128;
        if let Ok((read, entries)) = from_hashed(&[bytes, rest].concat(), &hasher()) {
            prop_assert_eq!((read, entries.len()), (page, usize::from(count % 128)));
        }
    }

    #[test]
    fn a_damaged_hashed_page_is_an_error_or_another_page(
        page in page(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut damaged = to_hashed(&page, &hasher());
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if let Ok((_, entries)) = from_hashed(&damaged, &hasher()) {
            prop_assert_eq!(entries.len(), page.page.entries.len());
        }
    }

    /// A damaged page that can be read is a valid page: it can be written and read again.
    #[test]
    fn a_damaged_page_is_an_error_or_another_page(page in page(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for (bytes, read) in [
            (to_json(&page), from_json as fn(&[u8]) -> _),
            (to_binary(&page), from_binary as fn(&[u8]) -> _),
        ] {
            let mut damaged = bytes;
            let at = at.index(damaged.len());
            damaged[at] = byte;
            if let Ok(other) = read(&damaged) {
                prop_assert_eq!(from_binary(&to_binary(&other)), Ok(other));
            }
        }
    }
}
