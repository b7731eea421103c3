"""The example application as files: what `herolocal demo` copies is whole, and is source only."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "herolocal" / "demo"
LANGUAGES = sorted(path.name for path in (DEMO / "app" / "translations").iterdir() if path.is_dir())
MADE_BY_RUNNING = {".mo", ".db", ".log", ".pyc"}
TEMPLATE_TEXT = re.compile(r"""\b_\((?:"([^"]+)"|'([^']+)')\)""")
MARKS = ("_", "_l")


def tracked_files() -> list[Path]:
    """What git carries; all files where there is no git, as in an unpacked source distribution."""
    answer = subprocess.run(["git", "-C", str(DEMO), "ls-files", "-z", "."], capture_output=True, check=False)
    names = [name for name in answer.stdout.decode().split("\0") if name]
    found = [DEMO / name for name in names] or [path for path in DEMO.rglob("*") if "__pycache__" not in path.parts]
    return [path for path in found if path.is_file()]


def catalog(language: str) -> dict[str, str]:
    """Texts and translations of a .po file. Its strings are quoted as Python's are."""
    text = (DEMO / "app" / "translations" / language / "LC_MESSAGES" / "messages.po").read_text()
    entries = re.findall(r'^msgid ((?:".*"\n)+)msgstr ((?:".*"\n)+)', text, re.MULTILINE)
    return {ast.literal_eval(f"({msgid})"): ast.literal_eval(f"({msgstr})") for msgid, msgstr in entries}


def texts_of_modules() -> Iterator[str]:
    for path in (DEMO / "app").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
                argument = node.args[0]
                assert isinstance(argument, ast.Constant), f"{path.name}:{node.lineno} marks a text that is no literal"
                yield str(argument.value)


def texts_of_templates() -> Iterator[str]:
    for path in (DEMO / "app" / "templates").glob("*.html"):
        for double, single in TEMPLATE_TEXT.findall(path.read_text()):
            yield double or single


def test_only_source_is_shipped() -> None:
    names = [path.relative_to(DEMO) for path in tracked_files()]
    assert [name for name in names if name.suffix in MADE_BY_RUNNING or name.parts[0] in ("uploads", "logs")] == []


def test_the_directory_is_data_and_no_package_of_ours() -> None:
    assert not (DEMO / "__init__.py").exists()


def test_nothing_in_it_is_hidden_from_our_own_git() -> None:
    """`.gitignore` there would act on this repository; it gets its dot when it is copied."""
    assert [path.name for path in tracked_files() if path.name.startswith(".")] == []
    assert (DEMO / "dot-gitignore").is_file()


def test_compiled_translations_uploads_and_sqlite_are_ignored_by_git() -> None:
    ignored = (DEMO / "dot-gitignore").read_text().splitlines()
    assert {"*.mo", "uploads/", "app.db", "logs/", ".env"} <= set(ignored)


def test_the_procfile_has_the_web_process_of_the_lesson_and_a_worker() -> None:
    lines = (DEMO / "Procfile").read_text().splitlines()
    processes = dict(line.split(": ", 1) for line in lines)
    assert processes["web"] == "flask db upgrade; flask translate compile; gunicorn microblog:app"
    assert processes["worker"].startswith("rq worker ")
    assert list(processes) == ["web", "worker"]


def test_app_json_names_add_ons_config_vars_and_formation() -> None:
    manifest = json.loads((DEMO / "app.json").read_text())
    assert manifest["addons"] == ["heroku-postgresql", "searchbox:starter", "heroku-redis:mini"]
    assert manifest["env"]["FLASK_APP"] == "microblog.py"
    assert manifest["env"]["SECRET_KEY"]["generator"] == "secret"
    assert {name: part["quantity"] for name, part in manifest["formation"].items()} == {"web": 1, "worker": 1}


def test_every_requirement_is_pinned() -> None:
    lines = (DEMO / "requirements.txt").read_text().splitlines()
    loose = [line for line in lines if line and not line.startswith("#") and "==" not in line.partition(";")[0]]
    assert loose == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    assert [msgid for msgid, msgstr in catalog(language).items() if not msgstr] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalog_holds_exactly_the_texts_of_the_site(language: str) -> None:
    assert {*texts_of_modules(), *texts_of_templates()} == {*catalog(language)} - {""}


def test_spanish_is_one_of_the_languages() -> None:
    assert "es" in LANGUAGES


def test_the_migrations_form_one_chain() -> None:
    scripts = [path.read_text() for path in (DEMO / "migrations" / "versions").glob("*.py")]
    revisions = {found[1] for script in scripts if (found := re.search(r'^revision = "(.+)"', script, re.MULTILINE))}
    parents = [found[1] for script in scripts if (found := re.search(r"^down_revision = (.+)", script, re.MULTILINE))]
    assert len(revisions) == len(scripts)
    assert sorted(parents) == sorted({*parents}), "two migrations follow the same one"
    assert {parent.strip('"') for parent in parents} - {"None"} <= revisions
