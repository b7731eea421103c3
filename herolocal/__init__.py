"""herolocal: Heroku on one's own machine, offline and without an account."""

__version__ = "0.1.0"
