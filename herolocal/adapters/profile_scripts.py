"""The `.profile.d` scripts that Heroku's Python buildpack leaves in a slug, with the same effects.

Source: heroku-buildpack-python v351. Memory and cores come from the dyno's size through DYNO_RAM, not from a cgroup.
"""

SCRIPTS = {
    "python.sh": """\
export PATH="${HOME}/.heroku/python/bin:${PATH}"
export PYTHONUNBUFFERED=true
export LANG="${LANG:-en_US.UTF-8}"
export PYTHONPATH="${PYTHONPATH:-${HOME}}"
export PIP_DISABLE_PIP_VERSION_CHECK=1
""",
    "python.gunicorn.sh": """\
export GUNICORN_CMD_ARGS="${GUNICORN_CMD_ARGS:---access-logfile -}"
export FORWARDED_ALLOW_IPS='*'
""",
    "WEB_CONCURRENCY.sh": """\
case "${DYNO:-}" in
  web.*)
    echo "Python buildpack: Detected ${DYNO_RAM} MB available memory and ${HEROLOCAL_CORES} CPU cores." >&2
    if [ "${WEB_CONCURRENCY_SET_BY:-}" = "heroku/python" ]; then
      echo "Python buildpack: Defaulting WEB_CONCURRENCY to ${WEB_CONCURRENCY} based on the available memory." >&2
    else
      echo "Python buildpack: Skipping automatic configuration of WEB_CONCURRENCY since it's already set." >&2
    fi
    ;;
esac
unset HEROLOCAL_CORES
""",
}
