"""What goes over the wire."""

from marshmallow import Schema, fields
from marshmallow.validate import Length


class PlainStore(Schema):
    """A store as it is shown with something else."""

    id = fields.Int(dump_only=True)
    name = fields.Str(required=True)


class PlainItem(Schema):
    """An item as it is shown with something else."""

    id = fields.Int(dump_only=True)
    name = fields.Str(required=True)
    price = fields.Float(required=True)


class PlainTag(Schema):
    """A tag as it is shown with something else."""

    id = fields.Int(dump_only=True)
    name = fields.Str(required=True)


class Store(PlainStore):
    """A store with what is in it."""

    items = fields.List(fields.Nested(PlainItem), dump_only=True)
    tags = fields.List(fields.Nested(PlainTag), dump_only=True)


class Item(PlainItem):
    """An item with where it is."""

    store_id = fields.Int(required=True, load_only=True)
    store = fields.Nested(PlainStore, dump_only=True)
    tags = fields.List(fields.Nested(PlainTag), dump_only=True)


class ItemUpdate(Schema):
    """What can be changed of an item."""

    name = fields.Str()
    price = fields.Float()
    store_id = fields.Int()


class Tag(PlainTag):
    """A tag with what bears it."""

    store = fields.Nested(PlainStore, dump_only=True)
    items = fields.List(fields.Nested(PlainItem), dump_only=True)


class User(Schema):
    """Somebody, and on the way in what proves it."""

    id = fields.Int(dump_only=True)
    username = fields.Str(required=True, validate=Length(min=1))
    password = fields.Str(required=True, load_only=True, validate=Length(min=1))
