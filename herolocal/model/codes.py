"""Heroku's H codes: status, severity and text of each. Source: https://devcenter.heroku.com/articles/error-codes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One error of the router. `sock` stands before `at=` where Heroku puts it there."""

    name: str
    desc: str
    status: int
    at: str = "error"
    sock: str = ""

    @property
    def head(self) -> str:
        """How its log line begins."""
        sock = f"sock={self.sock} " if self.sock else ""
        return f'{sock}at={self.at} code={self.name} desc="{self.desc}"'


H10 = Code("H10", "App crashed", 503)
H11 = Code("H11", "Backlog too deep", 503)
H12 = Code("H12", "Request timeout", 503)
H13 = Code("H13", "Connection closed without response", 503)
H14 = Code("H14", "No web processes running", 503)
H15 = Code("H15", "Idle connection", 503)
H17 = Code("H17", "Poorly formatted HTTP response", 503)
H18 = Code("H18", "Server Request Interrupted", 503, sock="backend")
H19 = Code("H19", "Backend connection timeout", 503)
H20 = Code("H20", "App boot timeout", 503)
H21 = Code("H21", "Backend connection refused", 503)
H27 = Code("H27", "Client Request Interrupted", 499, at="warning", sock="client")
H28 = Code("H28", "Client Connection Idle", 499, at="warning")
H81 = Code("H81", "Blank app", 503, at="info")
H99 = Code("H99", "Platform error", 503)

CODES = (H10, H11, H12, H13, H14, H15, H17, H18, H19, H20, H21, H27, H28, H81, H99)
