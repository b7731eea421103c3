"""What is installed does what it can, and names what to type for the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.driver import Place

ROOT = Path(__file__).parents[2]
TOOLS = {"pip", "setuptools"}  # what a virtual environment begins with
WEB = "web: exec python3 -m http.server $PORT --bind 0.0.0.0\n"


def install(directory: Path, what: str) -> Path:
    """A fresh virtual environment with one of the extras; its `herolocal`."""
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "-q", f"{ROOT}{what}"]
    subprocess.run(pip, check=True, cwd=directory)
    return directory / "bin" / "herolocal"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("client"), "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("run"), "[run]")


def said(program: Path, place: Place, *arguments: str) -> tuple[int, str]:
    """Exit code, and what it wrote, unwrapped."""
    environment = {name: value for name, value in place.env().items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(program), *arguments], cwd=place.project, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in result.stderr
    return result.returncode, " ".join((result.stdout + result.stderr).split())


def test_the_client_alone_needs_click_only_and_names_the_rest(client: Path, place: Place) -> None:
    place.write({"Procfile": WEB})
    python = str(client.with_name("python"))
    listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True).stdout
    assert {line.partition(" ")[0].partition("=")[0] for line in listed.splitlines()} - TOOLS == {"herolocal", "click"}
    assert said(client, place, "--version")[1].startswith("herolocal ")
    assert "Example:" in said(client, place, "up", "--help")[1]
    assert "lost-files" in said(client, place, "help")[1]
    assert said(client, place, "ps") == (0, "No dynos are running.")
    code, text = said(client, place, "up")
    assert (code, "Type: pip install 'herolocal[embedded]'" in text) == (1, True)


def test_the_client_alone_speaks_to_a_platform_that_runs(client: Path, place: Place) -> None:
    place.write({"Procfile": WEB})
    with place.up("--addons", "none", "--no-build", "--isolation", "copy") as up:
        up.ready()
        assert "web.1: up" in said(client, place, "ps")[1]
        assert said(client, place, "run", "echo $DYNO; exit 5")[0] == 5
        assert up.interrupt() == 130


def test_without_the_embedded_servers_up_names_them_when_an_app_wants_one(run: Path, place: Place) -> None:
    place.write({"Procfile": WEB, "app.json": '{"addons": ["heroku-redis"]}'})
    code, text = said(run, place, "up", "--no-build", "--addons", "embedded")
    assert (code, "Type: pip install 'herolocal[embedded]'" in text) == (1, True), text
    place.wait_until_gone()


def test_what_is_installed_holds_templates_example_and_pages(run: Path) -> None:
    code = "import herolocal, pathlib; print(pathlib.Path(herolocal.__file__).parent)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    package = Path(
        subprocess.run(
            [str(run.with_name("python")), "-c", code], cwd="/", env=environment, capture_output=True, text=True
        ).stdout.strip()
    )
    assert package.is_relative_to(run.parents[1])
    shipped = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert shipped >= {"compose.templates/searchbox.yml", "demo/dot-gitignore", "demo/Procfile", "docs/addons.md"}
