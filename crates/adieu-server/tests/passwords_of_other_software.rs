//! Hashes made by passlib, bcrypt and argon2-cffi verify; unsupported hashes get an error that names the reason.
//!
//! The hashes were made with Python (passlib 1.7.4, bcrypt 5.0.0, argon2-cffi 25.1.0):
//! `pbkdf2_sha256.hash("1234")`, `bcrypt.hashpw(b"1234", bcrypt.gensalt(6, prefix=b"2a"))`,
//! `argon2.PasswordHasher(type=argon2.Type.I).hash("1234")` and so on; none comes from this project's own encoder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::num::NonZeroUsize;

use adieu_server::{
    password::{Hasher, PasswordHash, Verdict},
    text::Password,
};

const ACCENTS: &str = "pässwörd 🔑";

const OUTDATED: &[(&str, &str)] = &[
    ("1234", "$pbkdf2-sha256$29000$oDQGACCEMEZI6X3vXcsZ4w$Db3pJ3z5tRr1j9iFgW6zfLkoWjZEx7P3Ot9lzjIoLM4"),
    (ACCENTS, "$pbkdf2-sha256$29000$fk8JofRey1krBcB4j9EaAw$csNWI6CcyIX5fZS.rxuy3aRSXgf0uMoporfLokq3pbQ"),
    (
        "correct horse battery staple",
        "$pbkdf2-sha256$29000$UkppLSVEqHUOgVDqPSdEqA$BhNxwWNSaGSbG3G5prA6gSTKLds6AFRDruh/w/Y1y8w",
    ),
    // `using(rounds=1000, salt=…)`: a salt full of the character that passlib writes differently, and no salt at all.
    ("1234", "$pbkdf2-sha256$1000$....................$P8pbsusaiGIj1BT/wdB7QnlsJuV1xafzR0lTNQe9nKI"),
    ("1234", "$pbkdf2-sha256$1000$$FG9so.8uXktUtkivk4UI/E.Hf72lk7kHy67G9XE/RJo"),
    (ACCENTS, "$2a$06$gT.MNDDx/JYNhY/tYcCLau08g/zGZU8J.MKVskT37xw4l/iskCu6a"),
    (ACCENTS, "$2b$06$pDAZYrLLAQsrxVuf9RBgl.4AetYRRfR358QJJR4C/dLnFE9IgWptO"),
    ("1234", "$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m"),
    ("1234", "$2y$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m"),
    ("1234", "$argon2id$v=19$m=65536,t=3,p=4$oS/kRFvtm87PJcAxQBeeFA$WJjHFcRXy7Xm55abvbbvevNEesWsOAX0Csyt0a4WMKw"),
    ("1234", "$argon2i$v=19$m=4096,t=3,p=1$RU0lC1OkQysH4faOIHR/CA$bYNnrkmtZWp7sRov+UiWbi2ql7MY0uxaOoQxYTXzo5E"),
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

#[tokio::test]
async fn they_verify_and_are_to_be_hashed_anew() {
    let hasher = hasher();
    for (text, stored) in OUTDATED {
        let hash = PasswordHash::parse(stored).unwrap();
        assert_eq!(hash.as_str(), *stored);
        assert_eq!(hasher.verify(&password(text), &hash, None).await, Ok(Verdict::RightButOutdated), "{stored}");
        let wrong = password(&format!("{text}x"));
        assert_eq!(hasher.verify(&wrong, &hash, None).await, Ok(Verdict::Wrong), "{stored}");
    }
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
