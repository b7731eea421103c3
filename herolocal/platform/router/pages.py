"""The pages that the router itself serves: plain HTML in Heroku's sense, in our words."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:15vh auto;padding:0 1em;color:#333}"
    "code{background:#eee;padding:.1em .3em}"
)


def _page(title: str, text: str) -> bytes:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1><p>{text}</p></body></html>\n"
    ).encode()


APPLICATION_ERROR = _page(
    "Application error",
    "An error occurred in the application and the page could not be served. If this is your application, "
    "look at its log for the reason: <code>herolocal logs --tail</code>",
)
BAD_REQUEST = _page("Bad request", "The router could not read this request.")
