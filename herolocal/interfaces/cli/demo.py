"""Writes the example into a directory and commits it to git there."""

import shutil
import subprocess
from pathlib import Path

from herolocal.errors import UsageError

SOURCE = Path(__file__).parents[2] / "demo"
_AUTHOR = ("-c", "user.name=herolocal", "-c", "user.email=herolocal@localhost", "-c", "commit.gpgsign=false")


def write_demo(target: Path) -> None:
    """Copy, `git init`, commit; a directory that holds the example already is left as it is. Raises UsageError."""
    if (target / "microblog.py").exists() and (target / "Procfile").exists():
        return
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty. Name another directory: herolocal demo DIR")
    git = shutil.which("git")
    if git is None:
        raise UsageError("The example is a git repository, and git is not installed. Install git first.")
    try:
        shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns("__pycache__", "*.mo"), dirs_exist_ok=True)
        for path in target.glob("dot-*"):
            path.rename(path.with_name("." + path.name.removeprefix("dot-")))
        for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "A small microblog")):
            subprocess.run([git, *_AUTHOR, *arguments], cwd=target, check=True, capture_output=True)
    except OSError as error:
        raise UsageError(f"Cannot write the example into {target}: {error.strerror}.") from error
    except subprocess.CalledProcessError as error:
        raise UsageError(f"git failed in {target}: {error.stderr.decode('utf-8', 'replace').strip()}") from error
