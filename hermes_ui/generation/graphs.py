"""The forward pass of replies on a GPU, recorded once for each number of tokens.

A step of a few tokens launches over a thousand small kernels, and launching them takes longer
than running them. A CUDA graph launches all at once; what it reads lies in buffers that are
filled before.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from hermes_ui.generation import gpu_kernel
from hermes_ui.generation.rows import Row, RowStep, tables_of

SIZES = (1, 2, 4)  # rows of a graph; then every multiple of 8
WARM_UPS = 2  # runs before a recording, in which libraries and kernels get ready


class Graphs:
    """`model` for the steps of a batcher: replayed where a step is all rows, else called.

    Args:
        model: A causal model on a CUDA device.
        most: Rows of the largest graph.
        pages: Of the longest request.
        trash: The place of keys and values that nobody reads.
        cache: (layers, 2, kv_heads, pages, tokens, head_dim).
    """

    def __init__(
        self, model: nn.Module, *, most: int, pages: int, trash: int, cache: Tensor
    ) -> None:
        self._model = model
        self._most = most
        self._trash = trash
        self._cache = cache
        self._inputs = Inputs(most, pages, cache.device)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._pool: Any = None

    def _supports_logits_to_keep(self) -> bool:
        """Read by the library's runner, which then asks for the rows that it wants."""
        return True

    @torch.inference_mode()
    def __call__(self, **batch: Any) -> CausalLMOutput:
        """The logits of one step, (1, wanted, vocabulary)."""
        step: RowStep = batch["step"]
        if not step.is_all_rows or step.tokens > self._most:
            return self._model(**batch)
        size = graph_size(step.tokens)
        self._inputs.fill(batch, step, size, self._trash)
        if size not in self._graphs:
            self._graphs[size] = self._record(size)
        graph, logits = self._graphs[size]
        graph.replay()
        return CausalLMOutput(logits=logits[:, batch["logits_to_keep"]])

    def _record(self, size: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """A graph of `size` rows, and where it leaves its logits."""
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
        return graph, logits

    def _run(self, size: int) -> Tensor:
        ids, positions, *rows = self._inputs.of(size)
        step = Buffered(self._cache, *rows)
        logits: Tensor = self._model(
            input_ids=ids, position_ids=positions, use_cache=False, step=step
        ).logits
        return logits


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


class Buffered:
    """The step that is recorded: it writes and reads what the buffers say."""

    def __init__(self, cache: Tensor, tables: Tensor, lengths: Tensor, places: Tensor) -> None:
        self._cache, self._tables = cache, tables
        self._lengths, self._places = lengths, places
        self.tokens = len(places)

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        new = key[0].transpose(0, 1), value[0].transpose(0, 1)
        gpu_kernel.write(*new, self._cache[layer], self._places)

    def answer(self, layer: int, query: Tensor, scale: float) -> Tensor:
        asked = query[0].transpose(0, 1)
        cache = self._cache[layer]
        return gpu_kernel.answer(asked, cache, self._tables, self._lengths, scale)[None]
