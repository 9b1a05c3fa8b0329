"""A configuration as the text of a file, which the loader reads as the same."""

from collections.abc import Mapping
from typing import Any

import yaml

from faultproxy.config.variables import escape
from faultproxy.config.yaml_tree import is_text

_WIDTH = 120


class _Dumper(yaml.CSafeDumper):
    """Quotes what is text and would not read so: PyYAML knows the words and numbers of YAML 1.1, not the loader's."""


def _represent_text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text(text) else '"')


_Dumper.add_representer(str, _represent_text)


def to_yaml(config: Mapping[str, Any]) -> str:
    """The text of a file that holds this. What reads as a variable is escaped."""
    text: str = yaml.dump(
        escape(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=_WIDTH
    )
    return text
