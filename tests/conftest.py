"""What a machine lacks: a skip on a laptop, a failure where `CI=true`; and no test may change the environment."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from herolocal.adapters.namespaces import probe


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also wait out real time limits")


@cache
def lacks(mark: str) -> str | None:
    """Why a marked test cannot run here, None when it can."""
    if mark == "docker":
        return None if _engine_answers() else "no container engine answers"
    if mark == "namespace":
        result = probe(Path("/tmp/hl-probe"))
        shutil.rmtree("/tmp/hl-probe", ignore_errors=True)
        return None if result.available else f"no namespaces: {result.reason}"
    return None


def _engine_answers() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True).returncode == 0


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    for mark in ("docker", "namespace"):
        if request.node.get_closest_marker(mark) and (reason := lacks(mark)):
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    if request.node.get_closest_marker("slow") and not request.config.getoption("--slow"):
        pytest.skip("waits for a real time limit: tests/run --slow")


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    after = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    before.pop("PYTEST_CURRENT_TEST", None)
    assert after == before, "the test changed the environment"
