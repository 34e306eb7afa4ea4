"""Items."""

from collections.abc import Sequence
from typing import Any

from flask.views import MethodView
from flask_jwt_extended import get_jwt, jwt_required
from flask_smorest import Blueprint, abort
from sqlalchemy import select

import schemas
from models import Item, db

blueprint = Blueprint("items", __name__)


@blueprint.route("/item")
class Items(MethodView):
    """All items."""

    @jwt_required()
    @blueprint.response(200, schemas.Item(many=True))
    def get(self) -> Sequence[Item]:
        """Lists all items."""
        return db.session.scalars(select(Item)).all()

    @jwt_required(fresh=True)
    @blueprint.arguments(schemas.Item)
    @blueprint.response(201, schemas.Item)
    def post(self, fields: dict[str, Any]) -> Item:
        """Creates an item."""
        item = Item(**fields)
        db.session.add(item)
        db.session.commit()
        return item


@blueprint.route("/item/<int:item_id>")
class OneItem(MethodView):
    """An item."""

    @jwt_required()
    @blueprint.response(200, schemas.Item)
    def get(self, item_id: int) -> Item:
        """Shows an item."""
        return db.get_or_404(Item, item_id)

    @blueprint.arguments(schemas.ItemUpdate)
    @blueprint.response(200, schemas.Item)
    def put(self, fields: dict[str, Any], item_id: int) -> Item:
        """Changes an item, or creates it if it does not exist."""
        item = db.session.get(Item, item_id)
        if item is None:
            missing = {"name", "price", "store_id"} - fields.keys()
            if missing:
                abort(422, errors={"json": {name: ["Missing data for required field."] for name in sorted(missing)}})
            item = Item(id=item_id)
            db.session.add(item)
        for name, value in fields.items():
            setattr(item, name, value)
        db.session.commit()
        return item

    @jwt_required()
    def delete(self, item_id: int) -> dict[str, str]:
        """Deletes an item."""
        if not get_jwt()["is_admin"]:
            abort(401, message="Admin privilege required.")
        db.session.delete(db.get_or_404(Item, item_id))
        db.session.commit()
        return {"message": "Item deleted."}
