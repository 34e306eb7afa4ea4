//! Hashes made by other software verify; unsupported hashes get an error that names the reason.
//!
//! `password_hashes/make.py` made most of them with Werkzeug, Django, passlib, bcrypt and argon2-cffi; none comes from this
//! project's own encoder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::num::NonZeroUsize;

use adieu_server::{
    password::{Hasher, PasswordHash, Verdict},
    text::Password,
};

const ACCENTS: &str = "pässwörd 🔑";

const MADE_BY_OTHERS: &str = include_str!("password_hashes/hashes.jsonl");

/// Forms that current software does not make: a salt full of the character that passlib writes differently, no salt, PHP's
/// bcrypt, and argon2 before version 1.3.
const RARE: &[(&str, &str)] = &[
    ("1234", "$pbkdf2-sha256$1000$....................$P8pbsusaiGIj1BT/wdB7QnlsJuV1xafzR0lTNQe9nKI"),
    ("1234", "$pbkdf2-sha256$1000$$FG9so.8uXktUtkivk4UI/E.Hf72lk7kHy67G9XE/RJo"),
    ("1234", "$2y$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m"),
    ("1234", "$argon2id$v=16$m=1024,t=2,p=2$c2FsdHNhbHQ$VfZFGVD/vtR5DLWZLOuuSuS/njHOA4gLLlYV0LI5/qM"),
];

/// `pbkdf2_sha256.using(rounds=1000).hash("jose\u0301")`: the last letter is two code points.
const DECOMPOSED: &str = "$pbkdf2-sha256$1000$fA8hxLh37h1DSEkpRei9Vw$Ar.OCW2ioRNu/yM9DmS6s4pJajv8IK.kGpqDQHP4gBE";

const CURRENT: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$w0eYdG8SSRYp2y76tuy0kA$PHBqrrta1AhHi52mxyN7/GvrUL9vGFWaTixn8dH6Gi8";

fn hasher() -> Hasher {
    Hasher::start(NonZeroUsize::MIN, NonZeroUsize::MIN).unwrap()
}

fn password(text: &str) -> Password {
    Password::typed(text.into()).unwrap()
}

#[derive(serde::Deserialize)]
struct Made {
    made_by: String,
    password: String,
    hash: String,
}

fn made_by_others() -> Vec<Made> {
    let rare = RARE.iter().map(|(password, hash)| Made {
        made_by: "rare".to_owned(),
        password: (*password).to_owned(),
        hash: (*hash).to_owned(),
    });
    MADE_BY_OTHERS.lines().map(|line| serde_json::from_str(line).unwrap()).chain(rare).collect()
}

#[tokio::test]
async fn they_verify_and_are_to_be_hashed_anew() {
    let hasher = hasher();
    for Made { made_by, password: right, hash: stored } in made_by_others() {
        let hash = PasswordHash::parse(&stored).unwrap_or_else(|error| panic!("{made_by}: {error}: {stored}"));
        assert_eq!(hash.as_str(), stored);
        let verdict = hasher.verify(&password(&right), &hash, None).await;
        assert_eq!(verdict, Ok(Verdict::RightButOutdated), "{made_by}: {right:?} {stored}");
        // At its beginning, since bcrypt does not see the end of a long one.
        let wrong = password(&format!("!{right}"));
        assert_eq!(hasher.verify(&wrong, &hash, None).await, Ok(Verdict::Wrong), "{made_by}: {right:?} {stored}");
    }
}

/// bcrypt hashes the first 72 bytes only, and other software accepts the same passwords. Schemes that hash with
/// SHA-256 first use all of the password.
#[tokio::test]
async fn only_bcrypt_itself_stops_after_72_bytes() {
    let hasher = hasher();
    let (long, longer) = ("x".repeat(80), password(&"x".repeat(81)));
    let mut stopped = Vec::new();
    for made in made_by_others().into_iter().filter(|made| made.password == long) {
        if hasher.verify(&longer, &PasswordHash::parse(&made.hash).unwrap(), None).await
            == Ok(Verdict::RightButOutdated)
        {
            stopped.push(made.made_by);
        }
    }
    assert_eq!(stopped, ["django bcrypt", "passlib bcrypt", "bcrypt 2a", "bcrypt 2b"]);
}

#[tokio::test]
async fn the_parameters_that_we_use_are_left_as_they_are() {
    let hash = PasswordHash::parse(CURRENT).unwrap();
    assert_eq!(hasher().verify(&password(ACCENTS), &hash, None).await, Ok(Verdict::Right));
}

#[tokio::test]
async fn a_password_that_other_software_hashed_as_typed_is_right() {
    let hash = PasswordHash::parse(DECOMPOSED).unwrap();
    assert_eq!(hasher().verify(&password("jose\u{301}"), &hash, None).await, Ok(Verdict::RightButOutdated));
}

#[test]
fn what_can_not_be_verified_is_named() {
    let digest = "Db3pJ3z5tRr1j9iFgW6zfLkoWjZEx7P3Ot9lzjIoLM4";
    let answers = [
        String::new(),
        "1234".to_owned(),
        "$argon2d$v=19$m=4096,t=3,p=1$JJO13GVU1jDKBZSM3iUIAQ$jADt5reB6v+vETAXXIFAOXaq6Ph697w0R0Pnm6qbo/8".to_owned(),
        "pbkdf2:sha256:260000$abc$def".to_owned(),
        "pbkdf2:md5:1000$abc$5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
        "pbkdf2_md5$1000$abc$X03MO1qnZdYdgyfeuILPmQ==".to_owned(),
        "sha1$abc$0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33".to_owned(),
        "5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
        "!unusable".to_owned(),
        "$5$rounds=5000$salt$é".to_owned(),
        "x".repeat(100_000),
        format!("$pbkdf2-sha256$29000$c2FsdA${digest}A"),
        format!("$pbkdf2-sha256$29000$c2FsdA${}", &digest[..42]),
        format!("$pbkdf2-sha256$29000$c2FsdA${}+", &digest[..42]),
        format!("$pbkdf2-sha256$029000$c2FsdA${digest}"),
        format!("$pbkdf2-sha256$0$c2FsdA${digest}"),
        format!("$pbkdf2-sha256$10000001$c2FsdA${digest}"),
        format!("$pbkdf2-sha256$99999999999$c2FsdA${digest}"),
        format!("$pbkdf2-sha256$29000$c2FsdA${digest}$more"),
        format!("$argon2id$v=19$m=4194304,t=3,p=4$c2FsdHNhbHQ${digest}"),
        format!("$argon2id$v=19$m=65536,t=11,p=4$c2FsdHNhbHQ${digest}"),
        format!("$argon2id$v=19$m=65536,t=3,p=9$c2FsdHNhbHQ${digest}"),
        format!("$argon2id$v=19$m=65536,t=3,p=4,keyid=AAAA$c2FsdHNhbHQ${digest}"),
        format!("$argon2id$v=18$m=65536,t=3,p=4$c2FsdHNhbHQ${digest}"),
        format!("$argon2id$v=19$m=7,t=3,p=4$c2FsdHNhbHQ${digest}"),
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$AAAAAA".to_owned(),
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ".to_owned(),
        "$2b$17$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "$2b$03$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5".to_owned(),
        "$2x$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "bcrypt$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "bcrypt_sha256$$2b$16$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "$bcrypt-sha256$v=3,t=2b,r=6$ANOAYlLfRMEh3hbLCka9ce$oMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "$bcrypt-sha256$v=2,t=2x,r=6$ANOAYlLfRMEh3hbLCka9ce$oMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "$bcrypt-sha256$2b,16$ANOAYlLfRMEh3hbLCka9ce$oMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "$bcrypt-sha256$2b,6$ANOAYlLfRMEh3hbLCka9c$eoMFs7d1BN3tvujFnWnBG271nsNItJ5m".to_owned(),
        "$bcrypt-sha256$2b,6$ANOAYlLfRMEh3hbLCka9ce$".to_owned(),
        format!("$pbkdf2-sha256$i=1000,l=33$c2FsdA${digest}"),
        format!("$pbkdf2-sha256$i=1000$c2FsdA${digest}"),
        "$pbkdf2-sha256$i=1000,l=4$c2FsdA$AAAAAA".to_owned(),
        format!("$pbkdf2-sha1$i=5000001,l=32$c2FsdA${digest}"),
        format!("pbkdf2_sha256$1000$salt${digest}"),
        "pbkdf2_sha512$3000001$salt$".to_owned() + &"A".repeat(86) + "==",
        "pbkdf2:sha512:3000001$salt$".to_owned() + &"a".repeat(128),
        "pbkdf2:sha256:1000$salt$".to_owned() + &"a".repeat(63),
        "scrypt:32767:8:1$salt$".to_owned() + &"a".repeat(128),
        "scrypt:1:8:1$salt$".to_owned() + &"a".repeat(128),
        "scrypt:524288:8:1$salt$".to_owned() + &"a".repeat(128),
        "scrypt:262144:8:5$salt$".to_owned() + &"a".repeat(128),
        "scrypt:32768:65:1$salt$".to_owned() + &"a".repeat(128),
        "scrypt:1024:8:65$salt$".to_owned() + &"a".repeat(128),
        "scrypt:32768:8:1$salt$".to_owned() + &"a".repeat(130),
        "scrypt:32768:8$salt$".to_owned() + &"a".repeat(128),
        format!("scrypt$16384$salt$8${digest}="),
        format!("$scrypt$ln=25,r=8,p=1$c2FsdA${digest}"),
        format!("$scrypt$ln=63,r=1,p=1$c2FsdA${digest}"),
        format!("$scrypt$ln=10,r=8,p=1$c2FsdA${}", &digest[..20]),
        format!("$firebase-scrypt$ln=20,r=8,p=1$c2FsdA${digest}"),
    ]
    .map(|text| {
        let error = PasswordHash::parse(&text).unwrap_err();
        format!("{error}  <-  {}", text.chars().take(60).collect::<String>())
    })
    .join("\n");
    insta::assert_snapshot!(answers);
}

#[test]
fn a_hash_is_never_shown() {
    assert_eq!(format!("{:?}", PasswordHash::parse(CURRENT).unwrap()), "PasswordHash(…)");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    /// Hashes with parts replaced, repeated and cut off: whatever is accepted is kept as it is, and nothing panics.
    #[test]
    fn no_text_is_too_odd(
        which in proptest::prelude::any::<proptest::sample::Index>(),
        places in proptest::collection::vec(proptest::prelude::any::<proptest::sample::Index>(), 1..4),
        parts in proptest::collection::vec("[$:=,a-z0-9]{0,6}|[0-9]{0,12}|\\PC{0,3}|[A-Za-z0-9./+]{0,90}={0,2}", 1..4),
    ) {
        let all = made_by_others();
        let mut text = which.get(&all).hash.clone();
        for (place, part) in places.iter().zip(&parts) {
            let borders: Vec<usize> = text.match_indices(['$', ':', ',', '=']).map(|(at, _)| at).chain([0, text.len()]).collect();
            let (start, end) = (*place.get(&borders), *which.get(&borders));
            let (start, end) = (start.min(end), start.max(end));
            text.replace_range(start..end, part);
            if let Ok(hash) = PasswordHash::parse(&text) {
                proptest::prop_assert_eq!(hash.as_str(), text.as_str());
            }
        }
    }
}
