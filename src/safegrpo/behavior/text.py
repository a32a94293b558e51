"""One spelling for what people write in many ways, and where sentences and quotations are."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[^\W_]+")
"""Letters and digits in a row."""

# One spelling for quotes; by number, since to the eye several of them look alike.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys((0x2018, 0x2019, 0x201B, 0x2BC, 0x2032, 0x60, 0xB4), "'"),
        **dict.fromkeys((0x201C, 0x201D, 0x201E, 0xAB, 0xBB), '"'),
        **dict.fromkeys((0x300C, 0x300D, 0x300E, 0x300F), '"'),
        **dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD), None),
        **dict.fromkeys((0x2010, 0x2011, 0x2013, 0x2014), "-"),
    }
)
# Letters of other scripts that look like Latin ones: a disguise, unless a word is all of them.
_LOOKALIKES = str.maketrans("аеіорсухѕјԁһӏνοαυ", "aeiopcyxsjdhlvoau")
_MIXED = re.compile(r"(?=\w*[a-z])(?=\w*[аеіорсухѕјԁһӏνοαυ])\w+")
_FOREIGN = re.compile("[аеіорсухѕјԁһӏνοαυ]")
_DOTTED_I = "i\u0307"  # what lower() makes of the Turkish capital

_SHORT = re.compile(r"(m|s|re|ve|ll|d|t)(?![^\W_])")
_FULL = {"m": " am", "s": " is", "re": " are", "ve": " have", "ll": " will", "d": " would"}
_PRONOUNS = frozenset("""i you we they he she it that this there here what who""".split())
_STEMS = {"ca": "cannot", "wo": "will not", "sha": "shall not"}
_AUXILIARIES = frozenset(
    """do does did is are was were has have had could would should must need""".split()
)
_APART = re.compile(r"(?<=\w) ?' ?(?=(?:m|re|s|t|ve|ll|d)\b)|(?<=\w) (?=n't\b)")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?:\s+|$)|。\s*|\n+")
_MARKDOWN = re.compile(r"[*_#>~]+|'{3}|</?[a-z]{1,12}>")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_BREAKS = re.compile(r" ?\n\s*")


def normalise(text: str) -> str:
    """Lower case, plain quotes, no markdown emphasis, "can't" as "cannot" and "I'm" as "i am".

    Newlines are kept (lists show by them); other runs of white space become one space.
    """
    text = text.lower()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace(_DOTTED_I, "i").lower().translate(_PLAIN)
        if _FOREIGN.search(text):
            text = _MIXED.sub(lambda match: match.group().translate(_LOOKALIKES), text)
    if any(sign in text for sign in "*_#>~`"):
        text = _MARKDOWN.sub("", text.replace("`", "'"))
    if "  " in text or "\t" in text or "\r" in text or "\x0c" in text or not text.isascii():
        text = _SPACES.sub(" ", text)
    if "\n" in text:
        text = _BREAKS.sub("\n", text)
    if " ." in text or " ," in text or " '" in text or " n't" in text:
        # Word-level tokenisers put spaces around signs.
        for sign in ".,!?;:":
            text = text.replace(" " + sign, sign)
        text = _APART.sub("'", text).replace("n''t", "n't").replace("'n't", "n't")
    if "'" in text:
        text = _spelled_out(text)
    return text.replace("can not", "cannot").replace(" cant ", " cannot ").strip()


def _spelled_out(text: str) -> str:
    """ "can't" as "cannot", "I'm" as "i am", "let's" as "lets"; possessives stay."""
    pieces = text.split("'")
    out = [pieces[0]]
    for piece in pieces[1:]:
        short = _SHORT.match(piece)
        word = _LAST_WORD.search(out[-1][-12:])
        if short is None or word is None:
            out += ["'", piece]
            continue
        before, end = word.group(), short.group()
        if before in _PRONOUNS and end in _FULL:
            out.append(_FULL[end] + piece[len(end) :])
        elif end == "t" and before[:-1] in _STEMS and before[-1] == "n":
            out[-1] = out[-1][: -len(before)] + _STEMS[before[:-1]]
            out.append(piece[1:])
        elif end == "t" and before[:-1] in _AUXILIARIES and before[-1] == "n":
            out[-1] = out[-1][:-1] + " not"
            out.append(piece[1:])
        elif before == "let" and end == "s":
            out.append(piece)
        else:
            out += ["'", piece]
    return "".join(out)


_LAST_WORD = re.compile(r"[^\W_]+$")


def plain_lines(text: str) -> str:
    """The normalised text with one sentence a line, so that patterns can ask for its beginning."""
    normal = normalise(text)

    def broken(match: re.Match[str]) -> str:
        end = match.group()
        if end[0] == "." and _numbers_a_list(normal, match.start()):
            return end
        return end.rstrip() + "\n"

    return _SENTENCE_END.sub(broken, normal).rstrip("\n")


def _numbers_a_list(text: str, dot: int) -> bool:
    return text[dot - 1 : dot].isdigit() and text[dot - 2 : dot - 1] in ("", " ", "\n", "(")


def is_quoted(text: str, position: int) -> bool:
    """Whether the character at `position` stands between quotation marks."""
    line = text.rfind("\n", 0, position) + 1
    # A dash with no space after it opens direct speech in many languages.
    if text.count('"', 0, position) % 2 == 1 or re.match(r"-[^\W\d]|-[¡¿]", text[line : line + 2]):
        return True
    opened = _OPENING_QUOTE.search(text, max(0, position - 200), position)
    return opened is not None and not _CLOSING_QUOTE.search(text, opened.end(), position)


_OPENING_QUOTE = re.compile(r"(?<![^\s:(,])'(?=\w)")
_CLOSING_QUOTE = re.compile(r"[\w.,!?]'(?![\w])")
_SPELLINGS = {
    "cannot": r"c[\W_]*a[\W_]*n[\W_]*(?:n[\W_]*o[\W_]*)?t",
    "not": r"n[\W_]*o?[\W_]*t",
    "am": r"a?m",
    "is": r"i?s",
    "are": r"(?:a[\W_]*)?re",
    "have": r"(?:ha)?ve",
    "will": r"(?:wi|wo)?(?:ll)?",
    "would": r"(?:woul)?d",
}


def locate(answer: str, words: str) -> tuple[int, int] | None:
    """Where normalised `words` stand in an answer, (start, end) in characters; None if not found.

    Only letters and digits count, since normalising changes the signs between them.
    """
    parts = [_SPELLINGS.get(w) or r"[\W_]*".join(w) for w in WORD.findall(words)]
    if not parts:
        return None
    try:
        found = re.search(r"[\W_]*".join(parts), answer, re.IGNORECASE)
    except RecursionError:
        return None
    return found.span() if found else None
