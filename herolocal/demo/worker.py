"""Settings for `rq worker --config worker`: rq reads the upper-case names of this module.

Heroku's Redis speaks TLS with a certificate it signed itself (rediss://), so `rq worker --url $REDIS_URL`
would refuse it, and adding ?ssl_cert_reqs=none to the command would refuse a plain redis:// URL.
"""

import sys

import config

if not config.REDIS_URL:
    sys.exit("The worker needs REDIS_URL: heroku addons:create heroku-redis:mini")

REDIS_URL = config.REDIS_URL
