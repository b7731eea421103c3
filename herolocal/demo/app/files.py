"""Uploads, written to the dyno's own disk: the mistake this example is here to show.

It works on a laptop. On Heroku the file is gone when the dyno restarts (at least once a day), and with two web
dynos the other one never had it. The cure is object storage, such as S3; here the page says what happened.
"""

from pathlib import Path
from uuid import uuid4

from flask import Blueprint, Flask, current_app, redirect, render_template, send_from_directory, url_for
from flask_login import current_user, login_required
from sqlalchemy import select
from werkzeug.datastructures import FileStorage

from app.forms import PICTURES, UploadForm, tidy
from app.models import Upload, db

files = Blueprint("files", __name__)


def register(app: Flask) -> None:
    app.register_blueprint(files)
    app.jinja_env.globals.update(is_here=is_here, is_picture=is_picture)


def is_here(stored_name: str | None) -> bool:
    """Whether this dyno has the file."""
    return bool(stored_name) and (current_app.config["UPLOAD_DIR"] / Path(stored_name).name).is_file()


def is_picture(stored_name: str) -> bool:
    return stored_name.rpartition(".")[2] in PICTURES


@files.route("/upload", methods=["GET", "POST"])
@login_required
def upload():
    form = UploadForm()
    if form.validate_on_submit():
        saved = _save(form.file.data)
        current_app.logger.info("%s uploaded %s, %d bytes", current_user.username, saved.stored_name, saved.size)
        return redirect(url_for("files.upload"))
    newest = db.session.scalars(select(Upload).order_by(Upload.id.desc()).limit(50)).all()
    return render_template("upload.html", form=form, uploads=newest), 400 if form.errors else 200


@files.get("/uploads/<stored_name>")
def serve(stored_name: str):
    if not is_here(stored_name):
        known = db.session.scalar(select(Upload).where(Upload.stored_name == stored_name))
        return render_template("lost.html", upload=known), 404
    # Never inline what a browser might run: only pictures are shown, the rest is downloaded.
    return send_from_directory(
        current_app.config["UPLOAD_DIR"], stored_name, as_attachment=not is_picture(stored_name), max_age=0
    )


def _save(file: FileStorage) -> Upload:
    """Under a name of our own making: the sender's is only shown."""
    name = tidy(file.filename)[-120:]
    stored_name = f"{uuid4().hex}.{name.rpartition('.')[2].lower()}"
    path = current_app.config["UPLOAD_DIR"] / stored_name
    path.parent.mkdir(exist_ok=True)
    file.save(path)
    row = Upload(
        stored_name=stored_name,
        name=name,
        size=path.stat().st_size,
        dyno=current_app.config["DYNO"],
        owner_id=current_user.id,
    )
    if is_picture(stored_name):
        current_user.avatar = stored_name
    db.session.add(row)
    db.session.commit()
    return row
