"""Tags, and the items that have them."""

from typing import Any

from flask.views import MethodView
from flask_smorest import Blueprint, abort

import schemas
from models import Item, Store, Tag, db

blueprint = Blueprint("tags", __name__)


@blueprint.route("/store/<int:store_id>/tag")
class TagsOfStore(MethodView):
    """The tags of a store."""

    @blueprint.response(200, schemas.Tag(many=True))
    def get(self, store_id: int) -> list[Tag]:
        """Lists the tags of a store."""
        return db.get_or_404(Store, store_id).tags

    @blueprint.arguments(schemas.Tag)
    @blueprint.response(201, schemas.Tag)
    def post(self, fields: dict[str, str], store_id: int) -> Tag:
        """Creates a tag in a store."""
        store = db.get_or_404(Store, store_id)
        if any(tag.name == fields["name"] for tag in store.tags):
            abort(400, message="A tag with that name already exists in that store.")
        tag = Tag(store=store, **fields)
        db.session.add(tag)
        db.session.commit()
        return tag


@blueprint.route("/item/<int:item_id>/tag/<int:tag_id>")
class TagOfItem(MethodView):
    """One tag on one item."""

    @blueprint.response(201, schemas.Tag)
    def post(self, item_id: int, tag_id: int) -> Tag:
        """Adds a tag to an item."""
        item, tag = db.get_or_404(Item, item_id), db.get_or_404(Tag, tag_id)
        if tag not in item.tags:
            item.tags.append(tag)
            db.session.commit()
        return tag

    def delete(self, item_id: int, tag_id: int) -> dict[str, Any]:
        """Removes a tag from an item."""
        item, tag = db.get_or_404(Item, item_id), db.get_or_404(Tag, tag_id)
        if tag not in item.tags:
            abort(404)
        item.tags.remove(tag)
        db.session.commit()
        return {
            "message": "Item removed from tag",
            "item": schemas.Item().dump(item),
            "tag": schemas.Tag().dump(tag),
        }


@blueprint.route("/tag/<int:tag_id>")
class OneTag(MethodView):
    """A tag."""

    @blueprint.response(200, schemas.Tag)
    def get(self, tag_id: int) -> Tag:
        """Shows a tag."""
        return db.get_or_404(Tag, tag_id)

    def delete(self, tag_id: int) -> Any:
        """Deletes a tag if no item has it."""
        tag = db.get_or_404(Tag, tag_id)
        if tag.items:
            abort(400, message="Could not delete tag. Make sure tag is not associated with any items, then try again.")
        db.session.delete(tag)
        db.session.commit()
        return {"message": "Tag deleted."}, 202
