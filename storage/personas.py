"""Persona versions, kept for good, and the heads that say which one is current."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from storage.base import StoreBase, as_row
from storage.errors import NotFound
from storage.ids import now
from storage.models import PersonaHead, PersonaVersion
from storage.rows import PersonaVersionRow

VERSIONS = PersonaVersion.__table__
HEADS = PersonaHead.__table__


class PersonaVersions(StoreBase):
    """What a version says is written once, under its content hash."""

    def save_persona_version(
        self, owner: str, slug: str, digest: str, document: str, *, origin: str, head: bool
    ) -> PersonaVersionRow:
        """Keep a version, and make it the current one when `head`.

        Of a known one only comments and layout can differ: they are those of the head.
        """
        with self._writing() as connection:
            query = _version(owner, digest).where(VERSIONS.c.slug == slug)
            found = connection.execute(query).mappings().first()
            if found is None:
                row = PersonaVersionRow(owner, slug, digest, document, origin, now())
                values = {name: getattr(row, name) for name in row.__slots__}
                connection.execute(insert(PersonaVersion), values)
            else:
                row = as_row(PersonaVersionRow, found)
            if head and row.document != document:
                row = replace(row, document=document)
                own = (VERSIONS.c.owner == owner) & (VERSIONS.c.slug == slug)
                connection.execute(
                    update(PersonaVersion)
                    .where(own, VERSIONS.c.digest == digest)
                    .values(document=document)
                )
            if head:
                _set_head(connection, owner, slug, digest)
            return row

    def persona_version(self, owner: str, digest: str) -> PersonaVersionRow:
        """The version with this content hash."""
        with self._reading() as connection:
            found = connection.execute(_version(owner, digest)).mappings().first()
        if found is None:
            raise NotFound("persona version", digest)
        return as_row(PersonaVersionRow, found)

    def persona_versions(self, owner: str, slug: str) -> list[PersonaVersionRow]:
        """All versions of one persona, newest first."""
        query = select(VERSIONS).where(VERSIONS.c.owner == owner, VERSIONS.c.slug == slug)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(VERSIONS.c.created_at.desc())).mappings()
            return [as_row(PersonaVersionRow, row) for row in rows]

    def persona_heads(self, owner: str) -> list[PersonaVersionRow]:
        """The current versions of the personas that the owner saved and did not remove."""
        is_head = (
            (HEADS.c.owner == VERSIONS.c.owner)
            & (HEADS.c.slug == VERSIONS.c.slug)
            & (HEADS.c.digest == VERSIONS.c.digest)
        )
        query = select(VERSIONS).join(HEADS, is_head)
        query = query.where(HEADS.c.owner == owner, HEADS.c.deleted_at.is_(None))
        with self._reading() as connection:
            return [as_row(PersonaVersionRow, row) for row in connection.execute(query).mappings()]

    def persona_slugs(self, owner: str) -> set[str]:
        """Every slug that the owner ever used, removed ones too."""
        query = select(VERSIONS.c.slug).where(VERSIONS.c.owner == owner).distinct()
        with self._reading() as connection:
            return set(connection.scalars(query))

    def drop_persona_head(self, owner: str, slug: str) -> None:
        """Remove the owner's persona from sight; its versions stay."""
        self._mark_head(owner, slug, deleted=True)

    def restore_persona_head(self, owner: str, slug: str) -> None:
        """Bring a removed persona back."""
        self._mark_head(owner, slug, deleted=False)

    def _mark_head(self, owner: str, slug: str, *, deleted: bool) -> None:
        moment = now()
        with self._writing() as connection:
            marked = connection.execute(
                update(PersonaHead)
                .where(PersonaHead.owner == owner, PersonaHead.slug == slug)
                .values(deleted_at=moment if deleted else None, updated_at=moment)
            )
            if not marked.rowcount:
                raise NotFound("persona", slug)


def _version(owner: str, digest: str) -> Select[Any]:
    return select(VERSIONS).where(VERSIONS.c.owner == owner, VERSIONS.c.digest == digest)


def _set_head(connection: Connection, owner: str, slug: str, digest: str) -> None:
    connection.execute(
        delete(PersonaHead).where(PersonaHead.owner == owner, PersonaHead.slug == slug)
    )
    values = {"owner": owner, "slug": slug, "digest": digest, "updated_at": now()}
    connection.execute(insert(PersonaHead), values | {"deleted_at": None})
