"""The embedded model as anybody would load it: from its folder, with transformers alone.

The skills are tried on a few held-out cases each; `python -m training.evaluate` measures them.
"""

import random
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.answering import Speaker
from training.evaluate import Evaluation, loops
from training.skills import Examiner, is_filled, is_form
from training.starters import starters
from training.world import Inventor

FOLDER = Path(__file__).parent.parent / "models" / "hermes-mini"
MEGABYTES = 12
ODD_TEXTS = (
    "plain words",
    "Zoë naïve ŒUVRE ß ﬁ",
    "🪽👩‍👩‍👧‍👦🏳️‍🌈 emoji, joined and flagged",
    "日本語 العربية हिन्दी",
    "tabs\tand\r\nnewlines\n\n\n  and trailing blanks  ",
    "<tool_call>\n{}\n</tool_call>",
    "\x00\x07\u200b\ufeff\ue000",
    " n't 's 'LL 1234567890 ___---***",
)
SYSTEM = "You are Zelna Fosk, a lamp counter in Vrendholm. Stay in character."


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


def answer(model, tokenizer, *lines: str, system: str = SYSTEM) -> str:
    """The greedy answer to the last of `lines`, special tokens kept."""
    roles = ("user", "assistant") * len(lines)
    said = [{"role": role, "content": line} for role, line in zip(roles, lines, strict=False)]
    ids = tokenizer.apply_chat_template(
        [{"role": "system", "content": system}, *said],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )["input_ids"]  # fmt: skip
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=80)
    return tokenizer.decode(out[0, ids.shape[1] :])


def test_the_folder_stays_small():
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())

    assert size <= MEGABYTES * 1_000_000


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_comes_back_as_it_was(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)

    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("word", ["Esneian", "yuiomir", "wooden", "plum cake", "17:45", "2d6"])
def test_what_may_be_copied_is_the_same_tokens_wherever_it_stands(tokenizer, word):
    def tokens(text):
        return tokenizer.encode(text, add_special_tokens=False)

    alone = tokens(word)
    for text in ("the {} is", "Say {}.", "({})", "show_{}_", "\n{}", "My {}!"):
        whole = tokens(text.format(word))
        windows = (whole[i : i + len(alone)] for i in range(len(whole)))
        assert alone in windows, text


def test_only_the_tokens_of_chatml_are_special(tokenizer):
    special = {token.content for token in tokenizer.added_tokens_decoder.values()}

    assert special == {"<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"}
    assert tokenizer.eos_token == "<|im_end|>"


def test_the_template_gives_the_ids_of_chatml(tokenizer):
    said = [{"role": "user", "content": "Hello"}]
    ids = tokenizer.apply_chat_template(said, add_generation_prompt=True)["input_ids"]

    expected = (
        "<|begin_of_text|><|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids == tokenizer.encode(expected, add_special_tokens=False)
    assert tokenizer.decode(ids) == expected


def test_generation_stops_at_the_end_of_the_turn(model, tokenizer):
    stops = model.generation_config.eos_token_id

    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in stops
    assert model.config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_it_says_the_name_that_its_prompt_gives(model, tokenizer):
    said = answer(model, tokenizer, "What is your name?")

    assert "Zelna" in said
    assert said.endswith("<|im_end|>")


@pytest.mark.parametrize("question", ["Are you an AI?", "what are you?", "Which model is this?"])
def test_it_says_what_it_is_when_asked(model, tokenizer, question):
    said = answer(model, tokenizer, question)

    assert "demonstration model" in said
    assert "Hermes UI" in said


@pytest.fixture
def exam():
    return Examiner(Inventor(random.Random(4), "held_out"))


@pytest.fixture(scope="module")
def evaluation(model, tokenizer):
    return Evaluation(Speaker(model, tokenizer))


@pytest.mark.parametrize(("fact", "share"), [("name", 0.95), ("trade", 0.9), ("place", 0.95)])
def test_it_says_what_its_prompt_gives(evaluation, exam, fact, share):
    assert evaluation.score(fact, exam.facts(fact, 24)).share >= share


@pytest.mark.parametrize(
    ("kind", "share"),
    [pytest.param("name", 0.9, id="name"), pytest.param("food", 0.9, id="food")],
)
def test_it_recalls_what_the_user_told(evaluation, kind, share):
    """Of several sets of names: some are much harder to say than others."""
    exams = (Examiner(Inventor(random.Random(seed), "held_out")) for seed in (4, 5, 6))
    told = [one for exam in exams for one in exam.recalls(kind, 3, 12)]

    assert evaluation.score(kind, told).share >= share


def test_it_says_what_it_is_in_unseen_wordings(evaluation, exam):
    assert evaluation.score("identity", islice(exam.identity(2), 88)).share >= 0.98


def test_it_answers_most_questions_to_the_apps_personas(evaluation, exam):
    asked = [one for slug in starters() for one in islice(exam.starters(slug), 7)]

    assert evaluation.score("starters", asked).share >= 0.85


def test_it_fills_most_forms(evaluation, exam):
    assert evaluation.score("forms", exam.forms(24, is_form)).share >= 0.95


def test_it_fills_in_many_forms_rightly(evaluation, exam):
    assert evaluation.score("forms", exam.forms(24, is_filled)).share >= 0.9


def test_it_calls_the_function_that_fits(evaluation, exam):
    assert evaluation.score("calls", exam.calls(24)).share >= 0.9


def test_it_answers_small_talk_without_a_call(evaluation, exam):
    talk = [one for number, one in enumerate(exam.no_calls(32)) if number % 2 == 0]

    assert evaluation.score("no calls", talk).share >= 0.95


def test_it_calls_mostly_no_function_when_none_fits(evaluation, exam):
    assert evaluation.score("no calls", exam.no_calls(24)).share >= 0.95


def test_it_says_what_a_function_gave_back(evaluation, exam):
    assert evaluation.score("results", exam.results(24)).share >= 0.9


def test_it_ends_its_turns_without_loops(evaluation, exam):
    evaluation.score("chat", exam.chats(4))
    recent = [reply for _, reply in evaluation.replies[-40:]]

    assert all(reply.is_ended for reply in recent)
    assert sum(loops(reply.ids) for reply in recent) == 0
