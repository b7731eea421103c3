"""Everything that differs between a laptop and Heroku comes in as a config var, an environment variable."""

import os
from pathlib import Path
from urllib.parse import urlsplit

BASE_DIR = Path(__file__).resolve().parent


def database_uri(url: str) -> str:
    """What SQLAlchemy wants to hear. Heroku says postgres://, which it no longer accepts; no URL means SQLite."""
    if not url:
        return f"sqlite:///{BASE_DIR / 'app.db'}"
    scheme, _, rest = url.partition("://")
    # The driver is named because SQLAlchemy's default for postgresql:// is no longer psycopg2.
    return f"postgresql+psycopg2://{rest}" if scheme in ("postgres", "postgresql") else url


def search_url(url: str) -> str:
    """The client insists on a port, the add-on's URL has none when it is 80 or 443."""
    parts = urlsplit(url)
    if not url or parts.port:
        return url
    return parts._replace(netloc=f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}").geturl()


def redis_url(url: str) -> str:
    """Accept Heroku's self-signed certificate, as its documentation tells every client to."""
    if not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=none"


DYNO = os.environ.get("DYNO", "")
RELEASE = os.environ.get("HEROKU_RELEASE_VERSION", "")

SECRET_KEY = os.environ.get("SECRET_KEY", "")
LOG_TO_STDOUT = bool(os.environ.get("LOG_TO_STDOUT"))
LANGUAGES = {"en": "English", "es": "Español"}

SQLALCHEMY_DATABASE_URI = database_uri(os.environ.get("DATABASE_URL", ""))
SQLALCHEMY_ENGINE_OPTIONS = {"pool_pre_ping": True}  # a database that restarted costs no request
SEARCH_URL = search_url(os.environ.get("ELASTICSEARCH_URL") or os.environ.get("SEARCHBOX_URL") or "")
REDIS_URL = redis_url(os.environ.get("REDIS_URL", ""))
TASK_QUEUE = "microblog-tasks"

# A dyno's own disk: written by one dyno, seen by no other, gone when that dyno restarts. That is the lesson.
UPLOAD_DIR = BASE_DIR / "uploads"
LOG_DIR = BASE_DIR / "logs"
MAX_CONTENT_LENGTH = 32 * 1024 * 1024  # the form allows less, with a better message

SESSION_COOKIE_SAMESITE = "Lax"
# The token alone guards the forms, so that curl can send them over https without a Referer header.
WTF_CSRF_SSL_STRICT = False
