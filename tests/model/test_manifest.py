"""What app.json may ask for, and how a mistake in it is named."""

import json
import random

import pytest

from herolocal.errors import InvalidManifest
from herolocal.model.formation import FormationRow
from herolocal.model.limits import size_named
from herolocal.model.manifest import AddonRequest, parse, values


def test_what_it_asks_for_is_read_and_the_rest_is_named() -> None:
    text = {
        "name": "blog",
        "env": {"A": "1", "B": {"required": False}, "S": {"generator": "secret"}},
        "stack": "heroku-24",
        "formation": {"web": {"quantity": 2, "size": "standard-1x"}},
        "addons": ["x:y", {"plan": "z", "as": "OTHER", "options": {"version": "16"}}],
    }
    found = parse(json.dumps(text))
    assert found.formation == (FormationRow("web", 2, size_named("Standard-1X")),)
    assert found.addons == (AddonRequest("x:y"), AddonRequest("z", "OTHER"))
    assert found.unhonored == ("stack", "addons[1].options")
    made = values(found, random.Random(1), {})
    assert made["A"] == "1"
    assert "B" not in made
    assert len(made["S"]) == 64
    assert values(found, random.Random(2), {"S": made["S"]})["S"] == made["S"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"app.json:1:2: not JSON"),
        ("[]", "the top level must be an object, not a list"),
        ('{"env": []}', "env must be an object, not a list"),
        ('{"env": {"A": 1}}', "env.A must be an object, not a number"),
        ('{"env": {"A": {"value": 1}}}', "env.A.value must be a string, not a number"),
        ('{"env": {"A": {"generator": "x"}}}', "env.A.generator must be `secret`"),
        (
            '{"formation": {"web": {"quantity": "2"}}}',
            "formation.web.quantity must be a whole number from 0, not a string",
        ),
        ('{"formation": {"web": {"size": "huge"}}}', "formation.web.size: No such dyno size"),
        ('{"env": {"A=B": "1"}}', "env.A=B: The config var name 'A=B' may only have"),
        ('{"env": {"A": "x\\u0000"}}', "env.A holds a character"),
        ('{"env": {"A": "\\ud800"}}', "env.A holds a character"),
        ('{"addons": {}}', "addons must be a list, not an object"),
        ('{"addons": [1]}', r"addons\[0\] must be an object"),
    ],
)
def test_a_mistake_is_named_by_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        parse(text)
