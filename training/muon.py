"""Muon with the matrices of one shape orthogonalised together.

The same update as `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, which goes
through its matrices one by one; small matrices are faster in one batched matmul.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal by Newton-Schulz iterations.

    Args:
        matrices: Parameters of two dimensions.
        lr: The learning rate, of the size that AdamW takes. A tensor on the device is read by
            each step, also by one that a CUDA graph replays.
        momentum: Of the gradient, Nesterov's way.
        weight_decay: Decoupled, per unit of learning rate.
        dtype: What the iterations compute in.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float | Tensor,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append(matrix)
            for matrices in by_shape.values():
                self._step_alike(matrices, group)

    def _step_alike(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """One step of matrices that are all (rows, columns)."""
        grads = [matrix.grad for matrix in matrices]
        buffers = []
        for matrix in matrices:
            state = self.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(matrix)
            buffers.append(state["momentum_buffer"])
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch.stack(torch._foreach_lerp(grads, buffers, group["momentum"]))
        updates = orthogonal(updates.to(self._dtype)).float()
        rate = group["lr"] * 0.2 * max(matrices[0].shape) ** 0.5
        if isinstance(rate, Tensor):  # `alpha` would have to wait for its value
            updates, rate = updates * rate, 1.0
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(updates.unbind()), alpha=-rate)


def orthogonal(updates: Tensor) -> Tensor:
    """Each of (matrices, rows, columns) with its singular values near one."""
    a, b, c = COEFFICIENTS
    x = updates
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
