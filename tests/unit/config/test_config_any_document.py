"""Whatever an operator writes, the answer is a configuration or a ConfigError."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from config.errors import ConfigError
from config.fields import Section
from config.keys import keys
from config.load import effective, load
from config.model import Config
from config.validate import validate

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1s", "/a", "/{id}", "x", "a:0"])
)
WORDS = st.sampled_from(sorted({key.path[-1] for key in keys(Config)} | {"main", "user", "X", ""}))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=4)
)


def near(section: type[Section]) -> st.SearchStrategy[dict[str, Any]]:
    """Documents that are almost right: known keys, some with any value."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for key in keys(section):
        if len(key.path) == 1:
            fields[key.path[0]] = VALUES
    for name, inner in (
        (key.path[0], key.inner) for key in keys(section) if len(key.path) == 1 and key.inner
    ):
        named = name in {"upstreams", "resources"}
        below = near(inner)
        fields[name] = (st.dictionaries(WORDS, below, max_size=2) if named else below) | VALUES
    return st.fixed_dictionaries({}, optional=fields)


@given(near(Config) | st.dictionaries(WORDS, VALUES, max_size=4))
def test_any_document_is_a_configuration_or_has_problems(document: dict[str, Any]) -> None:
    config, problems = validate(document, [])
    assert config or problems
    if config:
        effective(config)


@given(
    st.dictionaries(
        WORDS.map(str.upper) | st.sampled_from(["UPSTREAMS__MAIN__URL", "OPS__LISTEN"]), st.text()
    )
)
def test_any_environment_is_a_configuration_or_a_config_error(environ: dict[str, str]) -> None:
    with contextlib.suppress(ConfigError):
        load(None, {f"HANDSHAKE_{name}": value for name, value in environ.items()})
