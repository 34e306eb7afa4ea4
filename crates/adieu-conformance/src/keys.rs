//! The guarantees of every [`KeyStore`].

use super::{
    Storage, open,
    sample::{NOON, after, key},
};
use adieu::token::{KeyStore, StoredKey};

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_keys {
    () => {
        $crate::__conformance_tests! { keys:
            of_many_first_keys_one_is_kept
            a_key_is_kept_as_it_was
            keys_are_added_and_removed_in_one_step
            what_is_there_is_not_added_again
            they_come_in_the_order_in_which_they_sign
            keys_are_there_after_a_restart
        }
    };
}

fn ids(keys: &[StoredKey]) -> Vec<&str> {
    keys.iter().map(|key| key.id.as_str()).collect()
}

fn assert_same(kept: &StoredKey, key: &StoredKey) {
    assert_eq!((&kept.id, kept.algorithm), (&key.id, key.algorithm));
    assert_eq!(kept.private_key.as_slice(), key.private_key.as_slice());
    assert_eq!((kept.created_at, kept.signs_from), (key.created_at, key.signs_from));
}

/// Nodes that start at once, each with a key of its own, all sign with the same key.
pub async fn of_many_first_keys_one_is_kept<P: Storage<Store: KeyStore>>() {
    let place = P::empty().await;
    assert!(place.open().await.keys().await.unwrap().is_empty());
    let mut nodes = Vec::new();
    for _ in 0..8 {
        let store = open(&place).await;
        nodes.push(tokio::spawn(async move { store.add_first_key(key(NOON)).await.unwrap() }));
    }
    let mut kept = None;
    for node in nodes {
        let keys = node.await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_same(kept.get_or_insert_with(|| keys[0].clone()), &keys[0]);
    }
    let (store, kept) = (place.open().await, kept.unwrap());
    assert_same(&store.keys().await.unwrap()[0], &kept);
    assert_eq!(ids(&store.add_first_key(key(NOON)).await.unwrap()), [&kept.id]);
}

/// Bytes, algorithm and times are returned unchanged, also for unusual ids.
pub async fn a_key_is_kept_as_it_was<P: Storage<Store: KeyStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let unusual = StoredKey { id: "'\\\"\u{10ffff} %".to_owned(), private_key: bytes.into(), ..key(after(60)) };
    let ordinary = key(NOON);
    store.add_first_key(ordinary.clone()).await.unwrap();
    let keys = store.replace_keys(Some(unusual.clone()), vec![]).await.unwrap();
    for keys in [keys, place.open().await.keys().await.unwrap()] {
        assert_eq!(keys.len(), 2);
        assert_same(&keys[0], &ordinary);
        assert_same(&keys[1], &unusual);
    }
}

/// A concurrent reader never finds no key, nor both.
pub async fn keys_are_added_and_removed_in_one_step<P: Storage<Store: KeyStore>>() {
    const REPLACED: usize = 40;
    let place = P::empty().await;
    let (store, other) = (open(&place).await, open(&place).await);
    let mut current = store.add_first_key(key(NOON)).await.unwrap().remove(0);
    let (looks, mut looked) = tokio::sync::watch::channel(0_u64);
    let looking = tokio::spawn(async move {
        // Until the receiver is gone.
        while !looks.is_closed() {
            assert_eq!(other.keys().await.unwrap().len(), 1);
            looks.send_modify(|looks| *looks += 1);
        }
    });
    for _ in 0..REPLACED {
        let next = key(NOON);
        let removed = vec![current.id.clone(), "not there".to_owned()];
        let keys = store.replace_keys(Some(next.clone()), removed).await.unwrap();
        assert_eq!(ids(&keys), [&next.id]);
        current = next;
        // An error here is an error of the reader, which reports it below.
        let _ = looked.changed().await;
    }
    drop(looked);
    looking.await.unwrap();
    // Removing alone, down to no key; then a first key can be set again.
    assert!(store.replace_keys(None, vec![current.id]).await.unwrap().is_empty());
    assert_eq!(store.add_first_key(key(NOON)).await.unwrap().len(), 1);
}

/// Repeating a step changes nothing, and an existing id keeps its key.
pub async fn what_is_there_is_not_added_again<P: Storage<Store: KeyStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let first = store.add_first_key(key(NOON)).await.unwrap().remove(0);
    let next = key(after(60));
    for _ in 0..2 {
        let keys = store.replace_keys(Some(next.clone()), vec![first.id.clone()]).await.unwrap();
        assert_eq!(ids(&keys), [&next.id]);
    }
    let impostor = StoredKey { id: next.id.clone(), ..key(after(90)) };
    let keys = store.replace_keys(Some(impostor), vec![]).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_same(&keys[0], &next);
    assert_eq!(ids(&store.replace_keys(None, vec![]).await.unwrap()), [&next.id], "nothing is asked for");
}

/// Ordered by the time when they begin to sign; for equal times by their ids, byte by byte.
pub async fn they_come_in_the_order_in_which_they_sign<P: Storage<Store: KeyStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    // The order of bytes, not of any alphabet.
    let named = |id: &str, seconds| StoredKey { id: id.to_owned(), ..key(after(seconds)) };
    let mut expected = vec![named("z", 0)];
    store.add_first_key(expected[0].clone()).await.unwrap();
    for (id, seconds) in [("a", 30), ("é", 20), ("B", 20), ("a-b", 20), ("ab", 20), ("Z", 10), ("_", 20)] {
        expected.push(named(id, seconds));
        store.replace_keys(expected.last().cloned(), vec![]).await.unwrap();
    }
    expected.sort_by(|one, other| (one.signs_from, &one.id).cmp(&(other.signs_from, &other.id)));
    assert_eq!(ids(&store.keys().await.unwrap()), ids(&expected));
    assert_eq!(ids(&store.replace_keys(None, vec!["é".to_owned()]).await.unwrap()).len(), expected.len() - 1);
}

/// A later opening of the place finds the keys.
pub async fn keys_are_there_after_a_restart<P: Storage<Store: KeyStore>>() {
    let place = P::empty().await;
    let (first, next) = (key(NOON), key(after(60)));
    {
        let store = place.open().await;
        store.add_first_key(first.clone()).await.unwrap();
        store.replace_keys(Some(next.clone()), vec![]).await.unwrap();
    }
    place.crash().await;
    let keys = place.open().await.keys().await.unwrap();
    assert_same(&keys[0], &first);
    assert_same(&keys[1], &next);
}
