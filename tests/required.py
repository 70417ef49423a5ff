"""What a machine may lack, and whether that skips a test or fails it."""

import os

import pytest

# Read once: the tests themselves must not see the variables of a developer's shell.
REQUIRED = os.environ.pop("HERMES_TESTS_REQUIRE", "").split(",")
for _name in [name for name in os.environ if name.startswith("HERMES_")]:
    del os.environ[_name]


def skip_or_fail(what: str) -> None:
    """Skip for want of `what`; fail instead where HERMES_TESTS_REQUIRE names it."""
    if what in REQUIRED:
        pytest.fail(f"{what} is required here and is not installed")
    pytest.skip(f"{what} is not installed")
