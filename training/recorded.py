"""Training steps on a GPU, recorded once for each shape of a batch.

A step of a small model launches over a thousand kernels, and launching them takes several times
as long as running them. A CUDA graph launches all at once; what it reads lies in buffers that
are filled before. Nothing here waits for the device, but a recording.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from training.pools import Batch

Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Shape = tuple[torch.Size, torch.Size]  # of the ids and of the places
Recording = tuple[torch.cuda.CUDAGraph, Batch, Tensor]  # what it reads, and its loss


class Recorded:
    """`step` on a CUDA device: called for the first batch of a shape, then recorded and replayed.

    So each batch is trained on once, libraries and the optimizers' buffers are ready before a
    recording, and a shape that never comes again costs no recording.

    Args:
        step: Trains on the parts of a batch, and returns its loss without a graph of gradients.
            Recorded, so it must wait for nothing, leave no gradients, and read what changes
            from step to step from tensors that stay where they are.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._stream = torch.cuda.Stream()  # of all calls and recordings, as libraries expect
        self._pool = torch.cuda.graph_pool_handle()  # one graph runs at a time
        self._recordings: dict[Shape, Recording] = {}
        self._called: set[Shape] = set()

    @property
    def count(self) -> int:
        """Shapes that are recorded."""
        return len(self._recordings)

    def __call__(self, batch: Batch) -> Tensor:
        """Train on `batch`, from pinned memory best; its loss, on the device."""
        shape = batch.ids.shape, batch.places.shape
        if shape in self._recordings:
            graph, inputs, loss = self._recordings[shape]
            for buffer, part in zip(inputs.parts(), batch.parts(), strict=True):
                buffer.copy_(part, non_blocking=True)
        elif shape in self._called:
            graph, inputs, loss = self._recordings[shape] = self._record(batch.to("cuda"))
        else:
            self._called.add(shape)
            return self._call(batch.to("cuda"))
        graph.replay()
        return loss.clone()  # the next replay overwrites it

    def _call(self, batch: Batch) -> Tensor:
        """One step, on the stream of the recordings."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self._step(*batch.parts())
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _record(self, inputs: Batch) -> Recording:
        """A graph of one step that reads `inputs`; recording it trains nothing."""
        graph = torch.cuda.CUDAGraph()
        # Meanwhile the loader's thread may reserve pinned memory: that must not end the recording.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            loss = self._step(*inputs.parts())
        return graph, inputs, loss
