"""What reaches a dyno: the slug, its dependencies, its profile; and what does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.driver import Place

PLAIN = ("--addons", "none")
SHOW = "worker: python show.py && sleep 1000\n"
SCRIPT = (
    "import importlib.metadata as m, iniconfig\n"
    "print('from', iniconfig.__file__, 'version', m.version('iniconfig'), flush=True)\n"
)
PYPROJECT = '[project]\nname = "app"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["iniconfig==2.0.0"]\n'
POETRY = (
    "[tool.poetry]\npackage-mode = false\n"
    '[[tool.poetry.source]]\nname = "index"\nurl = "{index}"\npriority = "primary"\n'
)
PIPFILE = '[[source]]\nurl = "{index}"\nverify_ssl = true\nname = "index"\n\n[packages]\niniconfig = "==2.0.0"\n'
MANAGERS = {  # what the project has, and how its lock is written
    "pip": ({"requirements.txt": "iniconfig==2.0.0\n"}, ()),
    "uv": ({"pyproject.toml": PYPROJECT}, ("uv", "lock", "--quiet")),
    "poetry": (
        {"pyproject.toml": PYPROJECT + POETRY},
        ("poetry", "lock", "--no-interaction"),
    ),
    "pipenv": ({"Pipfile": PIPFILE}, ("pipenv", "lock")),
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with uv, Poetry and Pipenv."""
    directory = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = directory / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", "uv", "poetry", "pipenv"], check=True)
    return directory / "bin"


@pytest.fixture
def git(place: Place) -> Place:
    """A project that is a git repository."""
    run_git(place, "init", "-q", "-b", "main")
    return place


def run_git(place: Place, *arguments: str) -> None:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *arguments]
    subprocess.run(command, cwd=place.project, check=True, env={**os.environ, "HOME": str(place.root)})


def index_url() -> str:
    """The package index that pip uses here, for the tools that want it in their files."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    said = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return said or "https://" + ".".join(("pypi", "org")) + "/simple"


@pytest.mark.parametrize("manager", MANAGERS)
def test_dependencies_are_installed_by_the_tool_the_lock_names_and_then_cost_nothing(
    manager: str, place: Place, tools: Path
) -> None:
    files, lock = MANAGERS[manager]
    files = {name: text.replace("{index}", index_url()) for name, text in files.items()}
    place.write({"Procfile": SHOW, "show.py": SCRIPT, **files})
    place.environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    if lock:
        subprocess.run(
            [str(tools / lock[0]), *lock[1:]],
            cwd=place.project,
            env={**place.env(), "PIPENV_IGNORE_VIRTUALENVS": "1"},
            check=True,
            capture_output=True,
        )
    with place.up(*PLAIN, "--isolation", "copy") as first:
        found = first.wait_for(r"from (\S+) version 2\.0\.0")[1]
        assert str(place.home) in found
        first.wait_for(r"worker\.1 .* up in")
        first.interrupt()
    assert "Installing dependencies using" in first.output
    with place.up(*PLAIN, "--isolation", "copy") as again:
        again.wait_for(r"from \S+ version 2\.0\.0")
        again.interrupt()
    assert "Installing dependencies using" not in again.output
    assert "cached" in again.output


@pytest.mark.namespace
def test_in_a_namespace_dependencies_are_below_app_and_read_only(place: Place) -> None:
    place.write({"Procfile": SHOW, "show.py": SCRIPT, "requirements.txt": "iniconfig==2.0.0\n"})
    with place.up(*PLAIN, "--isolation", "namespace") as up:
        assert up.wait_for(r"from (\S+) version")[1].startswith("/app/.heroku/python/lib/")
        layer = next(path for path in (place.home / "layers").iterdir() if path.is_dir())
        installed = next(layer.rglob("iniconfig/__init__.py"))
        before = installed.read_text()
        place.run("run", "echo broken > $(python -c 'import iniconfig; print(iniconfig.__file__)')")
        up.interrupt()
    assert installed.read_text() == before


def test_a_dependency_that_does_not_exist_is_told_and_nothing_starts(place: Place) -> None:
    place.write({"Procfile": SHOW, "requirements.txt": "iniconfig==99.99\n"})
    result = place.run("up", *PLAIN, check=False)
    assert result.returncode == 1
    assert "Unable to install dependencies using pip" in " ".join(result.stderr.split())
    assert "iniconfig==99.99" in result.stdout + result.stderr
    assert [path for path in (place.home / "layers").iterdir() if path.suffix != ".lock"] == []
    place.wait_until_gone()


def test_the_slug_is_what_git_would_push(git: Place) -> None:
    git.write(
        {
            "Procfile": "worker: find . -type f -not -path './.git/*' | sort; echo end; sleep 1000\n",
            ".gitignore": "*.db\n.env\nnode_modules/\n",
            ".slugignore": "*.psd\n/docs\n",
            "app.db": "x",
            "kept.txt": "x",
            "art/cover.psd": "x",
            "docs/manual.txt": "x",
            "src/docs/kept.txt": "x",
            "node_modules/a/index.js": "x",
        }
    )
    run_git(git, "add", "-A")
    run_git(git, "commit", "-qm", "first")
    (git.project / "new.py").write_text("x")
    (git.project / "kept.txt").write_text("changed")
    with git.up(*PLAIN, "--isolation", "copy") as up:
        up.wait_for(r"app\[worker\.1\]: end")
        files = [line.split("]: ")[1] for line in up.output.splitlines() if "app[worker.1]: ./" in line]
        assert set(files) >= {"./Procfile", "./kept.txt", "./new.py", "./src/docs/kept.txt"}
        assert not set(files) & {"./.env", "./app.db", "./art/cover.psd", "./docs/manual.txt"}
        assert "2 files not committed (would not be pushed): kept.txt, new.py" in " ".join(up.output.split())
        up.interrupt()


def test_profile_scripts_run_before_the_command(place: Place) -> None:
    place.write(
        {
            "Procfile": 'worker: echo "$FROM_D $FROM_PROFILE $DYNO $WEB_CONCURRENCY end"; sleep 1000\n',
            ".profile.d/one.sh": "export FROM_D=d\n",
            ".profile": 'export FROM_PROFILE="after-$FROM_D"\n',
        }
    )
    with place.up(*PLAIN, "--no-build", "--isolation", "copy") as up:
        assert up.wait_for(r"app\[worker\.1\]: (.*) end")[1] == "d after-d worker.1 2"
        up.interrupt()


def test_another_minor_version_of_python_is_refused_unless_asked_for(place: Place) -> None:
    place.write(
        {"Procfile": SHOW, "show.py": SCRIPT, "requirements.txt": "iniconfig==2.0.0\n", ".python-version": "3.99\n"}
    )
    refused = place.run("up", *PLAIN, check=False)
    text = " ".join(refused.stderr.split())
    assert refused.returncode == 1
    assert "3.99" in text
    assert ".python-version" in text
    assert "--python-any" in text
    with place.up(*PLAIN, "--python-any") as up:
        up.wait_for(r"from \S+ version 2\.0\.0")
        assert "3.99" in up.output
        up.interrupt()


@pytest.mark.parametrize("options", [(), ("--no-build",)], ids=["no package file", "--no-build"])
def test_without_a_build_dynos_run_in_the_callers_environment_with_the_projects_own_packages(
    options: tuple[str, ...], place: Place
) -> None:
    place.write(
        {
            "Procfile": 'worker: echo "$FROM_SHELL $(cat node_modules/x.txt) end"; sleep 1000\n',
            ".gitignore": "node_modules/\n",
            "node_modules/x.txt": "from-node",
        }
    )
    place.environment = {"FROM_SHELL": "from-shell"}
    for mode in ("copy", "auto"):
        with place.up(*PLAIN, *options, "--isolation", mode) as up:
            up.wait_for(r"app\[worker\.1\]: from-shell from-node end")
            assert "dynos run in your shell's environment" in " ".join(up.output.split())
            up.interrupt()


def test_with_a_build_nothing_of_the_callers_shell_leaks_into_a_dyno(place: Place) -> None:
    place.write({"Procfile": 'worker: echo "<$FROM_SHELL>"; sleep 1000\n', "requirements.txt": "iniconfig==2.0.0\n"})
    place.environment = {"FROM_SHELL": "from-shell"}
    with place.up(*PLAIN) as up:
        up.wait_for(r"app\[worker\.1\]: <>")
        up.interrupt()
