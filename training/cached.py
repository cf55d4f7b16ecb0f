"""Latents and prompts kept on disk by the digest of what they were made of: an encoder is asked once, not each epoch.

Of use where crops do not vary (`data.crop=whole`); else every epoch has pictures of its own.
"""

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.ids import sha256
from training.backbones import Backbone, Text


class Cache:
    """A folder of what a backbone's encoders answered. Another backbone, or other weights, want another folder."""

    def __init__(self, folder: Path, backbone: Backbone) -> None:
        self.folder, self.backbone = folder, backbone
        folder.mkdir(parents=True, exist_ok=True)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents (B, C, h, w) of pictures, float32 (B, 3, H, W), 0..1."""
        return torch.stack([self._latents(picture) for picture in pictures])

    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text:
        """Return what the transformer is told of instructions, a row each, filled up to the longest."""
        shown = pictures if self.backbone.name == "qwen_image_edit" else []  # the others do not look
        rows = [self._prompt(one, [few[at : at + 1] for few in shown]) for at, one in enumerate(instructions)]
        length = max(row["tokens"].shape[1] for row in rows)
        seen = [row.get("seen", torch.ones(row["tokens"].shape[:2], dtype=torch.bool)) for row in rows]
        told = any("seen" in row for row in rows) or len({row["tokens"].shape[1] for row in rows}) > 1
        return Text(
            tokens=torch.cat([_filled(row["tokens"], length) for row in rows]),
            pooled=torch.cat([row["pooled"] for row in rows]) if "pooled" in rows[0] else None,
            seen=torch.cat([_filled(one.to(rows[0]["tokens"].device), length) for one in seen]) if told else None,
        )

    def _prompt(self, instruction: str, pictures: Sequence[Tensor]) -> dict[str, Tensor]:
        path = self._path("text", instruction, *map(_digest, pictures))
        known = self._load(path)
        if known is None:
            text = self.backbone.prompt([instruction], pictures)
            told = {field.name: getattr(text, field.name) for field in fields(text)}
            known = {name: value for name, value in told.items() if value is not None}
            self._save(path, known)
        return known

    def _latents(self, picture: Tensor) -> Tensor:
        path = self._path("latents", _digest(picture))
        known = self._load(path)
        if known is not None:
            return known["latents"]
        latents = self.backbone.encode(picture[None])[0]
        self._save(path, {"latents": latents})
        return latents

    def _path(self, kind: str, *parts: str) -> Path:
        name = sha256("\n".join((self.backbone.name, kind, *parts)).encode())
        return self.folder / name[:2] / f"{name}.safetensors"

    def _load(self, path: Path) -> dict[str, Tensor] | None:
        try:
            device = str(next(self.backbone.transformer.parameters()).device)
            return load_file(path, device=device)
        except (OSError, SafetensorError):  # not there, or cut short: it is made again
            return None

    def _save(self, path: Path, tensors: dict[str, Tensor]) -> None:
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, unfinished)
        unfinished.replace(path)


def _filled(rows: Tensor, length: int) -> Tensor:
    """Return rows (1, L, ...) with zeros after them, `length` long."""
    more = rows.new_zeros(1, length - rows.shape[1], *rows.shape[2:])
    return torch.cat([rows, more], dim=1)


def _digest(picture: Tensor) -> str:
    return sha256(str(tuple(picture.shape)).encode() + picture.detach().cpu().numpy().tobytes())
