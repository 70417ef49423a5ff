"""Getting a model from the hub into its cache: real progress, cancellable, never twice.

The hub's client begins a file anew whenever a download was interrupted (huggingface_hub 2.4,
`_download_to_tmp_and_move`), and a shard may have five gigabytes. So half a file is kept here
under a name of its own, and taken up again; the client then finds it whole.
"""

import fnmatch
import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hermes_ui.errors import ModelError, first_line

WANTED = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
          "tokenizer*.json", "special_tokens_map.json", "tokenizer.model", "vocab.json",
          "merges.txt", "chat_template.jinja", "README.md", "LICENSE*")  # fmt: skip
LISTING_S = 20.0
SPARE_BYTES = 1_000_000_000  # left free on the disk
PART = ".part"  # how the name of half a file ends

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class Cancelled(Exception):
    """Raised inside of the download to end it; what is there serves the next try."""


def download(
    hub_id: str,
    progress: Progress,
    cancelled: threading.Event,
    *,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Bring the model's weights, configs and tokenizer into the hub's cache.

    Files that are there already are not fetched again.

    Args:
        progress: Told the bytes done, of all files together.
        cancelled: Ends the download soon after it is set.
        endpoint: The hub; None: the usual one.
        cache_dir: The cache; None: its usual place.

    Raises:
        ModelError: the hub cannot be reached, has no such model, or the disk is too small.
        Cancelled: because `cancelled` was set.
    """
    import huggingface_hub as hub  # noqa: PLC0415  # takes 0.2 s, and only this needs it
    from huggingface_hub import constants, errors  # noqa: PLC0415

    # The hub's other protocol cannot be cancelled from its progress bar.
    constants.HF_HUB_DISABLE_XET = True
    try:
        found = hub.HfApi(endpoint=endpoint).model_info(
            hub_id, files_metadata=True, timeout=LISTING_S
        )
        files = _wanted(hub_id, found.siblings or [])
        _check_disk(hub_id, files, cache_dir)
        counter = _Counter(sum(files.values()), progress, cancelled)
        for name, size in files.items():
            _fetch(hub_id, name, counter, endpoint=endpoint, blobs=_blobs(hub_id, cache_dir))
            hub.hf_hub_download(hub_id, name, endpoint=endpoint, cache_dir=cache_dir)
            counter.file_done(size)
    except errors.RepositoryNotFoundError:
        raise ModelError(hub_id, "the hub has no such model, or not for everyone") from None
    except errors.HFValidationError:
        raise ModelError(hub_id, "is no hub id") from None
    except errors.OfflineModeIsEnabled:
        raise ModelError(hub_id, "HF_HUB_OFFLINE is set: the hub must not be used") from None
    except (OSError, _transport_error()) as error:
        raise ModelError(hub_id, f"the download stopped: {first_line(error)}") from error


def _fetch(
    hub_id: str, name: str, counter: "_Counter", *, endpoint: str | None, blobs: Path
) -> None:
    """Have a file's content among `blobs`, where the client looks for it by its etag.

    Raises:
        ModelError: what was put together is not what the hub says it is; it is given up.
    """
    import huggingface_hub as hub  # noqa: PLC0415
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # noqa: PLC0415

    url = hub.hf_hub_url(hub_id, name, endpoint=endpoint)
    said = hub.get_hf_file_metadata(url)
    etag = Path(said.etag or "").name  # never a path that leads elsewhere
    if not etag or (blobs / etag).exists():
        return
    blobs.mkdir(parents=True, exist_ok=True)
    part = blobs / f"{etag}{PART}"
    # The token is the hub's, and not for the server that it may send us to.
    is_hub = urlsplit(said.location).netloc == urlsplit(url).netloc
    headers = build_hf_headers() if is_hub else None
    locks = blobs.parent.parent / ".locks" / blobs.parent.name
    locks.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(locks / f"{part.name}.lock"):
        before = part.stat().st_size if part.exists() else 0
        with part.open("ab") as file:
            http_get(
                said.location,
                file,
                resume_size=before,
                headers=headers,
                expected_size=said.size,
                tqdm_class=counter.bar(),
            )
        if before and not _is_whole(part, etag):
            part.unlink()
            raise ModelError(hub_id, f"{name} was damaged on its way; download it again")
        part.replace(blobs / etag)


def _is_whole(file: Path, etag: str) -> bool:
    """Whether the content is what the etag says, which of large files is their SHA-256."""
    if len(etag) != hashlib.sha256().digest_size * 2:
        return True
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == etag


def _blobs(hub_id: str, cache_dir: Path | None) -> Path:
    """Where the cache keeps the contents of a model's files."""
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.file_download import repo_folder_name  # noqa: PLC0415

    folder: str = repo_folder_name(repo_id=hub_id, repo_type="model")
    return Path(cache_dir or constants.HF_HUB_CACHE) / folder / "blobs"


def hub_answers(endpoint: str | None, timeout_s: float) -> bool:
    """Whether the hub answers anything within the time."""
    from huggingface_hub import constants, utils  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        utils.get_session().head(endpoint or constants.ENDPOINT, timeout=timeout_s)
    except (OSError, _transport_error()):
        return False
    return True


class _Counter:
    """Adds up the bytes of all files; what the hub's client takes for a progress bar."""

    def __init__(self, total: int, progress: Progress, cancelled: threading.Event) -> None:
        self._total = total
        self._progress = progress
        self._cancelled = cancelled
        self._whole = 0  # bytes of whole files
        self._part = 0  # bytes of the current one

    def add(self, count: int) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self._part += int(count)
        self._progress(min(self._whole + self._part, self._total), self._total)

    def file_done(self, size: int) -> None:
        """The file is there, whether it was fetched now or before."""
        self._whole += size
        self._part = 0
        self.add(0)

    def bar(self) -> type[Any]:
        """A class with the part of tqdm's interface that the client uses."""
        counter = self

        class Bar:
            def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
                counter.add(initial)

            def update(self, count: int = 1) -> None:
                counter.add(count)

            def close(self) -> None:
                pass

            def __enter__(self) -> "Bar":
                return self

            def __exit__(self, *_: object) -> None:
                pass

        return Bar


def _transport_error() -> type[Exception]:
    """What the client's HTTP library raises when there is no connection."""
    import huggingface_hub.errors as errors  # noqa: PLC0415, PLR0402

    bases: tuple[type[Exception], ...] = errors.HfHubHTTPError.__mro__
    return next(each for each in bases if each.__name__ == "HTTPError")


def _wanted(hub_id: str, siblings: list[Any]) -> dict[str, int]:
    """Names and sizes of the top-level files that are needed, the small ones first."""
    files = {
        each.rfilename: each.size or 0
        for each in siblings
        if "/" not in each.rfilename
        and any(fnmatch.fnmatch(each.rfilename, pattern) for pattern in WANTED)
    }
    if not any(name.endswith(".safetensors") for name in files):
        raise ModelError(hub_id, "has no safetensors weights on the hub")
    if "tokenizer.json" not in files:
        raise ModelError(hub_id, "has no tokenizer.json on the hub, which is needed")
    return dict(sorted(files.items(), key=lambda item: item[1]))


def _check_disk(hub_id: str, files: dict[str, int], cache_dir: Path | None) -> None:
    """Whether there is room for those of `files` that are not in the cache yet."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415

    needed = sum(
        size
        for name, size in files.items()
        if not isinstance(try_to_load_from_cache(hub_id, name, cache_dir=cache_dir), str)
    )
    needed -= sum(part.stat().st_size for part in _blobs(hub_id, cache_dir).glob(f"*{PART}"))
    folder = Path(cache_dir or HF_HUB_CACHE).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise ModelError(
            hub_id, f"needs {needed / 1e9:.1f} GB of disk; {folder} has {free / 1e9:.1f} GB free"
        )
