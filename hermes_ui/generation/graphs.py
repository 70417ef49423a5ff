"""The forward pass of replies on a GPU, recorded once for each number of tokens.

A step of a few tokens launches hundreds of small kernels, and launching them takes longer than
running them. A CUDA graph launches all at once; what it reads lies in buffers that are filled
before, or by the step before.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from hermes_ui.errors import first_line
from hermes_ui.generation import gpu_dice
from hermes_ui.generation.bursts import RowDice
from hermes_ui.generation.request import Request
from hermes_ui.generation.row_model import row_model
from hermes_ui.generation.rows import Buffered, Row, RowStep, tables_of

ALIKE = 0.1  # by which our layers may be off: bfloat16 rounds a hundredth away
SIZES = (1, 2, 4)  # rows of a graph; then every multiple of 8
WARM_UPS = 2  # runs before a recording, in which libraries and kernels get ready

_log = logging.getLogger(__name__)


# (1, rows) ids and positions to (rows, vocabulary) logits.
Forward = Callable[[Tensor, Tensor, Buffered], Tensor]


class Graphs:
    """`model` for the steps of a batcher: replayed where a step is all rows, else called.

    Args:
        model: A causal model on a CUDA device.
        most: Rows of the largest graph.
        pages: Of the longest request.
        trash: The place of keys and values that nobody reads.
        cache: (layers, 2, kv_heads, pages, tokens, head_dim).
    """

    def __init__(self, model: Any, *, most: int, pages: int, trash: int, cache: Tensor) -> None:
        self._model = model
        self._most = most
        self._trash = trash
        self._cache = cache
        self._inputs = Inputs(most, pages, cache.device)
        self._dice = RowDice(most, model.config.get_text_config().vocab_size, cache.device)
        self._recorded: dict[int, tuple[Callable[[], object], Tensor]] = {}
        self._pool: Any = None
        self._forward = self._chosen(row_model(model), _library(model))
        self.has_bursts = self._dice.can_draw()

    def _supports_logits_to_keep(self) -> bool:
        """Read by the library's runner, which then asks for the rows that it wants."""
        return True

    @torch.no_grad()
    def __call__(self, **batch: Any) -> CausalLMOutput:
        """The logits of one step, (1, wanted, vocabulary)."""
        step: RowStep = batch["step"]
        if not step.is_all_rows or step.tokens > self._most:
            return self._model(**batch)
        replay, logits = self._ready(batch, step)
        replay()
        return CausalLMOutput(logits=logits[None, batch["logits_to_keep"]])

    @torch.no_grad()
    def burst(
        self,
        batch: dict[str, Any],
        step: RowStep,
        requests: Sequence[Request],
        ends: Sequence[int],
    ) -> list[list[int]]:
        """The tokens that each request draws in some steps, one after another.

        Args:
            batch: `input_ids` and `position_ids` of the first step, (1, requests).
            step: The first step, one row a request.
            ends: Of each request, the position that it may not go beyond; it stays there while
                others go on.

        Returns:
            (requests, steps) ids, whatever ends a reply; `gpu_dice.BROKEN` and then any number
            where the model's output is none.
        """
        replay, logits = self._ready(batch, step)
        steps = max(end - row.length + 1 for end, row in zip(ends, step.rows, strict=True))
        count, size = len(requests), self._cache.shape[4]
        self._dice.lay(requests, steps, ends)
        ids, positions, tables, lengths, places = self._inputs.of(count)
        for number in range(steps):
            replay()
            tokens = self._dice.draw(logits[:count], number)
            gpu_dice.move_on(
                tokens, ids[0], positions[0], lengths, places, self._dice.ends, tables, size
            )
        drawn: list[list[int]] = self._dice.tokens[:steps, :count].T.tolist()
        return drawn

    def _ready(self, batch: dict[str, Any], step: RowStep) -> tuple[Callable[[], object], Tensor]:
        """What computes a step whose inputs are laid out, and where it leaves its logits."""
        size = graph_size(step.tokens)
        self._inputs.fill(batch, step, size, self._trash)
        if size not in self._recorded:
            self._recorded[size] = self._record(size)
        return self._recorded[size]

    def _record(self, size: int) -> tuple[Callable[[], object], Tensor]:
        """What replays a step of `size` rows, and its (size, vocabulary) logits."""
        if self._cache.device.type != "cuda":  # Triton's interpreter: there is nothing to record
            logits = self._run(size)
            return lambda: logits.copy_(self._run(size)), logits
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._run(size)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            logits = self._run(size)
        self._pool = self._pool or graph.pool()
        return graph.replay, logits

    def _run(self, size: int) -> Tensor:
        ids, positions, *rows = self._inputs.of(size)
        return self._forward(ids, positions, Buffered(self._cache, *rows))

    @torch.no_grad()
    def _chosen(self, own: Forward | None, library: Forward) -> Forward:
        """`own`, where it gives for one row and for two what the library gives."""
        if own is None:
            return library
        ids, positions, _, lengths, places = self._inputs.of(2)
        # Two rows as if of one request, at places that are nobody's yet.
        ids[0, 1], positions[0, 0], positions[0, 1], places[1] = 1, 3, 9, 1
        lengths.fill_(2)
        for size in (2, 1):
            self._forward = library
            wanted = self._run(size).float()
            self._forward = own
            try:
                off = float((self._run(size) - wanted).norm() / wanted.norm())
            except Exception as error:  # of whatever kind Triton raises
                _log.warning("the GPU takes the library's layers: %s", first_line(error))
                return library
            if not off <= ALIKE:
                _log.warning("the GPU takes the library's layers: ours are off by %.3f", off)
                return library
        return own


def _library(model: nn.Module) -> Forward:
    """The model's own pass."""

    def forward(ids: Tensor, positions: Tensor, step: Buffered) -> Tensor:
        logits: Tensor = model(
            input_ids=ids, position_ids=positions, use_cache=False, step=step
        ).logits
        return logits[0]

    return forward


def graph_size(tokens: int) -> int:
    """Rows of the smallest graph that `tokens` fit into."""
    return next((size for size in SIZES if size >= tokens), -(-tokens // 8) * 8)


class Inputs:
    """What graphs read, in buffers on the device; a graph of fewer rows reads their beginning."""

    def __init__(self, most: int, pages: int, device: torch.device) -> None:
        self._ids = torch.zeros(1, most, dtype=torch.int64, device=device)
        self._positions = torch.zeros(1, most, dtype=torch.int64, device=device)
        self._numbers = torch.zeros(2, most, dtype=torch.int64, device=device)
        is_cuda = device.type == "cuda"
        self._sent = torch.zeros(2, most, dtype=torch.int64, pin_memory=is_cuda)
        self._tables = torch.zeros(most, pages, dtype=torch.int32, device=device)
        self._shown: list[tuple[int, ...]] = []

    def of(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Ids, positions, tables, lengths and places of `size` rows."""
        ids, positions = self._ids[:, :size], self._positions[:, :size]
        return ids, positions, self._tables[:size], self._numbers[0, :size], self._numbers[1, :size]

    def fill(self, batch: dict[str, Any], step: RowStep, size: int, trash: int) -> None:
        """Lay a step's rows in the first places, and rows that see nothing behind."""
        count = step.tokens
        self._ids[:, :count].copy_(batch["input_ids"][:, :count])
        self._positions[:, :count].copy_(batch["position_ids"][:, :count])
        unused = size - count
        self._sent[0, :size] = torch.tensor([row.length for row in step.rows] + [0] * unused)
        self._sent[1, :size] = torch.tensor(step.places + [trash] * unused)
        self._numbers.copy_(self._sent, non_blocking=True)
        self._show(step.rows)

    def _show(self, rows: list[Row]) -> None:
        """Lay out the rows' pages, where they are not those of the step before.

        A request's pages change without growing too: for equal ones that were kept before.
        """
        asked = [tuple(row.table) for row in rows]
        if self._shown[: len(asked)] != asked:
            self._tables[: len(rows)] = tables_of(rows, self._tables.shape[1])
            self._shown = asked
