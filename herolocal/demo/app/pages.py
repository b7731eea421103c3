"""What the site shows: timeline, people, search, the background task, and its health."""

import platform

from flask import Blueprint, Flask, abort, current_app, flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user, login_required
from redis import RedisError
from sqlalchemy import select, text

from app import tasks
from app.forms import PostForm, tidy
from app.models import Post, User, db
from app.search import Search, SearchUnavailable

pages = Blueprint("pages", __name__)


def register(app: Flask) -> None:
    app.register_blueprint(pages)
    app.context_processor(lambda: {"here": where_am_i()})
    app.after_request(_harden)


def where_am_i() -> dict[str, str]:
    """Which dyno answers: every page shows it."""
    return {
        "dyno": current_app.config["DYNO"],
        "release": current_app.config["RELEASE"],
        "python": platform.python_version(),
        "database": db.engine.dialect.name,
    }


def search_engine() -> Search:
    engine: Search = current_app.extensions["search"]
    return engine


@pages.get("/")
def timeline():
    return render_template("timeline.html", form=PostForm(), posts=_page_of(Post.newest_first()))


@pages.post("/post")
@login_required
def publish():
    form = PostForm()
    if not form.validate_on_submit():
        flash(" ".join(error for errors in form.errors.values() for error in errors))
        return redirect(url_for("pages.timeline"))
    post = Post(body=form.body.data, author_id=current_user.id)
    db.session.add(post)
    db.session.commit()
    current_app.logger.info("%s posted %d", current_user.username, post.id)
    _index(post)
    return redirect(url_for("pages.timeline"))


@pages.post("/post/<int(max=2147483647):post_id>/delete")
@login_required
def delete(post_id: int):
    post = db.session.get(Post, post_id) or abort(404)
    if post.author_id != current_user.id:
        abort(403)
    db.session.delete(post)
    db.session.commit()
    _unindex(post_id)
    return redirect(url_for("pages.timeline"))


@pages.get("/user/<username>")
def user(username: str):
    person = User.named(tidy(username)) or abort(404)
    posts = _page_of(Post.newest_first().filter_by(author_id=person.id))
    return render_template("user.html", person=person, posts=posts)


@pages.get("/search")
def search():
    """503 while there is no search: the rest of the site does not need it."""
    words = tidy(request.args.get("q"))[:200]
    try:
        ids = search_engine().find(words) if words else []
    except SearchUnavailable as error:
        current_app.logger.warning("Search is unavailable: %s", error)
        return render_template("search.html", words=words, posts=None, engine=search_engine()), 503
    found = {post.id: post for post in db.session.scalars(select(Post).where(Post.id.in_(ids)))}
    posts = [found[post_id] for post_id in ids if post_id in found]
    return render_template("search.html", words=words, posts=posts, engine=search_engine())


@pages.route("/tasks", methods=["GET", "POST"])
@login_required
def task():
    """503 while there is no Redis."""
    try:
        if request.method == "POST":
            current_user.task_id = tasks.start(current_user.id)
            db.session.commit()
            return redirect(url_for("pages.task"))
        return render_template("tasks.html", task=tasks.look_up(current_user.task_id))
    except RedisError as error:
        current_app.logger.warning("Background tasks are unavailable: %s", error)
        return render_template("tasks.html", task=None), 503


@pages.get("/healthz")
def health():
    """What this dyno reaches. A database that does not answer is a 503, see errors.py."""
    db.session.execute(text("SELECT 1"))
    here = where_am_i()
    return jsonify(dyno=here["dyno"], database=here["database"], search=search_engine().is_up(), redis=_redis_answers())


def _page_of(query):
    number = min(max(request.args.get("page", 1, type=int), 1), 10_000)
    return db.paginate(query, page=number, per_page=20, error_out=False)


def _index(post: Post) -> None:
    if not search_engine().is_configured:
        return
    try:
        search_engine().add([post])
    except SearchUnavailable as error:
        current_app.logger.warning("Post %d is not searchable: %s", post.id, error)
        flash(_("Posted, but the search server did not answer: search will not find it."))


def _unindex(post_id: int) -> None:
    if not search_engine().is_configured:
        return
    try:
        search_engine().remove(post_id)
    except SearchUnavailable as error:
        current_app.logger.warning("Post %d is still in the search index: %s", post_id, error)


def _redis_answers() -> bool:
    try:
        return bool(tasks.connect().ping())
    except RedisError:
        return False


def _harden(response):
    """Styles are in the page, everything else comes from this site, and nothing is a script."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
    )
    return response
