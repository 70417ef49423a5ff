"""Logits in two steps: all of them of weights of 4 bits, then the largest again of 8.

The layer that ends in logits is the largest of a model, and its largest outputs are what is
said; another, where a bias or a ban makes room for it, has 4 bits. A row's shortlist depends on
that row alone, and each number of it is added up in one thread, in one order.
"""

from typing import Any

import numpy as np
import torch
from numba import carray, njit
from torch import Tensor, nn

from hermes_ui.generation import openmp
from hermes_ui.generation.openmp import ENDLESS, FAST, Record, compiled, floats, integers, pointer
from hermes_ui.generation.quantize import Int8Embedding, Int8Linear

LISTED = 512  # of a row's outputs
CALL = Record("rows width listed x ids codes scales result")


@njit(fastmath=FAST, error_model="numpy")
def _product(x: Any, codes: Any) -> Any:
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * np.float32(codes[i])
    return total


@compiled(CALL)
def _listed(call: Any, thread: int, threads: int) -> None:
    x, ids, scales = floats(call.x), integers(call.ids), floats(call.scales)
    codes, result = carray(pointer(call.codes), (ENDLESS,), np.int8), floats(call.result)
    for place in range(thread, call.rows * call.listed, threads):
        row, output = place // call.listed, ids[place]
        own = x[row * call.width : (row + 1) * call.width]
        weights = codes[output * call.width : (output + 1) * call.width]
        result[place] = _product(own, weights) * scales[output]


class ShortlistHead(nn.Module):
    """Stands in for the `nn.Linear` that ends in logits.

    Args:
        coarse: All outputs, of weights of 4 bits.
        fine: The same weights in 8 bits: the embedding, where the two are tied.
    """

    def __init__(self, coarse: Int8Linear, fine: Int8Embedding) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine
        self.in_features, self.out_features = coarse.in_features, coarse.out_features

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) → (…, outputs), in the dtype of `x`."""
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        logits: Tensor = self.coarse(rows)
        ids = logits.topk(min(LISTED, self.out_features), sorted=False).indices
        listed = self._listed(rows, ids)
        if self.coarse.bias is not None:
            listed += self.coarse.bias[ids]
        whole = logits.scatter_(1, ids, listed).to(x.dtype)
        return whole.view(*x.shape[:-1], self.out_features)

    def _listed(self, rows: Tensor, ids: Tensor) -> Tensor:
        """The outputs `ids` (n, listed) of `rows` (n, width), float32."""
        result = torch.empty(ids.shape)
        parts = (rows, ids, self.fine.rows, self.fine.scales, result)
        call = CALL.pack(*rows.shape, ids.shape[1], *(each.data_ptr() for each in parts))
        openmp.run(_listed, call, openmp.team(ids.numel()))
        return result
