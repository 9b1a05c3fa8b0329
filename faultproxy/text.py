"""Text from elsewhere, as it may stand in a line of ours."""


def one_line(text: str) -> str:
    """The text with what cannot be printed escaped, line ends among it: it steers no terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
