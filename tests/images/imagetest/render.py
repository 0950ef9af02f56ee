"""Templates of a definition, rendered by the engine that `deploy` has, strictly."""

import tomllib
from pathlib import Path

import minijinja


def settings(definition: Path, changes: dict | None = None) -> dict:
    """The settings of `images/NAME/settings.toml`, with a host's changes laid over them."""
    return merge(tomllib.loads((definition / "settings.toml").read_text()), changes or {})


def merge(base: dict, changes: dict) -> dict:
    """Tables are merged; everything else is replaced. An unknown key is a mistake."""
    unknown = changes.keys() - base.keys()
    assert not unknown, f"no such settings: {unknown}"
    return base | {
        key: merge(base[key], value) if isinstance(base[key], dict) else value
        for key, value in changes.items()
    }


def render(definition: Path, values: dict, into: Path) -> None:
    """Renders `templates/NAME.j2` to `into/NAME`."""
    environment = minijinja.Environment(undefined_behavior="strict")
    for template in sorted((definition / "templates").glob("*.j2")):
        text = environment.render_str(template.read_text(), template.stem, **values)
        (into / template.stem).write_text(text + "\n")
