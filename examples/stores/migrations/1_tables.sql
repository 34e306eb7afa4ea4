-- The subject of a token is a user's id: AUTOINCREMENT never gives the id of a deleted user to another user.
CREATE TABLE users (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL
) STRICT;

CREATE TABLE stores (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- `store_id` is not a foreign key, because an item may belong to a store that does not exist.
CREATE TABLE items (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    price    REAL NOT NULL,
    store_id INTEGER NOT NULL
) STRICT;

CREATE INDEX items_of_store ON items (store_id);

CREATE TABLE tags (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    store_id INTEGER NOT NULL REFERENCES stores ON DELETE CASCADE,
    UNIQUE (store_id, name)
) STRICT;

-- A tag that has items cannot be deleted; deleting an item removes its tags from it.
CREATE TABLE item_tags (
    item_id INTEGER NOT NULL REFERENCES items ON DELETE CASCADE,
    tag_id  INTEGER NOT NULL REFERENCES tags,
    PRIMARY KEY (item_id, tag_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX items_of_tag ON item_tags (tag_id);

-- The views that clients see: each object with the objects that belong to it, in one query.
CREATE VIEW shown_items AS
SELECT id, name, price,
    (SELECT json_object('id', stores.id, 'name', stores.name) FROM stores WHERE stores.id = store_id) AS store,
    (SELECT json_group_array(json_object('id', tags.id, 'name', tags.name) ORDER BY tags.id)
     FROM item_tags JOIN tags ON tags.id = tag_id WHERE item_id = items.id) AS tags
FROM items;

CREATE VIEW shown_stores AS
SELECT id, name,
    (SELECT json_group_array(json_object('id', items.id, 'name', items.name, 'price', items.price) ORDER BY items.id)
     FROM items WHERE items.store_id = stores.id) AS items,
    (SELECT json_group_array(json_object('id', tags.id, 'name', tags.name) ORDER BY tags.id)
     FROM tags WHERE tags.store_id = stores.id) AS tags
FROM stores;

CREATE VIEW shown_tags AS
SELECT id, name, store_id,
    (SELECT json_object('id', stores.id, 'name', stores.name) FROM stores WHERE stores.id = store_id) AS store,
    (SELECT json_group_array(json_object('id', items.id, 'name', items.name, 'price', items.price) ORDER BY items.id)
     FROM item_tags JOIN items ON items.id = item_id WHERE tag_id = tags.id) AS items
FROM tags;
