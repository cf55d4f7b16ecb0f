"""One typed model of all settings. A profile is a TOML file over it; `--set key=value` goes on top."""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.assignments import keys_of, validated
from schemas.errors import SettingsError
from schemas.records import Record, Unit

PROFILES = Path(__file__).parent / "profiles"


class Intake(Record):
    """What is taken in, and how it is brought to size."""

    size: Annotated[int, Field(ge=128, le=2048, multiple_of=32)] = 512  # px: a bucket holds about size x size
    min_side: Annotated[int, Field(ge=16)] = 256  # px: the shorter side of a photo worth taking
    max_aspect: Annotated[float, Field(ge=1)] = 3.0
    max_megapixels: Annotated[float, Field(gt=0)] = 100.0
    max_megabytes: Annotated[float, Field(gt=0)] = 50.0
    max_seconds: Annotated[float, Field(gt=0, le=3600)] = 20.0  # of processor time to decode one photo


class Splits(Record):
    """Shares of products that fall into each split group, by hash of the product."""

    train: Unit = 0.85
    validation: Unit = 0.05
    benchmark: Unit = 0.10

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(self.train + self.validation + self.benchmark - 1) > 1e-6:
            raise ValueError("train, validation and benchmark must add up to 1")
        return self


class Dedup(Record):
    """Which photos may be one picture, from which scores they are, and how many may be one."""

    distance: Annotated[int, Field(ge=0, le=12)] = 8  # bits between two perceptual hashes that make two photos compared
    neighbours: Annotated[int, Field(ge=1, le=64)] = 16  # and that many of each photo's nearest by embedding
    min_neighbour: Unit = 0.65  # cosine of the embeddings of such neighbours
    min_similarity: Unit = 0.5  # cosine of any two photos that are compared
    min_overlap: Unit = 0.7  # share of the smaller picture that must lie over the other
    min_alike: Unit = 0.84  # share of what both show there that must fit
    min_exact: Unit = 0.6  # or share that must fit exactly: a mark spoils some of it and leaves the rest as it was
    max_unlike: Unit = 0.12  # share that may contradict
    cap: Annotated[int, Field(ge=2)] = 100  # photos in a cluster; its weakest links are dropped until it has no more


class Pair(Record):
    """Which photos are compared, and the scores from which a pair is taken."""

    neighbours: Annotated[int, Field(ge=1, le=64)] = 8  # per photo whose product is unknown, by embedding
    siblings: Annotated[int, Field(ge=1, le=256)] = 12  # per photo of a known product, by embedding
    min_same_product: Unit = 0.75
    min_style: Unit = 0.15
    min_viewpoint: Unit = 0.2


class Instruct(Record):
    """How many edits are asked for a pair."""

    edits_per_pair: Annotated[int, Field(ge=1, le=8)] = 3


class Serve(Record):
    """How `omnirefiner serve`, or a build that serves stage by stage, starts a model's server on this machine."""

    python: Path | None = None  # interpreter of the environment that holds vLLM; by default the one `make vllm` makes
    container: str | None = None  # or a container image that holds it, run by docker
    gpus: Annotated[int, Field(ge=0, le=64)] = 1  # that one server spans; 0: the CPU
    context: Annotated[int, Field(ge=1024)] = 8192  # tokens, pictures among them
    memory: Annotated[float, Field(gt=0, le=1)] = 0.9  # of a GPU's
    arguments: tuple[str, ...] = ()  # of the server's own, added as they stand
    ready_within: Annotated[float, Field(gt=0)] = 1800.0  # seconds until it must answer


class Model(Record):
    """A model, and what may be done with what it makes: both go into the lineage of a version."""

    model: str  # as its server or the hub calls it, or a folder
    revision: str | None = None  # of its weights
    licence: str = ""
    outputs: str = ""  # what the licence allows of what the model makes


class Servers(Model):
    """A model behind one or several servers that answer alike."""

    endpoints: Annotated[tuple[str, ...], Field(min_length=1)] = ("http://127.0.0.1:8000/v1",)
    in_flight: Annotated[int, Field(ge=1, le=4096)] = 32  # requests at once at each endpoint, over all workers
    timeout: Annotated[float, Field(gt=0)] = 300.0  # seconds for one request
    attempts: Annotated[int, Field(ge=1)] = 6  # at a request that a busy or broken server turns away
    patience: Annotated[float, Field(ge=0)] = 120.0  # seconds to wait while no endpoint can be reached
    tries: Annotated[int, Field(ge=1, le=16)] = 3  # each with another seed, until an answer is what was asked for
    key_from: str | None = None  # environment variable that holds the key, where one is asked for
    serve: Serve = Serve()

    @model_validator(mode="after")
    def _are_urls(self) -> Self:
        for url in self.endpoints:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"an endpoint is a URL such as http://127.0.0.1:8000/v1, not {url!r}")
            if "@" in url.split("/")[2]:
                raise ValueError("an endpoint's URL bears no user or password, since settings are kept; use key_from")
        return self


class Vlm(Servers):
    """A vision-language model behind servers that speak OpenAI's protocol, as vLLM does."""

    model: str = "Qwen/Qwen3-VL-8B-Instruct"
    image_side: Annotated[int, Field(ge=64, le=4096)] = 768  # px: longer side of the pictures it is sent
    max_tokens: Annotated[int, Field(ge=16)] = 1024  # of an answer
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.2


class Diffusers(Model):
    """An editing pipeline of diffusers, in this process."""

    model: str = "black-forest-labs/FLUX.1-Kontext-dev"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    device: str = "auto"  # cuda where there is one, else cpu
    offload: Literal["none", "model", "sequential"] = "none"  # of weights to the CPU's memory, where a GPU's is short
    steps: Annotated[int, Field(ge=1, le=200)] = 28
    guidance: Annotated[float, Field(ge=0)] = 2.5  # FLUX's own scale, or Qwen's true one
    batch: Annotated[int, Field(ge=1, le=64)] = 1  # edits at once, where the pipeline takes several


class ImagesApi(Servers):
    """An editing model behind servers that speak OpenAI's images API, as vllm-omni does."""

    model: str = "Qwen/Qwen-Image-Edit-2511"
    endpoints: Annotated[tuple[str, ...], Field(min_length=1)] = ("http://127.0.0.1:8001/v1",)
    in_flight: Annotated[int, Field(ge=1, le=4096)] = 4
    steps: Annotated[int, Field(ge=1, le=200)] = 40
    guidance: Annotated[float, Field(ge=0)] = 4.0


class Edit(Record):
    """Who edits, how strongly, and which results are kept."""

    engine: Literal["procedural", "diffusers", "images-api"] = "procedural"
    diffusers: Diffusers = Diffusers()
    images_api: ImagesApi = ImagesApi()
    strength: tuple[Unit, Unit] = (0.45, 1.0)  # each edit draws its own from this range; models know no strength
    autoencoder: Path | None = None  # weights of FLUX.2's tiny autoencoder (taef2.safetensors), if at hand
    paste_back: bool = True  # the edit into the target within the mask; the raw edit is kept either way
    feather: Annotated[int, Field(ge=0, le=64)] = 4  # px: soft border of the paste-back
    most_shift: Annotated[float, Field(ge=0)] = 8.0  # px that an edit may be off its target, which is undone
    min_filled: Unit = 0.25  # of the region that must have changed
    max_area: Unit = 0.5  # of the image that may have changed
    max_outside: Unit = 0.25  # of the change that may lie outside the region before paste-back

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.strength[0] > self.strength[1]:
            raise ValueError("strength must be [low, high] with low <= high")
        return self


class Writer(Record):
    """Who judges pairs and writes instructions."""

    engine: Literal["classical", "vllm"] = "classical"
    vlm: Vlm = Vlm()


class Judge(Record):
    """Who judges what was written and edited, and the score from which a quadruplet is taken."""

    engine: Literal["none", "vllm"] = "none"
    vlm: Vlm = Vlm()
    min_score: Unit = 0.7  # the least of a quadruplet's criteria
    rewrite_below: Unit = 0.7  # words whose marks are less are written once more, and judged again; 0: never


class Scoring(Record):
    """Weights that some scores of `omnirefiner curate` need; without them those are null, never a number."""

    lpips: Path | None = None  # AlexNet's weights, as torchvision publishes them
    clip: Path | None = None  # the folder of a CLIP model
    dino: Path | None = None  # and of a DINO model
    safety: Path | None = None  # a classifier in ONNX: a picture in, the probability that it is unsafe out


class Shards(Record):
    """How samples are laid into shards."""

    samples: Annotated[int, Field(ge=1, le=100_000)] = 256  # per shard
    min_live: Unit = 0.5  # of a parent's shard that a version keeps; one that holds less of it is written anew
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95  # of the reference, 4:4:4


class Publish(Record):
    """What a version may hold."""

    licences: tuple[str, ...] = ()  # of target and reference, both known; none named: any licence, or none known
    preferences: bool = False  # a second set of shards: the best and the worst execution of an edit


class Run(Record):
    """How the work is carried out; nothing here changes an answer."""

    workers: Annotated[int, Field(ge=1, le=256)] = 2
    chunk_seconds: Annotated[float, Field(gt=0)] = 3.0  # of work in one task
    failures_in_a_row: Annotated[int, Field(ge=1)] = 20  # then the stage stops
    wait_for_lake: Annotated[float, Field(ge=0)] = 0.0  # seconds, while another process writes to it; 0: refuse
    serve: bool = False  # the servers that a stage needs are started before it and stopped after it
    overlap: bool = False  # stages run side by side, each on what the one before it has made so far

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.serve and self.overlap:
            raise ValueError("serve gives the machine to one stage at a time, and overlap runs them side by side")
        return self


class Settings(Record):
    """All settings. Frozen, validated before any work, and recorded with each run."""

    seed: int = 0
    intake: Intake = Intake()
    splits: Splits = Splits()
    writer: Writer = Writer()
    judge: Judge = Judge()
    dedup: Dedup = Dedup()
    pair: Pair = Pair()
    instruct: Instruct = Instruct()
    edit: Edit = Edit()
    score: Scoring = Scoring()
    shards: Shards = Shards()
    publish: Publish = Publish()
    run: Run = Run()


def load_settings(profile: str = "embedded", assignments: Sequence[str] = ()) -> Settings:
    """Return the settings of `profile` (a name under schemas/profiles or a TOML file) with `key=value`s on top.

    Raises SettingsError naming the wrong key or value and the nearest right one.
    """
    return validated(Settings, _read_profile(profile), assignments, profile)


def with_assignments(settings: Settings, assignments: Sequence[str], sections: Sequence[str]) -> Settings:
    """Return settings with `key=value`s of these sections on top. Raises SettingsError where one is of another."""
    for assignment in assignments:
        if assignment.partition(".")[0].strip() not in sections:
            raise SettingsError(
                f"--set {assignment}: only settings of {' and '.join(sections)} can be set here; "
                "the others were those of the build"
            )
    return validated(Settings, settings.model_dump(mode="json"), assignments, "of the newest run")


def setting_keys() -> list[str]:
    """Return every dotted key that `--set` takes."""
    return keys_of(Settings)


def _read_profile(profile: str) -> dict[str, Any]:
    path = Path(profile) if profile.endswith(".toml") else PROFILES / f"{profile}.toml"
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        known = sorted(p.stem for p in PROFILES.glob("*.toml"))
        near = difflib.get_close_matches(profile, known, n=1)
        hint = (
            f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}, or give a path to a .toml file"
        )
        raise SettingsError(f"profile '{profile}': not found; {hint}") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"profile {path}: cannot be read ({error}); mend the file or choose another profile"
        ) from None
