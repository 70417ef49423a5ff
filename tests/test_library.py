"""The folder of personas, and the pictures that belong to it."""

import base64
from io import BytesIO

import pytest
from PIL import Image

from hermes_ui.config import ROOT
from hermes_ui.errors import PersonaError, UnknownPersona
from hermes_ui.personas.library import PersonaLibrary, clean_avatar
from hermes_ui.personas.persona import Persona, digest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "avatars").mkdir()
    (tmp_path / "ava.yaml").write_text("name: Ava\n# a comment\n")
    (tmp_path / "zoe.yaml").write_text("name: Zoe\n")
    return tmp_path


@pytest.fixture
def library(folder):
    return PersonaLibrary(folder)


def picture(size=(40, 20), colour="red", kind="PNG", **options):
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, kind, **options)
    return out.getvalue()


def opened(data):
    return Image.open(BytesIO(data))


def test_personas_are_listed_by_slug(library):
    assert library.slugs() == ["ava", "zoe"]


def test_an_entry_keeps_the_text_as_it_was_written(library):
    ava = library.entries()[0]

    assert (ava.slug, ava.persona.name, ava.text) == ("ava", "Ava", "name: Ava\n# a comment\n")
    assert ava.digest == digest(Persona(name="Ava"))


def test_a_changed_file_is_read_again(library, folder):
    before = library.get("ava")

    (folder / "ava.yaml").write_text("name: Eva\n")

    assert (before.name, library.get("ava").name) == ("Ava", "Eva")


def test_an_unchanged_file_is_read_once(library):
    assert library.get("ava") is library.get("ava")


def test_a_broken_file_does_not_take_the_others_down(library, folder):
    (folder / "bad.yaml").write_text("name: Bad\ntags: no\n")
    (folder / "latin.yaml").write_bytes(b"name: Andr\xe9\n")
    (folder / "Not A Slug.yaml").write_text("name: A\n")
    (folder / "large.yaml").write_text("#" * 2_000_000)

    assert library.slugs() == ["ava", "zoe"]
    assert [str(error).partition(":")[0] for error in library.broken()] == [
        "personas/Not A Slug.yaml",
        "personas/bad.yaml, tags",
        "personas/large.yaml",
        "personas/latin.yaml",
    ]


def test_a_broken_persona_says_so_when_asked_for(library, folder):
    (folder / "bad.yaml").write_text("nome: Bad\n")

    with pytest.raises(PersonaError, match=r"personas/bad\.yaml"):
        library.get("bad")


def test_a_removed_file_is_gone(library, folder):
    library.get("ava")

    (folder / "ava.yaml").unlink()

    with pytest.raises(UnknownPersona):
        library.get("ava")
    assert library.slugs() == ["zoe"]


@pytest.mark.parametrize("slug", ["", "..", "../ava", "AVA", "a/b", "ava.yaml", "é", "a\n", "-a"])
def test_a_name_that_is_no_slug_is_unknown(library, slug):
    with pytest.raises(UnknownPersona):
        library.get(slug)


def test_links_that_lead_out_of_the_folder_are_not_followed(library, folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "eve.yaml").write_text("name: Eve\n")
    (outside / "eve.png").write_bytes(picture())
    (folder / "eve.yaml").symlink_to(outside / "eve.yaml")
    (folder / "avatars" / "eve.png").symlink_to(outside / "eve.png")

    assert library.slugs() == ["ava", "zoe"]
    with pytest.raises(UnknownPersona):
        library.get("eve")
    assert library.avatar_bytes(Persona(name="Eve", avatar="eve.png")) is None


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    assert PersonaLibrary(tmp_path / "nowhere").entries() == []


def test_an_avatar_is_read_from_the_folder(library, folder):
    (folder / "avatars" / "ava.png").write_bytes(picture())

    assert library.avatar_bytes(Persona(name="Ava", avatar="ava.png")) == (picture(), "image/png")


def test_an_avatar_is_read_from_its_url(library):
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()

    assert library.avatar_bytes(Persona(name="Ava", avatar=url)) == (picture(), "image/png")


@pytest.mark.parametrize("name", ["", "gone.png"])
def test_no_avatar_is_no_error(library, name):
    assert library.avatar_bytes(Persona(name="Ava", avatar=name)) is None


@pytest.mark.parametrize("name", ["../x.png", "a/b.png", "/etc/x.png", "x.svg", ".png", "a\n.png"])
def test_an_avatar_is_a_name_and_never_a_path(name):
    with pytest.raises(ValueError, match="avatar"):
        Persona(name="Ava", avatar=name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_upload_becomes_a_small_square(kind):
    cleaned = opened(clean_avatar(picture((300, 500), kind=kind)))

    assert (cleaned.format, cleaned.size) == ("WEBP", (256, 256))


def test_an_upload_is_cut_around_its_middle():
    wide = Image.new("RGB", (300, 100), "blue")
    wide.paste("red", (100, 0, 200, 100))
    out = BytesIO()
    wide.save(out, "PNG")

    cleaned = opened(clean_avatar(out.getvalue())).convert("RGB")

    red, _, blue = cleaned.getpixel((10, 128))
    assert red > blue + 100


def test_an_upload_is_turned_upright():
    lying = Image.new("RGB", (100, 100), "blue")
    lying.paste("red", (0, 0, 100, 50))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half
    out = BytesIO()
    lying.save(out, "JPEG", exif=exif)

    red, _, blue = opened(clean_avatar(out.getvalue())).convert("RGB").getpixel((128, 200))

    assert red > blue + 100


def test_an_upload_loses_what_it_says_of_its_owner():
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}

    for kind in ("PNG", "JPEG", "WEBP"):
        cleaned = clean_avatar(picture(kind=kind, exif=exif, icc_profile=b"profile"))
        assert b"home" not in cleaned
        assert not opened(cleaned).getexif()
        assert not {"exif", "icc_profile", "xmp"} & set(opened(cleaned).info)


def test_what_is_see_through_stays_so():
    out = BytesIO()
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(out, "PNG")

    assert opened(clean_avatar(out.getvalue())).convert("RGBA").getpixel((5, 5))[3] == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "is not a PNG, JPEG or WebP picture", id="empty"),
        pytest.param(b"<svg onload='alert(1)'/>", "is not a PNG", id="svg"),
        pytest.param(picture(kind="GIF"), "is not a PNG", id="gif"),
        pytest.param(picture(kind="TIFF"), "is not a PNG", id="tiff"),
        pytest.param(picture((4000, 4000))[:2000], "is not a PNG", id="cut off"),
        pytest.param(picture((5000, 4000)), "has more than 16 million pixels", id="too wide"),
        pytest.param(b"\x89PNG" + bytes(9_000_000), "has more than 8 MB", id="too heavy"),
    ],
)
def test_an_upload_that_is_no_picture_is_refused(data, why):
    with pytest.raises(PersonaError, match=why):
        clean_avatar(data)


def test_a_small_file_cannot_claim_a_huge_picture():
    bomb = bytearray(picture((16, 16)))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the PNG's header

    with pytest.raises(PersonaError):
        clean_avatar(bytes(bomb))


@pytest.fixture
def starters():
    return PersonaLibrary(ROOT / "personas")


def words(*texts):
    return sum(len(text.split()) for text in texts)


def test_every_starter_can_be_read(starters):
    assert starters.broken() == []
    assert {"hermes", "tamsin", "inez", "orla", "mateo"} < set(starters.slugs())


def test_every_starter_opens_well(starters):
    for entry in starters.entries():
        persona = entry.persona
        assert persona.greeting, entry.slug
        assert len(persona.alternate_greetings) in (2, 3), entry.slug
        assert persona.tags, entry.slug
        assert len(persona.tests) in (2, 3), entry.slug
        assert words(persona.creator_notes), entry.slug


def test_every_starter_fits_a_small_window(starters):
    for entry in starters.entries():
        persona = entry.persona
        told = (persona.description, persona.personality, persona.scenario, persona.system_prompt)
        assert words(*told) <= 170, entry.slug
        assert words(persona.examples) <= 120, entry.slug
        for content in persona.lorebook.entries if persona.lorebook else ():
            assert words(content.content) <= 40, entry.slug


def test_every_starter_has_a_small_picture(starters):
    for entry in starters.entries():
        data, mime = starters.avatar_bytes(entry.persona)
        assert (opened(data).size, mime) == ((256, 256), "image/webp"), entry.slug
        assert len(data) <= 12_000, entry.slug
