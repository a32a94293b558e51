"""Foreign text on a terminal."""


def printable(text: str) -> str:
    """`text` with its control characters escaped, which could otherwise drive the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii")
        for c in text
    )
