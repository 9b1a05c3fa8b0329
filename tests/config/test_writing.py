"""What is written reads as what it was."""

from hypothesis import given
from hypothesis import strategies as st

from faultproxy.config.writing import to_yaml
from faultproxy.config.yaml_tree import is_text, read_tree

TEXTS = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FFF, exclude_categories=["Cc", "Cs"])),
    st.sampled_from(
        ["010", "1e5", "-1", "on", "5432:54", "null", "~", "", "$", "$$", "${A}", "a: b", "- a", "1_0", "0x1"]
    ),
)


@given(st.dictionaries(TEXTS, TEXTS, min_size=1))
def test_texts_stay_texts(config: dict[str, str]) -> None:
    """Keys and values, whatever they look like: numbers, words, variables."""
    root, problems = read_tree(to_yaml(config))
    assert not problems
    assert root.plain() == config


def test_what_looks_like_a_number_is_quoted() -> None:
    """By the loader's rules, which are not those of YAML 1.1."""
    assert to_yaml({"a": "1e5", "b": "1_0", "c": 1}) == "a: \"1e5\"\nb: '1_0'\nc: 1\n"
    assert [is_text(text) for text in ("1e5", "1_0", "010", "null", "x")] == [False, True, True, False, True]
