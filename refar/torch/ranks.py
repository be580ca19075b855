"""Several processes that train one network together, as torchrun starts them; or one."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `count` ones that share each batch. Number 0 writes and speaks for all."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the run."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """Return the rows of this process of `total` ones: shares as equal as may be, in order."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes of a tensor of one shape."""
        if self.count == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value

    def all_agree(self, agreed: bool) -> bool:
        """Wait until all processes have come here; return whether each of them agreed."""
        if self.count == 1:
            return agreed
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        return int(self.total(torch.tensor(int(agreed), device=device))) == self.count

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the values of the first one's tensors."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            dist.barrier()


def joined(device: str) -> Ranks:
    """Join the processes that torchrun started, if it did: by gloo on CPUs, by NCCL on CUDA devices.

    They stay together until they end: a second meeting at the same address could find what the first left there.
    """
    if not (dist.is_available() and dist.is_initialized()):
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Ranks()
        if device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # Imported later, by DistributedDataParallel, it would hold the group for good, as a default of its functions.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        atexit.register(_leave)
    return Ranks(dist.get_rank(), dist.get_world_size())


def _leave() -> None:
    """End the process group and, with the last network that holds it, its threads.

    A thread that needs Python while Python shuts down would abort the process.
    """
    gc.collect()
    dist.destroy_process_group()
