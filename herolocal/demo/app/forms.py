"""The forms, each with a hidden csrf_token."""

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.file import FileAllowed, FileField, FileRequired, FileSize
from wtforms import PasswordField, StringField, SubmitField, TextAreaField
from wtforms.validators import DataRequired, EqualTo, Length, Regexp

PICTURES = ("png", "jpg", "jpeg", "gif", "webp")
UPLOADS = (*PICTURES, "txt", "pdf")


def tidy(text: str | None) -> str:
    """No blanks around, and no NUL, which PostgreSQL cannot store."""
    return (text or "").replace("\0", "").strip()


class SignInForm(FlaskForm):
    username = StringField(_l("User name"), filters=[tidy], validators=[DataRequired()])
    password = PasswordField(_l("Password"), validators=[DataRequired()])
    submit = SubmitField(_l("Sign in"))


class RegisterForm(FlaskForm):
    username = StringField(
        _l("User name"),
        filters=[tidy],
        validators=[
            DataRequired(),
            Regexp(r"[A-Za-z0-9_.-]{2,32}\Z", message=_l("2 to 32 letters, digits, dots, dashes or underscores.")),
        ],
    )
    password = PasswordField(_l("Password"), validators=[DataRequired(), Length(min=8, max=128)])
    repeated = PasswordField(
        _l("Password, once more"), validators=[EqualTo("password", message=_l("The two passwords differ."))]
    )
    submit = SubmitField(_l("Create account"))


class PostForm(FlaskForm):
    body = TextAreaField(_l("What is new?"), filters=[tidy], validators=[DataRequired(), Length(max=280)])
    submit = SubmitField(_l("Post"))


class UploadForm(FlaskForm):
    file = FileField(
        _l("Picture, text or PDF, 4 MB at most"),
        validators=[
            FileRequired(message=_l("Choose a file first.")),
            FileAllowed(UPLOADS, message=_l("Only pictures, .txt and .pdf.")),
            FileSize(max_size=4 * 1024 * 1024, message=_l("This file is too large: 4 MB at most.")),
        ],
    )
    submit = SubmitField(_l("Upload"))
