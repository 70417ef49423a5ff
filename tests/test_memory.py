"""How much memory an engine plans with: the machine's, or a container's share of it."""

import psutil
import pytest

from hermes_ui.generation import memory

LIMIT, USED, FILES = 3_000_000, 2_000_000, 500_000


def test_without_a_container_it_is_the_machines(tmp_path):
    assert memory.total(tmp_path) == psutil.virtual_memory().total
    assert 0 < memory.available(tmp_path) < memory.total(tmp_path)


@pytest.mark.parametrize(
    ("folder", "limit", "used", "files"),
    [
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_has_what_its_control_group_leaves_it(tmp_path, folder, limit, used, files):
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    (group / limit).write_text(f"{LIMIT}\n")
    (group / used).write_text(f"{USED}\n")
    (group / "memory.stat").write_text(f"anon 17\n{files} {FILES}\nunevictable 0\n")

    assert memory.total(tmp_path) == LIMIT
    assert memory.available(tmp_path) == LIMIT - USED + FILES


def test_a_group_without_a_limit_limits_nothing(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{USED}\n")
    (tmp_path / "memory.stat").write_text("anon 17\n")

    assert memory.total(tmp_path) == psutil.virtual_memory().total
