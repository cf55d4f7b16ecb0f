"""Weights shared out among processes (FSDP2): each holds a part of every weight, and gathers a block's for its turn.

It is torch's `fully_shard` as it stands: the parameters of a transformer become DTensors, and so do gradients, moments
and running mean. What is read as a whole, for a checkpoint, is gathered here; what comes from one is cut up here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def share_out(transformer: nn.Module, *, bf16: bool) -> None:
    """Share a transformer's weights out among all processes, block by block; all of them must call this.

    What is shared goes to their devices. Blocks are gathered in bfloat16 where that is what they compute in; gradients
    are averaged in float32. Where there is one process only, nothing is done. What learns must have been chosen before,
    and its optimizer be made after.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    if world == 1:
        return
    computed = torch.bfloat16 if bf16 else None  # else autocast would copy all that is gathered once more, and keep it
    policy = MixedPrecisionPolicy(param_dtype=computed, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (world,))
    for child in transformer.children():
        if isinstance(child, nn.ModuleList):  # every backbone's blocks are in one or two such lists
            for block in child:
                fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    # what is left; shared out again after a trial too
    fully_shard(transformer, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def is_shared(transformer: nn.Module) -> bool:
    """Tell whether a transformer's weights are shared out: then all processes must ask it equally often."""
    return isinstance(transformer, FSDPModule)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor; where it is shared out, all processes must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], wanted: bool) -> dict[str, Tensor]:
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
