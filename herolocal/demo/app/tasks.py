"""Work for the worker dyno, handed over through Redis: counting what somebody wrote."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from flask import current_app
from redis import Redis, RedisError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from sqlalchemy import select

from app.models import Post, db


def count_words(user_id: int) -> dict[str, Any]:
    """Runs in the worker dyno. The result goes back through Redis: the web dyno cannot see a file written here."""
    from app import create_app  # the worker's process has no application until there is a job

    app = create_app()
    with app.app_context():
        bodies = db.session.scalars(select(Post.body).where(Post.author_id == user_id)).all()
        words = [word.strip(".,;:!?¡¿()\"'").lower() for body in bodies for word in body.split()]
        often = Counter(word for word in words if len(word) > 3).most_common(5)
        app.logger.info("Counted %d words in %d posts of user %d", len(words), len(bodies), user_id)
        return {"posts": len(bodies), "words": len(words), "often": often, "dyno": app.config["DYNO"]}


@dataclass(frozen=True)
class Task:
    """A job as the page shows it: none, queued, started, finished or failed."""

    status: str = "none"
    result: dict[str, Any] = field(default_factory=dict)


def connect() -> Redis:
    """Raises RedisError: here when no Redis is configured, later, in use, when it does not answer."""
    if not current_app.config["REDIS_URL"]:
        raise RedisError("REDIS_URL is not set")
    return Redis.from_url(current_app.config["REDIS_URL"], socket_connect_timeout=2, socket_timeout=2)


def start(user_id: int) -> str:
    """Hand the counting to a worker and return the job's id."""
    queue = Queue(current_app.config["TASK_QUEUE"], connection=connect())
    return str(queue.enqueue(count_words, user_id, result_ttl=86_400).id)


def look_up(task_id: str | None) -> Task:
    connection = connect()
    if not task_id:
        return Task()
    try:
        job = Job.fetch(task_id, connection=connection)
    except NoSuchJobError:
        return Task()  # Redis forgets a result after a day
    return Task(status=job.get_status().value, result=job.return_value() or {})
