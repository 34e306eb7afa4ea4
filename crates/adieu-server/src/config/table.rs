//! Settings that are a list of tables.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

/// Deserializes a list of tables. An environment variable holds it as written in the file.
pub(super) fn tables<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Tables<T>(PhantomData<T>);

    impl<'de, T: DeserializeOwned> Visitor<'de> for Tables<T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of tables")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            #[derive(Deserialize)]
            #[serde(bound(deserialize = "T: DeserializeOwned"))]
            struct Document<T> {
                tables: Vec<T>,
            }
            let document: Result<Document<T>, toml::de::Error> = toml::from_str(&format!("tables = {text}"));
            document.map(|document| document.tables).map_err(|error| E::custom(error.message()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(sequence))
        }
    }

    deserializer.deserialize_any(Tables(PhantomData))
}
