"""The folder of personas: one YAML file each, read again when it changes on disk."""

import base64
import re
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from hermes_ui.errors import PersonaError, UnknownPersona
from hermes_ui.personas.persona import Persona, digest, parse
from hermes_ui.personas.yaml_io import MAX_BYTES

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
PICTURES = {
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
PICTURE_BYTES = 512 * 1024
UPLOAD_BYTES = 8 * 1024 * 1024
UPLOAD_PIXELS = 4096 * 4096
AVATAR_PIXELS = 256
# What Pillow raises on broken files, beside its own errors, which are OSErrors.
BROKEN_PICTURE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
    Warning,  # where warnings are errors
)

Stamp = tuple[int, int, int]  # when a file changed, its size and its number on the disk


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
        self._read: dict[Path, tuple[Stamp, LibraryEntry | PersonaError]] = {}

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
        path = self._folder / f"{slug}.yaml"
        if not SLUG.fullmatch(slug) or not self._is_inside(path):
            raise UnknownPersona(slug)
        entry = self._entry(path)
        if isinstance(entry, PersonaError):
            raise entry
        return entry.persona

    def avatar_bytes(self, persona: Persona) -> tuple[bytes, str] | None:
        """The avatar's picture and its MIME type; None where there is none."""
        if persona.avatar.startswith("data:"):
            head, _, picture = persona.avatar.partition(";base64,")
            return base64.b64decode(picture), head.removeprefix("data:")
        name = persona.avatar
        mime = PICTURES.get(Path(name).suffix)
        path = self._folder / "avatars" / name
        if not mime or not self._is_inside(path):
            return None
        with path.open("rb") as file:
            picture_bytes = file.read(PICTURE_BYTES + 1)
        return None if len(picture_bytes) > PICTURE_BYTES else (picture_bytes, mime)

    def _all(self) -> list[LibraryEntry | PersonaError]:
        return [self._entry(path) for path in self._files()]

    def _files(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("*.yaml")) if self._is_inside(path)]

    def _is_inside(self, path: Path) -> bool:
        """A regular file that no link has brought in from elsewhere."""
        return path.is_file() and path.resolve().is_relative_to(self._folder.resolve())

    def _entry(self, path: Path) -> LibraryEntry | PersonaError:
        try:
            stat = path.stat()
        except OSError as error:  # gone since it was listed
            return PersonaError(_place(path), (error.strerror or str(error)).lower())
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        seen = self._read.get(path)
        if seen is None or seen[0] != stamp:
            seen = (stamp, _load(path))
            self._read[path] = seen
        return seen[1]


def _place(path: Path) -> str:
    return f"personas/{path.name}"


def _load(path: Path) -> LibraryEntry | PersonaError:
    where = _place(path)
    if not SLUG.fullmatch(path.stem):
        return PersonaError(where, "the file's name may have only a-z, 0-9 and -")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return PersonaError(where, f"is larger than {MAX_BYTES // 1024} KiB")
        text = data.decode()
        persona = parse(text, where)
    except PersonaError as error:
        return error
    except UnicodeDecodeError:
        return PersonaError(where, "is not UTF-8 text")
    except OSError as error:
        return PersonaError(where, (error.strerror or str(error)).lower())
    return LibraryEntry(path.stem, persona, digest(persona), text)


def clean_avatar(data: bytes) -> bytes:
    """An uploaded picture as a square WebP of `AVATAR_PIXELS`, upright and without metadata.

    Raises:
        PersonaError: not a PNG, JPEG or WebP picture, or too large.
    """
    if len(data) > UPLOAD_BYTES:
        raise PersonaError("avatar", f"has more than {UPLOAD_BYTES // 1024 // 1024} MB")
    try:
        with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as picture:
            if picture.width * picture.height > UPLOAD_PIXELS:
                raise PersonaError("avatar", "has more than 16 million pixels")
            picture.load()
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except BROKEN_PICTURE:
        raise PersonaError("avatar", "is not a PNG, JPEG or WebP picture") from None
    bare = Image.new("RGBA", (AVATAR_PIXELS, AVATAR_PIXELS))  # carries no metadata
    bare.paste(ImageOps.fit(upright, bare.size))
    out = BytesIO()
    bare.save(out, "WEBP", quality=85)
    return out.getvalue()
