"""Which language a page is in: the one picked with ?lang=, else the browser's first that we have."""

from urllib.parse import urlencode

from flask import Flask, current_app, request, session
from flask_babel import Babel


def register(app: Flask) -> None:
    Babel(app, locale_selector=choose)
    app.before_request(remember_choice)
    app.jinja_env.globals.update(current_language=choose, in_language=in_language)


def choose() -> str:
    languages = list(current_app.config["LANGUAGES"])
    if session.get("lang") in languages:
        return str(session["lang"])
    return request.accept_languages.best_match(languages) or "en"


def remember_choice() -> None:
    """?lang=es on any page."""
    picked = request.args.get("lang")
    if picked in current_app.config["LANGUAGES"]:
        session["lang"] = picked


def in_language(code: str) -> str:
    """This very page in another language."""
    return "?" + urlencode({**request.args, "lang": code})
