"""`Settings`: the only reader of the environment. Read once, at the edge, and passed by hand."""

import difflib
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values, set_key
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hermes_ui.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "HERMES_"
ENV_FILE = ".env"


class Settings(BaseSettings):
    """Every setting, its default and its meaning. `HERMES_NAME` in the environment or in `.env`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, extra="forbid", frozen=True, env_ignore_empty=True
    )

    model: str = Field(
        "auto",
        description="A hub id, a local folder, `embedded`, or `auto`: Hermes 3 3B where it is "
        "already on disk, else the embedded model.",
    )
    engine: Literal["auto", "local", "scripted"] = Field(
        "auto", description="`local` runs the model here; `scripted` answers without a model."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where the model runs; `auto` takes a GPU when there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of the weights; `auto` fits it to the device."
    )
    quantize: Literal["auto", "none", "int8", "int4"] = Field(
        "auto",
        description="`int8` is for CPUs: a quarter of float32's memory, several times the speed, "
        "nearly the same words. `auto` does it for all but the smallest models where no `dtype` "
        "is asked for. `int4` takes about half of that and writes faster still, but is less "
        "exact. Both need an x86 CPU with AVX2. On Linux, with numba, a kernel of our own "
        "multiplies; elsewhere PyTorch's fbgemm does, for `int8` only.",
    )
    context_length: int = Field(
        8192, ge=256, le=131072, description="Tokens of prompt and reply together, at most."
    )
    max_active: int = Field(8, ge=1, le=256, description="Replies generated at the same time.")
    max_waiting: int = Field(32, ge=0, le=4096, description="Requests that may wait in line.")
    cache_tokens: int = Field(
        0,
        ge=0,
        description="The most tokens that are kept of running and earlier prompts and replies; "
        "0: as many as the running ones may need, within 30% of the free memory "
        "on a CPU and 60% on a GPU.",
    )
    data_dir: Path = Field(ROOT / "data", description="Where the database is kept.")
    database_url: str = Field(
        "", description="SQLAlchemy URL; empty: SQLite in the data folder. PostgreSQL works too."
    )
    personas_dir: Path = Field(ROOT / "personas", description="The folder of persona files.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(7860, ge=1, le=65535, description="Port to listen on.")
    owner: Literal["local", "browser"] = Field(
        "local",
        description="`local`: everyone who reaches the page shares one shelf of conversations. "
        "`browser`: each browser has its own, kept by a secret cookie, and none may exchange "
        "the model, which all share.",
    )
    allowed_hosts: str = Field(
        "",
        description="Comma-separated host names under which the page may be reached, beside "
        "localhost, plain IP addresses and a Space's own name.",
    )
    temporary_storage: bool = Field(
        False, description="Say on the page that what is stored goes away with the container."
    )

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value != "localhost":
            ipaddress.ip_address(value)
        return value

    @property
    def database(self) -> str:
        """The SQLAlchemy URL that is used."""
        return self.database_url or f"sqlite:///{self.data_dir / 'hermes.db'}"

    @property
    def host_names(self) -> frozenset[str]:
        """Lower-case names that the Host header may carry beside localhost and IP addresses."""
        names = {name.strip().lower() for name in self.allowed_hosts.split(",")}
        names.add(os.environ.get("SPACE_HOST", "").lower())  # set by Hugging Face Spaces
        return frozenset(names - {""})

    @property
    def frame_ancestors(self) -> tuple[str, ...]:
        """Sites that may show the page in a frame: the hub's, when this is a Space."""
        in_a_space = "SPACE_ID" in os.environ
        return ("https://huggingface.co", "https://*.hf.space") if in_a_space else ()

    @classmethod
    def from_env(cls, **given: object) -> "Settings":
        """Read the environment and `.env`; `given` wins.

        Raises:
            SettingsError: an unknown `HERMES_` name or an unusable value, in one line.
        """
        known = {PREFIX + name.upper() for name in cls.model_fields}
        for name in _file_names():
            if PREFIX + name in known:  # the library would pass over it
                raise SettingsError(f"{name} is not a setting; did you mean {PREFIX + name}?")
        for name in sorted(os.environ):
            if name.startswith(PREFIX) and name not in known:
                raise SettingsError(_unknown(name, known))
        try:
            return cls(**given)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                raise SettingsError(_unknown(name.upper(), known)) from None
            shown = name.upper() if name.upper().startswith(PREFIX) else PREFIX + name.upper()
            raise SettingsError(f"{shown}={first['input']}: {first['msg']}") from None


def remember(name: str, value: str) -> None:
    """Write a setting into `.env`, for the next start; its other lines stay.

    Raises:
        SettingsError: the file cannot be read or written; it stays as it is.
    """
    with _env_file():
        set_key(ENV_FILE, PREFIX + name, value, quote_mode="auto")


def _file_names() -> list[str]:
    """What `.env` sets, in upper case."""
    with _env_file():
        return [name.upper() for name in dotenv_values(ENV_FILE)]


@contextmanager
def _env_file() -> Iterator[None]:
    """Say in one line what is wrong with `.env`."""
    try:
        yield
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE}: is not UTF-8 text") from None
    except OSError as error:
        raise SettingsError(f"{ENV_FILE}: {error.strerror}") from None


def _unknown(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{name} is not a setting{hint}"
