"""Dyno sizes and every time-out and limit of Heroku's runtime, each with its source."""

from dataclasses import dataclass
from datetime import timedelta

from herolocal.errors import InvalidFormation


@dataclass(frozen=True, slots=True)
class DynoSize:
    """One dyno size. `ram` in MB; `r15` is the multiple of it at which a dyno is killed.

    Source: measurements of heroku-buildpack-python's tests on the platform;
    https://devcenter.heroku.com/articles/dyno-scaling-and-process-limits.
    """

    name: str
    ram: int
    cores: int
    web_concurrency: int
    threads: int
    r15: float


SIZES = (
    DynoSize("Eco", 512, 8, 2, 256, 2.0),
    DynoSize("Basic", 512, 8, 2, 256, 2.0),
    DynoSize("Standard-1X", 512, 8, 2, 256, 2.0),
    DynoSize("Standard-2X", 1024, 8, 4, 512, 2.0),
    DynoSize("Performance-M", 2560, 2, 5, 16384, 2.0),
    DynoSize("Performance-L", 14336, 8, 17, 32768, 2.0),
    DynoSize("Performance-L-RAM", 30720, 4, 9, 24576, 1.2),
    DynoSize("Performance-XL", 63488, 8, 17, 32768, 1.2),
    DynoSize("Performance-2XL", 129024, 16, 33, 65536, 1.2),
)
DEFAULT_SIZE = SIZES[1]
RELEASE_SIZE = SIZES[2]

# Seconds, unless the name says otherwise.
BOOT_TIMEOUT = 60.0  # R10, https://devcenter.heroku.com/articles/error-codes
EXIT_TIMEOUT = 30.0  # R12, https://devcenter.heroku.com/articles/dyno-shutdown-behavior
RELEASE_TIMEOUT = 3600.0  # https://devcenter.heroku.com/articles/release-phase
# The first crash restarts at once, later ones wait longer each time, until a release
# (https://devcenter.heroku.com/changelog-items/344). Heroku's own numbers are not published; these are ours.
CRASH_BACKOFF_FIRST = 10.0
CRASH_BACKOFF_CEILING = 1200.0

ROUTER_FIRST_BYTE = 30.0  # H12, https://devcenter.heroku.com/articles/http-routing
ROUTER_IDLE = 55.0  # H15 and H28, rolling
ROUTER_CONNECT = 5.0  # H19
ROUTER_BOOT_QUEUE = 75.0  # H20
ROUTER_ATTEMPTS = 10
ROUTER_POOL_IDLE = 90.0
ROUTER_IN_FLIGHT_PER_DYNO = 200  # H11
ROUTER_HEADER_BYTES = 8192
ROUTER_HEADERS = 1000

LOG_LINES = 1500  # https://devcenter.heroku.com/articles/logging
LOG_LINE_BYTES = 10_000
LOG_PARTIAL_FLUSH = 0.2  # ours: an unfinished line is shown after this

SLUG_BYTES = 500 * 1024 * 1024  # https://devcenter.heroku.com/articles/slug-compiler
SLUG_SOFT_BYTES = 300 * 1024 * 1024
CONFIG_VARS_BYTES = 64 * 1024
MAX_DYNOS = 100

ADDON_READY_TIMEOUT = 180.0  # ours: Elasticsearch takes a minute on two busy cores
ADDON_STOP_TIMEOUT = 20.0  # ours, then SIGKILL
ADDON_SETUP_TIMEOUT = 120.0  # ours: a new PostgreSQL data directory
ENGINE_TIMEOUT = 20.0  # ours: any one answer of the container engine, or the next piece of a pull
HANDSHAKE_TIMEOUT = 60.0  # PostgreSQL's authentication_timeout
SERVER_LOG_BYTES = 1024 * 1024  # ours: per embedded server, twice
CERTIFICATE_DAYS = 365  # of the local authority
CERTIFICATE_RENEWAL_DAYS = 30

KEPT_RELEASES = 10  # ours: of so many releases of an app the slugs stay on the disk
KEPT_LAYERS = timedelta(days=30)  # ours: dependencies that no build uses for so long are removed
TRASH_BYTES = 100 * 1024 * 1024  # ours


def size_named(name: str) -> DynoSize:
    """The size whose name this is, in any case; raises InvalidFormation."""
    for size in SIZES:
        if size.name.lower() == name.lower():
            return size
    names = ", ".join(size.name for size in SIZES)
    raise InvalidFormation(f"No such dyno size as `{name}`. Available: {names}.")
