"""What a worker must know to start its engine."""

from dataclasses import asdict, dataclass
from pathlib import Path

USERS = 8
MAX_PROMPT = 4096  # tokens; the longest chat of any row


@dataclass(frozen=True)
class Options:
    """`users` is how many speak at once at most; `gguf` the folder of llama.cpp's files."""

    folder: Path
    gguf: Path
    device: str = "cpu"
    dtype: str = "auto"
    quantize: str = "auto"
    users: int = USERS
    threads: int = 2
    context: int = 2048 * USERS + 1024  # tokens of cache for all users together, for peers
    llama_server: str = "llama-server"
    is_avx2: bool = False  # PyTorch's engines do without newer instructions
    clock: str = "wall"  # or `cpu`: what the engine's processes used, whoever else computes

    def to_wire(self) -> dict:
        return asdict(self) | {"folder": str(self.folder), "gguf": str(self.gguf)}

    @classmethod
    def from_wire(cls, wire: dict) -> "Options":
        return cls(**wire | {"folder": Path(wire["folder"]), "gguf": Path(wire["gguf"])})

    def gguf_file(self, type_name: str) -> Path:
        return self.gguf / f"{self.folder.resolve().name}-{type_name}.gguf"
