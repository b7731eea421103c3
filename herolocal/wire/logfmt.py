"""The router's log line, in the format of Heroku's Router 2.0 (https://devcenter.heroku.com/articles/http-routing)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What a line says of one request; times in whole milliseconds, None where there is none."""

    method: str
    path: str
    host: str
    request_id: str
    fwd: str
    tls: bool
    dyno: str = ""
    connect: int | None = None
    service: int | None = None
    status: int = 0
    bytes: int | None = None


def line(request: Request, head: str = "at=info") -> str:
    """`at=info method=GET path="/" …`; `head` is what an error puts first."""
    path = request.path.replace('"', "%22")
    return (
        f'{head} method={request.method} path="{path}" host={request.host} request_id={request.request_id} '
        f'fwd="{request.fwd}" dyno={request.dyno} connect={_ms(request.connect)} service={_ms(request.service)} '
        f"status={request.status} bytes={'' if request.bytes is None else request.bytes} protocol=http1.1 "
        f"tls={'true' if request.tls else 'false'} tls_version=unknown"
    )


def _ms(value: int | None) -> str:
    return "" if value is None else f"{value}ms"
