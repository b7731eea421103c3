"""Whose value wins, what a reference stands for, what is masked."""

import pytest

from herolocal.errors import InvalidEnvFile
from herolocal.model.configvars import EnvEntry, looks_live, masked, port_of, resolve


def entry(name: str, value: str) -> EnvEntry:
    return EnvEntry(name, value, ".env", 1)


def test_attachment_over_config_set_over_env_file_over_app_json() -> None:
    found = resolve(
        app_json={"A": "json", "B": "json", "C": "json", "D": "json"},
        env=[entry("B", "env"), entry("C", "env"), entry("D", "env")],
        config={"C": "set", "D": "set"},
        attachments={"X": {"D": "addon"}},
    )
    assert found.values == {"A": "json", "B": "env", "C": "set", "D": "addon"}
    assert found.notes == (
        "C from .env is overridden by config:set.",
        "D from .env is overridden by config:set.",
        "D from config:set is overridden by its add-on.",
    )


def test_a_reference_stands_for_earlier_entries_and_add_on_vars_only() -> None:
    found = resolve(
        app_json={},
        env=[entry("URL", "${DATABASE_URL}?x"), entry("TWO", "${URL}${HOME}${PATH:-none}")],
        config={},
        attachments={"DATABASE": {"DATABASE_URL": "postgres://d"}},
    )
    assert found.values["TWO"] == "postgres://d?xnone"


def test_the_port_of_an_env_file_is_the_routers_and_reaches_no_dyno() -> None:
    assert port_of([entry("PORT", "5000")]) == 5000
    assert resolve(app_json={}, env=[entry("PORT", "5000")], config={}, attachments={}).values == {}
    with pytest.raises(InvalidEnvFile, match=r".env:1: PORT must be a port number"):
        port_of([entry("PORT", "web")])


def test_a_live_service_is_warned_of_without_its_value() -> None:
    url = "postgres://u:secret@db.eu-west-1.rds.amazonaws.com/d"
    found = resolve(app_json={}, env=[entry("OTHER_URL", url)], config={}, attachments={})
    assert [text for text in found.warnings if "OTHER_URL" in text and "secret" not in text]
    assert not looks_live("postgres://localhost/d")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://u:p@h/d", "postgres://u:***@h/d"),
        ("rediss://:p@h:1", "rediss://:***@h:1"),
        ("http://h/", "http://h/"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
