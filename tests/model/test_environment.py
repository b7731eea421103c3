"""What a dyno's process finds in its environment."""

from herolocal.model.environment import dyno_environment
from herolocal.model.limits import size_named

CONFIG = {"A": "config", "PORT": "1", "DYNO": "x"}


def environment(
    *, dyno: str = "web.1", port: int | None = 5000, config: dict[str, str] | None = None,
    caller: dict[str, str] | None = None, size: str = "Basic",
) -> dict[str, str]:  # fmt: skip
    return dyno_environment(
        CONFIG if config is None else config,
        dyno=dyno,
        port=port,
        size=size_named(size),
        app_home="/app",
        caller=caller,
    )


def test_the_platforms_own_win_over_config_vars() -> None:
    found = environment()
    assert {name: found[name] for name in ("A", "PORT", "DYNO", "HOME")} == {
        "A": "config", "PORT": "5000", "DYNO": "web.1", "HOME": "/app",
    }  # fmt: skip


def test_only_web_dynos_have_a_port_wherever_one_was_set() -> None:
    assert "PORT" not in environment(dyno="worker.1", port=None, caller={"PORT": "3000"})


def test_concurrency_comes_from_the_size_unless_a_config_var_sets_it() -> None:
    assert environment(size="Performance-M")["WEB_CONCURRENCY"] == "5"
    assert environment(size="Performance-M")["WEB_CONCURRENCY_SET_BY"] == "heroku/python"
    found = environment(config={"WEB_CONCURRENCY": "9"})
    assert (found["WEB_CONCURRENCY"], "WEB_CONCURRENCY_SET_BY" in found) == ("9", False)


def test_nothing_of_the_callers_shell_is_there_unless_nothing_was_built() -> None:
    assert "VIRTUAL_ENV" not in environment()
    found = environment(caller={"VIRTUAL_ENV": "/v", "PATH": "/v/bin", "A": "shell"})
    assert (found["VIRTUAL_ENV"], found["PATH"], found["A"]) == ("/v", "/v/bin", "config")
