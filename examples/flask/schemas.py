"""The schemas of requests and responses."""

from marshmallow import Schema, fields
from marshmallow.validate import Length


class PlainStore(Schema):
    """A store as part of another object."""

    id = fields.Int(dump_only=True)
    name = fields.Str(required=True)


class PlainItem(Schema):
    """An item as part of another object."""

    id = fields.Int(dump_only=True)
    name = fields.Str(required=True)
    price = fields.Float(required=True)


class PlainTag(Schema):
    """A tag as part of another object."""

    id = fields.Int(dump_only=True)
    name = fields.Str(required=True)


class Store(PlainStore):
    """A store with its items and tags."""

    items = fields.List(fields.Nested(PlainItem), dump_only=True)
    tags = fields.List(fields.Nested(PlainTag), dump_only=True)


class Item(PlainItem):
    """An item with its store and tags."""

    store_id = fields.Int(required=True, load_only=True)
    store = fields.Nested(PlainStore, dump_only=True)
    tags = fields.List(fields.Nested(PlainTag), dump_only=True)


class ItemUpdate(Schema):
    """The fields of an item that can be changed."""

    name = fields.Str()
    price = fields.Float()
    store_id = fields.Int()


class Tag(PlainTag):
    """A tag with its store and items."""

    store = fields.Nested(PlainStore, dump_only=True)
    items = fields.List(fields.Nested(PlainItem), dump_only=True)


class User(Schema):
    """A user; requests also have the password."""

    id = fields.Int(dump_only=True)
    username = fields.Str(required=True, validate=Length(min=1))
    password = fields.Str(required=True, load_only=True, validate=Length(min=1))
