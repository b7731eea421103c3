"""What gunicorn and flask start: `gunicorn microblog:app`, `FLASK_APP=microblog.py flask …`."""

from app import create_app

app = create_app()
app.logger.info("Microblog startup")
