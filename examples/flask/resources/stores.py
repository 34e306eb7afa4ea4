"""Stores."""

from collections.abc import Sequence

from flask.views import MethodView
from flask_smorest import Blueprint, abort
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

import schemas
from models import Store, db

blueprint = Blueprint("stores", __name__)


@blueprint.route("/store")
class Stores(MethodView):
    """All stores."""

    @blueprint.response(200, schemas.Store(many=True))
    def get(self) -> Sequence[Store]:
        """Lists all stores."""
        return db.session.scalars(select(Store)).all()

    @blueprint.arguments(schemas.Store)
    @blueprint.response(201, schemas.Store)
    def post(self, fields: dict[str, str]) -> Store:
        """Creates a store."""
        store = Store(**fields)
        db.session.add(store)
        try:
            db.session.commit()
        except IntegrityError:
            abort(400, message="A store with that name already exists.")
        return store


@blueprint.route("/store/<int:store_id>")
class OneStore(MethodView):
    """A store."""

    @blueprint.response(200, schemas.Store)
    def get(self, store_id: int) -> Store:
        """Shows a store."""
        return db.get_or_404(Store, store_id)

    def delete(self, store_id: int) -> dict[str, str]:
        """Deletes a store with its items and tags."""
        db.session.delete(db.get_or_404(Store, store_id))
        db.session.commit()
        return {"message": "Store deleted"}
