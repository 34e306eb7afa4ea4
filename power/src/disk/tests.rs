use std::collections::BTreeSet;

use super::*;

fn one_file(content: &[u8]) -> (Disk, Inode) {
    let mut disk = Disk::new();
    let file = disk.add(ROOT, OsStr::new("file"), false, (0o600, 0, 0));
    disk.write(file, 0, content);
    disk.sync(file);
    disk.sync(ROOT);
    (disk, file)
}

/// Returns the files that are left, with their bytes, in many cuts of each kind.
fn left(disk: &Disk, survivors: &[Survivors]) -> BTreeSet<Vec<(String, Vec<u8>)>> {
    let mut random = Rng::with_seed(1);
    let snapshot = disk.snapshot();
    let cut = |survivors: &Survivors| {
        let folder = tempfile::tempdir().unwrap();
        snapshot.write(*survivors, &mut random, folder.path()).unwrap();
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    survivors.iter().flat_map(|kind| std::iter::repeat_n(kind, 60)).map(cut).collect()
}

/// Returns the bytes of the only file that are left.
fn contents(disk: &Disk, survivors: Survivors) -> BTreeSet<Vec<u8>> {
    left(disk, &[survivors]).into_iter().map(|files| files[0].1.clone()).collect()
}

const ALL: [Survivors; 4] = [Survivors::Nothing, Survivors::InOrder, Survivors::Any, Survivors::Journalled];

#[test]
fn what_was_synced_is_left() {
    let (disk, _) = one_file(b"synced");
    assert_eq!(left(&disk, &ALL), BTreeSet::from([vec![("file".to_owned(), b"synced".to_vec())]]));
}

#[test]
fn of_what_was_not_synced_any_sector_may_be_left() {
    let (mut disk, file) = one_file(&[0; 2 * SECTOR]);
    disk.write(file, 0, &[1; 2 * SECTOR]);
    let pages = |bytes: &Vec<u8>| (bytes[0], bytes[SECTOR - 1], bytes[SECTOR], bytes[2 * SECTOR - 1]);
    let found: BTreeSet<_> = contents(&disk, Survivors::Any).iter().map(pages).collect();
    assert_eq!(found, BTreeSet::from([(0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 0, 0), (1, 1, 1, 1)]));
    assert_eq!(contents(&disk, Survivors::Nothing), BTreeSet::from([vec![0; 2 * SECTOR]]));
    assert_eq!(contents(&disk, Survivors::InOrder), BTreeSet::from([vec![0; 2 * SECTOR], vec![1; 2 * SECTOR]]));
}

/// Each state of a sector since the last sync, and no other.
#[test]
fn a_sector_may_be_an_older_one() {
    let (mut disk, file) = one_file(b"a");
    disk.write(file, 0, b"b");
    disk.write(file, 0, b"c");
    let all = BTreeSet::from([b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    assert_eq!(contents(&disk, Survivors::Any), all);
    assert_eq!(contents(&disk, Survivors::InOrder), all);
    disk.sync(file);
    assert_eq!(contents(&disk, Survivors::Any), BTreeSet::from([b"c".to_vec()]));
}

#[test]
fn a_length_may_be_left_without_the_bytes_and_the_reverse() {
    let (mut disk, file) = one_file(b"");
    disk.write(file, 0, &[1; 2 * SECTOR]);
    let all = contents(&disk, Survivors::Any);
    assert!(all.contains(&vec![]) && all.contains(&vec![0; 2 * SECTOR]) && all.contains(&vec![1; 2 * SECTOR]));
    assert_eq!(contents(&disk, Survivors::Journalled), BTreeSet::from([vec![], vec![1; 2 * SECTOR]]));
    disk.write(file, 2 * SECTOR, b"more");
    disk.resize(file, SECTOR);
    assert!(contents(&disk, Survivors::InOrder).contains(&vec![1; SECTOR]));
    disk.sync(file);
    assert_eq!(contents(&disk, Survivors::Any), BTreeSet::from([vec![1; SECTOR]]));
}

#[test]
fn a_name_needs_a_sync_of_its_folder() {
    let mut disk = Disk::new();
    let file = disk.add(ROOT, OsStr::new("file"), false, (0o600, 0, 0));
    disk.write(file, 0, b"synced");
    disk.sync(file);
    let there = vec![("file".to_owned(), b"synced".to_vec())];
    assert_eq!(left(&disk, &[Survivors::Any]), BTreeSet::from([vec![], there.clone()]));
    disk.sync(ROOT);
    assert_eq!(left(&disk, &ALL), BTreeSet::from([there.clone()]));
    disk.remove(ROOT, OsStr::new("file"));
    assert_eq!(left(&disk, &[Survivors::Any]), BTreeSet::from([vec![], there]));
}

#[test]
fn a_journal_keeps_names_with_any_sync() {
    let mut disk = Disk::new().with_journal(true);
    let file = disk.add(ROOT, OsStr::new("file"), false, (0o600, 0, 0));
    let other = disk.add(ROOT, OsStr::new("other"), false, (0o600, 0, 0));
    disk.write(file, 0, b"lost");
    disk.sync(other);
    let names = vec![("file".to_owned(), vec![]), ("other".to_owned(), vec![])];
    assert_eq!(left(&disk, &[Survivors::Nothing]), BTreeSet::from([names]));
}

#[test]
fn a_rename_happens_or_does_not() {
    let (mut disk, _) = one_file(b"old");
    let new = disk.add(ROOT, OsStr::new("new"), false, (0o600, 0, 0));
    disk.write(new, 0, b"new");
    disk.sync(new);
    disk.sync(ROOT);
    disk.rename(new, (ROOT, OsStr::new("new")), (ROOT, OsStr::new("file")));
    let before = vec![("file".to_owned(), b"old".to_vec()), ("new".to_owned(), b"new".to_vec())];
    let after = vec![("file".to_owned(), b"new".to_vec())];
    assert_eq!(left(&disk, &[Survivors::Any]), BTreeSet::from([before, after.clone()]));
    disk.sync(ROOT);
    assert_eq!(left(&disk, &ALL), BTreeSet::from([after]));
}

#[test]
fn a_copy_of_a_folder_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/file"), b"bytes").unwrap();
    let copy = tempfile::tempdir().unwrap();
    let snapshot = Disk::load(folder.path()).unwrap().snapshot();
    snapshot.write(Survivors::Nothing, &mut Rng::with_seed(1), copy.path()).unwrap();
    assert_eq!(fs::read(copy.path().join("data/file")).unwrap(), b"bytes");
}
