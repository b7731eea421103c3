"""The images that add-ons run in during tests: built by `tests/services/images.sh`, or others that a person names."""

import os

BUILT = {
    "POSTGRES": "herolocal-test/postgres:17",
    "REDIS": "herolocal-test/redis:7",
    "ELASTICSEARCH": "herolocal-test/elasticsearch:8.19.9",
}


def variables() -> dict[str, str]:
    """`HEROLOCAL_IMAGE_…` for each Compose service."""
    names = {f"HEROLOCAL_IMAGE_{service}": image for service, image in BUILT.items()}
    return {name: os.environ.get(name, image) for name, image in names.items()}
