//! The suite is complete.
#![allow(clippy::unwrap_used)]

/// A test that is not named in its macro would never run.
#[test]
fn every_promise_is_tried() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    for part in ["log", "sessions", "keys", "restore", "membership"] {
        let of_part = std::fs::read_to_string(format!("{source}/{part}.rs")).unwrap();
        let (_, list) = of_part.split_once("__conformance_tests! {").unwrap();
        let (list, _) = list.split_once('}').unwrap();
        let named: std::collections::BTreeSet<_> = list.split_whitespace().skip(1).collect();
        let mut sources = vec![of_part.clone()];
        if let Ok(folder) = std::fs::read_dir(format!("{source}/{part}")) {
            sources.extend(folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()));
        }
        let promises = sources.iter().flat_map(|source| source.split("pub async fn ").skip(1));
        let promises: std::collections::BTreeSet<_> =
            promises.filter_map(|promise| promise.split('<').next()).collect();
        assert_eq!(promises, named);
    }
}
