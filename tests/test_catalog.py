"""The folder's personas and an owner's saved versions, as one shelf."""

import pytest

from hermes_ui.catalog import PersonaCatalog
from hermes_ui.errors import PersonaError, UnknownPersona
from hermes_ui.personas.library import PersonaLibrary
from tests.house import AVA, OWNER, STRANGER

EDITED = AVA.replace("Tern Point", "Gull Rock")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ava.yaml").write_text(AVA)
    return tmp_path


@pytest.fixture
def catalog(store, folder):
    return PersonaCatalog(PersonaLibrary(folder), store)


def origins(catalog, owner=OWNER):
    return {entry.slug: entry.origin for entry in catalog.entries(owner)}


def test_the_folder_is_on_everybodys_shelf(catalog):
    assert origins(catalog, OWNER) == origins(catalog, STRANGER) == {"ava": "built-in"}


def test_saving_changes_only_the_owners_shelf(catalog):
    catalog.save(OWNER, EDITED, slug="ava")

    assert origins(catalog, OWNER) == {"ava": "edited"}
    assert origins(catalog, STRANGER) == {"ava": "built-in"}


def test_a_new_persona_never_takes_anothers_place(catalog):
    first = catalog.save(OWNER, AVA)
    second = catalog.save(OWNER, EDITED)

    assert len({"ava", first.slug, second.slug}) == 3
    assert origins(catalog)["ava"] == "built-in"


@pytest.mark.parametrize("slug", ["ava", None])
def test_a_comment_is_saved_although_it_changes_nothing_that_is_said(catalog, slug):
    first = catalog.save(OWNER, AVA if slug else EDITED, slug=slug)

    saved = catalog.save(OWNER, f"# to do: her voice\n{first.text}", slug=first.slug)

    assert saved.digest == first.digest
    assert catalog.entry(OWNER, first.slug).text.startswith("# to do: her voice\n")
    assert len(catalog.versions(OWNER, first.slug)) == 1


@pytest.mark.parametrize("name", ["日本", "../../etc/passwd", "Ava!", "<script>", "a" * 80])
def test_any_name_gets_a_plain_slug(catalog, name):
    entry = catalog.save(OWNER, f"name: '{name}'\n")

    assert set(entry.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert catalog.entry(OWNER, entry.slug).persona.name == name


def test_what_is_not_a_persona_is_not_saved(catalog):
    with pytest.raises(PersonaError):
        catalog.save(OWNER, "name: Ava\nmood: sunny\n", slug="ava")

    assert origins(catalog) == {"ava": "built-in"}


def test_every_version_stays_and_can_be_current_again(catalog):
    original = catalog.entry(OWNER, "ava")
    catalog.keep(OWNER, original)
    catalog.save(OWNER, EDITED, slug="ava")

    catalog.revert(OWNER, "ava", original.digest)

    assert catalog.entry(OWNER, "ava").digest == original.digest
    assert len(catalog.versions(OWNER, "ava")) == 2


def test_one_version_is_current(catalog):
    catalog.save(OWNER, EDITED, slug="ava")

    current = [each.current for each in catalog.versions(OWNER, "ava")]

    assert sorted(current) == [False, True]


def test_removing_an_edited_persona_shows_the_folders_again(catalog):
    catalog.save(OWNER, EDITED, slug="ava")

    catalog.remove(OWNER, "ava")

    assert origins(catalog) == {"ava": "built-in"}


def test_a_removed_persona_can_be_brought_back(catalog):
    slug = catalog.save(OWNER, EDITED).slug
    catalog.remove(OWNER, slug)

    catalog.restore(OWNER, slug)

    assert origins(catalog)[slug] == "yours"


def test_the_folders_own_cannot_be_removed(catalog):
    with pytest.raises(PersonaError):
        catalog.remove(OWNER, "ava")


def test_a_stranger_cannot_read_a_saved_version(catalog):
    entry = catalog.save(OWNER, EDITED)

    with pytest.raises(UnknownPersona):
        catalog.version(STRANGER, entry.digest)
    with pytest.raises(UnknownPersona):
        catalog.versions(STRANGER, entry.slug)


def test_a_broken_file_does_not_take_the_others_down(catalog, folder):
    (folder / "broken.yaml").write_text("name: [")

    assert origins(catalog) == {"ava": "built-in"}
    assert "broken.yaml" in catalog.broken()[0].where
