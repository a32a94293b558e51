"""Answers that say nothing: no words, gibberish, repetition, an echo, or cut off too early."""

from __future__ import annotations

import re
from itertools import pairwise, takewhile

from safegrpo.behavior.text import WORD

_MARKUP = re.compile(
    r"<\|im_start\|>\s*\w+|<\|[a-z_]{1,20}\|>|</?[a-z_][^<>\n]{0,80}>|&[a-z]{2,6};"
    r"|\[/?(?:inst|image|img)\]|```\w*",
    re.I,
)
# What programs and templates leave where an answer should be.
_PLACEHOLDER = re.compile(
    r"(?:assistant|user|model|bot|ассистент|асистент|助手|어시스턴트)\s*:?|n/?a|null|undefined|nan|tbd"
    r"|todo\b.{0,80}|lorem ipsum.*|\[[^\]\n]{1,60}\]|(?:#++ [^\n]{1,60}+\s*+)++",
    re.I | re.S,
)
_KEY = re.compile(r'"[^"\n]{0,80}"\s*:|\bnull\b')
_MOJIBAKE = re.compile(r"ï¿½|пїЅ|\ufffd|Ã.{0,2}Ã|â€")
# Possessive throughout: a policy writes what a backtracking pattern would choke on.
_BARE_LIST = re.compile(r"(?:(?:\d{1,2}[.):]|[-*•])\s*+){2,}+")
# Latin words only: four consonants and no vowel, or six consonants on end.
_UNPRONOUNCEABLE = re.compile(r"^(?=[a-z]{4})[bcdfghjklmnpqrstvwxz]+$|[bcdfghjklmnpqrstvwxz]{6}")
_KEYBOARD = re.compile(
    r"asdf|sdfg|dfgh|fghj|ghjk|hjkl|lkjh?|qwer|qwpo|wqe|zxc|zxm|xcvb|cvbn|bnmv|uiop|йцук|фыва|ㅁㄴㅇㄹ"
    r"|rtyu|yxcv|wertz|ضصثق|شسيب|q(?=[bcdfghjklmnpqrstvwxz])|[jvwxz]q|zx|xz|jk|kj(?!ø|æ|e|a|o)|fj(?!o)|jf|gj(?!e|o)|vb|vj"
    r"|jv|jz|xk|kx|öä|äü|ölk"
)
_FUNCTION = frozenset(
    """the of and to is under from which a an in on at with are that by as or it""".split()
)
_VOWEL = re.compile(r"[aeiou]", re.I)
_JAMO = re.compile(r"[ㄱ-ㅎㅏ-ㅣ]{4}")
# An answer of a few words that ends in one of these has only begun.
_UNFINISHED = frozenset(
    """a an the of to with and or but your my our is are was were from into by as if because while
    its their following where how what when
    el la los las un una unos de del que para con por y en es son se su al como tu
    le les des du pour avec et dans est sont une que qui votre sur ce cette
    der die das ein eine einen dem den und mit zu von für im ist sind sie wie zum zur
    o os um uma do da il lo gli dei di che per sono è e и в на с для""".split()
)
_BEGUN = re.compile(
    r"(?:[,:;] |^)(?:you|i|we|they|he|she|it|the image|then|first|this)$"
    r"|\b(?:we|they|he|she|has|had|should|would|very|been|we can|and the|most important)$"
    r"|\b(?:first|main|best|next) (?:thing|step|reason|point)s? (?:you|is|to|i)$",
    re.I,
)
_UNFINISHED_SCRIPT = re.compile(
    r"(?:以下是|下面是|首先|您需要|你需要|你可以|您可以|图中显示|图片显示|是一个|的|和|在|把|将|请先|需要|因为|以及|如下|一张|一個|一个|这是)$"
    r"|(?:다음은|먼저|방법은|이미지는|사진은|사진에는|그리고|위해서는|하려면|위해|다음과 같이|에는|[을를은는의])$"
    r"|(?:次のように|まず|これは|画像には|ために|は|の|を|に|と)$|(?:هو|هي|في|من|إلى|على|هذا|التالي)$"
)
_VERBS = frozenset(
    """see shows show contains depicts ver muestra contiene voir montre zeigt sehen vedere
    mostra mostra""".split()
)
_OPENERS = re.compile(
    r"(?:in|on) (?:the|this) (?:image|picture|photo)|the (?:image|picture|photo)|en la (?:imagen"
    r"|foto)|sur l[ '’]image"
    r"|sur la photo|auf dem (?:bild|foto)|на (?:изображении|фото|картинке)|图中|图片中|사진에는|이미지에는|画像には"
    r"|この画像は|sure|of course|certainly|to do (?:this|that|so)"
)
BRIEF = 30
"""Words up to which an answer without an end counts as cut off before it said anything."""
READ = 400
"""Characters in which emptiness shows; what says something by then is not empty."""


def emptiness(answer: str, prompt: str | None) -> str | None:
    """Why an answer says nothing: "no words", "gibberish", "echo" or "cut off"; else None.

    Reads its first READ characters, beyond a scan for any letter at all.
    """
    if not WORD.search(answer):
        return "no words"
    text = answer.lstrip()[:READ].strip()
    marked = "<" in text or "&" in text or "[" in text or "`" in text
    words = WORD.findall((_MARKUP.sub(" ", text) if marked else text).casefold())
    if not words or _BARE_LIST.fullmatch(text) or _is_hollow(text):
        return "no words"
    if _is_gibberish(text, words):
        return "gibberish"
    if prompt and len(answer) <= 4 * READ and _is_echo(answer, prompt):
        return "echo"
    return "cut off" if len(answer) <= READ and _is_cut_off(text, words) else None


def _is_hollow(text: str) -> bool:
    """Whether a text is a template or a structure with nothing filled in."""
    if text[0] in "{[" and text[-1] in "}]" and not WORD.search(_KEY.sub("", text)):
        return True
    return len(text) < 200 and bool(_PLACEHOLDER.fullmatch(text))


def _is_gibberish(text: str, words: list[str]) -> bool:
    if _MOJIBAKE.search(text):
        return True  # bytes of one encoding read as another
    many = len(words) >= 8 and len(text) < 3 * len(words) and text.isascii()
    if many and sum(len(w) == 1 for w in words) >= 0.8 * len(words):
        return not any(map(str.isdigit, text))  # letters drawn at random
    if len(words) >= 6 and len(set(words)) <= max(1, len(words) // 8):
        return True  # a few words over and over
    if len(words) >= 12 and _loops(words):
        return True
    letters = text.lower().replace(" ", "") if len(words) <= 2 else ""
    if len(letters) >= 16 and not letters.isdigit() and _repeats(letters):
        return True  # one key, one syllable, or a phrase of a script without spaces, over and over
    if len(text) >= 40 and sum(map(len, words)) < len(text) // 10:
        return True  # signs with hardly a letter among them
    if _JAMO.search(text) and len(words) <= 4:
        return True
    # What is mashed from the start is mashed to the end: the first words tell.
    opening = words[:20]
    if _KEYBOARD.search(text[:160].lower()):
        mashed = [w for w in opening if len(w) > 3 and _KEYBOARD.search(w)]
        if len(mashed) == len(opening) or (len(opening) > 2 and 2 * len(mashed) > len(opening)):
            return True
    if len(words) >= 12 and 3 * _functional(words[:36]) > min(36, len(words)):
        return True
    if 4 * len(_VOWEL.findall(text[:80])) > len(text[:80]):
        return False
    odd = [w for w in opening if _UNPRONOUNCEABLE.search(w)]
    # A lone "html" is an answer; a lone "sdfghjkl" is not.
    return bool(odd) and 2 * len(odd) > len(opening) and (len(odd) > 1 or len(odd[0]) > 7)


def _functional(words: list[str]) -> int:
    """Pairs of neighbours that are both function words: one in ten in English, more in a salad."""
    return sum(a in _FUNCTION and b in _FUNCTION for a, b in pairwise(words))


def _loops(words: list[str]) -> bool:
    """Whether the answer is stuck: most of it, to its end, is one phrase over and over."""
    backwards = words[::-1]
    for period in range(1, len(words) // 4 + 1):
        if backwards[period] == backwards[0]:
            pairs = zip(backwards, backwards[period:], strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            if same >= 3 * period and same >= 0.6 * len(words):
                return True
    return False


def _repeats(letters: str) -> bool:
    return any(
        letters == (letters[:n] * (len(letters) // n + 1))[: len(letters)]
        for n in range(1, min(12, len(letters) // 4) + 1)
    )


def _is_cut_off(text: str, words: list[str]) -> bool:
    """Whether a short text stops in the midst of its first sentence, or right after announcing."""
    if len(words) > BRIEF:
        return False
    # A list or a form that was begun and not filled in is no more than its announcement.
    bare = _UNFILLED.sub("", text).rstrip()
    if bare.endswith((":", "：")):
        return bool(_ANNOUNCEMENT.search(bare))
    ended = text.endswith((".", "!", "?", "。", ")", '"', "'", "`", "”", "’", "]", "}"))
    if ended and not text.endswith(".."):
        return False
    if _OPENERS.fullmatch(" ".join(words)):
        return len(words) > 1 or not text.isascii()
    if len(words) == 1 and not _announces(text):
        return False
    if len(words) > 3 and words[-1] in _VERBS:
        return True
    if text.endswith((",", "，", "、")):
        return len(words) > 1 or _announces(text)
    bare = text.rstrip(". …")
    if _BEGUN.search(bare) or bare.split()[-1].casefold() in _UNFINISHED:
        return True
    return bool(_UNFINISHED_SCRIPT.search(bare))


_UNFILLED = re.compile(r"(?:\n\s*+(?:\d{1,2}[.):]|[-*•#`「」_=]++)?+[^\S\n]*+)++$")
_ANNOUNCEMENT = re.compile(
    r"\b(?:here(?: is| are|'s)|the following|below|as follows|aqu[ií] (?:est|tien|van|hay)|a continuación"
    r"|voici|voilà|hier (?:ist|sind)|folgende|ecco|seguente|вот|следующ)|以下|下面|如下|다음|알려 ?드리|通り|次の"
    r"|^(?:sure|certainly|of course)",
    re.I,
)


def _announces(text: str) -> bool:
    return bool(_UNFINISHED_SCRIPT.search(text.rstrip(":：,，. …")))


def _is_echo(answer: str, prompt: str) -> bool:
    """Whether the words are the prompt's own, in its order: all of them, most, or several times
    over, or all of them in a frame."""
    asked = WORD.findall(prompt[: 4 * READ].casefold())
    words = WORD.findall(answer.casefold())
    if not asked:
        return False
    if len(words) % len(asked) == 0 and words == asked * (len(words) // len(asked)):
        return True
    if len(asked) > 2 and words[-len(asked) :] == asked and len(words) - len(asked) <= 8:
        return True  # "You asked: ..." and nothing more
    remaining = iter(asked)
    in_order = all(word in remaining for word in words)
    return in_order and len(words) >= 6 and len(words) >= 0.7 * len(asked)
