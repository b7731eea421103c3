"""Heroku's time limits in real time, each once: `tests/run --slow`."""

import json
import time

import pytest

from tests.acceptance.driver import Place, get

pytestmark = pytest.mark.slow
PLAIN = ("--addons", "none", "--no-build", "--isolation", "copy")
SILENT = """\
import os, socket, time
server = socket.create_server(("0.0.0.0", int(os.environ["PORT"])))
client, _ = server.accept()
time.sleep(1000)
"""


def test_r10_after_60_seconds_without_a_listener(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.acceptance.driver.PATIENCE", 90)
    place.write({"Procfile": "web: exec sleep 1000\n"})
    with place.up(*PLAIN) as up:
        up.wait_for(r"Starting process with command")
        began = time.monotonic()
        up.wait_for(r"Error R10 \(Boot timeout\) -> Web process failed to bind to \$PORT within 60 seconds of launch")
        assert 58 < time.monotonic() - began < 64
        up.wait_for(r"Process exited with status 137")
        up.wait_for(r"State changed from starting to crashed")
        up.interrupt()


def test_r12_after_30_seconds_of_a_process_that_ignores_sigterm(place: Place) -> None:
    place.write({"Procfile": "worker: trap '' TERM; echo deaf; while true; do sleep 1; done\n"})
    with place.up(*PLAIN) as up:
        up.wait_for(r"app\[worker\.1\]: deaf")
        began = time.monotonic()
        assert up.interrupt() == 130
        assert 29 < time.monotonic() - began < 34
        assert (
            "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM" in up.output
        )


def test_h12_after_30_seconds_without_a_byte(place: Place) -> None:
    place.write({"Procfile": "web: exec python3 silent.py\n", "silent.py": SILENT})
    with place.up(*PLAIN) as up:
        url = up.ready().url
        began = time.monotonic()
        assert get(url)[0] == 503
        assert 29 < time.monotonic() - began < 34
        up.wait_for(r'at=error code=H12 desc="Request timeout"')
        assert json.loads(place.run("ps", "--json").stdout)[0]["state"] == "up"
        up.interrupt()
