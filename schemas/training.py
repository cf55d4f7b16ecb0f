"""One typed model of the settings of a training run; `--set section.key=value` goes on top of these defaults."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.assignments import validated
from schemas.records import Record

BackboneName = Literal["tiny", "flux_kontext", "qwen_image_edit", "flux2_klein"]


class Data(Record):
    """Which samples make a batch, and how they are cropped and read."""

    size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] = 512  # px: a crop holds about size x size
    batch: Annotated[int, Field(ge=1, le=65536)] = 8  # samples of a global batch, over all processes
    crop: Literal["focus", "whole"] = "focus"  # of input and target: round the mask, or all of it
    margin: tuple[Annotated[float, Field(ge=0, le=4)], Annotated[float, Field(ge=0, le=4)]] = (0.25, 1.0)
    # about the mask, of its longer side: each sample draws its own from this range, and with it its crop's place
    reference: Literal["aligned", "place", "whole"] = "place"  # all of it; round what shows the masked region; or that,
    # turned and scaled as the draft shows it, where matches say how: for models too small to find it themselves
    jitter: bool = False  # colours and sides of all three pictures are changed alike: for few products, and few words
    edit: Literal["pasted", "raw"] = "pasted"  # the input: pasted back within the mask, or as the editor left it
    window: Annotated[int, Field(ge=1)] = (
        4096  # samples that are shuffled among each other, shards being shuffled first
    )
    workers: Annotated[int, Field(ge=0, le=256)] = 2  # processes that decode, for each process that trains; 0: a thread
    prefetch: Annotated[int, Field(ge=1, le=64)] = 2  # batches decoded ahead
    keep: Annotated[int, Field(ge=0)] = 0  # MB of decoded pictures that a worker keeps: for versions of few samples
    digests: bool = True  # each part is held against its digest as it is read
    most_damaged: Annotated[int, Field(ge=0)] = 16  # samples that may be replaced in a process before it stops

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.margin[0] > self.margin[1]:
            raise ValueError("margin must be [low, high] with low <= high")
        return self


class Tiny(Record):
    """The backbone that is trained from scratch, on a CPU."""

    autoencoder: Path | None = None  # weights of FLUX.2's tiny autoencoder (taef2.safetensors); without them: pixels
    patch: Literal[2, 4, 8, 16, 32] = 8  # px that a token spans; with an autoencoder at least the 8 of its cells
    width: Annotated[int, Field(ge=16, le=2048)] = 192
    depth: Annotated[int, Field(ge=1, le=64)] = 6
    heads: Annotated[int, Field(ge=1, le=64)] = 6
    words: Annotated[int, Field(ge=16)] = 4096  # rows of the table that words are hashed into
    length: Annotated[int, Field(ge=1, le=512)] = 24  # words of an instruction that are read

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads or self.width // self.heads % 8:
            raise ValueError("width must be heads times a multiple of 8")
        if self.autoencoder and self.patch < 8:
            raise ValueError("with an autoencoder, whose cells span 8 px, patch must be 8 or more")
        return self


class Pretrained(Record):
    """A pipeline of diffusers: what learns is its transformer."""

    model: str  # a folder, or a name on the hub, downloaded before
    revision: str | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"  # of the weights
    guidance: Annotated[float, Field(ge=0)] | None = None  # that a distilled transformer is told; ImageCritic: 3.5


class Kontext(Pretrained):
    """FLUX.1-Kontext, as in the paper's figure."""

    model: str = "black-forest-labs/FLUX.1-Kontext-dev"
    guidance: Annotated[float, Field(ge=0)] | None = 3.5


class QwenImageEdit(Pretrained):
    """Qwen-Image-Edit, which knows several pictures, and whose text encoder sees them."""

    model: str = "Qwen/Qwen-Image-Edit-2511"


class Klein(Pretrained):
    """FLUX.2-klein, which knows several pictures; the base model, which is not distilled."""

    model: str = "black-forest-labs/FLUX.2-klein-base-4B"


class Learning(Record):
    """How weights learn. The paper names no figures; where a default has a source, it is said."""

    steps: Annotated[int, Field(ge=1)] = 2000  # batches that are learnt from
    at_once: Annotated[int, Field(ge=1)] = 8  # samples that a process holds at once: a batch may take several goes
    rate: Annotated[float, Field(gt=0)] = 1e-4  # ImageCritic
    warmup: Annotated[int, Field(ge=0)] = 100  # steps
    decay: Literal["constant", "cosine"] = "constant"  # of the rate, after the warm-up
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 1.0  # of the gradient's norm
    precision: Literal["no", "bf16"] = "bf16"
    checkpointing: bool = True  # of gradients: less memory, more time
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay of the weights' running mean, which is then kept; 0: none


class Sft(Learning):
    """Supervised fine-tuning by flow matching."""

    lora: Annotated[int, Field(ge=0, le=1024)] = 128  # its rank and alpha (ImageCritic); 0: the transformer learns
    loss: Literal["velocity", "latent", "pixel"] = "velocity"
    # what is compared: velocities, or what these say is clean, as latents or as pictures
    relative: Annotated[float, Field(ge=0)] = 0.0  # > 0: a sample's loss is weighed by r / (r + its draft's own error),
    # so that what is nearly right counts as well; of latents' squares, or of pixels' where they are compared
    mask: bool = True  # the masked region weighs as much as all the rest (ImageCritic)
    sigma_mean: float = 0.0  # of the noise levels' logits
    sigma_std: Annotated[float, Field(gt=0)] = 1.0
    sigma_shift: Annotated[float, Field(gt=0)] = 1.0  # of the levels towards noise
    sharded: bool = False  # each of several processes holds a part of the weights (FSDP2), in the place of all of them
    cache: bool = False  # latents and prompts are kept on disk by digest: for data.crop = "whole", which never varies


class Grpo(Learning):
    """Group relative policy optimization of a refiner that has been fine-tuned.

    Flow-GRPO's recipe for Qwen-Image-Edit-2509 with a control and a reference is meant by "Qwen's recipe".
    """

    steps: Annotated[int, Field(ge=1)] = 300  # batches that are sampled and learnt from
    rate: Annotated[float, Field(gt=0)] = 3e-4  # Qwen's recipe
    warmup: Annotated[int, Field(ge=0)] = 0
    prompts: Annotated[int, Field(ge=1)] = 8  # of a global batch, in the place of data.batch
    group: Annotated[int, Field(ge=2, le=256)] = 4  # samples of a prompt; Qwen's recipe
    updates: Annotated[int, Field(ge=1, le=64)] = 1  # of the weights, from what was sampled once
    sampler: Annotated[int, Field(ge=1, le=200)] = 10  # steps of the sampler; Qwen's recipe
    sde: Literal["flow", "cps"] = "flow"  # the stochastic step: Flow-GRPO's, or coefficient preserving sampling
    noise: Annotated[float, Field(gt=0, le=2)] = 0.9  # its level; Qwen's recipe
    window: Annotated[int, Field(ge=1)] = 4  # steps that are stochastic, and learnt; Qwen's recipe
    within: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] = (0, 5)
    # first step and the one after the last that the window, drawn anew for each batch, may hold; Qwen's recipe
    varied: Literal["all", "mask"] = "all"  # where steps are stochastic: everywhere, or within the mask alone
    credit: Literal["sample", "patch"] = "sample"  # what a reward is laid to: all of a sample, or patch by patch
    spread: Literal["group", "batch"] = "batch"  # whose standard deviation rewards are divided by; Qwen's recipe
    ratio: Literal["plain", "guarded"] = "plain"  # of new to old probability: as it is, or GRPO-Guard's
    ratio_clip: Annotated[float, Field(gt=0, lt=1)] = 1e-4  # Qwen's recipe; GRPO-Guard: 2e-6
    kl: Literal["old", "frozen"] = "old"  # held near the policy that sampled (the paper), or the one it began as
    beta: Annotated[float, Field(ge=0)] = 0.01  # weight of that; the paper names none, Qwen's recipe has 0
    hold: Annotated[float, Field(ge=0)] = 0.0  # weight, to begin with, of what is lost outside the mask: it rises while
    # something is, and falls while something is gained; 0: nothing is held. Ours

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        first, end = self.within
        last = self.sampler - (self.sde == "cps")  # its last step is not stochastic
        if end > last or end - first < self.window:
            raise ValueError(
                f"within must be [first, end] with room for a window of {self.window} steps, end at most {last}"
            )
        if self.credit == "patch" and self.spread == "batch":
            raise ValueError("credit = 'patch' compares each patch with itself alone: it wants spread = 'group'")
        if self.ratio == "guarded" and self.sde == "cps":
            raise ValueError("ratio = 'guarded' is known for sde = 'flow' alone")
        return self


Sides = tuple[Annotated[float, Field(gt=0, le=1)], ...]
Least = Annotated[int, Field(ge=8)]


class Reward(Record):
    """What a sample is rewarded for, patch by patch over the mask's box: likeness to the truth, and equal pixels."""

    likeness: Literal["dreamsim", "lpips", "embedder"] = "dreamsim"  # the paper's; the others stand in for it
    weights: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (1.0, 1.0)  # of likeness, of pixels
    patches: tuple[Sides, Sides] = ((1.0, 0.5), (1.0, 0.5))  # of either: sides, as shares of the box's; [1]: no patches
    least: tuple[Least, Least] = (16, 16)  # px: no patch of either is smaller
    dreamsim: Path | None = None  # folder that its weights were downloaded into
    lpips: Path | None = None  # file of AlexNet's weights, as score.lpips names it

    @model_validator(mode="after")
    def _rewards(self) -> Self:
        if not any(self.weights) or not all(self.patches):
            raise ValueError("weights must name one reward at least, and patches one side for each")
        return self


class Guards(Record):
    """When a run that is led astray by its rewards stops: means of the last steps beside those of the first."""

    over: Annotated[int, Field(ge=1)] = 20  # steps of either mean
    outside: Annotated[float, Field(gt=0)] = 3.0  # dB of PSNR outside the mask that may be lost
    sharpness: Annotated[float, Field(gt=1)] = 2.0  # times that samples may become sharper, or blunter
    grid: Annotated[float, Field(gt=1)] = 1.5  # times that edges on the grid of tokens may grow
    copied: Annotated[float, Field(gt=0)] = 0.2  # of correlation with the reference, beyond the truth's own
    diversity: Annotated[float, Field(gt=0, lt=1)] = 0.1  # share of the group's spread that must be left
    broken: Annotated[float, Field(gt=0, le=1)] = 0.5  # share of a batch's rewards that may be no numbers


class Validation(Record):
    """How often what has learnt is tried on products that are held out, and on how many samples."""

    every: Annotated[int, Field(ge=1)] = 100  # steps; the last one always
    samples: Annotated[int, Field(ge=1)] = 64  # at most, the same each time
    shown: Annotated[int, Field(ge=0, le=64)] = 8  # of them, in the picture
    batch: Annotated[int, Field(ge=1)] = 8


class Checkpoints(Record):
    """How often a run is kept, and how much of it."""

    every: Annotated[int, Field(ge=1)] = 100  # steps; the last one always
    keep: Annotated[int, Field(ge=1)] = 2  # the newest


class Refine(Record):
    """How a draft is refined by what has learnt."""

    steps: Annotated[int, Field(ge=1, le=200)] = 28  # of the sampler, Kontext's own number
    shift: Annotated[float, Field(gt=0)] = 3.0  # of its levels towards noise; Kontext: 1.9 at 512 px, 3.2 at 1024
    margin: Annotated[float, Field(ge=0, le=4)] = 0.5  # about the mask, of its longer side
    feather: Annotated[int, Field(ge=0, le=64)] = 4  # px: soft border of the paste-back


class Training(Record):
    """All settings of a training run. Frozen, and validated before any work."""

    seed: int = 0
    blind: bool = False  # the model sees no reference: what a refiner must surpass
    data: Data = Data()
    sft: Sft = Sft()
    grpo: Grpo = Grpo()
    reward: Reward = Reward()
    guards: Guards = Guards()
    validation: Validation = Validation()
    checkpoints: Checkpoints = Checkpoints()
    tiny: Tiny = Tiny()
    flux_kontext: Kontext = Kontext()
    qwen_image_edit: QwenImageEdit = QwenImageEdit()
    flux2_klein: Klein = Klein()
    refine: Refine = Refine()

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.sft.cache and (self.data.crop != "whole" or self.data.jitter):
            raise ValueError(
                "sft.cache is of use with data.crop = 'whole' and no data.jitter: others are new each epoch"
            )
        return self


# `tiny` is trained whole, on two cores, within minutes; with the defaults above it would take days.
STARTS: dict[str, dict[str, Any]] = {
    "tiny": {
        "data": {"size": 64, "batch": 16, "workers": 1, "reference": "aligned", "margin": [0.1, 0.5], "jitter": True,
                 "keep": 1024},
        "tiny": {"patch": 16, "width": 128, "depth": 2, "heads": 4, "length": 8},
        "sft": {"steps": 450, "at_once": 16, "rate": 2e-3, "decay": "cosine", "warmup": 50, "weight_decay": 0.1,
                "lora": 0, "loss": "latent", "relative": 0.004, "mask": False, "precision": "no",
                "checkpointing": False, "sigma_mean": 1.0, "sigma_shift": 3.0, "ema": 0.99},
        "grpo": {"steps": 100, "at_once": 128, "rate": 5e-5, "warmup": 5, "ema": 0.9, "prompts": 8, "group": 16,
                 "sampler": 4, "window": 1, "within": [3, 4], "noise": 0.1, "varied": "mask", "credit": "patch",
                 "spread": "group", "kl": "frozen", "beta": 0.0, "hold": 0.002, "precision": "no",
                 "checkpointing": False},
        "reward": {"likeness": "embedder", "patches": [[1.0], [0.25]], "least": [16, 8]},
        "validation": {"samples": 96, "every": 150},
        "checkpoints": {"every": 25},
        "refine": {"steps": 4, "shift": 1.0, "margin": 0.3},
    },
}  # fmt: skip


def load_training(assignments: Sequence[str] = (), backbone: str | None = None) -> Training:
    """Return a backbone's defaults with `key=value`s on top. Raises SettingsError naming the wrong key or value."""
    return validated(Training, deepcopy(STARTS.get(backbone or "", {})), assignments, None)
