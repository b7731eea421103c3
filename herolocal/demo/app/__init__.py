"""A microblog: accounts, posts, search, two languages, uploads, a background task."""

import logging
import os
import sys
from logging.handlers import RotatingFileHandler

from flask import Flask
from flask_migrate import Migrate
from flask_wtf import CSRFProtect

from app import accounts, commands, errors, files, language, pages
from app.models import db
from app.search import Search


def create_app() -> Flask:
    """One application, made from the config vars of this process."""
    app = Flask(__name__)
    app.config.from_object("config")
    _require_secret_key(app)
    _set_up_logging(app)
    db.init_app(app)
    Migrate(app, db)
    CSRFProtect(app)
    app.extensions["search"] = Search(app.config["SEARCH_URL"])
    for part in (language, accounts, files, pages, errors, commands):
        part.register(app)
    return app


def _require_secret_key(app: Flask) -> None:
    """A laptop may do without; on a dyno, a key that everybody can read here would let anybody sign in as anybody."""
    if app.config["SECRET_KEY"]:
        return
    if os.environ.get("DYNO"):
        # An exception, because gunicorn would start a worker that exits by itself again and again.
        raise RuntimeError('SECRET_KEY is not set: heroku config:set SECRET_KEY="$(openssl rand -hex 32)"')
    app.config["SECRET_KEY"] = "only for development"


def _set_up_logging(app: Flask) -> None:
    """To stdout when LOG_TO_STDOUT is set: Heroku collects that. Else to a file, which a dyno loses."""
    if app.config["LOG_TO_STDOUT"]:
        handler: logging.Handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))  # Heroku adds the time
    else:
        app.config["LOG_DIR"].mkdir(exist_ok=True)
        handler = RotatingFileHandler(app.config["LOG_DIR"] / "microblog.log", maxBytes=100_000, backupCount=3)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    app.logger.handlers = [handler]  # not added to what an earlier create_app() of this process set
    app.logger.propagate = False
    app.logger.setLevel(logging.INFO)
