"""Pages for what went wrong, in the visitor's language."""

from flask import Flask, current_app, render_template
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import OperationalError, ProgrammingError
from werkzeug.exceptions import HTTPException

from app.models import db


def register(app: Flask) -> None:
    app.register_error_handler(OperationalError, no_database)
    app.register_error_handler(ProgrammingError, no_database)
    app.register_error_handler(CSRFError, expired_form)
    app.register_error_handler(HTTPException, any_other)


def no_database(error: Exception):
    """The server is away, or the tables are not there yet. This page must not ask the database who is signed in."""
    db.session.rollback()
    current_app.logger.error("The database cannot be used: %s", str(error).splitlines()[0])
    return render_template("no_database.html"), 503


def expired_form(error: CSRFError):
    return render_template("error.html", error=error, expired=True), 400


def any_other(error: HTTPException):
    return render_template("error.html", error=error, expired=False), error.code
