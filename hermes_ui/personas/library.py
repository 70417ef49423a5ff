"""The folder of personas: one YAML file each, read again when it changes on disk."""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from hermes_ui.errors import PersonaError, UnknownPersona
from hermes_ui.personas.persona import Persona, digest, parse

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
PICTURES = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg"}
UPLOAD_BYTES = 8 * 1024 * 1024
UPLOAD_PIXELS = 4096 * 4096
AVATAR_PIXELS = 256


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """A persona of the folder. `slug` is its file's stem; `text` is its YAML."""

    slug: str
    persona: Persona
    digest: str
    text: str


class PersonaLibrary:
    """Reads `folder/*.yaml` and `folder/avatars/`; never writes, never leaves the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, tuple[int, LibraryEntry | PersonaError]] = {}

    def slugs(self) -> list[str]:
        """The names of all readable personas."""
        return [entry.slug for entry in self.entries()]

    def entries(self) -> list[LibraryEntry]:
        """All readable personas, by slug. A broken file does not take the others down."""
        return [each for each in self._all() if isinstance(each, LibraryEntry)]

    def broken(self) -> list[PersonaError]:
        """The files that cannot be read, each with its reason."""
        return [each for each in self._all() if isinstance(each, PersonaError)]

    def get(self, slug: str) -> Persona:
        """The persona in `slug`.yaml.

        Raises:
            UnknownPersona: there is no such file.
            PersonaError: it cannot be read.
        """
        if SLUG.fullmatch(slug):
            path = self._folder / f"{slug}.yaml"
            if path in self._files():
                entry = self._entry(path)
                if isinstance(entry, PersonaError):
                    raise entry
                return entry.persona
        raise UnknownPersona(slug)

    def avatar_bytes(self, persona: Persona) -> tuple[bytes, str] | None:
        """The avatar's file and its MIME type; None where there is none."""
        name = persona.avatar
        mime = PICTURES.get(Path(name).suffix.lower())
        path = self._folder / "avatars" / name
        if not mime or Path(name).name != name or not self._is_inside(path):
            return None
        return path.read_bytes(), mime

    def _all(self) -> list[LibraryEntry | PersonaError]:
        return [self._entry(path) for path in self._files()]

    def _files(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("*.yaml")) if self._is_inside(path)]

    def _is_inside(self, path: Path) -> bool:
        """A regular file that no link has brought in from elsewhere."""
        return path.is_file() and path.resolve().is_relative_to(self._folder.resolve())

    def _entry(self, path: Path) -> LibraryEntry | PersonaError:
        changed = path.stat().st_mtime_ns
        seen = self._read.get(path)
        if seen is None or seen[0] != changed:
            seen = (changed, _load(path))
            self._read[path] = seen
        return seen[1]


def _load(path: Path) -> LibraryEntry | PersonaError:
    where = f"personas/{path.name}"
    if not SLUG.fullmatch(path.stem):
        return PersonaError(where, "the file's name may have only a-z, 0-9 and -")
    try:
        text = path.read_text(encoding="utf-8")
        persona = parse(text, where)
    except PersonaError as error:
        return error
    except UnicodeDecodeError:
        return PersonaError(where, "is not UTF-8 text")
    except OSError as error:
        return PersonaError(where, (error.strerror or str(error)).lower())
    return LibraryEntry(path.stem, persona, digest(persona), text)


def clean_avatar(data: bytes) -> bytes:
    """An uploaded picture as a square WebP of `AVATAR_PIXELS`, without any metadata.

    Raises:
        PersonaError: not a PNG, JPEG or WebP picture, or too large.
    """
    if len(data) > UPLOAD_BYTES:
        raise PersonaError("avatar", f"has more than {UPLOAD_BYTES // 1024 // 1024} MB")
    try:
        with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as picture:
            if picture.width * picture.height > UPLOAD_PIXELS:
                raise PersonaError("avatar", "has more than 16 million pixels")
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise PersonaError("avatar", "is not a PNG, JPEG or WebP picture") from None
    bare = Image.new("RGBA", (AVATAR_PIXELS, AVATAR_PIXELS))  # carries no metadata
    bare.paste(ImageOps.fit(upright, bare.size))
    out = BytesIO()
    bare.save(out, "WEBP", quality=85)
    return out.getvalue()
