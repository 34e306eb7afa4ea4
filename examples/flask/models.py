"""The tables of the database."""

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, ForeignKey, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The base class of all models."""


db = SQLAlchemy(model_class=Base)

items_tags = Table(
    "items_tags",
    Base.metadata,
    Column("item_id", ForeignKey("items.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class User(Base):
    """A user who can log in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]


class Store(Base):
    """A store, which sells items."""

    __tablename__ = "stores"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    items: Mapped[list["Item"]] = relationship(back_populates="store", cascade="all, delete-orphan")
    tags: Mapped[list["Tag"]] = relationship(back_populates="store", cascade="all, delete-orphan")


class Item(Base):
    """An item that a store sells."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[float]
    store_id: Mapped[int] = mapped_column(ForeignKey("stores.id"))
    store: Mapped[Store | None] = relationship(back_populates="items")
    tags: Mapped[list["Tag"]] = relationship(back_populates="items", secondary=items_tags)


class Tag(Base):
    """A tag, which groups items of a store."""

    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    store_id: Mapped[int] = mapped_column(ForeignKey("stores.id"))
    store: Mapped[Store] = relationship(back_populates="tags")
    items: Mapped[list[Item]] = relationship(back_populates="tags", secondary=items_tags)
