"""Where a checkpoint is that is named on a command line: a path, a known name, a hub's name."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hf_folder import CONFIG, PREPROCESSOR, WEIGHTS, weights_in
from .known import Known, describe_missing, fetch_known, find_known, identify
from .metadata import Unseen

HUB, TIMM = "hf-hub:", "timm:"
CHANNELS = 255  # timm's mean and std are for values in 0..1


@dataclass(frozen=True)
class Source:
    """A file and what is known of it from elsewhere.

    Args:
        path: the file.
        known: which public checkpoint it is, by name or hash.
        revision: of the hub, the commit it was taken from.
        beside: input statistics that the hub's library has for it.
    """

    path: Path
    known: Known | None = None
    revision: str | None = None
    beside: Unseen = field(default_factory=Unseen)


def locate(checkpoint: str | Path, offline: bool = False) -> Source:
    """Find a checkpoint, and fetch it where it has a name and is not there.

    Args:
        checkpoint: a file, a folder of Hugging Face, a name of ``known_checkpoints.yaml``,
            ``hf-hub:OWNER/NAME[@REVISION]`` or ``timm:NAME``.
        offline: take what was fetched before, and no more.

    Raises:
        FileNotFoundError: no such file, or it cannot be had.
        ValueError: no such name.
    """
    name = str(checkpoint)
    if name.startswith(HUB):
        return _from_hub(name, name.removeprefix(HUB), offline)
    if name.startswith(TIMM):
        return _from_timm(name, name.removeprefix(TIMM), offline)
    if known := find_known(name):
        if offline and not known.file.is_file():
            raise FileNotFoundError(describe_missing(name))
        return Source(fetch_known(known), known)
    path = Path(checkpoint).expanduser()
    if "://" in name:
        raise ValueError(f"{name}: only local files are read; download it and give its path")
    if not path.exists():
        raise FileNotFoundError(f"{name}: no such checkpoint file")
    path = weights_in(path) if path.is_dir() else path
    return Source(path, identify(path) if path.is_file() else None)


def find_here(checkpoint: str) -> Path | None:
    """The file of a checkpoint that is on this machine; None where it is not.

    Raises:
        ValueError: no such name, or a file that is not what its name says.
    """
    try:
        return locate(checkpoint, offline=True).path
    except FileNotFoundError:
        return None


def can_be_fetched(checkpoint: str) -> bool:
    """Whether a checkpoint is a name, under which it can be had from a network."""
    return checkpoint.startswith((HUB, TIMM)) or find_known(checkpoint) is not None


def _from_hub(name: str, place: str, cached: bool = False) -> Source:
    """A repository of the Hugging Face hub, by its own library and from its cache."""
    repository, _, revision = place.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{name}: is not {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION")
    path = _fetch(name, repository, revision or None, WEIGHTS, cached=cached)
    for beside in (CONFIG, PREPROCESSOR):
        _fetch(name, repository, path.parent.name, (beside,), needed=False, cached=cached)
    return Source(path, revision=path.parent.name)


def cached_timm(model: str) -> Source | None:
    """The weights of a model of timm, if they have been fetched; the hub is not asked."""
    try:
        return _from_timm(TIMM + model, model, cached=True)
    except (FileNotFoundError, ValueError):
        return None


def _from_timm(name: str, model: str, cached: bool = False) -> Source:
    """The weights of a model of timm, where timm has them, and its input statistics."""
    import timm

    try:
        config = timm.get_pretrained_cfg(model)
    except RuntimeError:
        config = None
    if config is None or not config.hf_hub_id:
        raise ValueError(
            f"{name}: timm {timm.__version__} has no weights of that name on the hub; "
            "timm.list_pretrained() lists what it has"
        )
    repository = config.hf_hub_id
    if repository.endswith("/"):  # the owner alone: the name is the model's
        repository += f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    path = _fetch(name, repository, None, WEIGHTS, cached=cached)
    mean, std = ([CHANNELS * value for value in values] for values in (config.mean, config.std))
    return Source(path, revision=path.parent.name, beside=Unseen(mean=mean, std=std))


def _fetch(
    name: str,
    repository: str,
    revision: str | None,
    files: tuple[str, ...],
    needed: bool = True,
    cached: bool = False,
) -> Path:
    """The first of some files that a repository has.

    Raises:
        FileNotFoundError: it has none of them, or it cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason = "it has none of " + ", ".join(files)
    for file in files:
        try:
            place = hf_hub_download(
                repository, file, revision=revision, endpoint=_endpoint(), local_files_only=cached
            )
            return Path(place)
        except LocalEntryNotFoundError:
            reason = "it is not in the cache, and there is no network"
            if not cached:
                break
        except EntryNotFoundError:
            continue
        except Exception as error:  # of whatever layer of the network
            reason = " ".join(str(error).split())[:200]
            break
    if needed:
        raise FileNotFoundError(f"{name}: cannot be had: {reason}")
    return Path()


def _endpoint() -> str | None:
    """Where the hub is, or a mirror of it; None: at its own address."""
    return os.environ.get("HF_ENDPOINT")


def push(repository: str, file: Path, card: str, report: Callable[[str], Any] = print) -> str:
    """Upload a checkpoint and its card to a repository of the hub, made where it is not there.

    Args:
        repository: ``OWNER/NAME``.
        file: ``.safetensors``, or of ``torch.save``.
        card: text of its ``README.md``.
        report: gets the address of the commit.

    Returns:
        the commit.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=_endpoint())
    api.create_repo(repository, exist_ok=True)
    weights = WEIGHTS[0] if file.suffix == ".safetensors" else WEIGHTS[1]
    commit = api.create_commit(
        repository,
        operations=[
            CommitOperationAdd(weights, str(file)),
            CommitOperationAdd("README.md", card.encode()),
        ],
        commit_message=f"Upload {file.name} with mae_bench",
    )
    report(f"pushed to {commit.commit_url}")
    return commit.oid
