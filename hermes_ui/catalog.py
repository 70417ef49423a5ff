"""The personas that an owner sees: the folder's, overlaid by the versions saved in the database.

Every version that a conversation ever spoke with is kept by its content hash.
"""

import base64
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from hermes_ui.errors import PersonaError, UnknownPersona
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.personas.persona import Persona, digest, parse
from storage.errors import NotFound
from storage.store import Store

Origin = Literal["built-in", "yours", "edited"]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A persona as its owner sees it now. `text` is its YAML."""

    slug: str
    digest: str
    persona: Persona
    origin: Origin
    text: str


@dataclass(frozen=True, slots=True)
class PersonaVersion:
    """One version in a persona's history; `created_at` is None for the folder's own."""

    digest: str
    created_at: datetime | None
    text: str
    current: bool


@lru_cache(maxsize=256)
def _parsed(text: str, where: str) -> Persona:
    return parse(text, where)


class PersonaCatalog:
    """The folder and the owner's saved versions as one shelf. Safe to share between threads."""

    def __init__(self, library: PersonaLibrary, store: Store) -> None:
        self._library = library
        self._store = store

    def entries(self, owner: str) -> list[CatalogEntry]:
        """The folder's personas and the owner's own, by name."""
        shelf = {
            entry.slug: CatalogEntry(
                entry.slug, entry.digest, entry.persona, "built-in", entry.text
            )
            for entry in self._library.entries()
        }
        for head in self._store.persona_heads(owner):
            built_in = shelf.get(head.slug)
            if built_in and (built_in.digest, built_in.text) == (head.digest, head.document):
                continue
            persona = _parsed(head.document, head.slug)
            origin: Origin = "edited" if built_in else "yours"
            shelf[head.slug] = CatalogEntry(head.slug, head.digest, persona, origin, head.document)
        return sorted(shelf.values(), key=lambda entry: entry.persona.name.casefold())

    def entry(self, owner: str, slug: str) -> CatalogEntry:
        """The current version of one persona.

        Raises:
            UnknownPersona: neither the folder nor the owner has it.
        """
        for entry in self.entries(owner):
            if entry.slug == slug:
                return entry
        raise UnknownPersona(slug)

    def version(self, owner: str, version: str) -> Persona:
        """The persona with this content hash, current or not.

        Raises:
            UnknownPersona: this owner never used such a version.
        """
        try:
            row = self._store.persona_version(owner, version)
        except NotFound:
            for entry in self._library.entries():
                if entry.digest == version:
                    return entry.persona
            raise UnknownPersona(version[:12]) from None
        return _parsed(row.document, row.slug)

    def versions(self, owner: str, slug: str) -> list[PersonaVersion]:
        """What was saved or spoken with, newest first; the folder's own stands last."""
        current = self.entry(owner, slug).digest
        versions = [
            PersonaVersion(row.digest, row.created_at, row.document, row.digest == current)
            for row in self._store.persona_versions(owner, slug)
        ]
        for entry in self._library.entries():
            if entry.slug == slug and entry.digest not in {each.digest for each in versions}:
                own = PersonaVersion(entry.digest, None, entry.text, entry.digest == current)
                versions.append(own)
        return versions

    def keep(self, owner: str, entry: CatalogEntry) -> None:
        """Store the version that a conversation is about to speak with."""
        self._store.save_persona_version(
            owner, entry.slug, entry.digest, entry.text, origin=entry.origin, head=False
        )

    def save(self, owner: str, text: str, *, slug: str | None = None) -> CatalogEntry:
        """Make `text` the current version of `slug`, or of a new persona named after itself.

        Raises:
            PersonaError: the YAML is not a persona; nothing is stored.
            UnknownPersona: `slug` is given and unknown.
        """
        persona = parse(text, "persona")
        if slug is None:
            slug = self._free_slug(owner, persona.name)
        else:
            self.entry(owner, slug)
        self._store.save_persona_version(
            owner, slug, digest(persona), text, origin="editor", head=True
        )
        return self.entry(owner, slug)

    def revert(self, owner: str, slug: str, version: str) -> CatalogEntry:
        """Make an earlier version the current one; the later ones stay in the history."""
        for each in self.versions(owner, slug):
            if each.digest == version:
                self._store.save_persona_version(
                    owner, slug, version, each.text, origin="editor", head=True
                )
                return self.entry(owner, slug)
        raise UnknownPersona(f"{slug}@{version[:12]}")

    def remove(self, owner: str, slug: str) -> None:
        """Take the owner's version away; the folder's own, if any, shows again."""
        if self.entry(owner, slug).origin == "built-in":
            raise PersonaError(slug, "comes with the app and cannot be removed")
        self._store.drop_persona_head(owner, slug)

    def restore(self, owner: str, slug: str) -> None:
        """Bring back what `remove` took away."""
        self._store.restore_persona_head(owner, slug)

    def broken(self) -> list[PersonaError]:
        """The folder's files that cannot be read, each with its reason."""
        return self._library.broken()

    def avatar_url(self, persona: Persona) -> str:
        """The avatar as a data URL, or nothing."""
        if persona.avatar.startswith("data:"):
            return persona.avatar
        picture = self._library.avatar_bytes(persona)
        if picture is None:
            return ""
        data, mime = picture
        return f"data:{mime};base64,{base64.b64encode(data).decode()}"

    def _free_slug(self, owner: str, name: str) -> str:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "persona"
        taken = self._store.persona_slugs(owner) | set(self._library.slugs())
        number, slug = 1, stem
        while slug in taken:
            number += 1
            slug = f"{stem}-{number}"
        return slug
