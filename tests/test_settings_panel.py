"""The settings drawer: built from the parameters themselves."""

import pytest

from hermes_ui.errors import SettingsError
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.params import SamplingParams
from hermes_ui.ui import settings_panel, words
from hermes_ui.ui.bridge import Fields
from tests.house import OWNER, open_house


@pytest.fixture
def chat(store, tmp_path):
    with open_house(store, tmp_path / "personas", ScriptedEngine("Hi.")) as service:
        yield service


@pytest.fixture
def conversation(chat):
    return chat.start(OWNER, "ava")


@pytest.fixture
def ask(chat, conversation):
    actions = settings_panel.actions(chat)
    given = {"conversation": conversation.id}
    return lambda action, **fields: actions[action](OWNER, Fields(given | fields))


def sampling(chat, conversation):
    return chat.sampling_of(OWNER, chat.store.conversation(OWNER, conversation.id))


@pytest.mark.parametrize("name", SamplingParams.model_fields)
def test_every_parameter_has_a_control_and_a_name(ask, name):
    html = ask("settings")["html"]

    assert f'data-field="{name}"' in html
    assert words.FIELD_NAMES[name] in html


def test_a_slider_takes_its_range_from_the_parameter(ask):
    assert (
        'name="temperature" min="0.0" max="2.0" step="0.05" value="0.8"' in ask("settings")["html"]
    )


def test_what_few_people_need_is_folded_until_it_is_used(ask):
    before = ask("settings")["html"]
    after = ask("sampling", name="dry_multiplier", values={"dry_multiplier": 0.8})["html"]

    folds = '<details class="group" {}><summary>DRY</summary>'
    assert folds.format("") in before
    assert folds.format("open") in after


def test_texts_stand_one_a_line_with_line_breaks_spelt_out(ask):
    html = ask("sampling", name="stop", values={"stop": ["a\nb", "c\\d"]})["html"]

    assert ">a\\nb\nc\\\\d</textarea>" in html


def test_a_logit_bias_goes_by_its_ids(chat, ask, conversation):
    html = ask("sampling", name="logit_bias", values={"logit_bias": {"13": "-5"}})["html"]

    assert sampling(chat, conversation).logit_bias == {13: -5}
    assert ">13: -5</textarea>" in html


@pytest.mark.parametrize("bias", [{"the": "1"}, {"13": ""}, {"13": "1000"}])
def test_a_logit_bias_that_is_none_is_refused_in_one_line(ask, bias):
    with pytest.raises(SettingsError, match="Logit bias: "):
        ask("sampling", name="logit_bias", values={"logit_bias": bias})


def test_a_changed_parameter_is_kept_and_marked(chat, ask, conversation):
    html = ask("sampling", name="temperature", values={"temperature": 1.2})["html"]

    assert sampling(chat, conversation).temperature == 1.2
    assert html.count('class="control changed"') == 1


def test_one_parameter_goes_back_to_the_personas_value(chat, ask, conversation):
    ask("sampling", name="temperature", values={"temperature": 1.2})
    ask("sampling", name="top_k", values={"top_k": 40})

    ask("sampling", name="temperature", values={})

    assert sampling(chat, conversation) == SamplingParams(top_k=40)


def test_reset_gives_everything_back(chat, ask, conversation):
    ask("sampling", name="seed", values={"seed": 7})

    ask("sampling-reset")

    assert sampling(chat, conversation) == SamplingParams()


def test_a_value_out_of_range_is_refused_in_one_line(chat, ask, conversation):
    with pytest.raises(SettingsError, match="Temperature: "):
        ask("sampling", name="temperature", values={"temperature": 9})

    assert sampling(chat, conversation).temperature == 0.8


def test_an_unknown_parameter_is_refused(ask):
    with pytest.raises(SettingsError):
        ask("sampling", name="volume", values={"volume": 11})


def test_the_users_name_is_text(ask):
    ask("user", name='"><script>')

    assert "<script>" not in ask("settings")["html"]
