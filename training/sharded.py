"""Weights shared out among processes (FSDP2): each holds a part of every weight, and gathers a block's for its turn.

It is torch's `fully_shard` as it stands: the parameters of a transformer become DTensors, and so do gradients, moments
and running mean. What is read as a whole, for a checkpoint, is gathered here; what comes from one is cut up here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def share_out(transformer: nn.Module, world: int) -> None:
    """Share a transformer's weights out among all `world` processes, block by block; all of them must call this.

    Where there is one process only, nothing is done. What learns must have been chosen before, and its optimizer be
    made after.
    """
    if world == 1:
        return
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (world,))
    for child in transformer.children():
        if isinstance(child, nn.ModuleList):  # every backbone's blocks are in one or two such lists
            for block in child:
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(transformer, mesh=mesh, reshard_after_forward=True)  # the rest; shared out again after a trial, too


def is_shared(transformer: nn.Module) -> bool:
    """Tell whether a transformer's weights are shared out: then all processes must ask it equally often."""
    return isinstance(transformer, FSDPModule)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor; where it is shared out, all processes must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], wanted: bool = True) -> dict[str, Tensor]:
    """Return all of each tensor, contiguous, on the CPU where it was shared out; or nothing, where it is not wanted.

    One after another, so that no process holds more than one for nothing; all processes must ask.
    """
    found = {}
    for name, tensor in tensors.items():
        shared, full = isinstance(tensor, DTensor), whole(tensor.detach())
        if wanted:
            found[name] = (full.cpu() if shared else full).contiguous()
    return found


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a tensor, as `like` is shared out; all of it where that is not."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # each process has it all
