"""Register, sign in, sign out."""

from urllib.parse import urlsplit

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import LoginManager, current_user, login_user, logout_user
from sqlalchemy.exc import IntegrityError

from app.forms import RegisterForm, SignInForm
from app.models import User, db

accounts = Blueprint("accounts", __name__)


def register(app: Flask) -> None:
    login = LoginManager(app)
    login.login_view = "accounts.sign_in"
    login.login_message = None
    login.user_loader(lambda user_id: db.session.get(User, int(user_id)))
    app.register_blueprint(accounts)


@accounts.route("/register", methods=["GET", "POST"])
def sign_up():
    if current_user.is_authenticated:
        return redirect(url_for("pages.timeline"))
    form = RegisterForm()
    if form.validate_on_submit():
        user = _create(form.username.data, form.password.data)
        if user is not None:
            login_user(user)
            current_app.logger.info("New account %s", user.username)
            return redirect(url_for("pages.timeline"))
        form.username.errors = [*form.username.errors, _("This name is taken.")]
    return render_template("form.html", title=_("Create account"), form=form), 400 if form.errors else 200


@accounts.route("/login", methods=["GET", "POST"])
def sign_in():
    if current_user.is_authenticated:
        return redirect(url_for("pages.timeline"))
    form = SignInForm()
    if form.validate_on_submit():
        user = User.named(form.username.data)
        if user is not None and user.has_password(form.password.data):
            login_user(user)
            return redirect(_next_page())
        form.password.errors = [*form.password.errors, _("Wrong name or password.")]
    return render_template("form.html", title=_("Sign in"), form=form), 400 if form.errors else 200


@accounts.post("/logout")
def sign_out():
    logout_user()
    flash(_("Signed out."))
    return redirect(url_for("pages.timeline"))


def _create(username: str, password: str) -> User | None:
    """None when the name is taken, also by somebody who registered in this very moment."""
    user = User(username=username.lower())
    user.set_password(password)
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        return None
    return user


def _next_page() -> str:
    """Back to where a sign-in was asked for, if that is a page of this site."""
    target = request.args.get("next", "")
    parts = urlsplit(target)
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if is_ours else url_for("pages.timeline")
