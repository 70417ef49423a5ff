"""The table of `benchmarks.generation`: what it says must be right before it is measured."""

import io
import json
import math

import numpy as np
import pytest
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from benchmarks.generation import jobs, rotary, rows, table, worker
from benchmarks.generation.engines import NAMES, Absent, Ready
from benchmarks.generation.jobs import Batch, Job, Reply
from benchmarks.generation.options import USERS, Options
from benchmarks.generation.rows import ROWS, Floor, Sizes, measured
from benchmarks.generation.table import Bar, Outcome
from hermes_ui.prompt.chatml import IM_END, IM_START, turn

LEAST = Bar(1.5, True, "llama-q4")
MOST = Bar(6.5, False)


class StubEngines:
    """Answers with the next of each engine's figures; an engine without any is absent."""

    def __init__(self, figures: dict[str, list[float]]) -> None:
        self.figures = {name: iter(values) for name, values in figures.items()}
        self.asked: list[str] = []

    def ready(self, name: str) -> Ready:
        return Ready("int8", 0, 0)

    def next(self, floor: Floor, name: str) -> float:
        self.asked.append(name)
        if name not in self.figures:
            raise Absent("not installed: llama_cpp")
        return next(self.figures[name])


def outcomes_of(figures: dict[str, list[float]], contenders, rounds: int = 3):
    engines = StubEngines(figures)
    row = rows.Row("key", "title", "tokens/s", engines.next, contenders, ())
    return engines, measured(row, Floor(engines, None, Sizes(rounds=rounds)), contenders)


def line_of(engine: str, bars, outcomes) -> table.Line:
    written = table.lines("reading", "tokens/s", bars, outcomes, NAMES)
    return next(line for line in written if line.engine == engine)


@pytest.mark.parametrize(
    ("bar", "figure", "is_met"),
    [
        pytest.param(LEAST, 1.5, True, id="just enough"),
        pytest.param(LEAST, 1.49, False, id="too little"),
        pytest.param(MOST, 6.5, True, id="just not too much"),
        pytest.param(MOST, 6.51, False, id="too much"),
    ],
)
def test_a_bar_is_met_up_to_its_value(bar, figure, is_met):
    assert bar.is_met(figure) is is_met


def test_a_bar_says_what_it_is():
    assert [str(LEAST), str(MOST)] == ["at least 1.5 ×", "at most 6.5"]


def test_a_ratio_pairs_the_rounds():
    ours, peer = Outcome((10.0, 20.0, 60.0)), Outcome((5.0, 10.0, 20.0))

    assert table.ratio(ours, peer) == 2.0


def test_a_peer_is_held_against_its_own_bar():
    outcomes = {"ours": Outcome((30.0,)), "llama-q4": Outcome((15.0,)), "plain": Outcome((5.0,))}

    line = line_of("llama.cpp", [LEAST, Bar(10, True, "plain")], outcomes)
    slow = line_of("transformers generate", [LEAST, Bar(10, True, "plain")], outcomes)

    assert (line.ratio, line.bar, line.is_met) == ("2.00 ×", "at least 1.5 ×", True)
    assert (slow.ratio, slow.bar, slow.is_met) == ("6.00 ×", "at least 10 ×", False)


def test_a_bar_without_a_peer_is_held_against_our_own_figure():
    outcomes = {"ours": Outcome((7.0,)), "serve": Outcome((3.0,))}

    assert line_of("Hermes UI", [MOST], outcomes).is_met is False
    assert line_of("transformers serve", [MOST], outcomes).is_met is None


def test_a_peer_that_is_missing_leaves_its_bar_open():
    outcomes = {"ours": Outcome((30.0,)), "llama-q4": Outcome(absent="not installed: llama_cpp")}

    line = line_of("llama.cpp", [LEAST], outcomes)

    assert (line.figure, line.ratio, line.is_met) == ("not installed: llama_cpp", "", None)


def test_without_our_own_figure_nothing_is_met():
    outcomes = {"ours": Outcome(absent="failed: no memory"), "llama-q4": Outcome((15.0,))}

    assert line_of("llama.cpp", [LEAST], outcomes).is_met is None


def test_the_verdict_counts_bars():
    outcomes = {
        "ours": Outcome((30.0,)),
        "llama-q4": Outcome((15.0,)),
        "plain": Outcome(absent="x"),
    }
    written = table.lines("", "tokens/s", [LEAST, Bar(10, True, "plain")], outcomes, NAMES)

    assert table.verdict([written]) == "1 bars met, 0 not met, 1 not measured"


def test_the_table_is_markdown():
    written = table.lines("reading", "tokens/s", [LEAST], {"ours": Outcome((3.0, 1.0))}, NAMES)

    *_, last = table.markdown([written]).splitlines()

    assert last == "| reading | Hermes UI | 2.00 tokens/s (1.00 to 3.00) |  |  |  |"


def test_engines_take_turns():
    engines, _ = outcomes_of({"ours": [1, 2], "plain": [3, 4]}, ("ours", "plain"), rounds=2)

    assert engines.asked == ["ours", "plain", "ours", "plain"]


def test_an_outcome_is_the_median_of_the_rounds():
    _, outcomes = outcomes_of({"ours": [1, 9, 2]}, ("ours",))

    assert outcomes["ours"].median == 2


def test_a_missing_engine_is_asked_once():
    engines, outcomes = outcomes_of({"ours": [1, 2, 3]}, ("ours", "llama-q4"))

    assert engines.asked.count("llama-q4") == 1
    assert outcomes["llama-q4"] == Outcome(absent="not installed: llama_cpp")


def test_every_bar_names_an_engine_of_its_row():
    for row in ROWS:
        assert {bar.peer for bar in row.bars if bar.peer} <= set(row.contenders) <= set(NAMES)


def test_speed_counts_all_users_until_the_last_is_done():
    batch = Batch([Reply(10, [1.0], 2.0), Reply(30, [1.0], 4.0)])

    assert batch.tokens_per_second == 10


def test_a_step_is_timed_while_all_speak():
    early = Reply(4, [0.0, 9.0, 10.0, 11.0], 11.0)
    late = Reply(3, [9.0, 10.0, 11.0, 30.0], 30.0)

    assert Batch([early, late]).seconds_per_token == 1.0


def test_users_who_never_speak_together_have_no_step():
    assert math.isnan(Batch([Reply(1, [0.0], 1.0), Reply(1, [5.0], 6.0)]).seconds_per_token)


def test_a_job_survives_the_wire():
    job = Job(turn("user", "the <|im_end|> of it"), 5)

    read = Job.from_wire(json.loads(json.dumps(job.to_wire())))

    assert read == job
    assert [type(each) for each in read.pieces] == [type(each) for each in job.pieces]


def test_a_batch_survives_the_wire():
    batch = Batch([Reply(2, [0.5, 1.0], 1.5, "so it is")], 1000)

    assert Batch.from_wire(json.loads(json.dumps(batch.to_wire()))) == batch


def test_options_survive_the_wire(tmp_path):
    options = Options(tmp_path, tmp_path, users=3)

    assert Options.from_wire(json.loads(json.dumps(options.to_wire()))) == options


def test_users_who_never_speak_together_leave_the_row_open():
    class Hasty(StubEngines):
        def ask(self, name, jobs):
            return Batch([Reply(1, [0.0], 1.0), Reply(1, [5.0], 6.0)])

    row = next(row for row in ROWS if row.key == "step")

    outcomes = measured(row, Floor(Hasty({}), Author(), Sizes()), ("ours",))

    assert outcomes["ours"].absent == "its users never spoke all at once"


class Parrot:
    what, pids = "float32", ()

    def speak(self, job: Job):
        for _ in range(job.tokens):
            yield job.text, 1


def test_a_worker_answers_every_line():
    channel = io.StringIO()
    line = json.dumps([Job(("so",), 2).to_wire()] * USERS)

    worker.serve(Parrot, "wall", io.StringIO(f"{line}\n"), channel)

    ready, answer = map(json.loads, channel.getvalue().splitlines())
    assert ready["what"] == "float32"
    assert [reply["text"] for reply in answer["replies"]] == ["soso"] * USERS


def test_a_worker_says_what_is_not_installed():
    def missing():
        raise ModuleNotFoundError("No module named 'llama_cpp'")

    channel = io.StringIO()

    worker.serve(missing, "wall", io.StringIO(), channel)

    assert json.loads(channel.getvalue()) == {
        "absent": "not installed: No module named 'llama_cpp'"
    }


class Author(jobs.Author):
    """Without a tokenizer: every word counts as a token."""

    def __init__(self) -> None:
        self._words = list(jobs.WORDS)
        self._seeds = iter(range(1000))


def test_no_text_is_written_twice():
    author = Author()

    assert len({author.text(20) for _ in range(50)}) == 50


def test_a_chat_has_the_tokens_that_were_asked_for():
    before, last = Author().chat(20, 4000)

    words = sum(len(piece.split()) for piece in (*before, *last) if piece not in (IM_START, IM_END))
    assert words == pytest.approx(4000, rel=0.1)


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_frequencies_are_divided_as_transformers_does():
    config = LlamaConfig(head_dim=128, max_position_embeddings=131072, rope_parameters=LLAMA_3)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500000.0 ** (-np.arange(0, 128, 2) / 128)

    factors = rotary.rope_factors({"head_dim": 128, "rope_parameters": LLAMA_3})

    assert plain / factors == pytest.approx(scaled.numpy(), rel=1e-4)


def test_frequencies_that_nothing_scales_have_no_factors():
    assert rotary.rope_factors({"head_dim": 128, "rope_theta": 10000.0}) == []


def test_permuted_rows_pair_what_transformers_rotates_together():
    rows_of_two_heads = np.arange(16).reshape(16, 1)

    paired = rotary.permuted(rows_of_two_heads, heads=2)

    assert paired.ravel().tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]


def test_a_gguf_file_holds_the_whole_model(tmp_path):
    gguf = pytest.importorskip("gguf")
    from benchmarks.generation import gguf_file  # noqa: PLC0415

    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, rope_parameters=LLAMA_3,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path)
    vocabulary = {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": vocabulary, "added_tokens": []}))

    gguf_file.write(tmp_path, tmp_path / "model.gguf", "q8_0")

    tensors = {each.name: each for each in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert len(tensors) == 2 * 9 + 2 + 1  # of the layers, the embedding, the norm, the factors
    stored = tensors["blk.1.ffn_down.weight"]
    read = gguf.quants.dequantize(stored.data, stored.tensor_type)
    original = model.model.layers[1].mlp.down_proj.weight.detach().numpy()
    assert np.abs(read - original).max() < np.abs(original).max() / 127
