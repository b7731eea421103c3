"""Every error herolocal raises, drawn as a tree; nothing else in the package defines one.

HerolocalError
├── UsageError                  the person asked for something that cannot be (exit code 2, API 422)
│   ├── InvalidProcfile
│   ├── InvalidManifest         app.json
│   ├── InvalidEnvFile          .env
│   ├── InvalidFormation
│   ├── InvalidName
│   ├── InvalidTemplate         compose.templates/*.yml
│   └── UnknownAddon            add-on service or plan
├── NotFound                    an app, dyno or add-on that does not exist (API 404)
├── Conflict                    already there, taken, busy (API 409/422)
│   └── PortTaken
├── BuildFailed                 the source could not become a slug
│   ├── SlugTooLarge
│   └── DependenciesFailed
├── ReleaseFailed               the release command ended with a status other than 0
├── MachineError                the machine refused (exit code 1, API 503)
│   ├── SpawnFailed
│   ├── WorkspaceFailed         scratch directory: disk full, read-only
│   ├── IsolationUnavailable    namespaces were asked for and this kernel refuses
│   ├── EngineUnavailable       no container engine answers
│   ├── ImageUnavailable
│   ├── ServerFailed            an add-on's server did not become ready
│   ├── MissingPart             an extra of the package is not installed
│   └── StoreFailed
├── PlatformUnreachable         the platform process cannot be reached, or is another version
└── Unauthorized                no token, or a wrong one (API 401)
"""


class HerolocalError(Exception):
    """The root. `str(error)` says what was asked, what was found and what to do."""


def expected(error: BaseException) -> HerolocalError | None:
    """The error of ours in a group of errors, or this one; None when there is a fault among them."""
    if isinstance(error, BaseExceptionGroup):
        found = [expected(item) for item in error.exceptions]
        return found[0] if found and None not in found else None
    return error if isinstance(error, HerolocalError) else None


class UsageError(HerolocalError):
    """What was asked cannot be done as written; nothing was changed."""


class InvalidProcfile(UsageError):
    """A line of a Procfile is wrong; the message names file and line number."""


class InvalidManifest(UsageError):
    """app.json is not JSON, or a key has the wrong type."""


class InvalidEnvFile(UsageError):
    """A line of a `.env` file cannot be read; the message names file and line number."""


class InvalidFormation(UsageError):
    """A formation such as `web=2` is malformed, or names an unknown process type or size."""


class InvalidName(UsageError):
    """A name that Heroku would refuse for an app, process type or config var."""


class InvalidTemplate(UsageError):
    """A compose template holds a key that herolocal does not honor, or lacks one it needs."""


class UnknownAddon(UsageError):
    """No template describes this add-on service, or the service has no such plan."""


class NotFound(HerolocalError):
    """The named app, dyno, release or add-on does not exist."""


class Conflict(HerolocalError):
    """What was asked collides with something that is already there."""


class PortTaken(Conflict):
    """A port that was asked for by number is held by another program."""


class BuildFailed(HerolocalError):
    """The source could not be made into a slug; the running release is untouched."""


class SlugTooLarge(BuildFailed):
    """The compressed slug is over Heroku's limit."""


class DependenciesFailed(BuildFailed):
    """The package manager ended with an error; its own output was streamed before."""


class ReleaseFailed(HerolocalError):
    """The release command failed; the formation stays on the old release."""


class MachineError(HerolocalError):
    """The machine refused what Heroku's machines would have done."""


class SpawnFailed(MachineError):
    """A process could not be started."""


class WorkspaceFailed(MachineError):
    """A scratch directory could not be filled, read or wiped."""


class IsolationUnavailable(MachineError):
    """`--isolation namespace` was asked for, and the kernel refuses it."""


class EngineUnavailable(MachineError):
    """No container engine answers, or it stopped answering."""


class ImageUnavailable(MachineError):
    """An image is neither loaded nor can be pulled."""


class ServerFailed(MachineError):
    """An add-on's server did not start, or did not become ready in time."""


class MissingPart(MachineError):
    """A part of herolocal that this needs is not installed; the message names what to type."""


class StoreFailed(MachineError):
    """The state file cannot be opened, or belongs to another version."""


class PlatformUnreachable(HerolocalError):
    """No platform process answers, or one of another version does."""


class Unauthorized(HerolocalError):
    """The request carried no token, or a wrong one."""
